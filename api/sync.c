/* sync.c - an agent's sync: it reports, and learns the whole desired state, at once or when that
 * changes.
 *
 * The happy path is: the signature holds; what the report changes is written (node, healthy
 * times, receipts, leases), each only when it is news; then the desired state is read, and if the
 * agent has it already, the call waits on the node's topic until it changes or the hold is over.
 *
 * Failure modes are: a call that is not the node's, was seen before or comes from an earlier
 * start (unauthenticated), a node that was retired meanwhile, a database that does not answer
 * (the agent comes again: everything here is level-triggered), an agent that hangs up while it
 * waits.
 */
#include "api/desired.h"
#include "api/node_auth.h"
#include "api/report.h"
#include "broker/base/clock.h"
#include "broker/io/hub.h"
#include "broker/io/stream.h"
#include "broker/market/ask.h"
#include "broker/market/bid.h"

struct sync_state {
    struct node_auth auth; /* first: see node_auth.h */
    struct report report;
    struct db_call reported, leases, asks, open, node, *offers;
    bool is_node_due;
    bool has_offered;
    struct hub_waiter waiter;
    struct timer hold;
    struct flow *flow;
    bool is_waiting; /* nothing but a wake-up or the end of the hold goes on */
    bool is_woken;   /* something may have changed since the last read began */
    bool is_over;    /* answer with what there is */
};

static enum flow_next sync_load(struct flow *flow)
{
    const struct node_sync_path *path = api_call_of(flow)->path;
    struct sync_state *state = api_state(flow, sizeof(*state));
    state->flow = flow;
    return node_auth_load(flow, &state->auth, path->node_id);
}

static void leases_load(struct flow *flow, struct db_call *call)
{
    struct sync_state *state = flow->state;
    call->flow = flow;
    node_lease_list_submit(api_call_of(flow)->thread->db, call,
                           &(struct node_lease_list_in){.node_id = state->auth.call.node_id.u});
}

static enum flow_next sync_authenticate(struct flow *flow)
{
    struct sync_state *state = flow->state;
    if (node_auth_check(flow, &state->auth) != FLOW_NEXT)
        return FLOW_END;
    leases_load(flow, &state->reported);
    return FLOW_WAIT;
}

static enum flow_next sync_node(struct flow *flow)
{
    struct sync_state *state = flow->state;
    struct node_sync_store_in in;
    if (db_call_check(flow, &state->reported) != ERR_OK)
        return FLOW_END;
    state->report = (struct report){
        .flow = flow,
        .auth = &state->auth,
        .body = api_call_of(flow)->body,
        .leases = &state->reported,
    };
    state->is_node_due = report_node_is_due(&state->report, &in);
    if (!state->is_node_due)
        return FLOW_NEXT;
    state->node.flow = flow;
    node_sync_store_submit(api_call_of(flow)->thread->db, &state->node, &in);
    return FLOW_WAIT;
}

static enum flow_next sync_heard(struct flow *flow)
{
    struct sync_state *state = flow->state;
    struct node_sync_store_out row;
    if (state->is_node_due) {
        if (db_call_check(flow, &state->node) != ERR_OK)
            return FLOW_END;
        if (state->node.row_count == 0)
            return flow_fail(flow, ERR_NODE_REVOKED,
                             "the node was retired, or its agent started again");
        node_sync_store_get(&state->node, 0, &row);
        if (row.was_silent)
            lease_wake(api_call_of(flow)->thread->hub,
                       &(struct lease_parties){.account_id = row.account_id});
    }
    return report_submit_heard(&state->report) ? FLOW_WAIT : FLOW_NEXT;
}

static enum flow_next sync_receipts(struct flow *flow)
{
    struct sync_state *state = flow->state;
    if (!report_finish_calls(flow, &state->report.heard))
        return FLOW_END;
    return report_submit_receipts(&state->report) ? FLOW_WAIT : FLOW_NEXT;
}

static enum flow_next sync_moves(struct flow *flow)
{
    struct sync_state *state = flow->state;
    for (size_t i = 0; i < state->report.receipts.count; i++) {
        if (db_call_check(flow, &state->report.receipts.at[i]) != ERR_OK)
            return FLOW_END;
    }
    return report_submit_moves(&state->report) ? FLOW_WAIT : FLOW_NEXT;
}

static void go_on(struct sync_state *state)
{
    if (!state->is_waiting)
        return;
    state->is_waiting = false;
    flow_resume(state->flow);
}

static void sync_woken(struct hub_waiter *waiter)
{
    struct sync_state *state = waiter->data;
    state->is_woken = true;
    go_on(state);
}

static void hold_is_over(struct timer *timer)
{
    struct sync_state *state = timer->data;
    state->is_over = true;
    go_on(state);
}

static void agent_has_gone(void *data)
{
    hold_is_over(&((struct sync_state *)data)->hold);
}

static void sync_leave(void *data)
{
    struct sync_state *state = data;
    state->is_waiting = false;
    hub_leave(api_call_of(state->flow)->thread->hub, &state->waiter);
    timer_disarm(&state->hold);
}

/* Joined before the state is read, so that no change falls in between. */
static enum flow_next sync_join(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct node_sync_request *body = call->body;
    struct sync_state *state = flow->state;
    char topic[HUB_TOPIC_SIZE];
    if (!report_finish_calls(flow, &state->report.moved))
        return FLOW_END;
    int64_t hold_max_ms = call->thread->world->settings.sync_hold_ms;
    int64_t hold_ms = body->hold_ms < hold_max_ms ? body->hold_ms : hold_max_ms;
    state->waiter = (struct hub_waiter){.wake = sync_woken, .data = state};
    state->hold = (struct timer){.fire = hold_is_over, .data = state};
    api_at_end(flow, sync_leave, state);
    hub_join(call->thread->hub, flow->loop, &state->waiter,
             node_topic(state->auth.call.node_id.u, topic, sizeof(topic)));
    state->is_over = hold_ms == 0 || flow->req == NULL;
    if (!state->is_over) {
        timer_arm_in(flow->loop, &state->hold, hold_ms);
        (void)stream_watch_hangup(flow->req, agent_has_gone, state);
    }
    return FLOW_NEXT;
}

static bool takes_bids(struct flow *flow)
{
    return ((const struct node_sync_request *)api_call_of(flow)->body)->takes_bids;
}

static enum flow_next sync_read(struct flow *flow)
{
    struct sync_state *state = flow->state;
    state->is_woken = false;
    leases_load(flow, &state->leases);
    state->asks.flow = flow;
    ask_list_of_node_submit(api_call_of(flow)->thread->db, &state->asks,
                            &(struct ask_list_of_node_in){.node_id = state->auth.call.node_id.u});
    state->open.flow = flow;
    if (takes_bids(flow))
        direct_open_list_submit(
            api_call_of(flow)->thread->db, &state->open,
            &(struct direct_open_list_in){.node_id = state->auth.call.node_id.u});
    return FLOW_WAIT;
}

/* Does the agent price this class by itself, so that the account's ask follows? */
static bool ask_is_moving(const struct node_sync_request *body, struct str class)
{
    bool is_moving = false;
    for (size_t i = 0; i < body->asks.count; i++) {
        const struct sync_ask *ask = &body->asks.at[i];
        if (str_equal(ask->class, class))
            return ask->moves_ask;
        if (str_equal_c(ask->class, "*"))
            is_moving = ask->moves_ask;
    }
    return is_moving;
}

/* The agent's price for a workload that it was shown and still fits; NULL when that stands already.
 */
static const struct sync_bid *bid_wanted(const struct node_sync_request *body,
                                         const struct direct_open_list_out *row)
{
    for (size_t i = 0; i < body->bids.count; i++) {
        const struct sync_bid *bid = &body->bids.at[i];
        bool is_news =
            !row->has_bid_uusd_per_hour || row->bid_uusd_per_hour != bid->price_uusd_per_hour;
        if (uuid_equal(bid->workload_id.u, row->workload_id))
            return is_news && direct_open_is_offered(row) ? bid : NULL;
    }
    return NULL;
}

static size_t bids_submit(struct flow *flow, struct db_call *calls)
{
    struct sync_state *state = flow->state;
    const struct api_thread *thread = api_call_of(flow)->thread;
    size_t count = 0;
    struct uuid last = {{0}}; /* a node with two classes has two rows, and one bid */
    for (int i = 0; takes_bids(flow) && i < state->open.row_count; i++) {
        struct direct_open_list_out row;
        direct_open_list_get(&state->open, i, &row);
        const struct sync_bid *bid = bid_wanted(api_call_of(flow)->body, &row);
        if (bid == NULL || uuid_equal(last, row.workload_id))
            continue;
        last = row.workload_id;
        calls[count].flow = flow;
        bid_put_submit(thread->db, &calls[count++],
                       &(struct bid_put_in){
                           .account_id = state->auth.node.account_id,
                           .market = str_of(thread->world->settings.market),
                           .workload_id = row.workload_id,
                           .node_id = state->auth.call.node_id.u,
                           .class = row.class,
                           .block_size = row.block_size,
                           .price_uusd_per_hour = bid->price_uusd_per_hour,
                           .bid_id = uuid_v7(),
                           .stands_s = (int32_t)thread->world->settings.direct_bid_s,
                       });
    }
    return count;
}

/* Floors become asks where the account has none yet, and move those that the agent prices. */
static size_t offers_submit(struct flow *flow, struct db_call *calls)
{
    struct sync_state *state = flow->state;
    const struct api_thread *thread = api_call_of(flow)->thread;
    size_t count = 0;
    for (int i = 0; i < state->asks.row_count; i++) {
        struct ask_list_of_node_out row;
        ask_list_of_node_get(&state->asks, i, &row);
        bool is_moved = str_equal_c(row.status, "mismatch") &&
                        ask_is_moving(api_call_of(flow)->body, row.class);
        if (!row.is_new && !is_moved)
            continue;
        calls[count].flow = flow;
        if (is_moved) {
            ask_move_submit(thread->db, &calls[count++],
                            &(struct ask_move_in){
                                .node_id = state->auth.call.node_id.u,
                                .market = str_of(thread->world->settings.market),
                                .class = row.class,
                                .price_uusd_per_device_hour = row.node_price,
                            });
            continue;
        }
        ask_offer_submit(thread->db, &calls[count++],
                         &(struct ask_offer_in){
                             .account_id = state->auth.node.account_id,
                             .market = str_of(thread->world->settings.market),
                             .class = row.class,
                             .region = row.region,
                             .price_uusd_per_device_hour = row.node_price,
                         });
    }
    return count;
}

/* What the agent offers is stored once per sync, then the state is read again. */
static enum flow_next sync_offer(struct flow *flow)
{
    struct sync_state *state = flow->state;
    if (db_call_check(flow, &state->leases) != ERR_OK ||
        db_call_check(flow, &state->asks) != ERR_OK ||
        (takes_bids(flow) && db_call_check(flow, &state->open) != ERR_OK))
        return FLOW_END;
    if (state->has_offered)
        return FLOW_NEXT;
    state->has_offered = true;
    size_t most = (size_t)state->asks.row_count + 1;
    most += takes_bids(flow) ? (size_t)state->open.row_count : 0;
    state->offers = flow_alloc(flow, sizeof(*state->offers) * most);
    size_t count = offers_submit(flow, state->offers);
    count += bids_submit(flow, state->offers + count);
    if (count == 0)
        return FLOW_NEXT;
    flow_goto(flow, "read");
    return FLOW_WAIT;
}

static bool inventory_is_wanted(const struct sync_state *state,
                                const struct node_sync_request *body)
{
    return !body->has_inventory && body->inventory_sha256.at &&
           !str_equal(body->inventory_sha256, state->auth.node.inventory_sha256);
}

static enum flow_next sync_decide(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct node_sync_request *body = call->body;
    struct sync_state *state = flow->state;
    struct desired_rows rows = {.leases = &state->leases,
                                .asks = &state->asks,
                                .open = takes_bids(flow) ? &state->open : NULL};
    struct sha256 version = desired_version(&rows);
    char hex[65];
    hex_encode(version.bytes, sizeof(version.bytes), hex);
    if (str_equal_c(body->known, hex) && !inventory_is_wanted(state, body) && !state->is_over) {
        if (state->is_woken)
            return flow_goto(flow, "read");
        state->is_waiting = true;
        flow_goto(flow, "read");
        return FLOW_WAIT;
    }
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    json_put_c(out, "desired_version", hex);
    json_put_i64(out, "server_time_us", clock_now_us());
    json_put_i64(out, "receipt_seq", state->report.receipt_seq);
    json_put_bool(out, "want_inventory", inventory_is_wanted(state, body));
    json_put_i64(out, "receipt_interval_ms", call->thread->world->settings.receipt_interval_ms);
    json_put_i64(out, "log_bytes_max", call->thread->world->settings.log_bytes_max);
    bool is_open = desired_put(out, &rows, &call->thread->world->secret_key);
    json_object_close(out);
    if (!is_open)
        return flow_fail(flow, ERR_INTERNAL, "a workload's secrets cannot be opened");
    return node_auth_reply(flow, &state->auth);
}

const struct flow_step node_sync_steps[] = {
    {"load", sync_load},
    {"authenticate", sync_authenticate},
    {"node", sync_node},
    {"heard", sync_heard},
    {"receipts", sync_receipts},
    {"moves", sync_moves},
    {"join", sync_join},
    {"read", sync_read},
    {"offer", sync_offer},
    {"decide", sync_decide},
    {0},
};
