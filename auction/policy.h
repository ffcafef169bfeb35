/* policy.h - what a workload brings to a round: how much, how many devices, into which lot.
 *
 * pure, integers only. Prices are micro-USD per replica-hour. These are transformations of the
 * demand that read only public facts and the workload itself, never a rival's ask or reserve, so
 * the clearing rule's guarantees are untouched.
 */
#ifndef UNDERCUT_AUCTION_POLICY_H
#define UNDERCUT_AUCTION_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/must.h"

#define FEE_BP_MAX           10000
#define BLOCK_DEVICES_MAX    8
#define PRICE_RISE_MS        60000 /* how long the offer rises when there is no deadline */
#define LOT_CHOICE_NONE      SIZE_MAX
#define BENCHMARK_PRICES_MIN 100 /* fewer say too little: the catalogue's price stands in */

/* What is left of an all-in price once the fee is taken out: a lease at this price, with the fee on
 * top, costs no more than the reserve. Rounded down. */
int64_t reserve_net(int64_t reserve_uusd_per_hour, int64_t fee_bp);

enum price_policy {
    PRICE_POLICY_MARKET = 1, /* begin near the market and rise to the reserve */
    PRICE_POLICY_LIMIT,      /* the reserve at once */
};

struct price_offer {
    enum price_policy policy;
    int64_t reserve_uusd_per_hour;
    int64_t benchmark_uusd_per_hour; /* B: from other lots or the catalogue, never from this lot */
    int64_t posted_at_us;            /* its age counts from here, also after a lost node */
    int64_t deadline_at_us;          /* 0: none */
    int64_t run_ms;                  /* how long it will run; 0: unknown */
};

/* B: 1.25 x the median of prices that losing asks of others set in other lots of the class, or,
 * with too few of them, the catalogue's price. All per device-hour. */
int64_t benchmark_choose(int64_t median_uusd_per_hour, int64_t prices_count,
                         int64_t catalogue_uusd_per_hour);

/* r^: the all-in price offered at `now_us`, before the fee is taken out. Under `market` it rises in
 * a straight line from min(reserve, B) to the reserve, which it reaches at the latest start
 * (deadline - run time), or after PRICE_RISE_MS without a deadline. It never falls with time and
 * never exceeds the reserve. */
int64_t price_offered(const struct price_offer *offer, int64_t now_us);

/* The block size that holds `devices` of one replica: 1, 2, 4 or 8; 0 when no block does. */
uint32_t block_devices_for(uint32_t devices);

struct lot_choice {
    int64_t index_uusd_per_hour;     /* the lot's last public index; below 0: none yet */
    int64_t catalogue_uusd_per_hour; /* stands in for a missing index */
    int64_t latency_uusd_per_hour;   /* penalty, from the workload's own wish */
    bool is_barred;                  /* its owner sells there */
    bool is_tried;                   /* entered since the workload was posted and left unfilled */
};

/* Which one of the acceptable lots to enter this round: the cheapest by public state that was not
 * tried yet; once all were tried, the cheapest of all. The first of equals. LOT_CHOICE_NONE when
 * all are barred or there are none. */
size_t lot_choose(const struct lot_choice *choices, size_t count);

#endif
