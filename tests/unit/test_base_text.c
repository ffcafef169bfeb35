/* Slices, numbers, money and ids as text: what is written reads back, what is odd is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "broker/base/clock.h"
#include "broker/base/hash.h"
#include "broker/base/id.h"
#include "broker/base/money.h"
#include "tests/lib/prop.h"

static void slices_compare_cut_and_trim(void **state)
{
    (void)state;
    assert_true(str_equal(STR("ab"), STR("ab")));
    assert_false(str_equal(STR("ab"), STR("abc")));
    assert_true(str_equal(STR_NONE, STR("")));
    assert_true(str_equal_c(STR("ab"), "ab"));
    assert_true(str_compare(STR("a"), STR("ab")) < 0);
    assert_true(str_compare(STR("b"), STR("ab")) > 0);
    assert_int_equal(str_compare(STR_NONE, STR_NONE), 0);
    assert_true(str_starts_with(STR("abc"), STR("ab")));
    assert_true(str_starts_with(STR_NONE, STR_NONE));
    assert_false(str_starts_with(STR("a"), STR("ab")));
    assert_true(str_equal_c(str_trim(STR(" \t a b\t ")), "a b"));
    assert_int_equal(str_trim(STR("  ")).len, 0);
    assert_null(str_of(NULL).at);

    struct str rest = STR("a,,b");
    assert_true(str_equal_c(str_cut(&rest, ','), "a"));
    struct str empty = str_cut(&rest, ',');
    assert_non_null(empty.at);
    assert_int_equal(empty.len, 0);
    assert_true(str_equal_c(str_cut(&rest, ','), "b"));
    assert_null(rest.at);
    assert_null(str_cut(&rest, ',').at);
}

struct number_case {
    const char *text;
    bool is_good;
    int64_t value;
};

static void numbers_are_read_whole_or_not_at_all(void **state)
{
    (void)state;
    static const struct number_case cases[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"007", true, 7},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"99999999999999999999", false, 0},
        {"", false, 0},
        {"-", false, 0},
        {"+1", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"1e3", false, 0},
        {"0x1", false, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        int64_t value = 42;
        assert_int_equal(str_to_i64(str_of(cases[i].text), &value), cases[i].is_good);
        assert_true(value == (cases[i].is_good ? cases[i].value : 42));
    }
}

static void formatting_says_when_it_does_not_fit(void **state)
{
    (void)state;
    char buf[4];
    assert_true(str_format(buf, sizeof(buf), "%d", 123));
    assert_false(str_format(buf, sizeof(buf), "%d", 1234));
    assert_string_equal(buf, "123");

    struct buf grown = {0};
    for (int i = 0; i < 1000; i++)
        buf_add_format(&grown, "%0*d,", i % 200 + 1, 7);
    assert_int_equal(grown.len, 1000 + 5 * 200 * 201 / 2);
    buf_add_c(&grown, NULL);
    buf_add(&grown, NULL, 0);
    assert_true(str_starts_with(buf_str(&grown), STR("7,07,007,")));
    buf_finish(&grown);
    assert_int_equal(buf_str(&grown).len, 0);
}

static void hex_and_base64url_read_back(void **state)
{
    (void)state;
    PROP_FOR(p, 3000)
    {
        uint8_t bytes[40], back[40];
        char hex[81], text[57];
        size_t len = (size_t)prop_range(&p, 0, 40);
        for (size_t i = 0; i < len; i++)
            bytes[i] = (uint8_t)prop_u64(&p);
        hex_encode(bytes, len, hex);
        prop_check(&p, hex_decode(str_of(hex), back, len) && memcmp(bytes, back, len) == 0);
        size_t text_len = base64url_encode(bytes, len, text);
        prop_check(&p, strlen(text) == text_len && text_len == (4 * len + 2) / 3);
        prop_check(&p, base64url_decode(str_of(text), back, len) == (ptrdiff_t)len);
        prop_check(&p, memcmp(bytes, back, len) == 0);
        prop_check(&p, len == 0 || base64url_decode(str_of(text), back, len - 1) == -1);
    }
    uint8_t out[8];
    assert_int_equal(base64url_decode(STR("-_8"), out, sizeof(out)), 2);
    static const char *const bad[] = {"A",  "AAAAA", "AA=", "A+",      "A/",
                                      "A ", "AB",    "AAB", "\xc3\xa4"};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_int_equal(base64url_decode(str_of(bad[i]), out, sizeof(out)), -1);
    assert_true(hex_decode(STR("aF"), out, 1));
    assert_int_equal(out[0], 0xaf);
    assert_false(hex_decode(STR("ag"), out, 1));
    assert_false(hex_decode(STR("a"), out, 1));
}

struct usd_case {
    const char *text;
    int64_t uusd; /* -1: refused */
};

static void money_is_read_to_the_micro_dollar(void **state)
{
    (void)state;
    static const struct usd_case cases[] = {
        {"0.35", 350000},
        {"12", 12000000},
        {"0.000001", 1},
        {"1.5", 1500000},
        {"007.10", 7100000},
        {"9007199254.740992", MONEY_MAX},
        {"9007199254.740993", -1},
        {"99999999999999999999", -1},
        {"", -1},
        {".5", -1},
        {"5.", -1},
        {"1.0000001", -1},
        {"-1", -1},
        {"+1", -1},
        {" 1", -1},
        {"1,5", -1},
        {"1.2.3", -1},
        {"1e2", -1},
        {".", -1},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        int64_t uusd = 42;
        bool is_good = cases[i].uusd >= 0;
        assert_int_equal(money_parse_usd(str_of(cases[i].text), &uusd), is_good);
        assert_true(uusd == (is_good ? cases[i].uusd : 42));
    }
    char text[32];
    assert_string_equal(money_format_usd(350000, text), "0.35");
    assert_string_equal(money_format_usd(12000000, text), "12.00");
    assert_string_equal(money_format_usd(1234567, text), "1.234567");
    assert_string_equal(money_format_usd(-500000, text), "-0.50");
    assert_string_equal(money_format_usd(0, text), "0.00");
    assert_string_equal(money_format_usd(INT64_MIN, text), "-9223372036854.775808");
    PROP_FOR(p, 5000)
    {
        int64_t uusd = prop_range(&p, 0, prop_chance(&p, 50) ? 3000000 : MONEY_MAX), back;
        prop_check(&p, money_parse_usd(str_of(money_format_usd(uusd, text)), &back));
        prop_check(&p, back == uusd);
    }
}

static void money_never_wraps(void **state)
{
    (void)state;
    int64_t sum = 7;
    assert_true(money_add(MONEY_MAX - 1, 1, &sum) && sum == MONEY_MAX);
    assert_false(money_add(MONEY_MAX, 1, &sum));
    assert_false(money_add(-MONEY_MAX, -1, &sum));
    assert_false(money_add(INT64_MAX, INT64_MAX, &sum));
    assert_false(money_mul(MONEY_MAX, 2, &sum));
    assert_false(money_mul(INT64_MIN, -1, &sum));
    assert_int_equal(sum, MONEY_MAX);
    assert_true(money_mul(-3, 5, &sum) && sum == -15);
    assert_int_equal(mul_div_floor(INT64_MAX, INT64_MAX, INT64_MAX), INT64_MAX);
    assert_int_equal(mul_div_floor(7, 3, 2), 10);
    assert_int_equal(mul_div_ceil(7, 3, 2), 11);
    assert_int_equal(mul_div_ceil(4, 3, 2), 6);
    assert_int_equal(money_for_ms(349999, 1000), 97);
}

static void ids_rise_and_read_back(void **state)
{
    (void)state;
    struct uuid last = {.bytes = {0}};
    assert_true(uuid_is_nil(last));
    for (int i = 0; i < 20000; i++) {
        struct uuid id = uuid_v7();
        assert_true(memcmp(last.bytes, id.bytes, 16) < 0);
        assert_int_equal(id.bytes[6] >> 4, 7);
        assert_int_equal(id.bytes[8] >> 6, 2);
        last = id;
    }
    /* A clock that goes back does not bring ids back. */
    clock_fake(1000, 1000);
    assert_true(memcmp(last.bytes, uuid_v7().bytes, 16) < 0);
    clock_fake(-1, -1);

    PROP_FOR(p, 3000)
    {
        char text[ID_TEXT_SIZE], plain[ID_TEXT_SIZE];
        struct workload_id id, back;
        struct uuid plain_back;
        for (int i = 0; i < 16; i++)
            id.u.bytes[i] = prop_chance(&p, 20) ? 0xff : (uint8_t)prop_u64(&p);
        prop_check(&p, workload_id_parse(str_of(workload_id_text(id, text)), &back));
        prop_check(&p, uuid_equal(id.u, back.u));
        prop_check(&p, uuid_parse(str_of(uuid_text(id.u, plain)), &plain_back));
        prop_check(&p, uuid_equal(id.u, plain_back));
    }
}

static void ids_have_one_spelling(void **state)
{
    (void)state;
    struct lease_id id;
    struct uuid uuid;
    char text[ID_TEXT_SIZE];
    assert_true(lease_id_parse(STR("lse_00000000000000000000000001"), &id));
    assert_string_equal(uuid_text(id.u, text), "00000000-0000-0000-0000-000000000001");
    assert_true(lease_id_parse(STR("lse_7zzzzzzzzzzzzzzzzzzzzzzzzz"), &id));
    assert_string_equal(uuid_text(id.u, text), "ffffffff-ffff-ffff-ffff-ffffffffffff");
    static const char *const bad[] = {
        "lse_80000000000000000000000000", /* beyond 128 bits */
        "wl_00000000000000000000000001",
        "lse-00000000000000000000000001",
        "lse_0000000000000000000000000l",
        "lse_0000000000000000000000000A",
        "lse_0000000000000000000000001",
        "lse_000000000000000000000000001",
        "",
        "lse_",
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_false(lease_id_parse(str_of(bad[i]), &id));
    assert_false(
        lease_id_parse((struct str){.at = "lse_0000000000000000000000000\0", .len = 30}, &id));
    assert_false(uuid_parse(STR("ffffffff-ffff-ffff-ffff-fffffffffff"), &uuid));
    assert_false(uuid_parse(STR("ffffffff-ffff-ffff-ffff-fffffffffffg"), &uuid));
    assert_false(uuid_parse(STR("fffffffff-fff-ffff-ffff-ffffffffffff"), &uuid));
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_compare_cut_and_trim),
        cmocka_unit_test(numbers_are_read_whole_or_not_at_all),
        cmocka_unit_test(formatting_says_when_it_does_not_fit),
        cmocka_unit_test(hex_and_base64url_read_back),
        cmocka_unit_test(money_is_read_to_the_micro_dollar),
        cmocka_unit_test(money_never_wraps),
        cmocka_unit_test(ids_rise_and_read_back),
        cmocka_unit_test(ids_have_one_spelling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
