/* turnout.h - what the last round made of each pool: blocks offered, sold, and wanted in vain.
 *
 * one thread (the leader's), which takes it from each committed round and gives it to the next
 * cutting (auction/carve.h). It counts and knows no price. Wishes without a lot (none had room, or
 * they are cleared by themselves) count, where unmet, wherever they may be served. A new leader
 * starts without one; so does a market after an idle second, since those who waited then do so no
 * longer.
 */
#ifndef UNDERCUT_MARKET_TURNOUT_H
#define UNDERCUT_MARKET_TURNOUT_H

#include "broker/market/round.h"

struct turnout_row {
    char key[LOT_KEY_SIZE]; /* of the pool */
    int64_t supply[BLOCK_SIZES], sold[BLOCK_SIZES], unmet[BLOCK_SIZES];
};

struct turnout {
    struct turnout_row *at; /* ascending by key */
    size_t count;
};

/* Of a clearing that stands. */
void turnout_take(const struct supply *supply, const struct demands *demands,
                  const struct round_clearing *clearing, struct turnout *ret_turnout);
/* NULL when the last round had nothing to do with the pool. */
const struct turnout_row *turnout_of(const struct turnout *turnout, const struct supply_pool *pool);
void turnout_finish(struct turnout *turnout);

#endif
