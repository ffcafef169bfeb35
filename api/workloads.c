/* workloads.c - posting, listing and reading workloads.
 *
 * The happy path is: draft the posting from the manifest, store it in one write, answer from
 * memory; a get is one read. Waiting (`wait_for`, `award: now`) listens before it stores, so that
 * no news is missed. Failure modes are: a posting that stored nothing, because its twin did (the
 * twin's workload is the answer), its name is taken, its money is short, or only its neighbours in
 * the batch were in its way (it tries again); a wait that times out, which is an answer like any
 * other, with a header.
 */
#include "api/call.h"
#include "api/catalogue.h"
#include "api/dry_run.h"
#include "api/posting.h"
#include "api/watch.h"
#include "broker/market/lease_view.h"

#define STORE_TRIES_MAX  4
#define LEASES_SHOWN_MAX 200

static enum flow_next create_draft(struct flow *flow)
{
    const struct workload_create_query *query = api_call_of(flow)->query;
    struct workload_order *state = api_state(flow, sizeof(*state));
    if (!posting_make(flow, STR_NONE, &state->posting))
        return FLOW_END;
    if (query->dry_run)
        return dry_run_start(flow, "created");
    posting_want(state, query->wait_for, query->timeout_s);
    posting_listen(flow, state);
    return FLOW_NEXT;
}

static enum flow_next create_store(struct flow *flow)
{
    struct workload_order *state = flow->state;
    state->stored.flow = flow;
    state->stored.may_be_lent = posting_may_be_lent(&state->posting);
    state->tries_count++;
    workload_store_submit(api_call_of(flow)->thread->db, &state->stored, &state->posting.in);
    return FLOW_WAIT;
}

static enum flow_next create_stored(struct flow *flow)
{
    struct workload_order *state = flow->state;
    if (db_call_check(flow, &state->stored) != ERR_OK)
        return FLOW_END;
    workload_store_get(&state->stored, 0, &state->row);
    if (!state->row.is_stored)
        return FLOW_NEXT;
    posting_announce(flow, state);
    if (state->watch.goal != WATCH_ONCE)
        return flow_goto(flow, "look");
    state->watch.row = posting_stored(&state->posting, &state->row);
    return flow_goto(flow, "sign");
}

static enum flow_next create_ask_why(struct flow *flow)
{
    struct workload_order *state = flow->state;
    const struct workload_store_in *in = &state->posting.in;
    state->twin.flow = flow;
    workload_twin_submit(api_call_of(flow)->thread->db, &state->twin,
                         &(struct workload_twin_in){
                             .account_id = in->account_id,
                             .idem_key = in->idem_key,
                             .name = in->name,
                         });
    return FLOW_WAIT;
}

/* The same key: the same body gets the first one's workload, as it is now. */
static enum flow_next create_replay(struct flow *flow, const struct workload_twin_out *twin)
{
    struct workload_order *state = flow->state;
    if (!str_equal(twin->idem_body_sha256, state->posting.in.idem_body_sha256))
        return flow_fail(flow, ERR_IDEMPOTENCY_REUSED, "this key came with another body before");
    api_set_header(flow, "Idempotent-Replayed", "true");
    state->watch.wanted.workload_id = twin->workload_id;
    return flow_goto(flow, "look");
}

static enum flow_next create_judge(struct flow *flow)
{
    struct workload_order *state = flow->state;
    char id[ID_TEXT_SIZE];
    if (db_call_check(flow, &state->twin) != ERR_OK)
        return FLOW_END;
    if (state->twin.row_count > 0) {
        struct workload_twin_out twin;
        workload_twin_get(&state->twin, 0, &twin);
        if (twin.is_twin)
            return create_replay(flow, &twin);
        return flow_fail(flow, ERR_NAME_TAKEN, "%s is the name of %s",
                         flow_strdup(flow, state->posting.in.name),
                         uuid_prefixed(twin.workload_id, "wl", id));
    }
    if (state->row.wallet_uusd < state->posting.in.hold_uusd)
        return posting_refuse_short(flow, state->posting.in.hold_uusd, state->row.wallet_uusd);
    if (state->tries_count >= STORE_TRIES_MAX)
        return flow_fail(flow, ERR_CONFLICT, "others of this account keep getting in the way");
    return flow_goto(flow, "store");
}

static enum flow_next create_sign(struct flow *flow)
{
    return posting_sign(flow, flow->state);
}

static enum flow_next create_answer(struct flow *flow)
{
    struct workload_order *state = flow->state;
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    workload_put(out, &state->watch.row);
    posting_put_promise(flow, out, state);
    json_object_close(out);
    api_set_etag(flow, state->watch.row.version);
    return api_reply_json(flow, 201);
}

const struct flow_step workload_create_steps[] = {
    CATALOGUE_STEPS,
    {"draft", create_draft},
    {"store", create_store},
    {"stored", create_stored},
    {"ask_why", create_ask_why},
    {"judge", create_judge},
    WORKLOAD_WATCH_STEPS,
    {"sign", create_sign},
    {"answer", create_answer},
    DRY_RUN_STEPS,
    {0},
};

/* ---- get */

struct workload_read {
    struct workload_watch watch; /* first */
    struct db_call leases;
};

static enum flow_next get_start(struct flow *flow)
{
    const struct api_call *call = api_call_of(flow);
    const struct workload_get_path *path = call->path;
    const struct workload_get_query *query = call->query;
    struct workload_read *state = api_state(flow, sizeof(*state));
    state->watch.wanted = watch_wanted(flow, path->workload);
    state->watch.goal = watch_goal_of(query->wait_for, WATCH_ONCE);
    state->watch.timeout_ms = query->timeout_s * 1000;
    return FLOW_NEXT;
}

static enum flow_next get_answer(struct flow *flow)
{
    const struct workload_get_query *query = api_call_of(flow)->query;
    struct workload_read *state = flow->state;
    if (query->expand == WORKLOAD_GET_QUERY_EXPAND_LEASES) {
        /* Leases change without the workload: its ETag is told, but no 304 is built on it. */
        api_set_etag(flow, state->watch.row.version);
        state->leases.flow = flow;
        lease_view_of_workload_submit(api_call_of(flow)->thread->db, &state->leases,
                                      &(struct lease_view_of_workload_in){
                                          .account_id = state->watch.wanted.account_id,
                                          .workload_id = state->watch.row.workload_id,
                                          .limit_count = LEASES_SHOWN_MAX,
                                      });
        return FLOW_WAIT;
    }
    if (api_etag_matched(flow, state->watch.row.version))
        return FLOW_END;
    return FLOW_NEXT;
}

static void put_leases(struct json_out *out, const struct db_call *leases)
{
    json_array_open(out, "leases");
    for (int i = 0; i < leases->row_count; i++) {
        struct lease_view_get_out row;
        lease_view_get_row(leases->result, leases->row_first + i, &row); /* same columns */
        lease_view_put(out, &row);
    }
    json_array_close(out);
}

static enum flow_next get_reply(struct flow *flow)
{
    struct workload_read *state = flow->state;
    bool has_leases = state->leases.flow != NULL;
    if (has_leases && db_call_check(flow, &state->leases) != ERR_OK)
        return FLOW_END;
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    workload_put(out, &state->watch.row);
    if (has_leases)
        put_leases(out, &state->leases);
    json_object_close(out);
    return api_reply_json(flow, 200);
}

const struct flow_step workload_get_steps[] = {
    {"start", get_start}, WORKLOAD_WATCH_STEPS, {"answer", get_answer}, {"reply", get_reply}, {0},
};

/* ---- list */

/* "key=value" as {"key":"value"}; STR_NONE without a filter. */
static bool label_filter(struct flow *flow, struct str label, struct str *ret)
{
    struct str value = label;
    struct str key = str_cut(&value, '=');
    *ret = STR_NONE;
    if (label.at == NULL)
        return true;
    if (value.at == NULL || key.len == 0) {
        flow_field_error(flow, ERR_INVALID_FIELD, "?label", "format", "must be key=value");
        return false;
    }
    struct buf text = {.at = NULL};
    struct json_out out;
    json_out_start(&out, &text);
    json_object_open(&out, NULL);
    json_put_str(&out, flow_strdup(flow, key), value);
    json_object_close(&out);
    *ret = (struct str){.at = flow_strdup(flow, buf_str(&text)), .len = text.len};
    buf_finish(&text);
    return true;
}

static enum flow_next list_load(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct workload_list_query *query = call->query;
    struct db_call *loaded = api_state(flow, sizeof(*loaded));
    struct workload_list_in in = {
        .account_id = call->principal.account_id.u,
        .state = str_of(workload_list_query_state_text(query->state)),
        .name = query->name,
        .limit_count = (int32_t)query->limit + 1,
    };
    if (!api_cursor_open_id(flow, query->cursor, "wl", &in.before) ||
        !label_filter(flow, query->label, &in.labels))
        return FLOW_END;
    in.has_before = !uuid_is_nil(in.before);
    loaded->flow = flow;
    workload_list_submit(call->thread->db, loaded, &in);
    return FLOW_WAIT;
}

static enum flow_next list_reply(struct flow *flow)
{
    const struct workload_list_query *query = api_call_of(flow)->query;
    struct db_call *loaded = flow->state;
    struct str last = STR_NONE;
    char id[ID_TEXT_SIZE];
    if (db_call_check(flow, loaded) != ERR_OK)
        return FLOW_END;
    struct json_out *out = api_list_open(flow);
    for (int i = 0; i < loaded->row_count && i < query->limit; i++) {
        struct workload_get_out row;
        workload_get_row(loaded->result, loaded->row_first + i, &row); /* same columns */
        json_object_open(out, NULL);
        workload_put(out, &row);
        json_object_close(out);
        if (i + 1 == query->limit && loaded->row_count > query->limit)
            last = str_of(uuid_prefixed(row.workload_id, "wl", id));
    }
    return api_list_reply(flow, last);
}

const struct flow_step workload_list_steps[] = {
    {"load", list_load},
    {"reply", list_reply},
    {0},
};
