/* seal.h - what rests encrypted: workload secrets, seed chains, replayable answers.
 *
 * any thread after hash_start(). XSalsa20-Poly1305 (libsodium's secretbox) under the server's
 * secret, with a random nonce in front. Only a holder of the same key opens it; a changed byte is
 * noticed.
 */
#ifndef UNDERCUT_BASE_SEAL_H
#define UNDERCUT_BASE_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/must.h"
#include "broker/base/str.h"

#define SEAL_OVERHEAD 40 /* nonce and tag: what sealing adds to a length */

struct seal_key {
    uint8_t bytes[32];
};

/* A key for one purpose from the server's secret: SHA-256("undercut/seal/v1|" purpose "|" secret).
 */
struct seal_key seal_key_of(struct str secret, const char *purpose);
/* Appends nonce and box to `to`. */
void seal_close(const struct seal_key *key, struct str plain, struct buf *to);
/* Appends the plain bytes; false, and nothing appended, for another key or changed bytes. */
MUST_USE bool seal_open(const struct seal_key *key, struct str sealed, struct buf *to);

#endif
