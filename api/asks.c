/* asks.c - an account's standing prices, each change answered with a promise.
 *
 * The happy path is: one statement stamps and stores the ask; the answer carries the market's
 * promise; agents of the nodes concerned are woken, so that they show which price stands.
 *
 * Failure modes are: a class or region that nobody trades (not found), a tier that no tenant may
 * order (tier_closed): it would stand and never sell.
 */
#include "api/call.h"
#include "api/entry.h"
#include "auction/tier.h"
#include "broker/io/db.h"
#include "broker/market/account.h"
#include "broker/market/ask.h"
#include "broker/market/promise.h"

struct ask_state {
    struct db_call stored, nodes;
};

static void tiers_put(struct json_out *out, struct str tiers)
{
    json_array_open(out, "tiers");
    while (tiers.at)
        json_put_str(out, NULL, str_cut(&tiers, ','));
    json_array_close(out);
}

/* As they are stored: in the order of clearing, each once, whatever the order they came in. */
static size_t tiers_sort(const struct ask_put_request *body, struct str ret_tiers[TIER_SPOT])
{
    size_t count = 0;
    for (enum tier tier = TIER_GUARANTEED; tier <= TIER_SPOT; tier++) {
        bool is_sold = body->tiers.count == 0 && tier != TIER_GUARANTEED;
        for (size_t i = 0; i < body->tiers.count; i++)
            is_sold |= tier_of(str_of(ask_put_request_tiers_item_text(body->tiers.at[i]))) == tier;
        if (is_sold)
            ret_tiers[count++] = str_of(tier_name(tier));
    }
    return count;
}

static void ask_put_json(struct json_out *out, const char *key_or_null,
                         const struct ask_list_out *ask)
{
    json_object_open(out, key_or_null);
    json_put_str(out, "class", ask->class);
    json_put_str(out, "region", ask->region);
    json_put_i64(out, "price_uusd_per_device_hour", ask->price_uusd_per_device_hour);
    json_put_i64(out, "spot_multiplier_bp", ask->spot_multiplier_bp);
    json_put_i64(out, "guaranteed_multiplier_bp", ask->guaranteed_multiplier_bp);
    tiers_put(out, ask->tiers);
    json_put_i64(out, "version", ask->version);
    json_put_i64(out, "arrived_round", ask->arrived_round);
    json_put_time(out, "updated_at", ask->updated_at_us);
    json_object_close(out);
}

static enum flow_next ask_list_load(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    struct db_call *loaded = api_state(flow, sizeof(*loaded));
    loaded->flow = flow;
    ask_list_submit(call->thread->db, loaded,
                    &(struct ask_list_in){.account_id = call->principal.account_id.u});
    return FLOW_WAIT;
}

static enum flow_next ask_list_reply(struct flow *flow)
{
    struct db_call *loaded = flow->state;
    if (db_call_check(flow, loaded) != ERR_OK)
        return FLOW_END;
    struct json_out *out = api_list_open(flow);
    for (int i = 0; i < loaded->row_count; i++) {
        struct ask_list_out row;
        ask_list_get(loaded, i, &row);
        ask_put_json(out, NULL, &row);
    }
    return api_list_reply(flow, STR_NONE);
}

const struct flow_step ask_list_steps[] = {
    {"load", ask_list_load},
    {"reply", ask_list_reply},
    {0},
};

static enum flow_next nodes_load(struct flow *flow, struct str class, struct str region)
{
    struct api_call *call = api_call_of(flow);
    struct ask_state *state = flow->state;
    state->nodes.flow = flow;
    ask_node_list_submit(call->thread->db, &state->nodes,
                         &(struct ask_node_list_in){
                             .account_id = call->principal.account_id.u,
                             .class = class,
                             .region = region,
                         });
    return FLOW_WAIT;
}

/* As a workload's tier is refused (manifest.c): nobody may buy what this would offer. */
static enum flow_next ask_put_check(struct flow *flow)
{
    const struct ask_put_request *body = api_call_of(flow)->body;
    struct schema_binding binding = entry_binding(flow);
    for (size_t i = 0; i < body->tiers.count; i++) {
        char pointer[16];
        if (body->tiers.at[i] != ASK_PUT_REQUEST_TIERS_ITEM_GUARANTEED)
            continue;
        (void)str_format(pointer, sizeof(pointer), "/tiers/%zu", i);
        schema_refuse(&binding, ERR_TIER_CLOSED, pointer, "tier_closed",
                      "no tenant may order guaranteed yet; ask for flexible, spot or both");
    }
    return entry_accept(flow, &binding) ? FLOW_NEXT : FLOW_END;
}

static enum flow_next ask_put_store(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct ask_put_path *path = call->path;
    const struct ask_put_request *body = call->body;
    struct ask_state *state = api_state(flow, sizeof(*state));
    struct str tiers[TIER_SPOT];
    size_t tiers_count = tiers_sort(body, tiers);
    state->stored.flow = flow;
    ask_put_submit(call->thread->db, &state->stored,
                   &(struct ask_put_in){
                       .account_id = call->principal.account_id.u,
                       .market = str_of(call->thread->world->settings.market),
                       .class = path->class,
                       .region = path->region,
                       .price_uusd_per_device_hour = body->price_uusd_per_device_hour,
                       .spot_multiplier_bp = (int32_t)body->spot_multiplier_bp,
                       .guaranteed_multiplier_bp = (int32_t)body->guaranteed_multiplier_bp,
                       .tiers = tiers,
                       .tiers_count = tiers_count,
                   });
    return FLOW_WAIT;
}

static enum flow_next ask_put_nodes(struct flow *flow)
{
    const struct ask_put_path *path = api_call_of(flow)->path;
    struct ask_state *state = flow->state;
    if (db_call_check(flow, &state->stored) != ERR_OK)
        return FLOW_END;
    if (state->stored.row_count == 0)
        return flow_fail(flow, ERR_NOT_FOUND, "there is no class %.*s or no region %.*s",
                         STR_ARG(path->class), STR_ARG(path->region));
    return nodes_load(flow, path->class, path->region);
}

static enum flow_next ask_put_reply(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct ask_put_path *path = call->path;
    const struct ask_put_request *body = call->body;
    struct ask_state *state = flow->state;
    struct ask_put_out row;
    ask_wake_nodes(call->thread->hub,
                   &state->nodes); /* the ask stands, whether they were found or not */
    ask_put_get(&state->stored, 0, &row);
    struct str tiers[TIER_SPOT];
    struct buf sold = {.at = NULL};
    size_t tiers_count = tiers_sort(body, tiers);
    for (size_t i = 0; i < tiers_count; i++)
        buf_add_format(&sold, "%s%.*s", i ? "," : "", STR_ARG(tiers[i]));

    struct promise promise = {
        .market = call->thread->world->settings.market, .round = row.round, .place = row.place};
    must(sha256_of_slice(row.message_sha256, &promise.message_sha256));
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    ask_put_json(out, "ask",
                 &(struct ask_list_out){
                     .class = path->class,
                     .region = path->region,
                     .price_uusd_per_device_hour = body->price_uusd_per_device_hour,
                     .spot_multiplier_bp = (int32_t)body->spot_multiplier_bp,
                     .guaranteed_multiplier_bp = (int32_t)body->guaranteed_multiplier_bp,
                     .tiers = buf_str(&sold),
                     .version = row.version,
                     .arrived_round = row.round,
                     .updated_at_us = row.updated_at_us,
                 });
    promise_sign(&(struct promise *){&promise}, 1, &call->thread->world->market_secret);
    buf_finish(&sold);
    json_put_str(out, "salt", row.salt);
    promise_put(out, "promise", &promise, &call->thread->world->market_public);
    json_object_close(out);
    return api_reply_json(flow, 200);
}

const struct flow_step ask_put_steps[] = {
    {"check", ask_put_check},
    {"store", ask_put_store},
    {"nodes", ask_put_nodes},
    {"reply", ask_put_reply},
    {0},
};

static enum flow_next ask_delete_store(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct ask_delete_path *path = call->path;
    struct ask_state *state = api_state(flow, sizeof(*state));
    state->stored.flow = flow;
    ask_withdraw_submit(call->thread->db, &state->stored,
                        &(struct ask_withdraw_in){
                            .account_id = call->principal.account_id.u,
                            .market = str_of(call->thread->world->settings.market),
                            .class = path->class,
                            .region = path->region,
                        });
    return FLOW_WAIT;
}

static enum flow_next ask_delete_nodes(struct flow *flow)
{
    const struct ask_delete_path *path = api_call_of(flow)->path;
    struct ask_state *state = flow->state;
    if (db_call_check(flow, &state->stored) != ERR_OK)
        return FLOW_END;
    if (state->stored.row_count == 0)
        return flow_fail(flow, ERR_NOT_FOUND, "this account never asked for %.*s in %.*s",
                         STR_ARG(path->class), STR_ARG(path->region));
    return nodes_load(flow, path->class, path->region);
}

static enum flow_next ask_delete_reply(struct flow *flow)
{
    struct ask_state *state = flow->state;
    ask_wake_nodes(api_call_of(flow)->thread->hub, &state->nodes);
    return api_reply_empty(flow, 204);
}

const struct flow_step ask_delete_steps[] = {
    {"store", ask_delete_store},
    {"nodes", ask_delete_nodes},
    {"reply", ask_delete_reply},
    {0},
};
