/* Sealing: what was sealed opens under the same key, and under no other condition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "broker/base/hash.h"
#include "broker/base/seal.h"

static struct seal_key key_one, key_two;

static void opens_what_it_sealed(void **state)
{
    (void)state;
    const struct str plains[] = {STR(""), STR("x"), STR("{\"a\":\"secret\"}")};
    for (size_t i = 0; i < ARRAY_COUNT(plains); i++) {
        struct buf sealed = {.at = NULL}, opened = {.at = NULL};
        seal_close(&key_one, plains[i], &sealed);
        assert_int_equal(sealed.len, plains[i].len + SEAL_OVERHEAD);
        assert_true(seal_open(&key_one, buf_str(&sealed), &opened));
        assert_true(str_equal(buf_str(&opened), plains[i]));
        buf_finish(&sealed);
        buf_finish(&opened);
    }
}

static void appends_behind_what_is_there(void **state)
{
    (void)state;
    struct buf sealed = {.at = NULL}, opened = {.at = NULL};
    buf_add_c(&sealed, "head");
    seal_close(&key_one, STR("tail"), &sealed);
    struct str box = {.at = sealed.at + 4, .len = sealed.len - 4};
    buf_add_c(&opened, "open ");
    assert_true(seal_open(&key_one, box, &opened));
    assert_true(str_equal_c(buf_str(&opened), "open tail"));
    buf_finish(&sealed);
    buf_finish(&opened);
}

static void refuses_other_keys_and_every_changed_byte(void **state)
{
    (void)state;
    struct buf sealed = {.at = NULL}, opened = {.at = NULL};
    seal_close(&key_one, STR("a secret"), &sealed);
    assert_false(seal_open(&key_two, buf_str(&sealed), &opened));
    for (size_t i = 0; i < sealed.len; i++) {
        sealed.at[i] ^= 1;
        assert_false(seal_open(&key_one, buf_str(&sealed), &opened));
        sealed.at[i] ^= 1;
    }
    for (size_t len = 0; len < sealed.len; len++)
        assert_false(seal_open(&key_one, (struct str){.at = sealed.at, .len = len}, &opened));
    assert_int_equal(opened.len, 0);
    buf_finish(&sealed);
    buf_finish(&opened);
}

static void never_seals_twice_alike(void **state)
{
    (void)state;
    struct buf first = {.at = NULL}, second = {.at = NULL};
    seal_close(&key_one, STR("same"), &first);
    seal_close(&key_one, STR("same"), &second);
    assert_false(str_equal(buf_str(&first), buf_str(&second)));
    buf_finish(&first);
    buf_finish(&second);
}

static void keys_differ_by_purpose(void **state)
{
    (void)state;
    struct seal_key same = seal_key_of(STR("server secret"), "one");
    assert_memory_equal(same.bytes, key_one.bytes, sizeof(same.bytes));
    assert_memory_not_equal(key_one.bytes, key_two.bytes, sizeof(key_one.bytes));
}

int main(void)
{
    hash_start();
    key_one = seal_key_of(STR("server secret"), "one");
    key_two = seal_key_of(STR("server secret"), "two");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_what_it_sealed),
        cmocka_unit_test(appends_behind_what_is_there),
        cmocka_unit_test(refuses_other_keys_and_every_changed_byte),
        cmocka_unit_test(never_seals_twice_alike),
        cmocka_unit_test(keys_differ_by_purpose),
    };
    return cmocka_run_group_tests_name("seal", tests, NULL, NULL);
}
