/* marketview.h - what history rolled up, as anybody may see it.
 *
 * Statements: see marketview.sql; the functions here are pure. Counts that could speak of one or
 * two accounts are null where fewer than three offered.
 */
#ifndef UNDERCUT_MARKET_MARKETVIEW_H
#define UNDERCUT_MARKET_MARKETVIEW_H

#include "broker/base/json.h"
#include "gen/broker/market/marketview.sql.h"

struct lot_words { /* names one lot */
    struct str region, class, tier, trust;
    int32_t block_size;
};

/* Members of an object that is open, each of them. */
void lot_words_put(struct json_out *out, const struct lot_words *lot);
void candle_put(struct json_out *out, const struct market_candles_out *candle);
void depth_put(struct json_out *out, const struct market_depth_out *depth);
void stats_put(struct json_out *out, const struct market_stats_out *stats);
/* The rows of market_ends, and what they make of `volume_ms` of block time. */
void ends_put(struct json_out *out, const struct db_call *ends, int64_t volume_ms);
void cheapest_put(struct json_out *out, const struct market_cheapest_out *row);

#endif
