#include "broker/market/account.h"

#include <string.h>

#define SECRET_BYTES 32

struct credential credential_make(const char *prefix)
{
    uint8_t secret[SECRET_BYTES];
    char digits[4 * ((SECRET_BYTES + 2) / 3) + 1];
    struct credential made;
    random_bytes(secret, sizeof(secret));
    base64url_encode(secret, sizeof(secret), digits);
    must(str_format(made.text, sizeof(made.text), "%s%s", prefix, digits));
    made.sha256 = credential_sha256(str_of(made.text));
    return made;
}

struct sha256 credential_sha256(struct str text)
{
    return sha256_of(text.at, text.len);
}

struct str sha256_slice(const struct sha256 *hash)
{
    return (struct str){.at = (const char *)hash->bytes, .len = sizeof(hash->bytes)};
}

bool sha256_of_slice(struct str bytes, struct sha256 *ret)
{
    if (bytes.len != sizeof(ret->bytes))
        return false;
    memcpy(ret->bytes, bytes.at, sizeof(ret->bytes));
    return true;
}

struct account_id platform_account_id(void)
{
    /* A version 7 UUID of the year 1970: no account made later can have it. */
    return (struct account_id){.u.bytes = {[6] = 0x70, [8] = 0x80, [15] = 1}};
}

enum err_code account_make_admin_key(struct session *session, struct credential *ret_credential,
                                     struct api_key_id *ret_key_id)
{
    *ret_credential = credential_make(CREDENTIAL_LIVE);
    *ret_key_id = api_key_id_new();
    struct account_make_admin_key_in in = {
        .account_id = platform_account_id().u,
        .key_id = ret_key_id->u,
        .name = STR("admin"),
        .secret_sha256 = sha256_slice(&ret_credential->sha256),
        .scopes = STR("admin,audit,keys:write,money:read,nodes:read,nodes:write,"
                      "workloads:read,workloads:write"),
    };
    return account_make_admin_key_run(session, &in, NULL);
}
