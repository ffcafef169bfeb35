/* losers.h - which prices of a cleared lot were set by a losing ask of somebody else.
 *
 * pure apart from malloc. Such a price could not be moved by the one who is paid it, nor by a
 * tenant: it says what the next one in line wanted. Only such prices go into what offers begin at
 * (auction/policy.h).
 */
#ifndef UNDERCUT_AUCTION_LOSERS_H
#define UNDERCUT_AUCTION_LOSERS_H

#include "auction/record.h"

/* One per award of the outcome: is its threshold the score of an unsold block of another owner? */
void losers_mark(const struct record_lot *lot, bool *ret_is_set);

#endif
