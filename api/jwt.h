/* jwt.h - ES256 access tokens: made, and checked before libjwt may look at them.
 *
 * any thread; keys are immutable after jwt_keys_create(). libjwt 1.10 takes the algorithm from the
 * token, ignores `crit` and `exp`, and lets the last of two equal claims win, so that everything it
 * is lax about is checked here first: three parts, at most JWT_SIZE_MAX, strict JSON without double
 * keys, a header of exactly {alg, typ, kid}, the algorithm pinned to the key that `kid` names,
 * claims of the right types.
 */
#ifndef UNDERCUT_API_JWT_H
#define UNDERCUT_API_JWT_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/err.h"
#include "broker/base/id.h"
#include "broker/base/str.h"

#define JWT_SIZE_MAX  4096
#define JWT_TTL_MAX_S 600
#define JWT_SKEW_S    5 /* clocks of two brokers may differ by this much */
#define JWT_AUDIENCE  "undercut-api"

struct jwt_keys;

struct jwt_claims {
    struct account_id account_id; /* sub */
    struct api_key_id key_id;     /* key: the API key that it was exchanged for */
    uint32_t scopes;              /* scope: words separated by blanks; bit 1 << enum scope */
    bool is_test;                 /* mode */
    int64_t issued_at_s;          /* iat and nbf */
    int64_t expires_at_s;         /* exp */
};

/* A new P-256 private key as PEM. */
void jwt_keys_make_pem(struct buf *to);
/* `pem` holds up to four private keys: the first signs, all verify. NULL when one is not P-256. */
struct jwt_keys *jwt_keys_create(struct str pem, const char *issuer);
void jwt_keys_destroy(struct jwt_keys *keys);
/* The key set document (RFC 7517). */
void jwt_keys_write(const struct jwt_keys *keys, struct buf *to);

/* Appends the compact token. */
void jwt_token_make(const struct jwt_keys *keys, const struct jwt_claims *claims, struct buf *to);
/* ERR_OK, ERR_TOKEN_EXPIRED (genuine but over) or ERR_UNAUTHENTICATED; `ret_why` is a short
 * sentence. */
MUST_USE enum err_code jwt_token_check(const struct jwt_keys *keys, struct str token, int64_t now_s,
                                       struct jwt_claims *ret, const char **ret_why);

/* "workloads:read,money:read" or with blanks, to bits and back. False: an unknown word. */
MUST_USE bool scopes_parse(struct str text, char separator, uint32_t *ret);
void scopes_write(uint32_t scopes, char separator, struct buf *to);

#endif
