/* receipts.h - the node's signed statements of how long leases ran healthy.
 *
 * Guarded by the roster's lock. A receipt is in the journal before anybody sees it, and stays until
 * the broker says that it stored it. The sequence only rises, over kills and restarts: a number
 * that was written is never used again.
 */
#ifndef UNDERCUT_NODEAGENT_RECEIPTS_H
#define UNDERCUT_NODEAGENT_RECEIPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/hash.h"
#include "broker/base/json.h"
#include "nodeagent/journal.h"

struct receipt_line { /* what one receipt says about one lease */
    const char *lease_id;
    int64_t epoch;
    int64_t healthy_ms; /* cumulative since ready */
    const char *image_digest;
    bool is_final;
};

struct receipts {
    struct journal *journal;
    const char *node_id;
    const struct ed25519_secret *secret;
    int64_t last_seq;
};

void receipts_start(struct receipts *receipts, struct journal *journal, const char *node_id,
                    const struct ed25519_secret *secret);

/* Makes, signs and journals one (without the sync); returns its seq. Earlier receipts without a
 * final line that are still unacknowledged go: this one says more. */
int64_t receipts_make(struct receipts *receipts, const struct receipt_line *lines, size_t count);
/* The broker has everything up to `seq`; a higher number than ours (the state was lost) is taken.
 */
void receipts_acknowledge(struct receipts *receipts, int64_t seq);
/* Appends the unacknowledged ones to an open array, oldest first: what one sync may carry, and
 * within `size_max` bytes. */
void receipts_emit(const struct receipts *receipts, struct json_out *out, size_t size_max);
bool receipts_is_acknowledged(const struct receipts *receipts, int64_t seq);

#endif
