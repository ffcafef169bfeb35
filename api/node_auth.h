/* node_auth.h - the signed calls of agents: who calls is proved before anything is believed.
 *
 * loop thread. The operation's state starts with a struct node_auth; its first steps are
 * node_auth_load() and node_auth_check(), and it answers by node_auth_reply(), signed by the
 * market.
 */
#ifndef UNDERCUT_API_NODE_AUTH_H
#define UNDERCUT_API_NODE_AUTH_H

#include "api/call.h"
#include "broker/market/node.h"

struct node_auth {
    struct node_call call;
    struct db_call loaded;
    struct node_load_out node; /* slices live as long as the flow */
};

/* Reads the headers and asks for the node. */
enum flow_next node_auth_load(struct flow *flow, struct node_auth *auth, struct node_id node_id);
/* FLOW_NEXT: genuine, not seen before, and of a node that is not retired. */
enum flow_next node_auth_check(struct flow *flow, struct node_auth *auth);
/* Signs what api_json() holds and sends it with 200. */
enum flow_next node_auth_reply(struct flow *flow, const struct node_auth *auth);

#endif
