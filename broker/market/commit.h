/* commit.h - a frozen round made final: loaded, cleared, guarded, stored.
 *
 * one blocking thread, inside a transaction behind the fence. The guards lock what won (nodes,
 * workloads, replicas, devices) and look again; what no longer stands is taken out of the input and
 * the round is cleared again, so the record is always the clearing of what it lists. An ask is
 * bound by the freeze: a change that came after it counts from the next round on.
 *
 * An award of a block that spot leases hold gives them their notice in the same transaction
 * (auction/tier.h): the winner is awarded now and has the devices when they are closed.
 */
#ifndef UNDERCUT_MARKET_COMMIT_H
#define UNDERCUT_MARKET_COMMIT_H

#include "broker/market/freeze.h"
#include "broker/market/lease.h"
#include "broker/market/turnout.h"

struct round_report {
    uint32_t demands_count, blocks_count, lots_count, awards_count;
    uint32_t refused_count; /* guards that took something out */
    int64_t load_us, clear_us, store_us;
    struct lease_parties *parties; /* whom to wake after the commit; freed by the owner */
    size_t parties_count;
    uint32_t noticed_count;     /* leases that were given notice */
    struct turnout turnout;     /* freed by the owner */
    struct lot_indexes fresh;   /* indexes of lots that traded; freed by the owner */
    struct stock_device **sold; /* freed by the owner */
    size_t sold_count;
    struct demand_callers callers; /* freed by the owner */
};

struct round_world {
    struct office *office;
    const struct lot_indexes *indexes;
    const struct lot_benchmarks *benchmarks;
    const struct turnout *last; /* of the last round of all lots */
    const struct tier_times *tiers;
    uint32_t fee_bp;
    int64_t direct_window_rounds;
    struct stock *stock;
};

/* Everything from loading to the stored record, without the COMMIT. */
MUST_USE enum err_code round_complete(const struct round_world *world,
                                      const struct frozen_round *round,
                                      struct round_report *ret_report);
void round_report_finish(struct round_report *report);

#endif
