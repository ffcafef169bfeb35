/* hindsight.c - an operator's ask in the rounds of the past: what it came to, what another would
 * have.
 *
 * The happy path is: the ask, the newest records that are old enough, and one answer reckoned from
 * them here; records are read up to RECORDS_BYTES_MAX together, so that one answer holds the loop
 * for some milliseconds at most. Failure modes are: an ask that never was (not found), a record
 * that cannot be decoded (ours to mend: internal).
 */
#include "api/call.h"
#include "broker/io/db.h"
#include "broker/market/hindsight.h"

#define RECORDS_BYTES_MAX (4 << 20)

struct hindsight_read {
    struct hindsight_place place;
    struct db_call ask, rounds;
};

static enum flow_next hindsight_load(struct flow *flow, struct str region, struct str class,
                                     int64_t rounds_max)
{
    struct api_call *call = api_call_of(flow);
    const struct api_settings *settings = &call->thread->world->settings;
    struct hindsight_read *read = api_state(flow, sizeof(*read));
    read->place = (struct hindsight_place){
        .account_id = call->principal.account_id.u, .region = region, .class = class};
    read->ask.flow = read->rounds.flow = flow;
    hindsight_ask_submit(call->thread->db, &read->ask,
                         &(struct hindsight_ask_in){.account_id = read->place.account_id,
                                                    .region = region,
                                                    .class = class});
    hindsight_rounds_submit(call->thread->db, &read->rounds,
                            &(struct hindsight_rounds_in){
                                .account_id = read->place.account_id,
                                .market = str_of(settings->market),
                                .region = region,
                                .class = class,
                                .rounds_max = (int32_t)rounds_max,
                                .bytes_max = RECORDS_BYTES_MAX,
                                .sealed_age_ms = settings->sealed_age_ms,
                                .openings_age_s = settings->openings_age_s,
                            });
    return FLOW_WAIT;
}

/* False: the flow has failed. */
static bool hindsight_loaded(struct flow *flow, struct hindsight_ask_out *ret_ask)
{
    struct hindsight_read *read = flow->state;
    if (db_call_check(flow, &read->ask) != ERR_OK || db_call_check(flow, &read->rounds) != ERR_OK)
        return false;
    if (read->ask.row_count == 0) {
        flow_fail(flow, ERR_NOT_FOUND, "this account never had an ask for this class and region");
        return false;
    }
    hindsight_ask_get(&read->ask, 0, ret_ask);
    return true;
}

static enum flow_next hindsight_unreadable(struct flow *flow)
{
    return flow_fail(flow, ERR_INTERNAL, "the record of a round cannot be decoded");
}

/* ---- GET /v1/asks/{class}/{region}/explain */

static enum flow_next ask_explain_load(struct flow *flow)
{
    const struct ask_explain_path *path = api_call_of(flow)->path;
    const struct ask_explain_query *query = api_call_of(flow)->query;
    return hindsight_load(flow, path->region, path->class, query->rounds);
}

static void put_devices(struct json_out *out, const struct hindsight_ask_out *ask)
{
    int64_t held_back = ask->silent_count + ask->opted_out_count + ask->reclaimed_count +
                        ask->floor_differs_count + ask->suspect_count + ask->leased_count;
    json_object_open(out, "devices");
    json_put_i64(out, "devices_count", ask->devices_count);
    json_put_i64(out, "silent", ask->silent_count);
    json_put_i64(out, "opted_out", ask->opted_out_count);
    json_put_i64(out, "reclaimed", ask->reclaimed_count);
    json_put_i64(out, "floor_differs", ask->floor_differs_count);
    json_put_i64(out, "suspect", ask->suspect_count);
    json_put_i64(out, "leased", ask->leased_count);
    json_put_i64(out, "offered", ask->is_standing ? ask->devices_count - held_back : 0);
    json_object_close(out);
}

static enum flow_next ask_explain_reply(struct flow *flow)
{
    struct hindsight_read *read = flow->state;
    struct hindsight_ask_out ask;
    if (!hindsight_loaded(flow, &ask))
        return FLOW_END;
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    json_put_str(out, "class", read->place.class);
    json_put_str(out, "region", read->place.region);
    json_put_bool(out, "is_standing", ask.is_standing);
    json_put_i64(out, "price_uusd_per_device_hour", ask.price_uusd_per_device_hour);
    put_devices(out, &ask);
    json_array_open(out, "rounds");
    for (int i = 0; i < read->rounds.row_count; i++) {
        struct hindsight_rounds_out row;
        hindsight_rounds_get(&read->rounds, i, &row);
        json_object_open(out, NULL);
        json_put_i64(out, "round", row.round);
        json_put_time(out, "at", row.committed_at_us);
        if (!hindsight_put_lots(out, row.record, &read->place))
            return hindsight_unreadable(flow);
        json_object_close(out);
    }
    json_array_close(out);
    json_object_close(out);
    return api_reply_json(flow, 200);
}

const struct flow_step ask_explain_steps[] = {
    {"load", ask_explain_load},
    {"reply", ask_explain_reply},
    {0},
};

/* ---- GET /v1/asks/{class}/{region}/backtest */

static enum flow_next ask_backtest_load(struct flow *flow)
{
    const struct ask_backtest_path *path = api_call_of(flow)->path;
    const struct ask_backtest_query *query = api_call_of(flow)->query;
    return hindsight_load(flow, path->region, path->class, query->rounds);
}

struct backtest { /* 0: estimated, 1: replayed */
    struct hindsight_sum sums[2];
    int64_t rounds_counts[2];
};

static bool backtest_run(const struct hindsight_read *read, const struct hindsight_ask *ask,
                         struct backtest *ret_backtest)
{
    *ret_backtest = (struct backtest){.rounds_counts = {0}};
    for (int i = 0; i < read->rounds.row_count; i++) {
        struct hindsight_rounds_out row;
        hindsight_rounds_get(&read->rounds, i, &row);
        ret_backtest->rounds_counts[row.is_open]++;
        if (!hindsight_try(&row, &read->place, ask, &ret_backtest->sums[row.is_open]))
            return false;
    }
    return true;
}

static enum flow_next ask_backtest_reply(struct flow *flow)
{
    const struct ask_backtest_query *query = api_call_of(flow)->query;
    struct hindsight_read *read = flow->state;
    struct hindsight_ask_out stored;
    struct backtest backtest;
    if (!hindsight_loaded(flow, &stored))
        return FLOW_END;
    const struct hindsight_ask ask = {
        .account_id = read->place.account_id,
        .price_uusd_per_device_hour = query->price_uusd_per_device_hour,
        .spot_multiplier_bp = stored.spot_multiplier_bp,
        .guaranteed_multiplier_bp = stored.guaranteed_multiplier_bp,
    };
    if (!backtest_run(read, &ask, &backtest))
        return hindsight_unreadable(flow);
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    json_put_str(out, "class", read->place.class);
    json_put_str(out, "region", read->place.region);
    json_put_i64(out, "price_uusd_per_device_hour", ask.price_uusd_per_device_hour);
    json_object_open(out, "replayed");
    hindsight_put_sum(out, &backtest.sums[1], backtest.rounds_counts[1]);
    json_object_close(out);
    json_object_open(out, "estimated");
    hindsight_put_sum(out, &backtest.sums[0], backtest.rounds_counts[0]);
    json_object_close(out);
    json_object_close(out);
    return api_reply_json(flow, 200);
}

const struct flow_step ask_backtest_steps[] = {
    {"load", ask_backtest_load},
    {"reply", ask_backtest_reply},
    {0},
};
