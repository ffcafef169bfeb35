#include "broker/base/seal.h"

#include <sodium.h>
#include <string.h>

#include "broker/base/hash.h"

_Static_assert(SEAL_OVERHEAD == crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES,
               "overhead");
_Static_assert(sizeof(struct seal_key) == crypto_secretbox_KEYBYTES, "key length");

struct seal_key seal_key_of(struct str secret, const char *purpose)
{
    static const char domain[] = "undercut/seal/v1|";
    struct sha256_run run;
    sha256_run_start(&run);
    sha256_run_add(&run, domain, sizeof(domain) - 1);
    sha256_run_add(&run, purpose, strlen(purpose));
    sha256_run_add(&run, "|", 1);
    sha256_run_add(&run, secret.at, secret.len);
    struct sha256 digest = sha256_run_end(&run);

    struct seal_key key;
    memcpy(key.bytes, digest.bytes, sizeof(key.bytes));
    return key;
}

void seal_close(const struct seal_key *key, struct str plain, struct buf *to)
{
    buf_reserve(to, plain.len + SEAL_OVERHEAD);
    uint8_t *nonce = (uint8_t *)to->at + to->len;
    random_bytes(nonce, crypto_secretbox_NONCEBYTES);
    must(crypto_secretbox_easy(nonce + crypto_secretbox_NONCEBYTES, (const uint8_t *)plain.at,
                               plain.len, nonce, key->bytes) == 0);
    to->len += plain.len + SEAL_OVERHEAD;
}

bool seal_open(const struct seal_key *key, struct str sealed, struct buf *to)
{
    if (sealed.len < SEAL_OVERHEAD)
        return false;
    const uint8_t *nonce = (const uint8_t *)sealed.at;
    size_t plain_len = sealed.len - SEAL_OVERHEAD;
    buf_reserve(to, plain_len + 1);
    if (crypto_secretbox_open_easy((uint8_t *)to->at + to->len, nonce + crypto_secretbox_NONCEBYTES,
                                   sealed.len - crypto_secretbox_NONCEBYTES, nonce,
                                   key->bytes) != 0)
        return false;
    to->len += plain_len;
    return true;
}
