/* Hashes and signatures against published values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "broker/base/hash.h"

static void assert_hex(const uint8_t *bytes, size_t len, const char *wanted)
{
    char hex[129];
    hex_encode(bytes, len, hex);
    assert_string_equal(hex, wanted);
}

static void sha256_is_that_of_fips_180(void **state)
{
    (void)state;
    assert_hex(sha256_of("", 0).bytes, 32,
               "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_hex(sha256_of("abc", 3).bytes, 32,
               "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    struct sha256 a = sha256_of("a", 1), b = sha256_of("b", 1);
    assert_true(sha256_equal(&a, &a));
    assert_false(sha256_equal(&a, &b));
}

static void a_running_hash_can_be_copied_in_the_middle(void **state)
{
    (void)state;
    char bytes[200];
    memset(bytes, 'x', sizeof(bytes));
    for (size_t cut = 0; cut <= sizeof(bytes); cut += 7) {
        struct sha256_run run, copy;
        sha256_run_start(&run);
        sha256_run_add(&run, bytes, cut);
        copy = run;
        sha256_run_add(&run, "other", 5);
        sha256_run_add(&copy, bytes + cut, sizeof(bytes) - cut);
        struct sha256 got = sha256_run_end(&copy), wanted = sha256_of(bytes, sizeof(bytes));
        assert_true(sha256_equal(&got, &wanted));
    }
}

static void ed25519_is_that_of_rfc_8032(void **state)
{
    (void)state;
    uint8_t seed[32];
    struct ed25519_public key;
    struct ed25519_secret secret;
    assert_true(hex_decode(STR("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"),
                           seed, 32));
    ed25519_from_seed(seed, &key, &secret);
    assert_hex(key.bytes, 32, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    struct ed25519_signature signature = ed25519_sign(&secret, "", 0);
    assert_hex(signature.bytes, 64,
               "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
               "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b");
    assert_true(ed25519_verify(&key, &signature, "", 0));
    assert_false(ed25519_verify(&key, &signature, "x", 1));
}

static void a_changed_signature_is_refused(void **state)
{
    (void)state;
    struct ed25519_public key, other_key;
    struct ed25519_secret secret, other_secret;
    ed25519_generate(&key, &secret);
    ed25519_generate(&other_key, &other_secret);
    assert_memory_not_equal(key.bytes, other_key.bytes, 32);
    struct ed25519_signature signature = ed25519_sign(&secret, "message", 7);
    assert_true(ed25519_verify(&key, &signature, "message", 7));
    assert_false(ed25519_verify(&other_key, &signature, "message", 7));
    for (size_t i = 0; i < 64; i++) {
        signature.bytes[i] ^= 4;
        assert_false(ed25519_verify(&key, &signature, "message", 7));
        signature.bytes[i] ^= 4;
    }
}

static void random_bytes_differ(void **state)
{
    (void)state;
    uint8_t a[32] = {0}, b[32] = {0};
    random_bytes(a, sizeof(a));
    random_bytes(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_is_that_of_fips_180),
        cmocka_unit_test(a_running_hash_can_be_copied_in_the_middle),
        cmocka_unit_test(ed25519_is_that_of_rfc_8032),
        cmocka_unit_test(a_changed_signature_is_refused),
        cmocka_unit_test(random_bytes_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
