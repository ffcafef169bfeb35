#include "api/node_auth.h"

#include "broker/market/node_seq.h"

enum flow_next node_auth_load(struct flow *flow, struct node_auth *auth, struct node_id node_id)
{
    struct api_call *call = api_call_of(flow);
    auth->call = (struct node_call){
        .node_id = node_id,
        .path = call->url_path,
        .body_sha256 = call->body_sha256,
    };
    if (!uuid_parse(api_header(flow, "undercut-boot"), &auth->call.boot) ||
        uuid_is_nil(auth->call.boot))
        return flow_fail(flow, ERR_UNAUTHENTICATED, "Undercut-Boot is not a UUID");
    if (!str_to_i64(api_header(flow, "undercut-seq"), &auth->call.seq) || auth->call.seq < 1)
        return flow_fail(flow, ERR_UNAUTHENTICATED, "Undercut-Seq is not a positive number");
    auth->loaded.flow = flow;
    node_load_submit(call->thread->db, &auth->loaded,
                     &(struct node_load_in){.node_id = node_id.u, .boot = auth->call.boot});
    return FLOW_WAIT;
}

enum flow_next node_auth_check(struct flow *flow, struct node_auth *auth)
{
    if (db_call_check(flow, &auth->loaded) != ERR_OK)
        return FLOW_END;
    if (auth->loaded.row_count == 0)
        return flow_fail(flow, ERR_UNAUTHENTICATED, "no node has this id and key");
    node_load_get(&auth->loaded, 0, &auth->node);
    if (!node_call_verify(&auth->call, auth->node.public_key,
                          api_header(flow, "undercut-signature")))
        return flow_fail(flow, ERR_UNAUTHENTICATED, "no node has this id and key");
    if (str_equal_c(auth->node.state, "retired"))
        return flow_fail(flow, ERR_NODE_REVOKED, "its owner has retired this node");

    struct node_seq_stored stored = {.boot = auth->node.boot, .seq = auth->node.seq};
    if (auth->node.is_past_boot ||
        !node_seq_take(auth->call.node_id, &stored, auth->call.boot, auth->call.seq))
        return flow_fail(flow, ERR_UNAUTHENTICATED,
                         "this call was seen before, or a later start of the agent has called");
    return FLOW_NEXT;
}

enum flow_next node_auth_reply(struct flow *flow, const struct node_auth *auth)
{
    char signature[NODE_SIGNATURE_SIZE];
    const struct api_world *world = api_call_of(flow)->thread->world;
    node_reply_sign(&auth->call, 200, api_reply_text_so_far(flow), &world->market_secret,
                    signature);
    api_set_header(flow, "Undercut-Signature", signature);
    return api_reply_json(flow, 200);
}
