/* meter.h - what a lease costs: exact, cumulative, and the same however often one settles.
 *
 * pure, integers only. Prices are micro-USD per hour of one replica, money micro-USD, fees basis
 * points, time milliseconds. A bill always counts from the start of the lease, never from the last
 * settlement; settlement posts the difference to what is already posted. So a thousand roundings
 * cost nobody anything: floor(a) + floor(b) never enters.
 */
#ifndef UNDERCUT_BILLING_METER_H
#define UNDERCUT_BILLING_METER_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/must.h"

#define METER_MS_MAX     (100LL * 366 * 24 * 3600 * 1000) /* a hundred years: no lease is longer */
#define METER_PRICE_MAX  ((int64_t)1 << 40)               /* as the auction's scores */
#define METER_FEE_BP_MAX 10000
#define PULL_FREE_MS     120000 /* starting is free for this long */
#define OWNER_END_MIN_MS 60000  /* what an order costs that its owner ends before it ran */

struct meter_bill {
    int64_t net_uusd;   /* to the operator: floor(price x ms / hour) */
    int64_t fee_uusd;   /* to the platform: floor(net x fee_bp / 10000) */
    int64_t gross_uusd; /* from the tenant: net + fee */
};

struct meter_terms { /* fixed when the lease is awarded */
    int64_t price_uusd_per_hour;
    int64_t fee_bp;
};

/* The bill for the first `billable_ms` of a lease; 0 <= billable_ms <= METER_MS_MAX. */
struct meter_bill bill_for(const struct meter_terms *terms, int64_t billable_ms);
/* What is still to be posted. A bill never shrinks: less than posted is a bug. */
struct meter_bill bill_difference(const struct meter_bill *now, const struct meter_bill *posted);

struct meter_times {
    int64_t receipt_healthy_ms; /* cumulative, signed by the agent; no receipt, no charge */
    int64_t broker_elapsed_ms;  /* the broker's own clock since `running` */
    int64_t paused_ms;          /* of these, how long the node was unknown or the lease paused */
    int64_t cut_ms;             /* where DELETE or the end of escrow stopped it, or METER_MS_MAX */
};
/* min(receipt, elapsed - paused, cut), never below 0: neither clock alone can bill. */
int64_t billable_run_ms(const struct meter_times *times);

/* How starting ended. */
enum start_end {
    START_RAN = 1,     /* the container was ready, or never by its owner's own probe */
    START_OWNER_ENDED, /* the owner stopped it first */
    START_FAILED,      /* anything else: nothing is charged */
    START_GOES_ON,     /* not yet known: nothing is charged so far */
};
/* Billable milliseconds of a start that took `start_ms` from award to ready or end: what lies
 * beyond PULL_FREE_MS; for an owner who ended it, OWNER_END_MIN_MS at least. It comes before the
 * run in the lease's cumulative time. */
int64_t billable_start_ms(enum start_end end, int64_t start_ms);

/* The longest time whose gross bill stays within `available_uusd`: exact to the millisecond, at
 * most METER_MS_MAX. */
int64_t billable_ms_max(const struct meter_terms *terms, int64_t available_uusd);

/* What escrow must hold beside what is posted, so that the lease can go on for `horizon_ms`. */
int64_t escrow_target(const struct meter_terms *terms, int64_t billable_ms,
                      const struct meter_bill *posted, int64_t horizon_ms);

/* What is held when a workload is posted: `reserve` is all-in, so no lease under it can cost more
 * within `ms`. False when that is beyond MONEY_MAX. */
MUST_USE bool hold_for(int64_t reserve_uusd_per_hour, int64_t replicas, int64_t ms,
                       int64_t *ret_uusd);

#endif
