/* promise.h - the market's signed word that a message arrived for a round.
 *
 * pure. The signature is Ed25519 by the market's key over the ASCII text
 *     undercut/promise/v1|<market>|<round>|<place>|<hex SHA-256 of the message>
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
#include "broker/base/must.h"

struct promise {
    const char *market; /* borrowed */
    int64_t round;
    int64_t place;
    struct sha256 message_sha256;
};

/* `key` is the market's; nodes and auditors know its public half. */
struct ed25519_signature promise_sign(const struct promise *promise,
                                      const struct ed25519_secret *key);
MUST_USE bool promise_verify(const struct promise *promise, const struct ed25519_public *key,
                             const struct ed25519_signature *signature);
/* Signs and writes {market, round, place, message_sha256, public_key, signature}; binary as
 * base64url without padding, the hash as hex. */
void promise_put(struct json_out *out, const char *key_or_null, const struct promise *promise,
                 const struct ed25519_secret *key);

#endif
