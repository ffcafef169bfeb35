/* reclaim.c - an owner takes a machine, or what one lease holds of it, back; and sells it again.
 *
 * The happy path is: one statement marks node or devices, so that nothing new is sold there; the
 * leader's sweep gives what runs the notice of its tier within a second. Selling again says which
 * leases had their notice and leave, and which had none yet and stay.
 *
 * Failure modes are: a node or lease that is not the account's (not found).
 */
#include "api/call.h"
#include "broker/io/db.h"
#include "broker/market/lease.h"
#include "broker/market/node.h"

static void owner_wake(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    lease_wake(call->thread->hub,
               &(struct lease_parties){.account_id = call->principal.account_id.u});
}

static enum flow_next node_reclaim_store(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct node_reclaim_path *path = call->path;
    const struct node_reclaim_request *body = call->body;
    struct db_call *stored = api_state(flow, sizeof(*stored));
    bool has_lease = body != NULL && body->has_lease_id;
    stored->flow = flow;
    node_reclaim_submit(call->thread->db, stored,
                        &(struct node_reclaim_in){
                            .account_id = call->principal.account_id.u,
                            .node_id = path->node_id.u,
                            .has_lease_id = has_lease,
                            .lease_id = has_lease ? body->lease_id.u : (struct uuid){{0}},
                        });
    return FLOW_WAIT;
}

static enum flow_next node_reclaim_reply(struct flow *flow)
{
    const struct node_reclaim_path *path = api_call_of(flow)->path;
    struct db_call *stored = flow->state;
    struct node_reclaim_out row;
    char text[ID_TEXT_SIZE];
    if (db_call_check(flow, stored) != ERR_OK)
        return FLOW_END;
    if (stored->row_count == 0)
        return flow_fail(flow, ERR_NOT_FOUND, "no node of this account has this id");
    node_reclaim_get(stored, 0, &row);
    if (!row.is_found)
        return flow_fail(flow, ERR_NOT_FOUND, "no live lease on this node has this id");
    owner_wake(flow);
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    json_put_c(out, "node_id", node_id_text(path->node_id, text));
    json_put_i64(out, "leases_count", row.leases_count);
    json_object_close(out);
    return api_reply_json(flow, 202);
}

const struct flow_step node_reclaim_steps[] = {
    {"store", node_reclaim_store},
    {"reply", node_reclaim_reply},
    {0},
};

static enum flow_next node_resume_store(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct node_resume_path *path = call->path;
    struct db_call *stored = api_state(flow, sizeof(*stored));
    stored->flow = flow;
    node_resume_submit(call->thread->db, stored,
                       &(struct node_resume_in){
                           .account_id = call->principal.account_id.u,
                           .node_id = path->node_id.u,
                       });
    return FLOW_WAIT;
}

static enum flow_next node_resume_reply(struct flow *flow)
{
    const struct node_resume_path *path = api_call_of(flow)->path;
    struct db_call *stored = flow->state;
    struct node_resume_out row;
    char text[ID_TEXT_SIZE];
    if (db_call_check(flow, stored) != ERR_OK)
        return FLOW_END;
    if (stored->row_count == 0)
        return flow_fail(flow, ERR_NOT_FOUND, "no node of this account has this id");
    node_resume_get(stored, 0, &row);
    owner_wake(flow);
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    json_put_c(out, "node_id", node_id_text(path->node_id, text));
    json_put_i64(out, "leases_leaving_count", row.leaving_count);
    json_put_i64(out, "leases_staying_count", row.staying_count);
    json_object_close(out);
    return api_reply_json(flow, 200);
}

const struct flow_step node_resume_steps[] = {
    {"store", node_resume_store},
    {"reply", node_resume_reply},
    {0},
};
