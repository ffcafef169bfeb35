/* apply.c - PUT of a workload by name: make it be this manifest, whatever there was.
 *
 * The happy path is: find the live workload of the name, compare, and do the least: nothing, a
 * change in place, or a new workload in the same breath as the old one's stop, whose leases are
 * then cut. Failure modes are: somebody changed it between the look and the write (look again),
 * money that is short (nothing changes), a condition that does not hold, and a broker that dies
 * before the old leases are cut (the sweep cuts them).
 */
#include <string.h>

#include "api/canonical.h"
#include "api/catalogue.h"
#include "api/dry_run.h"
#include "api/manifest.h"
#include "api/posting.h"
#include "api/stop.h"

#define TRIES_MAX 5

struct workload_apply {
    struct workload_order order; /* first */
    struct workload_find_live_out old;
    struct db_call updated;
    struct workload_stopping stopping;
};

static bool is_name(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        bool is_word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!is_word && (c != '-' || i == 0))
            return false;
    }
    return text.len >= 1 && text.len <= 63;
}

static enum flow_next apply_draft(struct flow *flow)
{
    const struct workload_apply_path *path = api_call_of(flow)->path;
    struct workload_apply *state = api_state(flow, sizeof(*state));
    if (!is_name(path->workload))
        return flow_fail(flow, ERR_INVALID_FIELD,
                         "the path's name must match ^[a-z0-9][a-z0-9-]{0,62}$");
    return posting_make(flow, path->workload, &state->order.posting) ? FLOW_NEXT : FLOW_END;
}

static enum flow_next apply_find(struct flow *flow)
{
    struct workload_apply *state = flow->state;
    struct workload_order *order = &state->order;
    order->found.flow = flow;
    order->tries_count++;
    workload_find_live_submit(api_call_of(flow)->thread->db, &order->found,
                              &(struct workload_find_live_in){
                                  .account_id = order->posting.in.account_id,
                                  .name = order->posting.in.name,
                              });
    return FLOW_WAIT;
}

/* ---- comparing */

static bool json_texts_equal(struct str left, struct str right)
{
    char why[128];
    json_t *left_json = json_parse(left, why, sizeof(why));
    json_t *right_json = json_parse(right, why, sizeof(why));
    bool is_equal = json_equal(left_json, right_json);
    json_decref(left_json);
    json_decref(right_json);
    return is_equal;
}

static bool has_same_secrets(struct flow *flow, const struct workload_apply *state)
{
    const struct seal_key *key = &api_call_of(flow)->thread->world->secret_key;
    struct buf before = {.at = NULL}, after = {.at = NULL};
    if (manifest_has_secret(state->order.posting.manifest))
        manifest_write_secret(api_body_json(flow), &after);
    bool is_open =
        state->old.secrets_sealed.at == NULL || seal_open(key, state->old.secrets_sealed, &before);
    bool is_same = is_open && before.len == 0 && after.len == 0;
    if (is_open && before.len > 0 && after.len > 0)
        is_same = json_texts_equal(buf_str(&before), buf_str(&after));
    if (before.len > 0)
        explicit_bzero(before.at, before.len);
    if (after.len > 0)
        explicit_bzero(after.at, after.len);
    buf_finish(&before);
    buf_finish(&after);
    return is_same;
}

static bool is_same_work(struct flow *flow, const struct workload_apply *state)
{
    char why[128];
    json_t *old = json_parse(state->old.manifest, why, sizeof(why));
    bool is_same = manifest_is_same_work(old, api_body_json(flow));
    json_decref(old);
    return is_same && has_same_secrets(flow, state);
}

static bool has_same_bounds(const struct workload_apply *state)
{
    const struct workload_find_live_out *old = &state->old;
    const struct workload_store_in *in = &state->order.posting.in;
    return old->reserve_uusd_per_hour == in->reserve_uusd_per_hour &&
           old->max_duration_s == in->max_duration_s &&
           old->has_budget_uusd == in->has_budget_uusd &&
           (!old->has_budget_uusd || old->budget_uusd == in->budget_uusd) &&
           json_texts_equal(old->labels, in->labels);
}

static const char *change_of(struct flow *flow, const struct workload_apply *state)
{
    if (state->order.found.row_count == 0)
        return "created";
    if (!is_same_work(flow, state))
        return "replaced";
    return has_same_bounds(state) ? "none" : "updated";
}

/* ---- doing it */

static enum flow_next go_and_show(struct flow *flow, struct uuid workload_id)
{
    struct workload_apply *state = flow->state;
    state->order.watch.wanted.workload_id = workload_id;
    return flow_goto(flow, "look");
}

/* What would have happened, beside the workload as it is. */
static enum flow_next preview(struct flow *flow)
{
    struct workload_apply *state = flow->state;
    if (state->order.found.row_count == 0)
        return dry_run_start(flow, state->order.change);
    state->order.watch.goal = WATCH_ONCE;
    return go_and_show(flow, state->old.workload_id);
}

static bool is_allowed(struct flow *flow, const struct workload_apply *state)
{
    if (state->order.found.row_count > 0)
        return api_etag_allows(flow, state->old.version);
    if (api_header(flow, "if-match").at == NULL)
        return true;
    flow_fail(flow, ERR_PRECONDITION_FAILED, "there is no live workload of this name");
    return false;
}

static enum flow_next apply_decide(struct flow *flow)
{
    const struct workload_apply_query *query = api_call_of(flow)->query;
    struct workload_apply *state = flow->state;
    struct workload_order *order = &state->order;
    if (db_call_check(flow, &order->found) != ERR_OK)
        return FLOW_END;
    if (order->found.row_count > 0)
        workload_find_live_get(&order->found, 0, &state->old);
    if (!is_allowed(flow, state))
        return FLOW_END;
    order->change = change_of(flow, state);
    posting_want(order, query->wait_for, query->timeout_s);
    if (query->dry_run)
        return preview(flow);
    if (strcmp(order->change, "none") == 0)
        return go_and_show(flow, state->old.workload_id);
    if (strcmp(order->change, "updated") == 0)
        return flow_goto(flow, "update");
    order->posting.in.has_replaces = order->posting.in.has_replaces_version =
        order->found.row_count > 0;
    order->posting.in.replaces = state->old.workload_id;
    order->posting.in.replaces_version = state->old.version;
    posting_listen(flow, order);
    return FLOW_NEXT;
}

static enum flow_next apply_store(struct flow *flow)
{
    struct workload_apply *state = flow->state;
    struct workload_order *order = &state->order;
    order->stored.flow = flow;
    workload_store_submit(api_call_of(flow)->thread->db, &order->stored, &order->posting.in);
    return FLOW_WAIT;
}

static enum flow_next look_again(struct flow *flow)
{
    struct workload_apply *state = flow->state;
    if (state->order.tries_count < TRIES_MAX)
        return flow_goto(flow, "find");
    return flow_fail(flow, ERR_CONFLICT, "the workload kept changing while this was applied");
}

static enum flow_next apply_stored(struct flow *flow)
{
    struct workload_apply *state = flow->state;
    struct workload_order *order = &state->order;
    if (db_call_check(flow, &order->stored) != ERR_OK)
        return FLOW_END;
    workload_store_get(&order->stored, 0, &order->row);
    if (!order->row.is_stored && order->row.wallet_uusd < order->posting.in.hold_uusd)
        return posting_refuse_short(flow, order->posting.in.hold_uusd, order->row.wallet_uusd);
    if (!order->row.is_stored)
        return look_again(flow);
    posting_announce(flow, order);
    if (!order->posting.in.has_replaces)
        return go_and_show(flow, order->posting.id.u);
    struct workload_wanted old = {
        .account_id = order->posting.in.account_id,
        .has_workload_id = true,
        .workload_id = state->old.workload_id,
    };
    stop_prepare(flow, &old, "replaced", &state->stopping);
    return FLOW_NEXT;
}

static enum flow_next apply_cut(struct flow *flow)
{
    struct workload_apply *state = flow->state;
    return stop_submit(flow, &state->stopping);
}

/* Whatever keeps the old leases from being cut here, the sweep cuts them: it is told to stop
 * already. */
static enum flow_next apply_was_cut(struct flow *flow)
{
    struct workload_apply *state = flow->state;
    if (stop_took(flow, &state->stopping) == STOP_AGAIN)
        return flow_goto(flow, "cut");
    return go_and_show(flow, state->order.posting.id.u);
}

static enum flow_next apply_update(struct flow *flow)
{
    struct workload_apply *state = flow->state;
    const struct workload_store_in *in = &state->order.posting.in;
    state->updated.flow = flow;
    workload_update_submit(api_call_of(flow)->thread->db, &state->updated,
                           &(struct workload_update_in){
                               .account_id = in->account_id,
                               .workload_id = state->old.workload_id,
                               .version = state->old.version,
                               .manifest = in->manifest,
                               .reserve_uusd_per_hour = in->reserve_uusd_per_hour,
                               .max_duration_s = in->max_duration_s,
                               .has_budget_uusd = in->has_budget_uusd,
                               .budget_uusd = in->budget_uusd,
                               .labels = in->labels,
                               .message_sha256 = in->message_sha256,
                               .hold_uusd = in->hold_uusd,
                               .request_id = in->request_id,
                           });
    return FLOW_WAIT;
}

static enum flow_next apply_updated(struct flow *flow)
{
    struct workload_apply *state = flow->state;
    struct workload_update_out row;
    if (db_call_check(flow, &state->updated) != ERR_OK)
        return FLOW_END;
    if (state->updated.row_count == 0)
        return look_again(flow);
    workload_update_get(&state->updated, 0, &row);
    if (!row.is_stored)
        return posting_refuse_short(flow, row.wallet_uusd + row.missing_uusd, row.wallet_uusd);
    workload_wake(api_call_of(flow)->thread->hub, api_call_of(flow)->principal.account_id,
                  (struct workload_id){.u = state->old.workload_id});
    return go_and_show(flow, state->old.workload_id);
}

static enum flow_next apply_answer(struct flow *flow)
{
    const struct workload_apply_query *query = api_call_of(flow)->query;
    struct workload_apply *state = flow->state;
    struct workload_order *order = &state->order;
    if (query->dry_run)
        return dry_run_start(flow, order->change);
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    json_put_c(out, "change", order->change);
    json_object_open(out, "workload");
    workload_put(out, &order->watch.row);
    json_object_close(out);
    if (strcmp(order->change, "none") != 0)
        posting_put_promise(flow, out, order);
    json_object_close(out);
    api_set_etag(flow, order->watch.row.version);
    return api_reply_json(flow, strcmp(order->change, "created") == 0 ? 201 : 200);
}

const struct flow_step workload_apply_steps[] = {
    CATALOGUE_STEPS,
    {"draft", apply_draft},
    {"find", apply_find},
    {"decide", apply_decide},
    {"store", apply_store},
    {"stored", apply_stored},
    {"cut", apply_cut},
    {"was_cut", apply_was_cut},
    {"update", apply_update},
    {"updated", apply_updated},
    WORKLOAD_WATCH_STEPS,
    {"answer", apply_answer},
    DRY_RUN_STEPS,
    {0},
};
