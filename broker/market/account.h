/* account.h - accounts, their API keys, and the secrets that stand for them.
 *
 * Statements: see account.sql; loop thread for x_submit(), any one thread for x_run(). The
 * functions here are pure but for credential_make(), which draws random bytes. Only hashes are
 * stored: a credential carries 256 random bits, so that a fast hash cannot be searched.
 */
#ifndef UNDERCUT_MARKET_ACCOUNT_H
#define UNDERCUT_MARKET_ACCOUNT_H

#include "broker/base/hash.h"
#include "broker/base/id.h"
#include "gen/broker/market/account.sql.h"

#define CREDENTIAL_LIVE       "uc_live_"
#define CREDENTIAL_TEST       "uc_test_"
#define CREDENTIAL_NODE_TOKEN "uct_"

struct credential {
    char text[64]; /* prefix and 43 characters base64url; shown once, never stored */
    struct sha256 sha256;
};

struct credential credential_make(const char *prefix);
struct sha256 credential_sha256(struct str text);

/* The bytes of a hash as a parameter; they live as long as the hash. */
struct str sha256_slice(const struct sha256 *hash);
/* And back, from a column; false unless it is 32 bytes. */
MUST_USE bool sha256_of_slice(struct str bytes, struct sha256 *ret);

/* Owns the ledger's platform side and the admin keys; it is not a tenant. */
struct account_id platform_account_id(void);

/* Makes a key with every scope, admin and audit included, for the platform's account. */
enum err_code account_make_admin_key(struct session *session, struct credential *ret_credential,
                                     struct api_key_id *ret_key_id);

#endif
