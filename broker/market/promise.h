/* promise.h - the market's signed word that messages arrived for a round.
 *
 * pure. One signature covers a batch of messages: the RFC 6962 tree (base/merkle.h) whose leaves
 * are the messages in the order of the batch, each leaf over
 *     be64(place) | SHA-256 of the message
 * The signature is Ed25519 by the market's key over the ASCII text
 *     undercut/promise/v2|<market>|<round>|<leaves>|<hex root>
 * and a promise carries its leaf's path, so that it can be checked alone.
 * A message is what the sender can rebuild: a workload's is its posted body, an ask's is the text
 * that ask_message() of the migrations makes of it. `place` orders the messages of a market;
 * both numbers go into the round's root.
 */
#ifndef UNDERCUT_MARKET_PROMISE_H
#define UNDERCUT_MARKET_PROMISE_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/hash.h"
#include "broker/base/id.h"
#include "broker/base/json.h"
#include "broker/base/merkle.h"
#include "broker/base/must.h"

#define PROMISE_BATCH_MAX 256

struct promise {
    const char *market; /* borrowed */
    int64_t round;
    int64_t place;
    struct sha256 message_sha256;
    /* what signing adds */
    uint64_t index, count; /* its leaf among those of the batch; count 0: not signed */
    struct merkle_proof path;
    struct ed25519_signature signature;
};

/* Signs 1 to PROMISE_BATCH_MAX promises of one market and round, in this order, with one signature.
 * `key` is the market's; nodes and auditors know its public half. */
void promise_sign(struct promise *const *promises, size_t count, const struct ed25519_secret *key);
MUST_USE bool promise_verify(const struct promise *promise, const struct ed25519_public *key);
/* Writes {market, round, place, message_sha256, batch: {index, count, path}, public_key, signature}
 * of a signed promise; binary as base64url without padding, hashes as hex. */
void promise_put(struct json_out *out, const char *key_or_null, const struct promise *promise,
                 const struct ed25519_public *key);

#endif
