/* adder.h - what a node's failures are expected to cost a tenant, as part of its score.
 *
 * pure, integers only. It is reckoned from observed events, never from the ask, so it cannot be bid
 * into: adder = ceil(lambda x L x P), with
 *   lambda = (2 failures + F) / (200 h + H)   failures per hour, a prior of one in a hundred hours
 *   L      = what one failure loses, in time: half a checkpoint and a restart
 *   P      = what is usual, micro-USD per hour: of settled hours of other lots, or the catalogue's.
 * F and H are forgotten with a half-life of 30 days, so F is kept in thousandths.
 * Bayesian rate with a gamma prior; the scoring rule is Che's (RAND Journal, 1993).
 *
 * Example at P = 350 000, L = 0.6 h: a new node 2100; 2000 h without a failure 191; 3 failures in
 * 500 h 1500.
 */
#ifndef UNDERCUT_AUCTION_ADDER_H
#define UNDERCUT_AUCTION_ADDER_H

#include <stdint.h>

#include "broker/base/must.h"

#define ADDER_LOSS_GUARANTEED_MS 900000  /* 0.25 h */
#define ADDER_LOSS_FLEXIBLE_MS   2160000 /* 0.6 h */
#define ADDER_LOSS_SPOT_MS       2160000 /* 0.6 h */
#define FAILURE_ONE_MILLI        1000

struct failure_history {
    int64_t failures_milli; /* F in thousandths of a failure */
    int64_t observed_ms;    /* H */
    int64_t day;            /* days since the Unix epoch up to which it is forgotten */
};

/* Forgets up to `day`; earlier days than the history's own change nothing. */
void failure_history_forget(struct failure_history *history, int64_t day);

/* Saturates at `adder_max`, so that a hopeless node is dear instead of an error. */
int64_t adder_for(const struct failure_history *history, int64_t loss_ms,
                  int64_t usual_uusd_per_hour, int64_t adder_max_uusd_per_hour);

#endif
