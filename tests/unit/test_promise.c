/* A promise signs exactly the text that promise.h tells auditors, and its path proves its place. */
#include "broker/market/promise.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void the_signature_is_over_the_text_of_the_header(void **state)
{
    (void)state;
    struct ed25519_public public_key;
    struct ed25519_secret secret;
    ed25519_generate(&public_key, &secret);
    struct promise promise = {.market = "main", .round = INT64_MAX, .place = 0x0102030405060708};
    promise.message_sha256 = sha256_of("x", 1);
    promise_sign(&(struct promise *){&promise}, 1, &secret);
    uint8_t leaf[41] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
    memcpy(leaf + 9, promise.message_sha256.bytes, 32);
    struct sha256 root = sha256_of(leaf, sizeof(leaf));
    char text[256], hex[65];
    hex_encode(root.bytes, sizeof(root.bytes), hex);
    must(str_format(text, sizeof(text), "undercut/promise/v2|main|9223372036854775807|1|%s", hex));
    assert_true(ed25519_verify(&public_key, &promise.signature, text, strlen(text)));
    assert_int_equal(promise.path.count, 0);
    assert_true(promise_verify(&promise, &public_key));
    promise.place++;
    assert_false(promise_verify(&promise, &public_key));
}

static void refuses_every_change(struct promise *promise, const struct ed25519_public *key)
{
    struct promise other = *promise;
    other.round++;
    assert_false(promise_verify(&other, key));
    other = *promise;
    other.message_sha256.bytes[31] ^= 1;
    assert_false(promise_verify(&other, key));
    other = *promise;
    other.count++;
    assert_false(promise_verify(&other, key));
    other = *promise;
    other.index = promise->index ^ 1;
    assert_false(promise_verify(&other, key));
    other = *promise;
    other.count = 0;
    assert_false(promise_verify(&other, key));
    other = *promise;
    other.path.count++;
    assert_false(promise_verify(&other, key));
    if (promise->path.count == 0)
        return;
    other = *promise;
    other.path.count--;
    assert_false(promise_verify(&other, key));
    other = *promise;
    other.path.hashes[0].bytes[0] ^= 1;
    assert_false(promise_verify(&other, key));
}

static void each_of_a_batch_can_be_checked_alone(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 3, 5, 8, 31, 64, 100, PROMISE_BATCH_MAX};
    struct promise *all = calloc(PROMISE_BATCH_MAX, sizeof(*all));
    struct promise *pointers[PROMISE_BATCH_MAX];
    struct ed25519_public public_key;
    struct ed25519_secret secret;
    must(all != NULL);
    ed25519_generate(&public_key, &secret);
    for (size_t s = 0; s < ARRAY_COUNT(sizes); s++) {
        for (size_t i = 0; i < sizes[s]; i++) {
            all[i] =
                (struct promise){.market = "main", .round = 7, .place = (int64_t)(100 * s + i)};
            all[i].message_sha256 = sha256_of(&i, sizeof(i));
            pointers[i] = &all[i];
        }
        promise_sign(pointers, sizes[s], &secret);
        for (size_t i = 0; i < sizes[s]; i++)
            assert_true(promise_verify(&all[i], &public_key));
        refuses_every_change(&all[0], &public_key);
        refuses_every_change(&all[sizes[s] - 1], &public_key);
    }
    free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_signature_is_over_the_text_of_the_header),
        cmocka_unit_test(each_of_a_batch_can_be_checked_alone),
    };
    hash_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
