/* roundview.h - rounds and prices as anybody may see them, and the ladder that only auditors see.
 *
 * Statements: see roundview.sql; the functions here are pure apart from malloc. A sealed price
 * never leaves through the public half: it shows the index, what was sold, and how many met where
 * at least three accounts did. roundview_list's rows are read with roundview_get_row(): same
 * columns.
 */
#ifndef UNDERCUT_MARKET_ROUNDVIEW_H
#define UNDERCUT_MARKET_ROUNDVIEW_H

#include "broker/base/json.h"
#include "gen/broker/market/roundview.sql.h"

/* The round's own members, in an object that is open; its lots follow. */
void round_put(struct json_out *out, const char *market, const struct roundview_get_out *round);
/* The public members of a lot, in an object that is open. */
void lot_round_put(struct json_out *out, const struct roundview_lots_out *lot);
/* For auditors: the lots of a record, each with its ladder, as "lots", and what was cleared by
 * itself as "directs". False: the bytes are no record, and what was written is to be thrown away.
 */
MUST_USE bool round_record_put(struct json_out *out, struct str record);
void price_put(struct json_out *out, const struct price_list_out *price);

#endif
