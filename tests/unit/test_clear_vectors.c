/* The published vectors, through the same door that `undercut clear` uses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "auction/lots_json.h"
#include "auction/tie.h"
#include "broker/base/json.h"

#define VECTORS "tests/unit/vectors/csba_vectors.json"

static void file_read(const char *path, struct buf *to)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char chunk[4096];
    for (size_t got; (got = fread(chunk, 1, sizeof(chunk), file)) > 0;)
        buf_add(to, chunk, got);
    fclose(file);
}

static void every_vector_comes_out_as_published(void **state)
{
    (void)state;
    static const char *const members[] = {"K",    "S_star",      "accepted", "assignment",
                                          "sold", "pay_uniform", "theta",    "pay_vickrey"};
    struct buf text = {0}, out = {0};
    char why[200] = "";
    file_read(VECTORS, &text);
    assert_true(lots_json_clear(buf_str(&text), &out, why, sizeof(why)));

    json_t *wanted = json_parse(buf_str(&text), why, sizeof(why));
    json_t *got = json_parse(buf_str(&out), why, sizeof(why));
    assert_int_equal(json_array_size(wanted), 12);
    assert_int_equal(json_array_size(got), 12);
    for (size_t i = 0; i < json_array_size(wanted); i++) {
        json_t *lot = json_array_get(wanted, i), *result = json_array_get(got, i);
        assert_int_equal(json_object_size(result), ARRAY_COUNT(members));
        for (size_t m = 0; m < ARRAY_COUNT(members); m++)
            if (!json_equal(json_object_get(lot, members[m]), json_object_get(result, members[m])))
                fail_msg("%s differs in %s", json_string_value(json_object_get(lot, "name")),
                         members[m]);
    }
    json_decref(wanted);
    json_decref(got);
    buf_finish(&text);
    buf_finish(&out);
}

static void tie_hashes_are_those_of_the_vectors(void **state)
{
    (void)state;
    struct buf text = {0};
    char why[200];
    file_read(VECTORS, &text);
    json_t *lots = json_parse(buf_str(&text), why, sizeof(why));
    size_t i, u;
    json_t *lot, *unit;
    json_array_foreach (lots, i, lot) {
        struct sha256 seed;
        struct sha256_run run;
        assert_true(hex_decode(json_str(lot, "seed"), seed.bytes, 32));
        tie_run_start(&run, &seed, TIE_BLOCK);
        json_array_foreach (json_object_get(lot, "sorted_units"), u, unit) {
            char hex[9];
            struct str id = str_of(json_string_value(json_array_get(unit, 2)));
            hex_encode(tie_hash(&run, id).bytes, 4, hex);
            assert_string_equal(hex, json_string_value(json_array_get(unit, 1)));
        }
    }
    json_decref(lots);
    buf_finish(&text);
}

struct text_case {
    const char *text;
    const char *wanted; /* the result, or how the refusal begins */
};

#define SEED "\"seed\":\"0000000000000000000000000000000000000000000000000000000000000001\""

static void lots_are_cleared_as_written(void **state)
{
    (void)state;
    static const struct text_case cases[] = {
        {"{" SEED ",\"sellers\":{},\"workloads\":{}}",
         "{\"K\":0,\"S_star\":null,\"accepted\":{},\"assignment\":{},\"sold\":{},"
         "\"pay_uniform\":{},\"theta\":{},\"pay_vickrey\":{}}"},
        {"{" SEED ",\"fee_bp\":1000,\"sellers\":{\"A\":{\"ask\":90}},"
         "\"workloads\":{\"w\":{\"reserve\":110,\"k\":1}}}",
         "{\"K\":1,\"S_star\":100,\"accepted\":{\"w\":1},\"assignment\":{\"w\":[\"A/0\"]},"
         "\"sold\":{\"A\":1},\"pay_uniform\":{\"A\":100},\"theta\":{\"A\":[100]},"
         "\"pay_vickrey\":{\"A\":100}}"},
        /* The owner of A's only block may not rent it. */
        {"{" SEED ",\"sellers\":{\"A\":{\"ask\":90}},"
         "\"workloads\":{\"w\":{\"reserve\":110,\"k\":1,\"owner\":\"A\"}}}",
         "{\"K\":0,\"S_star\":null,\"accepted\":{},\"assignment\":{},\"sold\":{\"A\":0},"
         "\"pay_uniform\":{\"A\":0},\"theta\":{},\"pay_vickrey\":{\"A\":0}}"},
        /* Owners that sell nothing here rent like anybody, whoever sells. */
        {"{" SEED ",\"sellers\":{\"A\":{\"ask\":90},\"B\":{\"ask\":95}},"
         "\"workloads\":{\"w\":{\"reserve\":110,\"k\":2,\"owner\":\"C\"},"
         "\"v\":{\"reserve\":99,\"k\":1,\"owner\":\"B\"}}}",
         "{\"K\":2,\"S_star\":110,\"accepted\":{\"w\":2},\"assignment\":{\"w\":[\"A/0\",\"B/0\"]},"
         "\"sold\":{\"A\":1,\"B\":1},\"pay_uniform\":{\"A\":110,\"B\":110},"
         "\"theta\":{\"A\":[110],\"B\":[110]},\"pay_vickrey\":{\"A\":110,\"B\":110}}"},
        {"[]", "[]"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct buf out = {0};
        char why[200] = "";
        if (!lots_json_clear(str_of(cases[i].text), &out, why, sizeof(why)))
            fail_msg("%s: %s", cases[i].text, why);
        if (!str_equal_c(buf_str(&out), cases[i].wanted))
            fail_msg("%s gave %.*s", cases[i].text, STR_ARG(buf_str(&out)));
        buf_finish(&out);
    }
}

#define SELLER(members)   "{" SEED ",\"sellers\":{\"A\":" members "},\"workloads\":{}}"
#define WORKLOAD(members) "{" SEED ",\"sellers\":{},\"workloads\":{\"w\":" members "}}"

/* What is refused says where, which fault, and what would be right. */
static void bad_lots_are_refused_by_kind_and_place(void **state)
{
    (void)state;
    static const struct text_case cases[] = {
        {SELLER("{\"ask\":0}"),
         "/sellers/A/ask: out_of_range: must be a whole number from 1 to 1099511627775"},
        {SELLER("{\"ask\":-1}"),
         "/sellers/A/ask: out_of_range: must be a whole number from 1 to 1099511627775"},
        {SELLER("{\"ask\":1099511627776}"),
         "/sellers/A/ask: out_of_range: must be a whole number from 1 to 1099511627775"},
        {SELLER("{\"ask\":9223372036854775808}"), "line 1 column "},
        {SELLER("{\"ask\":1.5}"), "/sellers/A/ask: wrong_type: must be a whole number from 1"},
        {SELLER("{\"ask\":null}"), "/sellers/A/ask: wrong_type: "},
        {SELLER("{}"), "/sellers/A/ask: missing: must be there"},
        {SELLER("7"), "/sellers/A: wrong_type: must be an object"},
        {SELLER("{\"ask\":1,\"blokcs\":2}"), "/sellers/A: unknown_member: blokcs"},
        {SELLER("{\"ask\":1,\"blocks\":0}"), "/sellers/A/blocks: out_of_range: "},
        {SELLER("{\"ask\":1,\"blocks\":10000001}"), "/sellers/A/blocks: out_of_range: "},
        {SELLER("{\"ask\":1,\"adder\":-1}"), "/sellers/A/adder: out_of_range: "},
        {SELLER("{\"ask\":1,\"adder\":1099511627775}"),
         "/sellers/A: out_of_range: ask and adder together exceed 1099511627775"},
        {"{" SEED ",\"sellers\":{\"A\":{\"ask\":1,\"blocks\":10000000},\"B\":{\"ask\":1}},"
         "\"workloads\":{}}",
         "/sellers/B/blocks: too_many: a lot has at most 10000000 blocks"},
        /* Two floors of one account. */
        {SELLER("{\"ask\":1},\"A\":{\"ask\":2}"), "line 1 column "},
        {WORKLOAD("{\"reserve\":-1,\"k\":1}"), "/workloads/w/reserve: out_of_range: "},
        {WORKLOAD("{\"reserve\":1099511627776,\"k\":1}"), "/workloads/w/reserve: out_of_range: "},
        {WORKLOAD("{\"k\":1}"), "/workloads/w/reserve: missing: "},
        {WORKLOAD("{\"reserve\":1}"), "/workloads/w/k: missing: "},
        {WORKLOAD("{\"reserve\":1,\"k\":0}"), "/workloads/w/k: out_of_range: "},
        {WORKLOAD("{\"reserve\":1,\"k\":1,\"kmin\":2}"),
         "/workloads/w/kmin: out_of_range: must be a whole number from 1 to 1"},
        {WORKLOAD("{\"reserve\":1,\"k\":1,\"kmin\":0}"), "/workloads/w/kmin: out_of_range: "},
        {WORKLOAD("{\"reserve\":1,\"k\":1,\"owner\":1}"), "/workloads/w/owner: wrong_type: "},
        {WORKLOAD("{\"reserve\":1,\"k\":1,\"class\":\"h100\"}"),
         "/workloads/w: unknown_member: class"},
        {WORKLOAD("[]"), "/workloads/w: wrong_type: must be an object"},
        {"{\"sellers\":{},\"workloads\":{}}", "/seed: wrong_type: must be 64 hex digits"},
        {"{" SEED ",\"sellers\":[],\"workloads\":{}}", ": wrong_type: a lot has objects"},
        {"{" SEED ",\"sellers\":{}}", ": wrong_type: a lot has objects"},
        {"{" SEED ",\"fee_bp\":10001,\"sellers\":{},\"workloads\":{}}",
         "/fee_bp: out_of_range: must be a whole number from 0 to 10000"},
        {"{" SEED ",\"fee_bp\":-1,\"sellers\":{},\"workloads\":{}}", "/fee_bp: out_of_range: "},
        {"[" SELLER("{\"ask\":1}") "," SELLER("{\"ask\":0}") "]",
         "/1/sellers/A/ask: out_of_range: "},
        {"[1]", "/0: wrong_type: "},
        {"1", "line 1 column "},
        {"[", "line 1 column "},
        {"", "line 1 column "},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct buf out = {0};
        char why[256] = "";
        if (lots_json_clear(str_of(cases[i].text), &out, why, sizeof(why)))
            fail_msg("%s was taken", cases[i].text);
        if (strncmp(why, cases[i].wanted, strlen(cases[i].wanted)) != 0)
            fail_msg("%s: %s", cases[i].text, why);
        buf_finish(&out);
    }
}

static void a_chain_value_is_checked_against_its_anchor(void **state)
{
    (void)state;
    struct sha256 secret = {.bytes = {1, 2, 3}};
    struct sha256 anchor = chain_value(secret, 1000);
    struct sha256 revealed = chain_value(secret, 1000 - 7);
    assert_true(chain_holds(anchor, revealed, 7));
    assert_false(chain_holds(anchor, revealed, 8));
    assert_true(chain_holds(secret, secret, 0));
    struct sha256 one = chain_value(secret, 1), again = sha256_of(secret.bytes, 32);
    assert_true(sha256_equal(&one, &again));
}

static void the_seed_hashes_its_parts_in_order(void **state)
{
    (void)state;
    struct seed_parts parts = {.market = STR("eu"), .t = 0x0102030405060708u};
    for (uint8_t i = 0; i < 32; i++) {
        parts.arrivals_root.bytes[i] = i;
        parts.chain_value.bytes[i] = (uint8_t)(0x80 + i);
    }
    struct buf whole = {0};
    buf_add_c(&whole, "undercut/seed/v1|eu\1\2\3\4\5\6\7\10");
    buf_add(&whole, parts.arrivals_root.bytes, 32);
    buf_add(&whole, parts.chain_value.bytes, 32);
    struct sha256 wanted = sha256_of(whole.at, whole.len), got = seed_of(&parts);
    assert_memory_equal(wanted.bytes, got.bytes, 32);
    buf_finish(&whole);
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_vector_comes_out_as_published),
        cmocka_unit_test(tie_hashes_are_those_of_the_vectors),
        cmocka_unit_test(lots_are_cleared_as_written),
        cmocka_unit_test(bad_lots_are_refused_by_kind_and_place),
        cmocka_unit_test(a_chain_value_is_checked_against_its_anchor),
        cmocka_unit_test(the_seed_hashes_its_parts_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
