/* stop.c - DELETE of a workload: the meter stops when the request arrives.
 *
 * The happy path is: check If-Match if there is one, stop in one statement, wake the nodes, show
 * what became of the workload. Failure modes are: an award that crossed the statement, or a
 * deadlock that chose us (asked again, at most WORKLOAD_PASSES_MAX times; what is left then is the
 * sweep's); a workload that had ended (204); another account's (not found).
 */
#include "api/stop.h"

#include <string.h>

#include "api/watch.h"
#include "broker/market/account.h"
#include "broker/market/lease.h"

void stop_prepare(struct flow *flow, const struct workload_wanted *wanted, const char *reason,
                  struct workload_stopping *ret)
{
    char id[ID_TEXT_SIZE];
    struct str who = wanted->has_workload_id ? str_of(uuid_prefixed(wanted->workload_id, "wl", id))
                                             : wanted->name;
    *ret = (struct workload_stopping){.message = workload_cancel_message(who)};
    ret->call.flow = flow;
    ret->order = (struct workload_stop_in){
        .account_id = wanted->account_id,
        .has_workload_id = wanted->has_workload_id,
        .workload_id = wanted->workload_id,
        .name = wanted->name,
        .reason = str_of(reason),
        .message_sha256 = sha256_slice(&ret->message),
        .has_request_id = true,
        .request_id = flow->request_id.u,
    };
}

enum flow_next stop_submit(struct flow *flow, struct workload_stopping *stopping)
{
    stopping->passes_count++;
    workload_stop_submit(api_call_of(flow)->thread->db, &stopping->call, &stopping->order);
    return FLOW_WAIT;
}

static void wake_all(struct flow *flow, const struct workload_stopping *stopping)
{
    for (int i = 0; i < stopping->call.row_count; i++) {
        struct workload_stop_out row;
        workload_stop_get(&stopping->call, i, &row);
        lease_wake(api_call_of(flow)->thread->hub, &(struct lease_parties){
                                                       .workload_id = row.workload_id,
                                                       .account_id = stopping->order.account_id,
                                                       .node_id = row.node_id,
                                                   });
    }
}

enum stop_outcome stop_took(struct flow *flow, struct workload_stopping *stopping)
{
    bool may_repeat = stopping->passes_count < WORKLOAD_PASSES_MAX;
    struct workload_stop_out first;
    if (stopping->call.err != ERR_OK) {
        bool is_deadlock = strcmp(stopping->call.sqlstate, "40P01") == 0;
        return is_deadlock && may_repeat ? STOP_AGAIN : STOP_FAILED;
    }
    if (stopping->call.row_count == 0)
        return STOP_NOT_FOUND;
    workload_stop_get(&stopping->call, 0, &first);
    stopping->workload_id = first.workload_id;
    if (stopping->passes_count == 1)
        stopping->was_ended = first.was_ended;
    wake_all(flow, stopping);
    return first.is_complete || !may_repeat ? STOP_DONE : STOP_AGAIN;
}

/* ---- the operation */

struct workload_delete {
    struct workload_watch watch; /* first */
    struct workload_stopping stopping;
    bool is_stopped;
};

static enum flow_next delete_start(struct flow *flow)
{
    const struct workload_delete_path *path = api_call_of(flow)->path;
    struct workload_delete *state = api_state(flow, sizeof(*state));
    state->watch.wanted = watch_wanted(flow, path->workload);
    state->watch.goal = WATCH_ONCE;
    stop_prepare(flow, &state->watch.wanted, "stopped_by_owner", &state->stopping);
    bool is_conditional = api_header(flow, "if-match").at != NULL;
    return flow_goto(flow, is_conditional ? "look" : "stop");
}

static enum flow_next delete_stop(struct flow *flow)
{
    struct workload_delete *state = flow->state;
    return stop_submit(flow, &state->stopping);
}

static enum flow_next delete_stopped(struct flow *flow)
{
    struct workload_delete *state = flow->state;
    switch (stop_took(flow, &state->stopping)) {
    case STOP_DONE:
        break;
    case STOP_AGAIN:
        return flow_goto(flow, "stop");
    case STOP_NOT_FOUND:
        return flow_fail(flow, ERR_NOT_FOUND, "no workload of yours has this id or name");
    case STOP_FAILED:
        db_call_check(flow, &state->stopping.call);
        return FLOW_END;
    }
    if (state->stopping.was_ended)
        return api_reply_empty(flow, 204);
    state->is_stopped = true;
    state->watch.wanted.has_workload_id = true;
    state->watch.wanted.workload_id = state->stopping.workload_id;
    return flow_goto(flow, "look");
}

/* Comes by twice: before the stop when there is a condition, and with what became of it. */
static enum flow_next delete_answer(struct flow *flow)
{
    struct workload_delete *state = flow->state;
    if (!state->is_stopped)
        return api_etag_allows(flow, state->watch.row.version) ? flow_goto(flow, "stop") : FLOW_END;
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    workload_put(out, &state->watch.row);
    json_object_close(out);
    return api_reply_json(flow, 202);
}

const struct flow_step workload_delete_steps[] = {
    {"start", delete_start}, {"stop", delete_stop},     {"stopped", delete_stopped},
    WORKLOAD_WATCH_STEPS,    {"answer", delete_answer}, {0},
};
