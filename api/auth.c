#include "api/auth.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/jwt.h"
#include "broker/base/clock.h"
#include "broker/market/account.h"

#define AUTH_SLOTS 4096 /* a power of two */

struct auth_slot {
    struct sha256 sha256;
    struct principal principal;
    int64_t until_mono_ms; /* 0: empty */
};

struct auth {
    const struct jwt_keys *keys;
    struct auth_slot slots[AUTH_SLOTS];
};

struct auth *auth_create(const struct jwt_keys *keys)
{
    struct auth *auth = calloc(1, sizeof(*auth));
    must(auth != NULL);
    auth->keys = keys;
    return auth;
}

void auth_destroy(struct auth *auth)
{
    free(auth);
}

static struct auth_slot *slot_of(struct auth *auth, const struct sha256 *sha256)
{
    uint32_t index;
    memcpy(&index, sha256->bytes, sizeof(index));
    return &auth->slots[index % AUTH_SLOTS];
}

static bool recall(struct auth *auth, const struct sha256 *sha256, struct principal *ret)
{
    const struct auth_slot *slot = slot_of(auth, sha256);
    bool is_fresh =
        slot->until_mono_ms > clock_mono_ms() &&
        (slot->principal.expires_at_us == 0 || slot->principal.expires_at_us > clock_now_us());
    if (!is_fresh || !sha256_equal(&slot->sha256, sha256))
        return false;
    *ret = slot->principal;
    return true;
}

void auth_remember(struct auth *auth, const struct sha256 *sha256,
                   const struct principal *principal)
{
    int64_t lifetime_ms = AUTH_CACHE_MS;
    if (principal->kind == PRINCIPAL_TOKEN) /* it cannot be revoked: good until it expires */
        lifetime_ms = (principal->expires_at_us - clock_now_us()) / 1000;
    *slot_of(auth, sha256) = (struct auth_slot){
        .sha256 = *sha256,
        .principal = *principal,
        .until_mono_ms = clock_mono_ms() + lifetime_ms,
    };
}

void auth_forget(struct auth *auth, struct sha256 sha256)
{
    struct auth_slot *slot = slot_of(auth, &sha256);
    if (sha256_equal(&slot->sha256, &sha256))
        slot->until_mono_ms = 0;
}

static enum auth_answer refuse(struct auth_result *ret, enum err_code err, const char *why)
{
    ret->err = err;
    ret->why = why;
    return AUTH_IS_REFUSED;
}

static enum auth_answer check_token(struct auth *auth, struct str token, struct auth_result *ret)
{
    struct jwt_claims claims;
    ret->err = jwt_token_check(auth->keys, token, clock_now_us() / 1000000, &claims, &ret->why);
    if (ret->err != ERR_OK)
        return AUTH_IS_REFUSED;
    ret->principal = (struct principal){
        .kind = PRINCIPAL_TOKEN,
        .account_id = claims.account_id,
        .key_id = claims.key_id,
        .scopes = claims.scopes,
        .is_test = claims.is_test,
        .expires_at_us = claims.expires_at_s * 1000000,
    };
    auth_remember(auth, &ret->sha256, &ret->principal);
    return AUTH_IS_KNOWN;
}

enum auth_answer auth_check(struct auth *auth, struct str authorization, struct auth_result *ret)
{
    struct str secret = str_trim(authorization), scheme = str_cut(&secret, ' ');
    *ret = (struct auth_result){0};
    if (authorization.at == NULL)
        return refuse(ret, ERR_UNAUTHENTICATED, "there is no Authorization header");
    if (scheme.len != 6 || strncasecmp(scheme.at, "Bearer", 6) != 0 || secret.at == NULL)
        return refuse(ret, ERR_UNAUTHENTICATED, "Authorization must be a Bearer credential");
    secret = str_trim(secret);
    if (secret.len > JWT_SIZE_MAX)
        return refuse(ret, ERR_UNAUTHENTICATED, "the credential is too long");
    ret->sha256 = credential_sha256(secret);
    if (recall(auth, &ret->sha256, &ret->principal))
        return AUTH_IS_KNOWN;
    if (str_starts_with(secret, STR(CREDENTIAL_LIVE)) ||
        str_starts_with(secret, STR(CREDENTIAL_TEST)))
        return AUTH_ASK_DATABASE;
    return check_token(auth, secret, ret);
}
