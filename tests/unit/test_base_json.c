/* JSON in is strict, JSON out is valid whatever goes in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "broker/base/json.h"
#include "tests/lib/prop.h"

static void odd_texts_are_refused_with_a_place(void **state)
{
    (void)state;
    static const struct str bad[] = {
        {NULL, 0},
        STR(""),
        STR("{"),
        STR("{\"a\":1,\"a\":2}"),
        STR("{\"a\":1} x"),
        STR("{a:1}"),
        STR("[1,]"),
        STR("[01]"),
        STR("[9223372036854775808]"),
        STR("[\"\\u0000\"]"),
        STR("[\"a\0b\"]"),
        STR("[\"\xff\"]"),
        STR("[1e999]"),
        STR("['a']"),
        STR("[NaN]"),
        STR("[\"\\ud800\"]"),
        STR("// c\n[]"),
        STR("[\"a\nb\"]"),
        STR("[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]"),
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        char why[120] = "";
        json_t *value = json_parse(bad[i], why, sizeof(why));
        if (value)
            fail_msg("%.*s was taken", STR_ARG(bad[i]));
        assert_true(strlen(why) > 5);
    }
    char why[120];
    json_t *value = json_parse(STR("{\n \"a\": 1,\n \"a\": 2}"), why, sizeof(why));
    assert_null(value);
    assert_non_null(strstr(why, "line 3"));
}

static void brackets_in_strings_do_not_count_as_depth(void **state)
{
    (void)state;
    char why[120];
    json_t *value = json_parse(STR("[\"[[[[[[[[[[[[[[[[[[[\\\"[[[[[[[[[[\"]"), why, sizeof(why));
    assert_non_null(value);
    json_decref(value);
    value = json_parse(STR("[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]"), why, sizeof(why));
    assert_non_null(value);
    json_decref(value);
}

static void members_of_another_type_are_as_absent(void **state)
{
    (void)state;
    char why[120];
    json_t *value = json_parse(
        STR("{\"s\":\"x\",\"e\":\"\",\"i\":-5,\"r\":1.0,\"t\":true,\"n\":null}"), why, sizeof(why));
    assert_non_null(value);
    assert_true(str_equal_c(json_str(value, "s"), "x"));
    assert_non_null(json_str(value, "e").at);
    assert_null(json_str(value, "i").at);
    assert_null(json_str(value, "missing").at);
    assert_null(json_str(NULL, "s").at);
    assert_int_equal(json_i64(value, "i", 9), -5);
    assert_int_equal(json_i64(value, "r", 9), 9);
    assert_int_equal(json_i64(value, "s", 9), 9);
    assert_true(json_bool(value, "t", false));
    assert_true(json_bool(value, "n", true));
    json_decref(value);
}

static void the_writer_keeps_the_commas(void **state)
{
    (void)state;
    struct buf to = {0};
    struct json_out out;
    json_out_start(&out, &to);
    json_object_open(&out, NULL);
    json_put_i64(&out, "i", INT64_MIN);
    json_array_open(&out, "a");
    json_put_bool(&out, NULL, true);
    json_object_open(&out, NULL);
    json_object_close(&out);
    json_put_null(&out, NULL);
    json_array_close(&out);
    json_put_c(&out, "c", NULL);
    json_put_str(&out, "q\"", STR("\\\"\n\x01/\x7f\xc3\xa4"));
    json_put_time(&out, "t", 1795225339123456);
    json_put_time(&out, "never", 0);
    json_put_raw(&out, "raw", STR("[1]"));
    json_object_close(&out);
    static const char wanted[] =
        "{\"i\":-9223372036854775808,\"a\":[true,{},null],\"c\":null,"
        "\"q\\\"\":\"\\\\\\\"\\u000a\\u0001/\x7f\xc3\xa4\",\"t\":\"2026-11-21T01:42:19.123Z\","
        "\"never\":null,\"raw\":[1]}";
    assert_int_equal(to.len, strlen(wanted));
    assert_memory_equal(to.at, wanted, to.len);
    buf_finish(&to);
}

/* Jansson, which is strict about UTF-8, judges the writer. */
static void any_bytes_come_out_as_valid_json(void **state)
{
    (void)state;
    static const char tricky[] = {'"',    '\\',   0x1f,   0x7f,   '\xc0', '\xc2',
                                  '\xe0', '\xed', '\xef', '\xf0', '\xf4', '\xf5',
                                  '\x80', '\x8f', '\x90', '\xa0', '\xbf'};
    PROP_FOR(p, 30000)
    {
        char bytes[12], why[120];
        size_t len = (size_t)prop_range(&p, 0, sizeof(bytes));
        for (size_t i = 0; i < len; i++)
            bytes[i] = prop_chance(&p, 80) ? tricky[prop_u64(&p) % sizeof(tricky)]
                                           : (char)prop_range(&p, 1, 255);
        struct buf to = {0};
        struct json_out out;
        json_out_start(&out, &to);
        json_array_open(&out, NULL);
        json_put_str(&out, NULL, (struct str){.at = bytes, .len = len});
        json_array_close(&out);
        json_t *value = json_parse(buf_str(&to), why, sizeof(why));
        prop_check(&p, value != NULL);
        /* What was well-formed comes back unchanged. */
        json_t *direct = json_stringn(bytes, len);
        prop_check(&p, !direct || json_equal(direct, json_array_get(value, 0)));
        json_decref(direct);
        json_decref(value);
        buf_finish(&to);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(odd_texts_are_refused_with_a_place),
        cmocka_unit_test(brackets_in_strings_do_not_count_as_depth),
        cmocka_unit_test(members_of_another_type_are_as_absent),
        cmocka_unit_test(the_writer_keeps_the_commas),
        cmocka_unit_test(any_bytes_come_out_as_valid_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
