/* Tokens made by a forger. 'e' edits a genuine token: {position, byte} pairs, position over the
 * length modulo; anything else is a token of the forger's own. Only the genuine bytes may be
 * believed. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "api/jwt.h"
#include "broker/base/hash.h"

#define NOW_S 1800000000

static struct jwt_keys *keys;
static struct buf genuine;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    hash_start();
    struct buf pem = {0};
    jwt_keys_make_pem(&pem);
    keys = jwt_keys_create(buf_str(&pem), "undercut");
    must(keys != NULL);
    buf_finish(&pem);
    struct jwt_claims claims = {.scopes = 6, .issued_at_s = NOW_S, .expires_at_s = NOW_S + 600};
    jwt_token_make(keys, &claims, &genuine);
    struct jwt_claims seen;
    const char *why = NULL;
    must(jwt_token_check(keys, buf_str(&genuine), NOW_S + 1, &seen, &why) == ERR_OK);
    return 0;
}

static void check(struct str token)
{
    struct jwt_claims seen;
    const char *why = NULL;
    enum err_code code = jwt_token_check(keys, token, NOW_S + 1, &seen, &why);
    must((code == ERR_OK) == str_equal(token, buf_str(&genuine)));
    must(code == ERR_OK || (why != NULL && why[0] != '\0'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char edited[JWT_SIZE_MAX];
    must(genuine.len <= sizeof(edited));
    if (size == 0 || data[0] != 'e') {
        check(fuzz_str(data, size));
        return 0;
    }
    memcpy(edited, genuine.at, genuine.len);
    for (size_t at = 1; at + 2 < size; at += 3)
        edited[((size_t)data[at] << 8 | data[at + 1]) % genuine.len] = (char)data[at + 2];
    check((struct str){.at = edited, .len = genuine.len});
    return 0;
}
