/* offer.h - what a block asks in a tier, and what its node's failures add.
 *
 * pure.
 */
#ifndef UNDERCUT_MARKET_OFFER_H
#define UNDERCUT_MARKET_OFFER_H

#include "broker/market/demand.h"

struct offer_place { /* which lot the block would stand in */
    const struct supply_pool *pool;
    uint32_t devices_count;
    struct str tier;
    const struct lot_benchmarks *benchmarks;
    int64_t at_us;
};

/* Devices x ask x the tier's multiplier. */
int64_t offer_ask(const struct offer_place *place, const struct supply_node *node);
bool offer_has_tier(const struct offer_place *place, const struct supply_node *node);
/* What is usual in that lot (benchmark.h). */
int64_t offer_usual(const struct offer_place *place);
/* What failures may cost; at most the usual price once more. `usual` is offer_usual(). */
int64_t offer_adder(const struct offer_place *place, const struct supply_node *node, int64_t usual);

#endif
