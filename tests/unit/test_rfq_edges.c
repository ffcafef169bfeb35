/* The rims of the second-score rule: memory filled to the last byte, prices at the limit, and a
 * fault in any place of the list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "auction/rfq.h"
#include "tests/lib/prop.h"

enum { MOST = 40, ROOM = 64 };

static char ids[MOST][8];
static struct rfq_candidate candidates[MOST];

static struct rfq_input input_draw(struct prop *p)
{
    struct rfq_input input = {.candidates = candidates,
                              .candidates_count = (uint32_t)prop_range(p, 0, MOST),
                              .owner = (uint32_t)prop_range(p, 0, 5),
                              .r_uusd_per_hour = prop_range(p, 0, 9)};
    input.k = (uint32_t)prop_range(p, 1, 8);
    input.kmin = (uint32_t)prop_range(p, 1, input.k);
    for (int i = 0; i < 32; i++)
        input.seed.bytes[i] = (uint8_t)prop_u64(p);
    for (uint32_t i = 0; i < input.candidates_count; i++) {
        (void)str_format(ids[i], sizeof(ids[i]), "c%u", i);
        candidates[i] = (struct rfq_candidate){
            .id = str_of(ids[i]),
            .owner = (uint32_t)prop_range(p, 0, 4),
            .group = (uint32_t)prop_range(p, 0, input.candidates_count - 1),
            .price_uusd_per_hour = prop_range(p, 0, 4),
            .terms_uusd_per_hour = prop_range(p, 0, 3),
        };
    }
    return input;
}

static void it_needs_the_memory_it_asks_for_and_no_more(void **state)
{
    (void)state;
    struct rfq roomy, exact;
    void *room = malloc(rfq_size(ROOM));
    assert_int_equal(rfq_size(0), 0);
    rfq_start(&roomy, ROOM, room);
    PROP_FOR(p, 3000)
    {
        struct rfq_input input = input_draw(&p);
        struct rfq_result result, wanted;
        size_t size = rfq_size(input.candidates_count);
        char *memory = malloc(size + 64);
        memset(memory, 0x5a, size + 64);
        rfq_start(&exact, input.candidates_count, memory);
        prop_check(&p, rfq_clear(&roomy, &input, &wanted) == LOT_CLEARED);
        prop_check(&p, rfq_clear(&exact, &input, &result) == LOT_CLEARED);
        prop_check(&p, result.verdict == wanted.verdict);
        prop_check(&p, result.index_uusd_per_hour == wanted.index_uusd_per_hour);
        prop_check(&p, result.awards_count == wanted.awards_count);
        prop_check(&p, result.awards_count == 0 ||
                           memcmp(result.awards, wanted.awards,
                                  result.awards_count * sizeof(*result.awards)) == 0);
        for (size_t i = size; i < size + 64; i++)
            prop_check(&p, memory[i] == 0x5a);
        free(memory);
    }
    free(room);
}

/* One candidate of three breaks a bound; the same at the bound is fine. */
static void a_fault_is_found_wherever_it_stands(void **state)
{
    (void)state;
    static const struct {
        int64_t price, terms;
        uint32_t group;
        enum lot_outcome outcome;
    } cases[] = {
        {LOT_SCORE_MAX, 0, 2, LOT_CLEARED},
        {LOT_SCORE_MAX + 1, 0, 2, LOT_INPUT_BAD},
        {0, LOT_SCORE_MAX, 0, LOT_CLEARED},
        {0, LOT_SCORE_MAX + 1, 0, LOT_INPUT_BAD},
        {LOT_SCORE_MAX - 1, 1, 1, LOT_CLEARED},
        {LOT_SCORE_MAX, 1, 1, LOT_INPUT_BAD},
        {0, 0, 2, LOT_CLEARED},
        {0, 0, 3, LOT_INPUT_BAD},
        {-1, 0, 0, LOT_INPUT_BAD},
        {0, -1, 0, LOT_INPUT_BAD},
    };
    struct rfq rfq;
    void *room = malloc(rfq_size(3));
    rfq_start(&rfq, 3, room);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        for (uint32_t at = 0; at < 3; at++) {
            struct rfq_result result;
            struct rfq_candidate three[3] = {
                {.id = STR("a")}, {.id = STR("b"), .group = 1}, {.id = STR("c"), .group = 2}};
            struct rfq_input input = {.candidates = three,
                                      .candidates_count = 3,
                                      .owner = LOT_OWNER_NONE,
                                      .r_uusd_per_hour = LOT_SCORE_MAX,
                                      .k = 1,
                                      .kmin = 1};
            three[at].price_uusd_per_hour = cases[i].price;
            three[at].terms_uusd_per_hour = cases[i].terms;
            three[at].group = cases[i].group;
            assert_int_equal(rfq_clear(&rfq, &input, &result), cases[i].outcome);
        }
    free(room);
}

/* What stands alone at its score is never hashed: its id is not even readable here. */
static void only_equals_are_hashed(void **state)
{
    (void)state;
    static const int64_t prices[][4] = {{1, 1, 2, 3}, {0, 1, 1, 2}, {0, 1, 2, 2}, {0, 1, 2, 3}};
    const struct str unreadable = {.at = (const char *)(uintptr_t)16, .len = 4};
    struct rfq rfq;
    struct rfq_result result;
    void *room = malloc(rfq_size(4));
    rfq_start(&rfq, 4, room);
    for (size_t i = 0; i < ARRAY_COUNT(prices); i++) {
        struct rfq_candidate four[4];
        struct rfq_input input = {.candidates = four,
                                  .candidates_count = 4,
                                  .owner = LOT_OWNER_NONE,
                                  .r_uusd_per_hour = 9,
                                  .k = 2,
                                  .kmin = 1};
        for (uint32_t at = 0; at < 4; at++) {
            bool has_equal = (at > 0 && prices[i][at] == prices[i][at - 1]) ||
                             (at < 3 && prices[i][at] == prices[i][at + 1]);
            four[at] = (struct rfq_candidate){
                .id = has_equal ? (struct str){.at = "abcd" + at, .len = 1} : unreadable,
                .owner = at,
                .group = at,
                .price_uusd_per_hour = prices[i][at]};
        }
        assert_int_equal(rfq_clear(&rfq, &input, &result), LOT_CLEARED);
        assert_int_equal(result.awards_count, 2);
    }
    free(room);
}

/* Two candidates of one group are one: too few for two at any price, not at this one. */
static void a_group_counts_once(void **state)
{
    (void)state;
    struct rfq rfq;
    struct rfq_result result;
    void *room = malloc(rfq_size(3));
    rfq_start(&rfq, 3, room);
    struct rfq_candidate three[3] = {{.id = STR("a"), .price_uusd_per_hour = 5},
                                     {.id = STR("b"), .price_uusd_per_hour = 6},
                                     {.id = STR("c"), .price_uusd_per_hour = 7, .group = 2}};
    struct rfq_input input = {.candidates = three,
                              .candidates_count = 2,
                              .owner = LOT_OWNER_NONE,
                              .r_uusd_per_hour = 6,
                              .k = 2,
                              .kmin = 2};
    assert_int_equal(rfq_clear(&rfq, &input, &result), LOT_CLEARED);
    assert_int_equal(result.verdict, DEMAND_LOT_TOO_SMALL);
    input.candidates_count = 3;
    assert_int_equal(rfq_clear(&rfq, &input, &result), LOT_CLEARED);
    assert_int_equal(result.verdict, DEMAND_RESERVE_SHORT);
    free(room);
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_needs_the_memory_it_asks_for_and_no_more),
        cmocka_unit_test(a_fault_is_found_wherever_it_stands),
        cmocka_unit_test(only_equals_are_hashed),
        cmocka_unit_test(a_group_counts_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
