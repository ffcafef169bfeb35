/* hindsight.h - an operator's own ask in the rounds of the past.
 *
 * Statements: see hindsight.sql; the functions are pure apart from malloc. A back-test of rounds in
 * which a rival's ask still stands, or was replaced lately, is an estimate from public figures: to
 * replay such a round at many prices would be to read that ask.
 */
#ifndef UNDERCUT_MARKET_HINDSIGHT_H
#define UNDERCUT_MARKET_HINDSIGHT_H

#include "auction/hindsight.h"
#include "broker/base/json.h"
#include "gen/broker/market/hindsight.sql.h"

struct hindsight_place { /* whose lots are looked at */
    struct uuid account_id;
    struct str region, class;
};

/* "lots": what became of the account's blocks in each lot of the place; where it had none, nothing.
 * False: the record does not read, and what was written is to be thrown away. */
MUST_USE bool hindsight_put_lots(struct json_out *out, struct str record,
                                 const struct hindsight_place *place);

/* Adds a round to the sum of its kind. False: the record does not read. */
MUST_USE bool hindsight_try(const struct hindsight_rounds_out *round,
                            const struct hindsight_place *place, const struct hindsight_ask *ask,
                            struct hindsight_sum *sum);
/* The members of a sum, in an object that is open. */
void hindsight_put_sum(struct json_out *out, const struct hindsight_sum *sum, int64_t rounds_count);

#endif
