/* hindsight.h - what an ask came to in a recorded lot, and what another one would have come to.
 *
 * pure apart from malloc. Two ways to try another ask on a lot of the past. A replay clears the
 * record again with it: exact, and whoever may try many prices reads the rivals' asks out of it, so
 * it is for lots whose asks are open to everybody anyway. An estimate uses nothing but the lot's
 * public index and sold count: a block is had if its score is below the index, at the index. It is
 * blind to what the own ask did to the index, and so a little kind to asks that had lost; it cannot
 * tell anything that is not public. Prices are micro-USD per block-hour.
 */
#ifndef UNDERCUT_AUCTION_HINDSIGHT_H
#define UNDERCUT_AUCTION_HINDSIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include "auction/record.h"

enum ask_fate {
    ASK_FATE_ABSENT = 1,  /* none of its blocks was in the lot */
    ASK_FATE_SOLD,        /* all of them were sold */
    ASK_FATE_PARTLY_SOLD, /* some were */
    ASK_FATE_ABOVE_INDEX, /* others were cheaper, by `gap` */
    ASK_FATE_TIED,        /* as cheap as the index, and the draw or the count of wishes decided */
    ASK_FATE_NO_TRADE,    /* every ask was above every offer */
    ASK_FATE_COUNT
};
const char *ask_fate_slug(enum ask_fate fate);

struct ask_outcome {
    enum ask_fate fate;
    uint32_t blocks_count, sold_count;
    int64_t score_uusd_per_hour; /* of its cheapest block that was not sold; 0: none */
    int64_t gap_uusd_per_hour;   /* that score above the index */
};
/* In a lot with its outcome. */
struct ask_outcome ask_outcome_of(const struct record_lot *lot, const struct uuid *account);

struct hindsight_ask {
    struct uuid account_id;
    int64_t price_uusd_per_device_hour;
    int32_t spot_multiplier_bp, guaranteed_multiplier_bp;
};

struct hindsight_sum {
    int64_t lots_count, blocks_count; /* where it had blocks, and how many */
    int64_t sold_count, would_count;  /* blocks: then, and with the other ask */
    int64_t revenue_uusd_per_hour;    /* of the sold ones together */
    int64_t would_revenue_uusd_per_hour;
};
/* Each adds one lot to the sum; a lot without blocks of the account adds nothing. */
void hindsight_replay(const struct record_lot *lot, const struct sha256 *seed,
                      const struct hindsight_ask *ask, struct hindsight_sum *sum);
void hindsight_estimate(const struct record_lot *lot, const struct hindsight_ask *ask,
                        struct hindsight_sum *sum);

#endif
