/* leases.c - leases as their tenant or their operator sees them; nobody else sees that they exist.
 */
#include "api/call.h"
#include "broker/io/db.h"
#include "broker/market/lease_view.h"

static void submit_list(struct flow *flow, const struct lease_view_of_tenant_in *in)
{
    const struct lease_list_query *query = api_call_of(flow)->query;
    struct db *db = api_call_of(flow)->thread->db;
    struct db_call *loaded = flow->state;
    if (query->role == LEASE_LIST_QUERY_ROLE_TENANT) {
        lease_view_of_tenant_submit(db, loaded, in);
        return;
    }
    lease_view_of_operator_submit(db, loaded,
                                  &(struct lease_view_of_operator_in){
                                      .account_id = in->account_id,
                                      .has_workload_id = in->has_workload_id,
                                      .workload_id = in->workload_id,
                                      .state = in->state,
                                      .has_before = in->has_before,
                                      .before = in->before,
                                      .limit_count = in->limit_count,
                                  });
}

static enum flow_next lease_list_load(struct flow *flow)
{
    const struct api_call *call = api_call_of(flow);
    const struct lease_list_query *query = call->query;
    struct db_call *loaded = api_state(flow, sizeof(*loaded));
    struct lease_view_of_tenant_in in = {
        .account_id = call->principal.account_id.u,
        .has_workload_id = query->has_workload_id,
        .workload_id = query->workload_id.u,
        .state = str_of(lease_list_query_state_text(query->state)),
        .limit_count = (int32_t)query->limit + 1,
    };
    if (!api_cursor_open_id(flow, query->cursor, "lse", &in.before))
        return FLOW_END;
    in.has_before = !uuid_is_nil(in.before);
    loaded->flow = flow;
    submit_list(flow, &in);
    return FLOW_WAIT;
}

static enum flow_next lease_list_reply(struct flow *flow)
{
    const struct lease_list_query *query = api_call_of(flow)->query;
    struct db_call *loaded = flow->state;
    struct str last = STR_NONE;
    char id[ID_TEXT_SIZE];
    if (db_call_check(flow, loaded) != ERR_OK)
        return FLOW_END;
    struct json_out *out = api_list_open(flow);
    for (int i = 0; i < loaded->row_count && i < query->limit; i++) {
        struct lease_view_get_out row;
        lease_view_get_row(loaded->result, loaded->row_first + i, &row); /* same columns */
        lease_view_put(out, &row);
        if (i + 1 == query->limit && loaded->row_count > query->limit)
            last = str_of(uuid_prefixed(row.lease_id, "lse", id));
    }
    return api_list_reply(flow, last);
}

const struct flow_step lease_list_steps[] = {
    {"load", lease_list_load},
    {"reply", lease_list_reply},
    {0},
};

static enum flow_next lease_get_load(struct flow *flow)
{
    const struct api_call *call = api_call_of(flow);
    const struct lease_get_path *path = call->path;
    struct db_call *loaded = api_state(flow, sizeof(*loaded));
    loaded->flow = flow;
    lease_view_get_submit(call->thread->db, loaded,
                          &(struct lease_view_get_in){
                              .account_id = call->principal.account_id.u,
                              .lease_id = path->lease_id.u,
                          });
    return FLOW_WAIT;
}

static enum flow_next lease_get_reply(struct flow *flow)
{
    struct db_call *loaded = flow->state;
    struct lease_view_get_out row;
    if (db_call_check(flow, loaded) != ERR_OK)
        return FLOW_END;
    if (loaded->row_count == 0)
        return flow_fail(flow, ERR_NOT_FOUND, "no lease of yours has this id");
    lease_view_get_get(loaded, 0, &row);
    lease_view_put(api_json(flow), &row);
    return api_reply_json(flow, 200);
}

const struct flow_step lease_get_steps[] = {
    {"load", lease_get_load},
    {"reply", lease_get_reply},
    {0},
};
