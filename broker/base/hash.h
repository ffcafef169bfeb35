/* hash.h - SHA-256 and Ed25519 (libsodium), in the sizes we use.
 *
 * any thread after hash_start(). Buffers belong to the caller.
 */
#ifndef UNDERCUT_BASE_HASH_H
#define UNDERCUT_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/must.h"
#include "broker/base/str.h"

struct sha256 {
    uint8_t bytes[32];
};

struct sha256_run { /* a running hash; copyable, so that a common prefix is hashed once */
    _Alignas(64) uint8_t opaque[128];
};

void hash_start(void); /* once per process, before anything else here; aborts on failure */

struct sha256 sha256_of(const void *bytes, size_t len);
void sha256_run_start(struct sha256_run *run);
void sha256_run_add(struct sha256_run *run, const void *bytes, size_t len);
struct sha256 sha256_run_end(struct sha256_run *run);
bool sha256_equal(const struct sha256 *a, const struct sha256 *b); /* constant time */

struct ed25519_public {
    uint8_t bytes[32];
};
struct ed25519_secret {
    uint8_t bytes[64];
}; /* libsodium's seed | public */
struct ed25519_signature {
    uint8_t bytes[64];
};

void ed25519_from_seed(const uint8_t seed[32], struct ed25519_public *ret_public,
                       struct ed25519_secret *ret_secret);
void ed25519_generate(struct ed25519_public *ret_public, struct ed25519_secret *ret_secret);
struct ed25519_signature ed25519_sign(const struct ed25519_secret *secret, const void *bytes,
                                      size_t len);
bool ed25519_verify(const struct ed25519_public *key, const struct ed25519_signature *signature,
                    const void *bytes, size_t len);
void random_bytes(void *ret, size_t len);

#endif
