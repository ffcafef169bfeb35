/* SHA-256 is OpenSSL's, because it uses the processor's SHA instructions and is thrice as fast as
 * libsodium's on short inputs; its old one-struct interface is the one whose state can be copied.
 */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "broker/base/hash.h"

#include <openssl/sha.h>
#include <sodium.h>
#include <string.h>

_Static_assert(sizeof(SHA256_CTX) <= sizeof(struct sha256_run), "sha256_run holds the state");

void hash_start(void)
{
    must(sodium_init() >= 0);
}

void sha256_run_start(struct sha256_run *run)
{
    must(SHA256_Init((SHA256_CTX *)(void *)run->opaque) == 1);
}

void sha256_run_add(struct sha256_run *run, const void *bytes, size_t len)
{
    must(SHA256_Update((SHA256_CTX *)(void *)run->opaque, bytes, len) == 1);
}

struct sha256 sha256_run_end(struct sha256_run *run)
{
    struct sha256 digest;
    must(SHA256_Final(digest.bytes, (SHA256_CTX *)(void *)run->opaque) == 1);
    return digest;
}

struct sha256 sha256_of(const void *bytes, size_t len)
{
    struct sha256_run run;
    sha256_run_start(&run);
    sha256_run_add(&run, bytes, len);
    return sha256_run_end(&run);
}

bool sha256_equal(const struct sha256 *a, const struct sha256 *b)
{
    return sodium_memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

void ed25519_from_seed(const uint8_t seed[32], struct ed25519_public *ret_public,
                       struct ed25519_secret *ret_secret)
{
    must(crypto_sign_seed_keypair(ret_public->bytes, ret_secret->bytes, seed) == 0);
}

void ed25519_generate(struct ed25519_public *ret_public, struct ed25519_secret *ret_secret)
{
    must(crypto_sign_keypair(ret_public->bytes, ret_secret->bytes) == 0);
}

struct ed25519_signature ed25519_sign(const struct ed25519_secret *secret, const void *bytes,
                                      size_t len)
{
    struct ed25519_signature signature;
    must(crypto_sign_detached(signature.bytes, NULL, bytes, len, secret->bytes) == 0);
    return signature;
}

bool ed25519_verify(const struct ed25519_public *key, const struct ed25519_signature *signature,
                    const void *bytes, size_t len)
{
    return crypto_sign_verify_detached(signature->bytes, bytes, len, key->bytes) == 0;
}

void random_bytes(void *ret, size_t len)
{
    randombytes_buf(ret, len);
}
