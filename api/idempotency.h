/* idempotency.h - a POST that is sent twice happens once.
 *
 * loop thread. A handler with an effect builds its answer first, seals it, and hands key, body hash
 * and sealed answer to the statement that has the effect, which stores all of it or nothing. Its
 * table:
 *
 *     {"recall", idempotency_recall}, {"replay", idempotency_replay}, {"store", store}, {"done",
 * done}
 *
 * where `done`, told by the statement that another request used the key first (the insert waited
 * for that one to commit), returns idempotency_lost(flow): back to "recall", and the twin's answer
 * is replayed. Without a key, recall and replay do nothing.
 */
#ifndef UNDERCUT_API_IDEMPOTENCY_H
#define UNDERCUT_API_IDEMPOTENCY_H

#include "api/call.h"

#define IDEMPOTENCY_KEY_MAX 200
#define IDEMPOTENCY_PUBLIC_KEY_MIN \
    16 /* without an account, the key itself must be hard to guess \
                                       */

/* Bare or quoted, printable ASCII. False: not acceptable. */
MUST_USE bool idempotency_key_parse(struct str header, struct str *ret_key);

enum flow_next idempotency_recall(struct flow *flow);
enum flow_next idempotency_replay(struct flow *flow);
enum flow_next idempotency_lost(struct flow *flow);

/* What the effect's statement stores: STR_NONE all three without a key. Lives as long as the flow.
 */
struct idempotency_row {
    struct str key, body_sha256, response_sealed;
};

/* Seals what api_json() holds so far as the answer. */
struct idempotency_row idempotency_row(struct flow *flow);

#endif
