/* stock.h - supply in memory: what every node offers and every account asks, kept from round to
 * round and brought up to date by what changed.
 *
 * one thread (the leader's). stock_refresh() reads, the rest is pure. An entry is one node's
 * devices of one class; entries stand by region, class, trust and node, so those of a pool are
 * neighbours. What depends on a clock or a round (a suspicion, a bid's end, an ask that arrived
 * after the freeze) is kept as it is in the database and judged by supply_make().
 *
 * Why it is never wrong for long, and never harmful: triggers write who changed into supply_changes
 * in the transaction that changes it, and each refresh reads on from the xmin of the snapshot
 * before, so a change is seen by the first refresh after its commit. What is missed between that
 * refresh and the commit of a round, the guards refuse. A connection that broke, a failed round and
 * a leader that slept forget everything: the next refresh reads it all.
 */
#ifndef UNDERCUT_MARKET_STOCK_H
#define UNDERCUT_MARKET_STOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auction/adder.h"
#include "broker/base/err.h"
#include "broker/base/id.h"
#include "broker/base/str.h"

#define STOCK_RECENT_MS 2000  /* taking now sells from what was read; a turn comes each second */
#define STOCK_OLD_MS    45000 /* changes are kept for a minute at least, so this is forgotten */

struct office;

struct stock_ask {
    struct uuid account_id;
    struct str region, class; /* the stock's, like all its words */
    int64_t price_uusd_per_device_hour;
    int32_t spot_multiplier_bp, guaranteed_multiplier_bp;
    int32_t tier_mask; /* bit t: for tier t */
    int64_t arrived_round;
    bool is_withdrawn;
};

struct stock_device {
    struct uuid device_id;
    struct uuid holder_id; /* nil: it is free */
    int64_t holder_running_at_us, holder_reserve_uusd_per_hour;
    int32_t holder_fee_bp, holder_block_size;
    struct uuid bid_id;          /* nil: it is in its lot */
    struct uuid bid_workload_id; /* nil: the bid no longer stands */
    int64_t bid_uusd_per_hour, bid_arrived_round, bid_expires_at_us;
    bool holder_is_preempted;
    bool is_simulated;
    bool is_sold; /* by this leader, since its node was read */
};

struct stock_entry {
    struct uuid node_id, account_id;
    struct str region, class, trust;
    int64_t catalogue_uusd_per_hour;
    int64_t suspect_until_us;           /* 0: is not */
    int64_t floor_uusd_per_device_hour; /* its owner's for this node; 0: none of its own */
    struct failure_history history;
    const struct stock_ask *ask; /* NULL: none */
    uint32_t devices_count;
    struct stock_device devices[]; /* by index and id */
};

struct stock {
    struct stock_entry **entries;
    struct stock_ask **asks; /* ascending by account, region, class */
    size_t entries_count, asks_count;
    char **words; /* every region, class and trust that was read */
    size_t words_count;
    bool is_loaded;
    uint64_t connection;  /* the office's, when it was loaded */
    int64_t horizon_xact; /* what is settled below it has been read */
    int64_t read_mono_ms; /* of the last refresh */
    int64_t past_xact;    /* a horizon of at least past_mono_ms */
    int64_t past_mono_ms;
    uint64_t loads_count, nodes_read_count; /* since the start; for metrics and tests */
};

/* Reads what changed, or everything where nothing is known. On an error it is empty. */
MUST_USE enum err_code stock_refresh(struct stock *stock, struct office *office);
/* Refreshed a moment ago, over the connection that the office has now. */
bool stock_is_recent(const struct stock *stock, const struct office *office);
/* Deletes changes that no leader can still have to read; about once a minute. */
MUST_USE enum err_code stock_tidy(struct stock *stock, struct office *office);
void stock_forget(struct stock *stock); /* the next refresh reads everything */
void stock_finish(struct stock *stock); /* frees */

#endif
