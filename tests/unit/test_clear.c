/* Clearing against the slow rule, and the properties that market participants rely on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/lot_draw.h"

static struct lot_drawn drawn, changed;
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

static void small_lots_clear_as_the_slow_rule_says(void **state)
{
    (void)state;
    PROP_FOR(p, 40000) {
        lot_draw(&p, &small, &drawn);
        struct lot_result result = lot_cleared(&drawn.input);
        outcome_check(&p, &drawn.input, &result);
    }
}

static void large_lots_full_of_equals_clear_as_the_slow_rule_says(void **state)
{
    (void)state;
    static const struct draw_shape shapes[] = {
        {.blocks_max = 3000, .demands_max = 600, .owners_max = 60, .k_max = 9, .price_steps = 3},
        {.blocks_max = 1500, .demands_max = 600, .owners_max = 60, .k_max = 9, .price_steps = 70000,
         .has_adders = true, .has_adders_per_block = true},
        {.blocks_max = 200, .demands_max = 100, .owners_max = 9, .k_max = 20, .price_steps = 0},
    };
    PROP_FOR(p, 24) {
        lot_draw(&p, &shapes[p.seed % ARRAY_COUNT(shapes)], &drawn);
        struct lot_result result = lot_cleared(&drawn.input);
        outcome_check(&p, &drawn.input, &result);
    }
}

/* P1, P2, P3, P11, P12, P14: from the result alone. */
static void promises_check(struct prop *p, const struct lot_input *input,
                           const struct lot_result *result)
{
    static uint32_t got[DRAWN_DEMANDS_MAX];
    static bool is_sold[DRAWN_BLOCKS_MAX];
    memset(got, 0, sizeof(got));
    memset(is_sold, 0, sizeof(is_sold));
    int64_t dearest = 0;
    for (uint32_t i = 0; i < result->awards_count; i++) {
        const struct lot_award *award = &result->awards[i];
        const struct lot_block *block = &input->blocks[award->block];
        const struct lot_demand *demand = &input->demands[award->demand];
        int64_t score = block->ask_uusd_per_hour + block->adder_uusd_per_hour;
        prop_check(p, !is_sold[award->block]);
        prop_check(p, block->owner != demand->owner);
        prop_check(p, score <= demand->r_uusd_per_hour);
        prop_check(p, award->price_uusd_per_hour >= block->ask_uusd_per_hour);
        prop_check(p, award->price_uusd_per_hour <= demand->r_uusd_per_hour);
        prop_check(p, score <= result->index_uusd_per_hour);
        prop_check(p, demand->r_uusd_per_hour >= result->index_uusd_per_hour);
        is_sold[award->block] = true;
        got[award->demand]++;
        dearest = score > dearest ? score : dearest;
    }
    for (uint32_t i = 0; i < input->blocks_count; i++)
        prop_check(p, is_sold[i] || input->blocks[i].ask_uusd_per_hour +
                                            input->blocks[i].adder_uusd_per_hour >= dearest);
    for (uint32_t i = 0; i < input->demands_count; i++) {
        const struct lot_demand *demand = &input->demands[i];
        prop_check(p, got[i] == result->accepted_counts[i] && got[i] <= demand->k);
        prop_check(p, got[i] == 0 || got[i] >= demand->kmin);
        bool could_envy = got[i] == 0 && demand->kmin == 1 && result->awards_count > 0 &&
                          result->verdicts[i] != DEMAND_SELLS_HERE;
        prop_check(p, !could_envy || demand->r_uusd_per_hour <= result->index_uusd_per_hour);
    }
}

static void verdicts_check(struct prop *p, const struct lot_input *input,
                           const struct lot_result *result)
{
    for (uint32_t i = 0; i < input->demands_count; i++) {
        const struct lot_demand *demand = &input->demands[i];
        uint32_t got = result->accepted_counts[i], reach = 0;
        for (uint32_t b = 0; b < input->blocks_count; b++)
            reach += input->blocks[b].ask_uusd_per_hour + input->blocks[b].adder_uusd_per_hour <=
                     demand->r_uusd_per_hour;
        enum demand_verdict wanted =
            slow_sells(input, demand->owner)      ? DEMAND_SELLS_HERE
            : got == demand->k                    ? DEMAND_FILLED
            : got > 0                             ? DEMAND_PARTLY_FILLED
            : input->blocks_count < demand->kmin  ? DEMAND_LOT_TOO_SMALL
            : reach < demand->kmin                ? DEMAND_RESERVE_SHORT
                                                  : DEMAND_OUTBID;
        prop_check(p, result->verdicts[i] == wanted);
    }
}

static void every_award_is_feasible_and_fair(void **state)
{
    (void)state;
    PROP_FOR(p, 40000) {
        lot_draw(&p, &small, &drawn);
        struct lot_result result = lot_cleared(&drawn.input);
        promises_check(&p, &drawn.input, &result);
        verdicts_check(&p, &drawn.input, &result);
    }
}

/* An outcome as a number that does not depend on positions in the input. */
static uint64_t outcome_digest(const struct lot_input *input, const struct lot_result *result)
{
    struct sha256_run run;
    sha256_run_start(&run);
    sha256_run_add(&run, &result->index_uusd_per_hour, 8);
    for (uint32_t i = 0; i < result->awards_count; i++) {
        const struct lot_award *award = &result->awards[i];
        sha256_run_add(&run, input->blocks[award->block].id.at, DRAWN_ID_LEN);
        sha256_run_add(&run, input->demands[award->demand].id.at, DRAWN_ID_LEN);
        sha256_run_add(&run, &award->theta_uusd_per_hour, 8);
        sha256_run_add(&run, &award->price_uusd_per_hour, 8);
    }
    uint64_t digest;
    struct sha256 hash = sha256_run_end(&run);
    memcpy(&digest, hash.bytes, sizeof(digest));
    return digest;
}

static uint64_t digest_of(const struct lot_input *input)
{
    struct lot_result result = lot_cleared(input);
    return outcome_digest(input, &result);
}

static void the_order_of_the_input_changes_nothing(void **state)
{
    (void)state;
    PROP_FOR(p, 5000) {
        lot_draw(&p, &small, &drawn);
        uint64_t before = digest_of(&drawn.input);
        prop_check(&p, digest_of(&drawn.input) == before);
        for (uint32_t i = drawn.input.blocks_count; i > 1; i--) {
            uint32_t with = (uint32_t)prop_range(&p, 0, i - 1);
            struct lot_block moved = drawn.blocks[with];
            drawn.blocks[with] = drawn.blocks[i - 1];
            drawn.blocks[i - 1] = moved;
        }
        for (uint32_t i = drawn.input.demands_count; i > 1; i--) {
            uint32_t with = (uint32_t)prop_range(&p, 0, i - 1);
            struct lot_demand moved = drawn.demands[with];
            drawn.demands[with] = drawn.demands[i - 1];
            drawn.demands[i - 1] = moved;
        }
        prop_check(&p, digest_of(&drawn.input) == before);
    }
}

static void ten_times_all_prices_is_ten_times_the_outcome(void **state)
{
    (void)state;
    PROP_FOR(p, 5000) {
        lot_draw(&p, &small, &drawn);
        struct lot_result result = lot_cleared(&drawn.input);
        int64_t index = result.index_uusd_per_hour, paid = 0, paid_after = 0;
        for (uint32_t i = 0; i < result.awards_count; i++)
            paid += result.awards[i].price_uusd_per_hour;
        for (uint32_t i = 0; i < drawn.input.blocks_count; i++) {
            drawn.blocks[i].ask_uusd_per_hour *= 10;
            drawn.blocks[i].adder_uusd_per_hour *= 10;
        }
        for (uint32_t i = 0; i < drawn.input.demands_count; i++)
            drawn.demands[i].r_uusd_per_hour *= 10;
        result = lot_cleared(&drawn.input);
        for (uint32_t i = 0; i < result.awards_count; i++)
            paid_after += result.awards[i].price_uusd_per_hour;
        prop_check(&p, result.index_uusd_per_hour == (index < 0 ? index : 10 * index));
        prop_check(&p, paid_after == 10 * paid);
    }
}

static void another_seed_only_moves_equals(void **state)
{
    (void)state;
    PROP_FOR(p, 5000) {
        lot_draw(&p, &small, &drawn);
        /* Reserves an odd step apart are never equal to each other. */
        for (uint32_t i = 0; i < drawn.input.demands_count; i++)
            drawn.demands[i].r_uusd_per_hour = 16 * drawn.demands[i].r_uusd_per_hour + i;
        for (uint32_t i = 0; i < drawn.input.blocks_count; i++)
            drawn.blocks[i].ask_uusd_per_hour *= 16;
        struct lot_result result = lot_cleared(&drawn.input);
        int64_t index = result.index_uusd_per_hour;
        uint32_t sold_count = result.awards_count;
        drawn.input.seed.bytes[0] ^= 1;
        result = lot_cleared(&drawn.input);
        prop_check(&p, result.index_uusd_per_hour == index);
        prop_check(&p, result.awards_count == sold_count);
    }
}

/* P15 */
static void orders_on_the_wrong_side_of_the_index_change_nothing(void **state)
{
    (void)state;
    struct draw_shape unit = small;
    unit.k_max = 1;
    PROP_FOR(p, 5000) {
        lot_draw(&p, prop_chance(&p, 50) ? &unit : &small, &drawn);
        struct lot_result result = lot_cleared(&drawn.input);
        int64_t index = result.index_uusd_per_hour;
        if (index <= 0)
            continue;
        uint64_t before = outcome_digest(&drawn.input, &result);
        uint32_t last = drawn.input.demands_count++;
        drawn.demands[last] = (struct lot_demand){
            .id = draw_id(drawn.demand_ids[last], 'x', 0),
            .owner = LOT_OWNER_NONE,
            .r_uusd_per_hour = prop_range(&p, 0, index - 1),
            .k = (uint32_t)prop_range(&p, 1, 3),
            .kmin = 1,
        };
        prop_check(&p, digest_of(&drawn.input) == before);
    }
    PROP_FOR(p, 5000) {
        lot_draw(&p, &unit, &drawn);
        struct lot_result result = lot_cleared(&drawn.input);
        int64_t index = result.index_uusd_per_hour;
        uint32_t sold_count = result.awards_count;
        uint32_t last = drawn.input.blocks_count++;
        drawn.blocks[last] = (struct lot_block){.id = draw_id(drawn.block_ids[last], 'x', 0),
                                                .owner = DRAWN_OWNERS_MAX - 1,
                                                .ask_uusd_per_hour = index + 1 + sold_count};
        if (sold_count == 0)
            continue;
        result = lot_cleared(&drawn.input);
        prop_check(&p, result.index_uusd_per_hour == index && result.awards_count == sold_count);
    }
}

/* The best total of r - score over all ways to give each workload at most one block. */
static int64_t best_welfare(const struct lot_input *input, uint32_t demand, unsigned taken)
{
    if (demand == input->demands_count)
        return 0;
    int64_t best = best_welfare(input, demand + 1, taken);
    for (uint32_t b = 0; b < input->blocks_count; b++) {
        int64_t gain = input->demands[demand].r_uusd_per_hour - input->blocks[b].ask_uusd_per_hour;
        if (taken & 1u << b || gain < 0)
            continue;
        int64_t total = gain + best_welfare(input, demand + 1, taken | 1u << b);
        best = total > best ? total : best;
    }
    return best;
}

/* P17 */
static void unit_demand_reaches_the_best_welfare(void **state)
{
    (void)state;
    static const struct draw_shape unit = {
        .blocks_max = 5, .demands_max = 5, .owners_max = 4, .k_max = 1, .price_steps = 30};
    PROP_FOR(p, 1500) {
        lot_draw(&p, &unit, &drawn);
        struct lot_result result = lot_cleared(&drawn.input);
        int64_t welfare = 0;
        for (uint32_t i = 0; i < result.awards_count; i++)
            welfare += drawn.demands[result.awards[i].demand].r_uusd_per_hour -
                       drawn.blocks[result.awards[i].block].ask_uusd_per_hour;
        prop_check(&p, welfare == best_welfare(&drawn.input, 0, 0));
    }
}

static void a_seller_who_also_rents_is_as_if_absent(void **state)
{
    (void)state;
    struct draw_shape shape = small;
    shape.self_percent = 60;
    PROP_FOR(p, 5000) {
        lot_draw(&p, &shape, &drawn);
        uint64_t before = digest_of(&drawn.input);
        changed = drawn;
        changed.input.blocks = changed.blocks;
        changed.input.demands = changed.demands;
        changed.input.demands_count = 0;
        for (uint32_t i = 0; i < drawn.input.demands_count; i++)
            if (!slow_sells(&drawn.input, drawn.demands[i].owner))
                changed.demands[changed.input.demands_count++] = drawn.demands[i];
        prop_check(&p, digest_of(&changed.input) == before);
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
        assert_int_equal(lot_clear(lot_bench(), &input, &result),
                         i ? LOT_INPUT_BAD : LOT_CLEARED);
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
    struct lot_demand demands[] = {{.id = STR("w"), .owner = LOT_OWNER_NONE,
                                    .r_uusd_per_hour = LOT_SCORE_MAX, .k = UINT32_MAX, .kmin = 2}};
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
        cmocka_unit_test(every_award_is_feasible_and_fair),
        cmocka_unit_test(the_order_of_the_input_changes_nothing),
        cmocka_unit_test(ten_times_all_prices_is_ten_times_the_outcome),
        cmocka_unit_test(another_seed_only_moves_equals),
        cmocka_unit_test(orders_on_the_wrong_side_of_the_index_change_nothing),
        cmocka_unit_test(unit_demand_reaches_the_best_welfare),
        cmocka_unit_test(a_seller_who_also_rents_is_as_if_absent),
        cmocka_unit_test(inputs_out_of_range_are_refused),
        cmocka_unit_test(the_largest_prices_do_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
