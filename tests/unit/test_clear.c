/* Clearing against the slow rule; what is refused, and the largest numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/lot_shrink.h"

static struct lot_drawn drawn;
static struct slow_lot slow;

static const struct draw_shape small = {.blocks_max = 9,
                                        .demands_max = 7,
                                        .owners_max = 4,
                                        .k_max = 4,
                                        .price_steps = 12,
                                        .self_percent = 15,
                                        .has_adders = true,
                                        .has_adders_per_block = true};

/* Every sold block, its tenant, its threshold and the lot's index are those of the slow rule. */
static void outcome_check(struct prop *p, const struct lot_input *input,
                          const struct lot_result *result)
{
    static uint32_t sold_by[DRAWN_OWNERS_MAX];
    memset(sold_by, 0, sizeof(sold_by));
    slow_clear(input, &slow);
    prop_check(p, result->awards_count == slow.sold_count);
    prop_check(p, result->index_uusd_per_hour == slow_index(input, &slow));
    for (uint32_t i = 0; i < input->demands_count; i++)
        prop_check(p, result->accepted_counts[i] == slow.got[i]);

    uint32_t w = 0;
    for (uint32_t rank = 0; rank < result->awards_count; rank++) {
        const struct lot_award *award = &result->awards[rank];
        const struct lot_block *block = &input->blocks[award->block];
        while (slow.k_after[w] <= rank)
            w++;
        int64_t theta = slow_threshold(input, &slow, block->owner, ++sold_by[block->owner]);
        prop_check(p, award->block == slow.order[rank]);
        prop_check(p, award->demand == slow.walk[w]);
        prop_check(p, award->theta_uusd_per_hour == theta);
        prop_check(p, award->price_uusd_per_hour == theta - block->adder_uusd_per_hour);
    }
}

static void clears_as_slow(struct prop *p, struct lot_drawn *lot)
{
    struct lot_result result = lot_cleared(&lot->input);
    outcome_check(p, &lot->input, &result);
}

static void small_lots_clear_as_the_slow_rule_says(void **state)
{
    (void)state;
    lots_hold(&small, 100000, clears_as_slow);
}

static void large_lots_full_of_equals_clear_as_the_slow_rule_says(void **state)
{
    (void)state;
    static const struct draw_shape shapes[] = {
        {.blocks_max = 3000, .demands_max = 600, .owners_max = 60, .k_max = 9, .price_steps = 3},
        {.blocks_max = 1500,
         .demands_max = 600,
         .owners_max = 60,
         .k_max = 9,
         .price_steps = 70000,
         .has_adders = true,
         .has_adders_per_block = true},
        {.blocks_max = 200, .demands_max = 100, .owners_max = 9, .k_max = 20, .price_steps = 0},
    };
    PROP_FOR(p, 24)
    {
        lot_draw(&p, &shapes[p.seed % ARRAY_COUNT(shapes)], &drawn);
        struct lot_result result = lot_cleared(&drawn.input);
        outcome_check(&p, &drawn.input, &result);
    }
}

static void inputs_out_of_range_are_refused(void **state)
{
    (void)state;
    const struct lot_block good_block = {.id = STR("b"), .ask_uusd_per_hour = 1};
    const struct lot_demand good_demand = {.id = STR("w"), .r_uusd_per_hour = 1, .k = 1, .kmin = 1};
    struct lot_block blocks[8];
    struct lot_demand demands[8];
    for (int i = 0; i < 8; i++) {
        blocks[i] = good_block;
        demands[i] = good_demand;
        demands[i].owner = LOT_OWNER_NONE;
    }
    blocks[1].ask_uusd_per_hour = -1;
    blocks[2].adder_uusd_per_hour = -1;
    blocks[3].ask_uusd_per_hour = LOT_SCORE_MAX + 1;
    blocks[4].adder_uusd_per_hour = LOT_SCORE_MAX; /* together with an ask of 1 */
    blocks[5].owner = DRAWN_OWNERS_MAX;
    demands[1].k = demands[1].kmin = 0;
    demands[2].kmin = 0;
    demands[3].kmin = 2;
    demands[4].r_uusd_per_hour = -1;
    demands[5].r_uusd_per_hour = LOT_SCORE_MAX + 1;
    demands[6].owner = DRAWN_OWNERS_MAX;
    for (uint32_t i = 0; i < 7; i++) {
        struct lot_result result;
        struct lot_input input = {.blocks = &blocks[i], .blocks_count = i < 6};
        if (i < 6)
            assert_int_equal(lot_clear(lot_bench(), &input, &result),
                             i ? LOT_INPUT_BAD : LOT_CLEARED);
        input = (struct lot_input){.demands = &demands[i], .demands_count = 1};
        assert_int_equal(lot_clear(lot_bench(), &input, &result), i ? LOT_INPUT_BAD : LOT_CLEARED);
    }
    struct lot_input input = {.blocks = blocks, .blocks_count = DRAWN_BLOCKS_MAX + 1};
    struct lot_result result;
    assert_int_equal(lot_clear(lot_bench(), &input, &result), LOT_INPUT_BAD);
}

static void the_largest_prices_do_not_overflow(void **state)
{
    (void)state;
    struct lot_block blocks[] = {{.id = STR("a"), .ask_uusd_per_hour = LOT_SCORE_MAX},
                                 {.id = STR("b"), .owner = 1}};
    struct lot_demand demands[] = {{.id = STR("w"),
                                    .owner = LOT_OWNER_NONE,
                                    .r_uusd_per_hour = LOT_SCORE_MAX,
                                    .k = UINT32_MAX,
                                    .kmin = 2}};
    struct lot_input input = {
        .blocks = blocks, .blocks_count = 2, .demands = demands, .demands_count = 1};
    struct lot_result result = lot_cleared(&input);
    assert_int_equal(result.awards_count, 2);
    assert_int_equal(result.index_uusd_per_hour, LOT_SCORE_MAX);
    assert_int_equal(result.awards[0].block, 1);
    assert_int_equal(result.awards[0].price_uusd_per_hour, LOT_SCORE_MAX);
    assert_int_equal(result.verdicts[0], DEMAND_PARTLY_FILLED);
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_lots_clear_as_the_slow_rule_says),
        cmocka_unit_test(large_lots_full_of_equals_clear_as_the_slow_rule_says),
        cmocka_unit_test(inputs_out_of_range_are_refused),
        cmocka_unit_test(the_largest_prices_do_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
