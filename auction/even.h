/* even.h - one adder per seller, for lots where somebody wants several blocks or none.
 *
 * pure apart from malloc. The price rule's theorem wants all blocks of a seller at one score,
 * unless every workload takes single blocks (auction/clear.h). A seller's nodes fail at different
 * rates, so where a gang bids, each of its blocks carries the mean of its adders in the lot,
 * rounded up: what a tenant may expect of a block of that seller. It depends on no ask.
 */
#ifndef UNDERCUT_AUCTION_EVEN_H
#define UNDERCUT_AUCTION_EVEN_H

#include "auction/record.h"

/* Does nothing where no demand has kmin > 1. */
void adders_make_even(struct record_block *blocks, uint32_t blocks_count,
                      const struct record_demand *demands, uint32_t demands_count);

#endif
