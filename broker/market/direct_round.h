/* direct_round.h - one workload of a round cleared by itself, over every block that fits it.
 *
 * pure apart from malloc; one thread (the leader's). Its candidates are the blocks that lots left,
 * at their account's standing ask, and the blocks that bid on it; per node no more than the machine
 * has room for, the first by id. Where it wants several replicas or none, all candidates of an
 * account carry the mean of its adders, as in lots (auction/even.h).
 */
#ifndef UNDERCUT_MARKET_DIRECT_ROUND_H
#define UNDERCUT_MARKET_DIRECT_ROUND_H

#include "broker/market/round.h"

/* False: an input that no clearing can have (a bug upstream). */
MUST_USE bool direct_clear(const struct round_input *input, struct demand *demand,
                           struct round_direct *ret_direct);
void direct_record(const struct round_direct *direct, struct buf *to);
void direct_finish(struct round_direct *direct);

#endif
