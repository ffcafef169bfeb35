/* A promise signs exactly the text that promise.h tells auditors. */
#include "broker/market/promise.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void the_signature_is_over_the_text_of_the_header(void **state)
{
    (void)state;
    struct ed25519_public public_key;
    struct ed25519_secret secret;
    ed25519_generate(&public_key, &secret);
    struct promise promise = {.market = "main", .round = INT64_MAX, .place = -7};
    promise.message_sha256 = sha256_of("x", 1);
    struct ed25519_signature signature = promise_sign(&promise, &secret);
    static const char text[] = "undercut/promise/v1|main|9223372036854775807|-7|"
                               "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
    assert_true(ed25519_verify(&public_key, &signature, text, strlen(text)));
    assert_true(promise_verify(&promise, &public_key, &signature));
    promise.place = 7;
    assert_false(promise_verify(&promise, &public_key, &signature));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_signature_is_over_the_text_of_the_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
