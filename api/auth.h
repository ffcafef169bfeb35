/* auth.h - from an Authorization header to a principal, with a short memory.
 *
 * loop thread; one per API thread. A key that the database vouched for is believed for
 * AUTH_CACHE_MS, so that a revocation is felt everywhere within that time; a token until it
 * expires. The memory is a fixed table by hash: a collision only costs a look-up.
 */
#ifndef UNDERCUT_API_AUTH_H
#define UNDERCUT_API_AUTH_H

#include "api/call.h"

#define AUTH_CACHE_MS 10000

struct auth;

enum auth_answer {
    AUTH_IS_KNOWN = 1, /* ret_principal is filled */
    AUTH_ASK_DATABASE, /* an API key we do not remember: look `ret_sha256` up, then auth_remember()
                        */
    AUTH_IS_REFUSED,   /* ret_err and ret_why say why */
};

struct auth_result {
    struct principal principal;
    struct sha256 sha256;
    enum err_code err;
    const char *why;
};

struct auth *auth_create(const struct jwt_keys *keys);
void auth_destroy(struct auth *auth);
/* `authorization` is the header's value. */
enum auth_answer auth_check(struct auth *auth, struct str authorization, struct auth_result *ret);
void auth_remember(struct auth *auth, const struct sha256 *sha256,
                   const struct principal *principal);
/* After a revocation on this thread. */
void auth_forget(struct auth *auth, struct sha256 sha256);

#endif
