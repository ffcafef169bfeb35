/* node.h - nodes: signed calls of agents, and the statements behind them.
 *
 * Statements: see node.sql; loop thread for x_submit(). The functions are pure. A call of an agent
 * is signed by the node's key over undercut/sync/v1|POST|<path>|<node_id>|<boot>|<seq>|<hex SHA-256
 * of the body> and the answer by the market's key over
 *     undercut/reply/v1|<node_id>|<boot>|<seq>|<http status>|<hex SHA-256 of the body>
 * all in base64url. A receipt is signed by the node's key over "undercut/receipt/v1|" and its body.
 * Whether a seq may still come is for node_seq.h.
 */
#ifndef UNDERCUT_MARKET_NODE_H
#define UNDERCUT_MARKET_NODE_H

#include "broker/base/hash.h"
#include "broker/base/id.h"
#include "broker/base/must.h"
#include "broker/market/lease.h"
#include "gen/broker/market/node.sql.h"

#define NODE_SIGNATURE_SIZE 88 /* base64url of 64 bytes, and NUL */

struct node_call {
    struct node_id node_id;
    struct uuid boot; /* this start of the agent */
    int64_t seq;
    struct str path; /* as sent */
    struct sha256 body_sha256;
};

/* `key` as stored: 32 bytes. False for anything else than this node's signature of this call. */
MUST_USE bool node_call_verify(const struct node_call *call, struct str key, struct str signature);
const char *node_reply_sign(const struct node_call *call, int status, struct str body,
                            const struct ed25519_secret *market_key,
                            char ret_signature[NODE_SIGNATURE_SIZE]);
/* ret_signature: the 64 bytes behind the text, for node_receipt_store. */
MUST_USE bool node_receipt_verify(struct str body, struct str key, struct str signature_text,
                                  struct ed25519_signature *ret_signature);

/* What closing a lease of node_lease_list follows from. */
struct lease_facts node_lease_facts(const struct node_lease_list_out *row);

/* The topic that a node's held sync waits on. */
const char *node_topic(struct uuid node_id, char *buf, size_t size);

#endif
