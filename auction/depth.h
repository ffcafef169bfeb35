/* depth.h - the ladder of a cleared lot, coarse enough to be shown to everybody.
 *
 * pure apart from malloc. Scores (ask + adder) are counted in steps above the lot's index; a step
 * in which fewer than DEPTH_ACCOUNTS_MIN accounts stand is merged with the next ones, and what is
 * left over at the top with the one below it, so no figure is about one account's ask. A percentile
 * is the mean over three neighbouring accounts, each with its best price, raised to the next step
 * of a fixed ladder of about 5 %: so whoever knows two of them learns the third to some 15 %, not
 * exactly. Whoever runs all accounts of a step but one still learns that there is one more: secrecy
 * against a majority of sellers is not promised. Prices are micro-USD per block-hour.
 *
 * Example: index 100 and asks of six accounts at 90, 95, 100, 101, 109, 180: up to the index 3
 * blocks of 3 accounts; all others (3 of 3) in one step without an upper edge.
 */
#ifndef UNDERCUT_AUCTION_DEPTH_H
#define UNDERCUT_AUCTION_DEPTH_H

#include <stdbool.h>
#include <stdint.h>

#include "auction/record.h"

#define DEPTH_ACCOUNTS_MIN 3
#define DEPTH_BUCKETS_MAX  7
#define DEPTH_PERCENTILES  5 /* 10, 25, 50, 75, 90 */
#define DEPTH_EDGE_NONE    (-1)

struct depth_bucket {
    int32_t edge_bp; /* scores up to the index and this share of it; DEPTH_EDGE_NONE: any score */
    uint32_t blocks_count;
    uint32_t accounts_count;
};

struct depth {
    uint32_t accounts_count;                        /* that offered */
    uint32_t buckets_count;                         /* 0: too few accounts, or nothing traded */
    struct depth_bucket buckets[DEPTH_BUCKETS_MAX]; /* from the cheapest up, not cumulative */
    bool has_asks, has_reserves;                    /* at least DEPTH_ACCOUNTS_MIN accounts each */
    int64_t asks_uusd[DEPTH_PERCENTILES];
    int64_t reserves_uusd[DEPTH_PERCENTILES];
};

/* The next step at or above: 1, 2, ... 20, 21 ... 40, 42 ..., each about a twentieth more. */
int64_t depth_step_up(int64_t uusd);

/* `lot` with its outcome. */
void depth_of(const struct record_lot *lot, struct depth *ret_depth);

#endif
