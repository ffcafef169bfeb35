/* market.c - what the market was: candles, depth, statistics, what is cheapest now.
 *
 * The happy path is: the words of a lot from the query, one or two reads of what history rolled up,
 * one answer. Failure modes are: a lot that was never cleared (not found), a cursor that is none of
 * ours. Counts that could speak of one account are null where fewer
 * than three accounts offered.
 */
#include "api/call.h"
#include "broker/io/db.h"
#include "broker/market/marketview.h"

/* Every operation on one lot has these five in its query. */
#define LOT_WORDS_OF(query)                                              \
    ((struct lot_words){.region = (query)->region,                       \
                        .class = (query)->device_class,                  \
                        .tier = str_of(lot_tier_text((query)->tier)),    \
                        .trust = str_of(lot_trust_text((query)->trust)), \
                        .block_size = (int32_t)(query)->block_size})

static const char LOT_UNKNOWN[] = "this lot was never cleared; see GET /v1/prices";

static struct str market_name(struct flow *flow)
{
    return str_of(api_call_of(flow)->thread->world->settings.market);
}

/* ---- candles */

static int32_t step_s_of(enum market_candles_query_step step)
{
    switch (step) {
    case MARKET_CANDLES_QUERY_STEP_1S:
        return 1;
    case MARKET_CANDLES_QUERY_STEP_1M:
        return 60;
    case MARKET_CANDLES_QUERY_STEP_1H:
        return 3600;
    case MARKET_CANDLES_QUERY_STEP_1D:
        return 86400;
    }
    must_not_reach();
}

/* Where the last page ended, instead of `to`. */
static bool candles_cursor(struct flow *flow, struct str cursor, struct market_candles_in *in)
{
    struct str text;
    if (!api_cursor_open(flow, cursor, &text))
        return false;
    if (text.at == NULL)
        return true;
    in->has_before = true;
    if (str_to_i64(text, &in->before_us))
        return true;
    flow_field_error(flow, ERR_INVALID_FIELD, "?cursor", "format",
                     "must be a next_cursor of this list, unchanged");
    return false;
}

static enum flow_next market_candles_load(struct flow *flow)
{
    const struct market_candles_query *query = api_call_of(flow)->query;
    const struct lot_words lot = LOT_WORDS_OF(query);
    struct db_call *loaded = api_state(flow, sizeof(*loaded));
    struct market_candles_in in = {
        .market = market_name(flow),
        .region = lot.region,
        .class = lot.class,
        .block_size = lot.block_size,
        .tier = lot.tier,
        .trust = lot.trust,
        .step_s = step_s_of(query->step),
        .has_since = query->has_from,
        .since_us = query->from_at_us,
        .has_before = query->has_to,
        .before_us = query->to_at_us,
        .limit_count = (int32_t)query->limit + 1,
    };
    if (!candles_cursor(flow, query->cursor, &in))
        return FLOW_END;
    loaded->flow = flow;
    market_candles_submit(api_call_of(flow)->thread->db, loaded, &in);
    return FLOW_WAIT;
}

static enum flow_next market_candles_reply(struct flow *flow)
{
    const struct market_candles_query *query = api_call_of(flow)->query;
    struct db_call *loaded = flow->state;
    struct market_candles_out row;
    struct str last = STR_NONE;
    if (db_call_check(flow, loaded) != ERR_OK)
        return FLOW_END;
    if (loaded->row_count == 0)
        return flow_fail(flow, ERR_NOT_FOUND, LOT_UNKNOWN);
    struct json_out *out = api_list_open(flow);
    for (int i = 0; i < loaded->row_count && i < query->limit; i++) {
        market_candles_get(loaded, i, &row);
        if (!row.has_at)
            break; /* known, and without a candle in this time */
        json_object_open(out, NULL);
        candle_put(out, &row);
        json_object_close(out);
        if (i + 1 == query->limit && loaded->row_count > query->limit)
            last = str_of(flow_printf(flow, "%lld", (long long)row.at_us));
    }
    return api_list_reply(flow, last);
}

const struct flow_step market_candles_steps[] = {
    {"load", market_candles_load},
    {"reply", market_candles_reply},
    {0},
};

/* ---- depth */

static enum flow_next market_depth_load(struct flow *flow)
{
    const struct market_depth_query *query = api_call_of(flow)->query;
    const struct lot_words lot = LOT_WORDS_OF(query);
    struct db_call *loaded = api_state(flow, sizeof(*loaded));
    loaded->flow = flow;
    market_depth_submit(
        api_call_of(flow)->thread->db, loaded,
        &(struct market_depth_in){
            .market = market_name(flow),
            .region = lot.region,
            .class = lot.class,
            .block_size = lot.block_size,
            .tier = lot.tier,
            .trust = lot.trust,
            .sealed_age_ms = api_call_of(flow)->thread->world->settings.sealed_age_ms,
        });
    return FLOW_WAIT;
}

static enum flow_next market_depth_reply(struct flow *flow)
{
    const struct market_depth_query *query = api_call_of(flow)->query;
    const struct lot_words lot = LOT_WORDS_OF(query);
    struct db_call *loaded = flow->state;
    struct market_depth_out row;
    if (db_call_check(flow, loaded) != ERR_OK)
        return FLOW_END;
    if (loaded->row_count == 0)
        return flow_fail(flow, ERR_NOT_FOUND,
                         "this lot was not cleared yet, or not long enough ago");
    market_depth_get(loaded, 0, &row);
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    lot_words_put(out, &lot);
    depth_put(out, &row);
    json_object_close(out);
    return api_reply_json(flow, 200);
}

const struct flow_step market_depth_steps[] = {
    {"load", market_depth_load},
    {"reply", market_depth_reply},
    {0},
};

/* ---- statistics */

struct stats_read {
    struct db_call stats, ends;
};

static enum flow_next market_stats_load(struct flow *flow)
{
    const struct market_stats_query *query = api_call_of(flow)->query;
    const struct lot_words lot = LOT_WORDS_OF(query);
    struct db *db = api_call_of(flow)->thread->db;
    struct stats_read *state = api_state(flow, sizeof(*state));
    const struct market_stats_in in = {
        .market = market_name(flow),
        .region = lot.region,
        .class = lot.class,
        .block_size = lot.block_size,
        .tier = lot.tier,
        .trust = lot.trust,
        .hours = (int32_t)query->hours,
    };
    state->stats.flow = state->ends.flow = flow;
    market_stats_submit(db, &state->stats, &in);
    market_ends_submit(db, &state->ends,
                       &(struct market_ends_in){
                           .market = in.market,
                           .region = in.region,
                           .class = in.class,
                           .block_size = in.block_size,
                           .tier = in.tier,
                           .trust = in.trust,
                           .hours = in.hours,
                       });
    return FLOW_WAIT;
}

static enum flow_next market_stats_reply(struct flow *flow)
{
    const struct market_stats_query *query = api_call_of(flow)->query;
    const struct lot_words lot = LOT_WORDS_OF(query);
    struct stats_read *state = flow->state;
    struct market_stats_out row;
    if (db_call_check(flow, &state->stats) != ERR_OK || db_call_check(flow, &state->ends) != ERR_OK)
        return FLOW_END;
    if (state->stats.row_count == 0)
        return flow_fail(flow, ERR_NOT_FOUND, LOT_UNKNOWN);
    market_stats_get(&state->stats, 0, &row);
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    lot_words_put(out, &lot);
    json_put_i64(out, "hours", query->hours);
    stats_put(out, &row);
    ends_put(out, &state->ends, row.volume_ms);
    json_object_close(out);
    return api_reply_json(flow, 200);
}

const struct flow_step market_stats_steps[] = {
    {"load", market_stats_load},
    {"reply", market_stats_reply},
    {0},
};

/* ---- cheapest */

static enum flow_next market_cheapest_load(struct flow *flow)
{
    const struct market_cheapest_query *query = api_call_of(flow)->query;
    struct db_call *loaded = api_state(flow, sizeof(*loaded));
    loaded->flow = flow;
    market_cheapest_submit(api_call_of(flow)->thread->db, loaded,
                           &(struct market_cheapest_in){
                               .market = market_name(flow),
                               .region = query->region,
                               .class = query->device_class,
                               .has_vram_mib_min = query->has_vram_mib_min,
                               .vram_mib_min = (int32_t)query->vram_mib_min,
                               .trust = str_of(lot_trust_text(query->trust)),
                           });
    return FLOW_WAIT;
}

static enum flow_next market_cheapest_reply(struct flow *flow)
{
    struct db_call *loaded = flow->state;
    if (db_call_check(flow, loaded) != ERR_OK)
        return FLOW_END;
    struct json_out *out = api_list_open(flow);
    for (int i = 0; i < loaded->row_count; i++) {
        struct market_cheapest_out row;
        market_cheapest_get(loaded, i, &row);
        json_object_open(out, NULL);
        cheapest_put(out, &row);
        json_object_close(out);
    }
    return api_list_reply(flow, STR_NONE);
}

const struct flow_step market_cheapest_steps[] = {
    {"load", market_cheapest_load},
    {"reply", market_cheapest_reply},
    {0},
};
