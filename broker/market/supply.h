/* supply.h - what can be sold in a round: devices, pooled, and cut into blocks.
 *
 * one thread (the leader's); pure. A pool is (region, class,
 * trust), once for spot and once for the tiers above it; cut for a block size and offered in a tier
 * it is the supply of one lot. Spot is sold what is free; the tiers above are sold what is free and
 * what running spot leases hold that may be evicted (auction/tier.h). Of a node, free devices come
 * first, then held ones in the order of eviction. Both kinds of pool are cut from the same devices:
 * what is sold in one is sold in the other. Words and devices are the stock's (stock.h), which must
 * not be refreshed before supply_finish().
 *
 * Cutting is auction/carve.h's, over each pool's nodes and by counts: what is wanted of the pool
 * now and what the last round made of it. Asks are not among what it reads.
 */
#ifndef UNDERCUT_MARKET_SUPPLY_H
#define UNDERCUT_MARKET_SUPPLY_H

#include "auction/adder.h"
#include "auction/carve.h"
#include "auction/policy.h"
#include "auction/tier.h"
#include "broker/base/err.h"
#include "broker/base/id.h"
#include "broker/base/str.h"

struct stock;
struct stock_device;
struct turnout;

#define BLOCK_SIZES CARVE_SIZES /* 1, 2, 4, 8 devices: index i stands for 1 << i */

struct supply_node { /* one node's devices of one class */
    struct uuid node_id, account_id;
    struct failure_history history;
    int64_t ask_uusd_per_device_hour;
    int32_t spot_multiplier_bp, guaranteed_multiplier_bp;
    int32_t tier_mask; /* bit t: sold in tier t */
    uint32_t device_first, devices_count;
};

struct supply_device {
    struct uuid device_id;
    bool is_simulated;
    struct uuid holder_id; /* the spot lease that would have to leave; nil: it is free */
    struct tier_victim holder;
    struct stock_device *of; /* where the stock has it */
    uint32_t row;            /* the same in both kinds of pool */
};

struct supply_block {
    char id[ID_TEXT_SIZE]; /* its first device's, for ties and the record */
    const struct supply_node *node;
    const struct supply_device *devices;
    uint32_t devices_count;
    bool is_gone; /* refused at the commit */
};

/* A block that its owner committed to one workload at a price of its own: in no lot. */
struct supply_bid {
    struct supply_block block;
    struct supply_device devices[BLOCK_DEVICES_MAX];
    struct uuid bid_id, workload_id;
    int64_t price_uusd_per_hour; /* of the block */
    const struct supply_pool *pool;
};

struct supply_pool {
    struct str region, class, trust;
    bool is_spot;
    int64_t catalogue_uusd_per_hour; /* per device */
    uint32_t node_first, nodes_count;
    int64_t wanted[BLOCK_SIZES];              /* blocks asked for by all who accept the pool */
    struct supply_block *blocks[BLOCK_SIZES]; /* ascending by id */
    uint32_t blocks_count[BLOCK_SIZES];
};

struct supply_cutting {
    const struct turnout *last; /* of the round before; NULL: there was none */
    struct sha256 seed;
    bool is_now; /* what stands in rounds is not among what is wanted */
};

struct supply {
    struct supply_pool *pools;
    struct supply_node *nodes;
    struct supply_device *devices;
    struct supply_bid *bids;
    bool *is_sold; /* in this clearing; by row */
    uint32_t pools_count, bids_count, rows_count;
    struct supply_cutting cutting;
};

struct supply_query {
    const struct stock *stock;
    const struct str *regions, *classes;
    size_t regions_count, classes_count;
    int64_t round;
    bool wants_spot, wants_higher;  /* what is demanded */
    const struct tier_times *tiers; /* NULL: nobody is evicted */
    int64_t at_us;                  /* the database's clock */
    struct supply_cutting cutting;
};

/* What may be sold of the stock, where demand looks. An ask that arrived after the freeze keeps its
 * nodes out of this round, an owner's other floor out of all. */
void supply_make(const struct supply_query *query, struct supply *ret_supply);
/* Cuts every pool by what is wanted of it. */
void supply_cut(struct supply *supply);
void supply_finish(struct supply *supply);

/* True while none of its devices is sold in this clearing and the commit has not refused it. */
bool supply_has(const struct supply *supply, const struct supply_block *block);
void supply_sell(struct supply *supply, const struct supply_block *block);
void supply_unsell(struct supply *supply); /* before another clearing */
/* Some of it is held by a lease that would have to leave. */
bool supply_is_held(const struct supply_block *block);

/* 1, 2, 4, 8 -> 0, 1, 2, 3. */
uint32_t block_size_index(uint32_t devices);
/* simulated < unverified < verified < attested; -1 for anything else. */
int trust_rank(struct str trust);

#endif
