/* round.h - one clearing of all touched lots in memory: demand and supply in, awards and record
 * out.
 *
 * pure apart from malloc; one thread (the leader's). A lot is cleared by auction/clear.h over the
 * record's own rows, so what is committed is what a verifier recomputes.
 *
 * What no lot can say (demand.h) is cleared by itself by auction/rfq.h, after all lots and on what
 * they left free, plus the blocks that bid on it directly: tier by tier, highest r first, equals by
 * id. So a workload that avoids a failed node never starves behind it.
 *
 * Tiers clear in their order, so spot is left what the others did not take. A block that spot
 * leases hold costs its lot a wait (tier_wait_adder). Which blocks of a node are won is then
 * settled once more, so that the leases that go first leave first: a block's id in the record names
 * a place on its node, and the places of one node are equal.
 *
 * What the commit's guards refuse (a workload that stopped, a device that went) is marked and the
 * round is cleared again without it: the record holds what stands and nothing else.
 */
#ifndef UNDERCUT_MARKET_ROUND_H
#define UNDERCUT_MARKET_ROUND_H

#include "auction/record.h"
#include "broker/market/demand.h"

struct round_lot {
    char key[LOT_KEY_SIZE];
    const struct supply_pool *pool;
    uint32_t devices_count; /* of each block */
    struct str tier;
    struct record_block *blocks; /* ascending by id, as in the record */
    struct record_demand *demands;
    struct supply_block **sources; /* of blocks */
    struct demand **wants;         /* of demands */
    uint32_t blocks_count, demands_count;
    struct lot_result outcome;
    struct buf memory; /* where outcome lives */
};

struct round_direct { /* a workload by itself */
    struct demand *want;
    struct record_candidate *candidates; /* ascending by id, as in the record */
    struct direct_source *sources;
    uint32_t candidates_count;
    struct rfq_result outcome;
    struct buf memory;
};
struct direct_source { /* of a candidate */
    struct supply_block *block;
    const struct supply_pool *pool;
    struct direct_facts *facts; /* NULL: nobody asked */
};

struct round_award {
    struct demand *demand;
    struct supply_block *block;
    const struct supply_pool *pool;
    int64_t theta_uusd_per_hour, price_uusd_per_hour, adder_uusd_per_hour;
    bool is_price_set_by_ask; /* of a loser: see auction/losers.h */
    int replica_row;          /* set by the commit: which of the locked replicas it is for */
};

struct round_clearing {
    struct round_lot *lots; /* ascending by key */
    uint32_t lots_count;
    struct round_direct *directs; /* ascending by workload */
    uint32_t directs_count;
    struct round_award *awards;
    uint32_t awards_count;
};

struct round_input {
    struct supply *supply;
    struct demands *demands; /* routed */
    const struct lot_benchmarks *benchmarks;
    const struct tier_times *tiers;
    struct direct_fact_list *facts; /* their room is taken and given back by each clearing */
    struct sha256 seed;
};

/* Clears; may be called again on the same input after marking is_out and is_gone. Blocks it sold
 * before are free again unless they were marked. False: an input no lot can have (a bug upstream).
 */
MUST_USE bool round_clear(const struct round_input *input, struct round_clearing *ret_clearing);
void round_clearing_finish(struct round_clearing *clearing);

/* The canonical record; the head's counts are filled in. */
void round_record(const struct round_clearing *clearing, struct record_head head, struct buf *to);

/* R_t: the Merkle root over the round's arrivals in the order of their places; a leaf is
 * merkle_leaf(be64(round) | be64(place) | SHA-256 of the message). */
struct sha256 arrival_leaf(int64_t round, int64_t place, const struct sha256 *message);

#endif
