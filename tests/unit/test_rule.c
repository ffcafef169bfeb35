/* What the rule does to get there: equals are hashed only where it matters, in linear time, and in
 * the order of the whole hash; and a lot may fill its memory to the last byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "auction/keys.h"
#include "auction/rule.h"
#include "auction/tie.h"
#include "tests/lib/lot_draw.h"

/* Which ids the rule reads to hash them ---------------------------------------------------------*/

struct watched {
    const struct lot_input *input;
    uint32_t blocks_hashed, demands_hashed;
};

static struct watched watched;

static struct lot_block block_read(const void *at, uint32_t index, char text[ID_TEXT_SIZE])
{
    const struct watched *seen = at;
    watched.blocks_hashed += text != NULL;
    return seen->input->blocks[index];
}

static struct lot_demand demand_read(const void *at, uint32_t index, char text[ID_TEXT_SIZE])
{
    const struct watched *seen = at;
    watched.demands_hashed += text != NULL;
    return seen->input->demands[index];
}

/* Blocks and workloads that stand in order already. */
static bool rule_runs_on(const struct lot_input *input, struct lot_result *ret_result)
{
    struct lot_clear *lot = lot_bench();
    watched = (struct watched){.input = input};
    rule_open(lot);
    for (uint32_t i = 0; i < input->blocks_count; i++)
        lot->supply[i] =
            key_of(input->blocks[i].ask_uusd_per_hour + input->blocks[i].adder_uusd_per_hour, i);
    for (uint32_t i = 0; i < input->demands_count; i++)
        lot->demand[i] = key_of(LOT_SCORE_MAX - input->demands[i].r_uusd_per_hour, i);
    lot->blocks_count = lot->front_count = input->blocks_count;
    lot->demands_count = input->demands_count;
    const struct lot_source source = {
        .at = &watched, .block = block_read, .demand = demand_read, .seed = &input->seed};
    return rule_run(lot, &source, ret_result);
}

static struct lot_result rule_on(const struct lot_input *input)
{
    struct lot_result result;
    assert_true(rule_runs_on(input, &result));
    return result;
}

struct tie_case {
    const char *asks, *reserves; /* one digit each, in order */
    uint32_t sold, blocks_hashed, demands_hashed;
};

static void only_equals_that_matter_are_hashed(void **state)
{
    (void)state;
    static const struct tie_case cases[] = {
        {"1234", "9876", 4, 0, 0}, /* no equals */
        {"1123", "98", 2, 2, 0},   /* both of the two are sold, to different workloads */
        {"1222", "98", 2, 3, 0},   /* one of three */
        {"1222", "9", 1, 0, 0},    /* they begin right behind what is sold */
        {"1133", "9", 1, 2, 0},    /* the cheaper two; the others are not reached */
        {"1234", "8866", 4, 0, 4}, /* who comes first gets the cheaper block */
        {"9999", "8866", 0, 0, 0}, /* nothing to get */
        {"12", "7755", 2, 0, 2},   /* nothing left for the second two */
        {"1111", "5555", 4, 4, 4}, /* all of both sides */
        {"", "55", 0, 0, 0},       /* nobody sells */
        {"11", "", 0, 0, 0},       /* nobody buys */
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct lot_block blocks[8];
        struct lot_demand demands[8];
        char ids[2][8][DRAWN_ID_SIZE];
        struct lot_input input = {.blocks = blocks, .demands = demands};
        for (const char *ask = cases[i].asks; *ask; ask++) {
            uint32_t at = input.blocks_count++;
            blocks[at] = (struct lot_block){.id = draw_block_id(ids[0][at], at, 0),
                                            .owner = at,
                                            .ask_uusd_per_hour = *ask - '0'};
        }
        for (const char *r = cases[i].reserves; *r; r++) {
            uint32_t at = input.demands_count++;
            demands[at] = (struct lot_demand){.id = draw_demand_id(ids[1][at], at),
                                              .owner = LOT_OWNER_NONE,
                                              .r_uusd_per_hour = *r - '0',
                                              .k = 1,
                                              .kmin = 1};
        }
        struct lot_result result = rule_on(&input);
        assert_int_equal(result.awards_count, cases[i].sold);
        assert_int_equal(watched.blocks_hashed, cases[i].blocks_hashed);
        assert_int_equal(watched.demands_hashed, cases[i].demands_hashed);
    }
}

/* The whole hash decides ------------------------------------------------------------------------*/

static struct sha256 hash_of_block(uint32_t number, char *ret_id)
{
    static const struct sha256 seed;
    struct sha256_run run;
    tie_run_start(&run, &seed, TIE_BLOCK);
    return tie_hash(&run, draw_block_id(ret_id, 0, number));
}

/* Two ids whose hashes begin with the same 16 bits, in either order of the input. */
static void equals_whose_hashes_begin_alike_stand_by_the_rest(void **state)
{
    (void)state;
    uint32_t pairs_count = 0;
    for (uint32_t a = 0; a < 1000; a++)
        for (uint32_t b = a + 1; b < 1000 && pairs_count < 5; b++) {
            char ids[2][DRAWN_ID_SIZE];
            struct sha256 first = hash_of_block(a, ids[0]);
            struct sha256 second = hash_of_block(b, ids[1]);
            if (memcmp(&first, &second, 2) != 0)
                continue;
            pairs_count++;
            struct lot_block blocks[2] = {{.id = str_of(ids[0])}, {.id = str_of(ids[1])}};
            struct lot_block turned[2] = {blocks[1], blocks[0]};
            const struct lot_demand demand = {
                .id = STR("w"), .owner = LOT_OWNER_NONE, .r_uusd_per_hour = 1, .k = 1, .kmin = 1};
            uint32_t winner = memcmp(&first, &second, sizeof(first)) > 0;
            struct lot_input input = {
                .blocks = blocks, .blocks_count = 2, .demands = &demand, .demands_count = 1};
            assert_int_equal(lot_cleared(&input).awards[0].block, winner);
            input.blocks = turned;
            assert_int_equal(lot_cleared(&input).awards[0].block, 1 - winner);
        }
    assert_true(pairs_count >= 3);
}

/* Memory and time -------------------------------------------------------------------------------*/

static void a_lot_may_fill_its_memory_to_the_last_byte(void **state)
{
    (void)state;
    static struct lot_drawn drawn;
    const struct lot_limits none = {.blocks_max = 0};
    assert_int_equal(lot_clear_size(&none), 0);
    static const struct draw_shape shape = {
        .blocks_max = 300, .demands_max = 90, .owners_max = 20, .k_max = 6, .price_steps = 9};
    PROP_FOR(p, 200)
    {
        lot_draw(&p, &shape, &drawn);
        const struct lot_limits limits = {.blocks_max = drawn.input.blocks_count,
                                          .demands_max = drawn.input.demands_count,
                                          .owners_max = drawn.owners_count};
        struct lot_clear exact;
        struct lot_result result, wanted = lot_cleared(&drawn.input);
        size_t size = lot_clear_size(&limits);
        char *memory = malloc(size + 64);
        memset(memory, 0x5a, size + 64);
        lot_clear_start(&exact, &limits, memory);
        prop_check(&p, lot_clear(&exact, &drawn.input, &result) == LOT_CLEARED);
        prop_check(&p, exact.fault == LOT_FAULT_NONE && exact.fault_at == 0);
        prop_check(&p, result.awards_count == wanted.awards_count);
        prop_check(&p, result.awards_count == 0 ||
                           memcmp(result.awards, wanted.awards,
                                  wanted.awards_count * sizeof(*wanted.awards)) == 0);
        prop_check(&p, result.prefixes_count == 0 ||
                           memcmp(result.prefixes, wanted.prefixes,
                                  wanted.prefixes_count * sizeof(*wanted.prefixes)) == 0);
        for (size_t i = size; i < size + 64; i++)
            prop_check(&p, memory[i] == 0x5a);
        free(memory);
    }
}

static void the_last_number_that_a_key_holds_is_taken(void **state)
{
    (void)state;
    const struct lot_block block = {.ask_uusd_per_hour = -1}; /* refused at the first look */
    const struct lot_demand demand = {.r_uusd_per_hour = -1};
    struct lot_clear lot = {
        .limits = {.blocks_max = UINT32_MAX, .demands_max = UINT32_MAX, .owners_max = 1}};
    struct lot_input input = {.blocks = &block, .blocks_count = KEY_INDEX_MAX};
    struct lot_result result;
    assert_int_equal(lot_clear(&lot, &input, &result), LOT_INPUT_BAD);
    assert_int_equal(lot.fault, LOT_FAULT_ASK);
    input = (struct lot_input){.demands = &demand, .demands_count = KEY_INDEX_MAX};
    assert_int_equal(lot_clear(&lot, &input, &result), LOT_INPUT_BAD);
    assert_int_equal(lot.fault, LOT_FAULT_RESERVE);
}

/* The first that differs, in the order of scores; and not where it stands behind what was sold and
 * belongs to somebody who sold nothing. */
static void adders_that_differ_under_a_gang_name_the_block(void **state)
{
    (void)state;
    for (uint32_t at = 1; at < 5; at++) {
        struct lot_block blocks[5];
        const struct lot_demand gang = {
            .id = STR("w"), .owner = LOT_OWNER_NONE, .r_uusd_per_hour = 9, .k = 3, .kmin = 2};
        const struct lot_input input = {
            .blocks = blocks, .blocks_count = 5, .demands = &gang, .demands_count = 1};
        struct lot_result result;
        for (uint32_t i = 0; i < 5; i++)
            blocks[i] = (struct lot_block){.id = {.at = "abcde" + i, .len = 1},
                                           .owner = i > 2,
                                           .ask_uusd_per_hour = i,
                                           .adder_uusd_per_hour = i >= at};
        assert_int_equal(rule_runs_on(&input, &result), at > 2);
        assert_true(at > 2 || lot_bench()->fault == LOT_FAULT_TWO_ADDERS);
        assert_true(at > 2 || lot_bench()->fault_at == at);
    }
}

enum { MANY = 150000 };

/* All blocks equal, all wanted: ordering them by comparing neighbours would take minutes. */
static void a_crowd_of_equals_is_ordered_in_linear_time(void **state)
{
    (void)state;
    const struct lot_limits limits = {.blocks_max = MANY, .demands_max = 1, .owners_max = 1};
    struct lot_block *blocks = calloc(MANY, sizeof(*blocks));
    char(*ids)[DRAWN_ID_SIZE] = calloc(MANY, sizeof(*ids));
    void *memory = malloc(lot_clear_size(&limits));
    const struct lot_demand demand = {
        .id = STR("w"), .owner = LOT_OWNER_NONE, .r_uusd_per_hour = 1, .k = MANY, .kmin = MANY};
    for (uint32_t i = 0; i < MANY; i++) {
        (void)str_format(ids[i], sizeof(*ids), "b%u", i);
        blocks[i].id = str_of(ids[i]);
    }
    const struct lot_input input = {
        .blocks = blocks, .blocks_count = MANY, .demands = &demand, .demands_count = 1};
    struct lot_clear lot;
    struct lot_result result;
    lot_clear_start(&lot, &limits, memory);
    clock_t began = clock();
    assert_int_equal(lot_clear(&lot, &input, &result), LOT_CLEARED);
    assert_true(clock() - began < 10 * CLOCKS_PER_SEC);
    assert_int_equal(result.awards_count, MANY);
    free(blocks);
    free(ids);
    free(memory);
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_equals_that_matter_are_hashed),
        cmocka_unit_test(equals_whose_hashes_begin_alike_stand_by_the_rest),
        cmocka_unit_test(a_lot_may_fill_its_memory_to_the_last_byte),
        cmocka_unit_test(the_last_number_that_a_key_holds_is_taken),
        cmocka_unit_test(adders_that_differ_under_a_gang_name_the_block),
        cmocka_unit_test(a_crowd_of_equals_is_ordered_in_linear_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
