/* bids.c - direct bids as their operator places, sees and withdraws them.
 *
 * The happy path is: the node's own view of the workload says that it is open and fits, one
 * statement stamps and stores the bid and commits a block, the answer carries the market's promise,
 * and the node's agent is woken.
 * Failure modes are: a node that is none of the account's (not found), a workload that takes no
 * bids (or does not exist: the answer is the same), a node that does not fit, no block left to
 * commit, and any of these between reading and storing (conflict).
 */
#include "api/call.h"
#include "broker/io/db.h"
#include "broker/io/hub.h"
#include "broker/market/account.h"
#include "broker/market/bid.h"
#include "broker/market/node.h"
#include "broker/market/promise.h"

struct bid_state {
    struct db_call nodes, open, stored;
};

/* What the account's node may bid on; of one workload where it is named. */
static enum flow_next open_load(struct flow *flow, struct node_id node_id,
                                const struct workload_id *workload_id)
{
    struct api_call *call = api_call_of(flow);
    struct bid_state *state = api_state(flow, sizeof(*state));
    struct direct_open_list_in in = {
        .node_id = node_id.u,
        .has_account_id = true,
        .account_id = call->principal.account_id.u,
        .has_workload_id = workload_id != NULL,
    };
    if (workload_id != NULL)
        in.workload_id = workload_id->u;
    state->nodes.flow = state->open.flow = flow;
    node_list_submit(
        call->thread->db, &state->nodes,
        &(struct node_list_in){
            .account_id = in.account_id, .has_one = true, .one = node_id.u, .limit_count = 1});
    direct_open_list_submit(call->thread->db, &state->open, &in);
    return FLOW_WAIT;
}

static bool open_check(struct flow *flow)
{
    struct bid_state *state = flow->state;
    if (db_call_check(flow, &state->nodes) != ERR_OK || db_call_check(flow, &state->open) != ERR_OK)
        return false;
    if (state->nodes.row_count > 0)
        return true;
    flow_fail(flow, ERR_NOT_FOUND, "no node of yours has this id");
    return false;
}

static enum flow_next direct_list_load(struct flow *flow)
{
    const struct direct_list_path *path = api_call_of(flow)->path;
    return open_load(flow, path->node_id, NULL);
}

static enum flow_next direct_list_reply(struct flow *flow)
{
    struct bid_state *state = flow->state;
    if (!open_check(flow))
        return FLOW_END;
    struct json_out *out = api_list_open(flow);
    for (int i = 0; i < state->open.row_count; i++) {
        struct direct_open_list_out row;
        direct_open_list_get(&state->open, i, &row);
        if (direct_open_is_offered(&row))
            direct_open_put(out, &row);
    }
    return api_list_reply(flow, STR_NONE);
}

const struct flow_step direct_list_steps[] = {
    {"load", direct_list_load},
    {"reply", direct_list_reply},
    {0},
};

/* ---- placing */

static enum flow_next bid_place_load(struct flow *flow)
{
    const struct bid_place_path *path = api_call_of(flow)->path;
    return open_load(flow, path->node_id, &path->workload_id);
}

/* Which of the node's classes bids: one that fits and has a block, else the reason of the first. */
static bool class_choose(struct flow *flow, struct direct_open_list_out *ret)
{
    struct bid_state *state = flow->state;
    for (int i = 0; i < state->open.row_count; i++) {
        direct_open_list_get(&state->open, i, ret);
        if (direct_open_is_offered(ret))
            return true;
    }
    if (state->open.row_count == 0) {
        flow_fail(flow, ERR_BID_CLOSED,
                  "no workload of this id waits for bids of a node with this region and class");
        return false;
    }
    direct_open_list_get(&state->open, 0, ret);
    enum direct_fit fit = direct_open_judge(ret);
    if (fit != DIRECT_FITS)
        flow_fail(flow, ERR_BID_UNFIT, "%s", direct_fit_text(fit));
    else if (!ret->has_ask)
        flow_fail(flow, ERR_BID_UNFIT,
                  "it is not for sale: no ask stands for %.*s in %.*s that the node's floor equals",
                  STR_ARG(ret->class), STR_ARG(ret->region));
    else
        flow_fail(flow, ERR_BLOCK_COMMITTED,
                  "it wants %d free devices; the rest is leased or committed to other bids",
                  ret->block_size);
    return false;
}

static enum flow_next bid_place_store(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct bid_place_path *path = call->path;
    const struct bid_place_request *body = call->body;
    struct bid_state *state = flow->state;
    struct direct_open_list_out open;
    if (!open_check(flow) || !class_choose(flow, &open))
        return FLOW_END;
    state->stored.flow = flow;
    bid_put_submit(call->thread->db, &state->stored,
                   &(struct bid_put_in){
                       .account_id = call->principal.account_id.u,
                       .market = str_of(call->thread->world->settings.market),
                       .workload_id = path->workload_id.u,
                       .node_id = path->node_id.u,
                       .class = open.class,
                       .block_size = open.block_size,
                       .price_uusd_per_hour = body->price_uusd_per_hour,
                       .bid_id = uuid_v7(),
                       .stands_s = (int32_t)call->thread->world->settings.direct_bid_s,
                   });
    return FLOW_WAIT;
}

static void wake_node(struct flow *flow, struct node_id node_id)
{
    char topic[HUB_TOPIC_SIZE];
    hub_wake(api_call_of(flow)->thread->hub, node_topic(node_id.u, topic, sizeof(topic)));
}

static enum flow_next bid_place_reply(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct bid_place_path *path = call->path;
    const struct bid_place_request *body = call->body;
    struct bid_state *state = flow->state;
    struct bid_put_out row;
    char id[ID_TEXT_SIZE];
    if (db_call_check(flow, &state->stored) != ERR_OK)
        return FLOW_END;
    if (state->stored.row_count == 0)
        return flow_fail(flow, ERR_CONFLICT, "the workload or the block went away meanwhile");
    bid_put_get(&state->stored, 0, &row);
    wake_node(flow, path->node_id);
    struct promise promise = {
        .market = call->thread->world->settings.market, .round = row.round, .place = row.place};
    must(sha256_of_slice(row.message_sha256, &promise.message_sha256));
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    json_put_c(out, "workload_id", workload_id_text(path->workload_id, id));
    json_put_c(out, "node_id", node_id_text(path->node_id, id));
    json_put_i64(out, "price_uusd_per_hour", body->price_uusd_per_hour);
    json_put_i64(out, "version", row.version);
    json_put_i64(out, "arrived_round", row.round);
    json_put_time(out, "updated_at", row.updated_at_us);
    json_put_time(out, "expires_at", row.expires_at_us);
    promise_sign(&(struct promise *){&promise}, 1, &call->thread->world->market_secret);
    json_put_str(out, "salt", row.salt);
    promise_put(out, "promise", &promise, &call->thread->world->market_public);
    json_object_close(out);
    return api_reply_json(flow, 200);
}

const struct flow_step bid_place_steps[] = {
    {"load", bid_place_load},
    {"store", bid_place_store},
    {"reply", bid_place_reply},
    {0},
};

/* ---- withdrawing, and one's own */

static enum flow_next bid_delete_store(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct bid_delete_path *path = call->path;
    struct bid_state *state = api_state(flow, sizeof(*state));
    state->stored.flow = flow;
    bid_withdraw_submit(call->thread->db, &state->stored,
                        &(struct bid_withdraw_in){
                            .account_id = call->principal.account_id.u,
                            .market = str_of(call->thread->world->settings.market),
                            .workload_id = path->workload_id.u,
                            .node_id = path->node_id.u,
                        });
    return FLOW_WAIT;
}

static enum flow_next bid_delete_reply(struct flow *flow)
{
    const struct bid_delete_path *path = api_call_of(flow)->path;
    struct bid_state *state = flow->state;
    if (db_call_check(flow, &state->stored) != ERR_OK)
        return FLOW_END;
    if (state->stored.row_count == 0)
        return flow_fail(flow, ERR_NOT_FOUND, "this account never bid so");
    struct bid_withdraw_out row;
    char text[ID_TEXT_SIZE];
    bid_withdraw_get(&state->stored, 0, &row);
    if (row.has_won && row.has_lease_id)
        return flow_fail(
            flow, ERR_BID_WON,
            "it won, and its block serves lease %s at the price of the award until that "
            "lease ends",
            lease_id_text((struct lease_id){row.lease_id}, text));
    if (row.has_won)
        return flow_fail(flow, ERR_BID_WON,
                         "it won, and its lease is over; it holds no block any more");
    wake_node(flow, path->node_id);
    return api_reply_empty(flow, 204);
}

const struct flow_step bid_delete_steps[] = {
    {"store", bid_delete_store},
    {"reply", bid_delete_reply},
    {0},
};

static enum flow_next bid_list_load(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct bid_list_query *query = call->query;
    struct bid_state *state = api_state(flow, sizeof(*state));
    struct bid_list_in in = {.account_id = call->principal.account_id.u,
                             .limit_count = (int32_t)query->limit + 1};
    if (!api_cursor_open_id(flow, query->cursor, "bid", &in.before))
        return FLOW_END;
    in.has_before = !uuid_is_nil(in.before);
    state->stored.flow = flow;
    bid_list_submit(call->thread->db, &state->stored, &in);
    return FLOW_WAIT;
}

static void bid_put_json(struct json_out *out, const struct bid_list_out *row)
{
    char id[ID_TEXT_SIZE];
    json_object_open(out, NULL);
    json_put_c(out, "workload_id", uuid_prefixed(row->workload_id, "wl", id));
    json_put_c(out, "node_id", uuid_prefixed(row->node_id, "node", id));
    json_put_i64(out, "price_uusd_per_hour", row->price_uusd_per_hour);
    json_put_str(out, "state", row->state);
    json_put_i64(out, "version", row->version);
    json_put_i64(out, "arrived_round", row->arrived_round);
    json_put_time(out, "placed_at", row->placed_at_us);
    json_put_time(out, "updated_at", row->updated_at_us);
    json_put_time(out, "expires_at", row->expires_at_us);
    json_put_time(out, "ended_at", row->has_ended_at ? row->ended_at_us : 0);
    json_object_close(out);
}

static enum flow_next bid_list_reply(struct flow *flow)
{
    const struct bid_list_query *query = api_call_of(flow)->query;
    struct bid_state *state = flow->state;
    struct str last = STR_NONE;
    char id[ID_TEXT_SIZE];
    if (db_call_check(flow, &state->stored) != ERR_OK)
        return FLOW_END;
    struct json_out *out = api_list_open(flow);
    for (int i = 0; i < state->stored.row_count && i < query->limit; i++) {
        struct bid_list_out row;
        bid_list_get(&state->stored, i, &row);
        bid_put_json(out, &row);
        if (i + 1 == query->limit && state->stored.row_count > query->limit)
            last = str_of(uuid_prefixed(row.bid_id, "bid", id));
    }
    return api_list_reply(flow, last);
}

const struct flow_step bid_list_steps[] = {
    {"load", bid_list_load},
    {"reply", bid_list_reply},
    {0},
};
