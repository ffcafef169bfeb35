/* rounds.c - rounds, prices, device classes and regions: what anybody may know of the market.
 *
 * The happy path is: one read of rounds, one of their lots, one answer. With scope audit a single
 * round is shown from its record, ladder and all. Failure modes are: a round that does not exist, a
 * record that cannot be decoded (ours to mend: internal).
 */
#include "api/call.h"
#include "broker/io/db.h"
#include "broker/market/roundview.h"

#define ROUNDS_MAX 201 /* the longest page, and the row that says there is more */

struct round_read {
    struct db_call rounds, lots;
    int64_t numbers[ROUNDS_MAX];
    size_t numbers_count;
};

static const char *market_of(struct flow *flow, struct str wanted)
{
    if (wanted.at != NULL)
        return flow_strdup(flow, wanted);
    return api_call_of(flow)->thread->world->settings.market;
}

/* ---- list */

static bool cursor_open(struct flow *flow, struct str cursor, struct roundview_list_in *in)
{
    struct str text;
    if (!api_cursor_open(flow, cursor, &text))
        return false;
    if (text.at == NULL)
        return true;
    int64_t *place = in->has_after ? &in->after : &in->before;
    in->has_before = !in->has_after;
    if (str_to_i64(text, place))
        return true;
    flow_field_error(flow, ERR_INVALID_FIELD, "?cursor", "format",
                     "must be a next_cursor of this list, unchanged");
    return false;
}

static enum flow_next round_list_load(struct flow *flow)
{
    const struct round_list_query *query = api_call_of(flow)->query;
    struct round_read *state = api_state(flow, sizeof(*state));
    struct roundview_list_in in = {
        .market = str_of(market_of(flow, query->market)),
        .has_after = query->has_after,
        .after = query->after,
        .only_awarded = query->awarded,
        .limit_count = (int32_t)query->limit + 1,
    };
    if (!cursor_open(flow, query->cursor, &in))
        return FLOW_END;
    state->rounds.flow = flow;
    roundview_list_submit(api_call_of(flow)->thread->db, &state->rounds, &in);
    return FLOW_WAIT;
}

static void round_at(const struct round_read *state, int i, struct roundview_get_out *ret)
{
    /* the list has the columns of roundview_get */
    roundview_get_row(state->rounds.result, state->rounds.row_first + i, ret);
}

static enum flow_next round_list_lots(struct flow *flow)
{
    const struct round_list_query *query = api_call_of(flow)->query;
    struct round_read *state = flow->state;
    if (db_call_check(flow, &state->rounds) != ERR_OK)
        return FLOW_END;
    for (int i = 0; i < state->rounds.row_count && i < query->limit; i++) {
        struct roundview_get_out row;
        round_at(state, i, &row);
        state->numbers[state->numbers_count++] = row.round;
    }
    state->lots.flow = flow;
    roundview_lots_submit(api_call_of(flow)->thread->db, &state->lots,
                          &(struct roundview_lots_in){
                              .market = str_of(market_of(flow, query->market)),
                              .rounds = state->numbers,
                              .rounds_count = state->numbers_count,
                              .region = query->region,
                              .class = query->device_class,
                              .has_block_size = query->has_block_size,
                              .block_size = (int32_t)query->block_size,
                          });
    return FLOW_WAIT;
}

static void put_lots_of(struct json_out *out, const struct db_call *lots, int64_t round)
{
    json_array_open(out, "lots");
    for (int i = 0; i < lots->row_count; i++) {
        struct roundview_lots_out lot;
        roundview_lots_get(lots, i, &lot);
        if (lot.round != round)
            continue;
        json_object_open(out, NULL);
        lot_round_put(out, &lot);
        json_object_close(out);
    }
    json_array_close(out);
}

static enum flow_next round_list_reply(struct flow *flow)
{
    const struct round_list_query *query = api_call_of(flow)->query;
    struct round_read *state = flow->state;
    const char *market = market_of(flow, query->market);
    struct str last = STR_NONE;
    if (db_call_check(flow, &state->lots) != ERR_OK)
        return FLOW_END;
    struct json_out *out = api_list_open(flow);
    for (int i = 0; i < (int)state->numbers_count; i++) {
        struct roundview_get_out row;
        round_at(state, i, &row);
        json_object_open(out, NULL);
        round_put(out, market, &row);
        put_lots_of(out, &state->lots, row.round);
        json_object_close(out);
        if (i + 1 == query->limit && state->rounds.row_count > query->limit)
            last = str_of(flow_printf(flow, "%lld", (long long)row.round));
    }
    return api_list_reply(flow, last);
}

const struct flow_step round_list_steps[] = {
    {"load", round_list_load},
    {"lots", round_list_lots},
    {"reply", round_list_reply},
    {0},
};

/* ---- get */

static enum flow_next round_get_load(struct flow *flow)
{
    const struct round_get_path *path = api_call_of(flow)->path;
    const struct round_get_query *query = api_call_of(flow)->query;
    struct db *db = api_call_of(flow)->thread->db;
    struct str market = str_of(market_of(flow, query->market));
    struct round_read *state = api_state(flow, sizeof(*state));
    state->rounds.flow = state->lots.flow = flow;
    state->numbers[0] = path->round;
    roundview_get_submit(db, &state->rounds,
                         &(struct roundview_get_in){.market = market, .round = path->round});
    roundview_lots_submit(db, &state->lots,
                          &(struct roundview_lots_in){
                              .market = market,
                              .rounds = state->numbers,
                              .rounds_count = 1,
                          });
    return FLOW_WAIT;
}

static enum flow_next round_get_reply(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct round_get_query *query = call->query;
    struct round_read *state = flow->state;
    struct roundview_get_out row;
    bool is_auditor = principal_has(&call->principal, SCOPE_AUDIT);
    if (db_call_check(flow, &state->rounds) != ERR_OK ||
        db_call_check(flow, &state->lots) != ERR_OK)
        return FLOW_END;
    if (state->rounds.row_count == 0)
        return flow_fail(flow, ERR_NOT_FOUND, "this market has had no such round");
    roundview_get_get(&state->rounds, 0, &row);
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    round_put(out, market_of(flow, query->market), &row);
    if (is_auditor && row.record.at != NULL) {
        if (!round_record_put(out, row.record))
            return flow_fail(flow, ERR_INTERNAL, "the record of this round cannot be decoded");
        json_put_base64(out, "record_base64", row.record);
    } else {
        put_lots_of(out, &state->lots, row.round);
    }
    json_object_close(out);
    return api_reply_json(flow, 200);
}

const struct flow_step round_get_steps[] = {
    {"load", round_get_load},
    {"reply", round_get_reply},
    {0},
};

/* ---- prices, classes, regions: short lists without pages */

static enum flow_next price_list_load(struct flow *flow)
{
    const struct price_list_query *query = api_call_of(flow)->query;
    struct db_call *loaded = api_state(flow, sizeof(*loaded));
    loaded->flow = flow;
    price_list_submit(api_call_of(flow)->thread->db, loaded,
                      &(struct price_list_in){
                          .region = query->region,
                          .class = query->device_class,
                      });
    return FLOW_WAIT;
}

static enum flow_next price_list_reply(struct flow *flow)
{
    struct db_call *loaded = flow->state;
    if (db_call_check(flow, loaded) != ERR_OK)
        return FLOW_END;
    struct json_out *out = api_list_open(flow);
    for (int i = 0; i < loaded->row_count; i++) {
        struct price_list_out row;
        price_list_get(loaded, i, &row);
        price_put(out, &row);
    }
    return api_list_reply(flow, STR_NONE);
}

const struct flow_step price_list_steps[] = {
    {"load", price_list_load},
    {"reply", price_list_reply},
    {0},
};

static enum flow_next device_class_list_load(struct flow *flow)
{
    struct db_call *loaded = api_state(flow, sizeof(*loaded));
    loaded->flow = flow;
    device_class_list_submit(api_call_of(flow)->thread->db, loaded);
    return FLOW_WAIT;
}

static enum flow_next device_class_list_reply(struct flow *flow)
{
    struct db_call *loaded = flow->state;
    if (db_call_check(flow, loaded) != ERR_OK)
        return FLOW_END;
    struct json_out *out = api_list_open(flow);
    for (int i = 0; i < loaded->row_count; i++) {
        struct device_class_list_out row;
        device_class_list_get(loaded, i, &row);
        json_object_open(out, NULL);
        json_put_str(out, "class", row.class);
        json_put_str(out, "vendor", row.vendor);
        json_put_raw(out, "models", row.models);
        json_put_i64(out, "vram_mib", row.vram_mib);
        json_put_i64(out, "vcpu_min", row.vcpu_min);
        json_put_i64(out, "memory_mib_min", row.memory_mib_min);
        json_put_i64(out, "disk_mib_min", row.disk_mib_min);
        json_put_i64(out, "catalogue_uusd_per_hour", row.catalogue_uusd_per_hour);
        json_object_close(out);
    }
    return api_list_reply(flow, STR_NONE);
}

const struct flow_step device_class_list_steps[] = {
    {"load", device_class_list_load},
    {"reply", device_class_list_reply},
    {0},
};

static enum flow_next region_list_load(struct flow *flow)
{
    struct db_call *loaded = api_state(flow, sizeof(*loaded));
    loaded->flow = flow;
    region_list_submit(api_call_of(flow)->thread->db, loaded);
    return FLOW_WAIT;
}

static enum flow_next region_list_reply(struct flow *flow)
{
    struct db_call *loaded = flow->state;
    if (db_call_check(flow, loaded) != ERR_OK)
        return FLOW_END;
    struct json_out *out = api_list_open(flow);
    for (int i = 0; i < loaded->row_count; i++) {
        struct region_list_out row;
        region_list_get(loaded, i, &row);
        json_object_open(out, NULL);
        json_put_str(out, "region", row.region);
        json_put_str(out, "title", row.title);
        json_put_str(out, "country", row.country);
        json_put_i64(out, "lat_udeg", row.lat_udeg);
        json_put_i64(out, "lon_udeg", row.lon_udeg);
        json_object_close(out);
    }
    return api_list_reply(flow, STR_NONE);
}

const struct flow_step region_list_steps[] = {
    {"load", region_list_load},
    {"reply", region_list_reply},
    {0},
};
