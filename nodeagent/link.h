/* link.h - the agent's calls to the broker: enrolment, and signed posts with verified answers.
 *
 * A link is shared by the node's threads, each with its own http_client; only the boot's sequence
 * number is common, and guarded. An answer whose signature is not the market's is dropped.
 */
#ifndef UNDERCUT_NODEAGENT_LINK_H
#define UNDERCUT_NODEAGENT_LINK_H

#include <pthread.h>
#include <stdint.h>

#include "broker/base/id.h"
#include "nodeagent/http.h"
#include "nodeagent/identity.h"

struct link {
    char url[256];
    char ca_file[256];
    const struct identity *identity;
    struct uuid boot;     /* of this process start; a newer one supersedes */
    pthread_mutex_t lock; /* seq */
    int64_t seq;
};

enum link_outcome {
    LINK_OK = 1,
    LINK_UNREACHABLE, /* no answer, or a 5xx, 408 or 429: try again later */
    LINK_REFUSED,     /* a problem document: `why` has its slug and detail */
    LINK_FORGED,      /* the signature does not verify */
    LINK_CUT,
};

void link_start(struct link *link, const char *url, const struct identity *identity);
void link_finish(struct link *link);
struct http_client *link_client_create(const struct link *link);

/* POSTs `body` to /v1/nodes/{node_id}/`action`, signed. On LINK_OK `ret_answer` is the verified
 * body and the caller's to finish. */
MUST_USE enum link_outcome link_post(struct link *link, struct http_client *client,
                                     const struct http_call *shape, struct buf *ret_answer,
                                     char ret_why[256]);
/* One shape of call: which action, with what body, for how long, and whether it may be cut. */
struct http_call link_call(const char *action, struct str body, int64_t timeout_ms);

/* Unsigned: the one-time token in `body` is the credential. */
MUST_USE enum link_outcome link_enrol(const struct link *link, struct str body,
                                      struct buf *ret_answer, char ret_why[256]);

/* Lower-case hex of the body's SHA-256 (of nothing, when there is none). */
void link_hash_hex(struct str body, char ret_hex[65]);

#endif
