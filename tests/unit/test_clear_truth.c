/* Does it pay to lie? Every seller of every drawn lot tries every ask that could make a difference:
 * each score and reserve of the lot, and one step to either side. Then every lot there is, up to a
 * size, with every ask there is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/lot_shrink.h"

#define LOTS_COUNT 100000
#define POINTS_MAX 64

static struct slow_lot slow;

/* Sellers with several blocks, gangs, ties; one adder per seller. */
static const struct draw_shape shape = {.blocks_max = 8,
                                        .demands_max = 6,
                                        .owners_max = 3,
                                        .k_max = 4,
                                        .price_steps = 12,
                                        .has_adders = true};

/* Scores at which the outcome for `owner` can change. */
static uint32_t points_of(const struct lot_input *input, uint32_t owner, int64_t ret[POINTS_MAX])
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < input->blocks_count; i++)
        if (input->blocks[i].owner != owner)
            ret[count++] =
                input->blocks[i].ask_uusd_per_hour + input->blocks[i].adder_uusd_per_hour;
    for (uint32_t i = 0; i < input->demands_count; i++)
        ret[count++] = input->demands[i].r_uusd_per_hour;
    return count;
}

static uint32_t owner_blocks(const struct lot_input *input, uint32_t owner)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < input->blocks_count; i++)
        count += input->blocks[i].owner == owner;
    return count;
}

/* Thresholds, found by trial --------------------------------------------------------------------*/

/* How many blocks `owner` sells when its score is `score`, by the slow rule. */
static uint32_t slow_sold_at(const struct lot_input *input, uint32_t owner, int64_t score)
{
    for (uint32_t i = 0; i < input->blocks_count; i++)
        if (input->blocks[i].owner == owner)
            slow.scores[i] = score;
    slow_walk(input, &slow);
    uint32_t sold_count = 0;
    for (uint32_t rank = 0; rank < slow.sold_count; rank++)
        sold_count += input->blocks[slow.order[rank]].owner == owner;
    return sold_count;
}

/* The highest score below which `owner` sells at least l blocks, by trying them all: P8. That it
 * never sells more at a higher score is P7. */
static int64_t threshold_by_trial(struct prop *p, const struct lot_input *input, uint32_t owner,
                                  uint32_t l)
{
    int64_t points[POINTS_MAX], best = -1;
    uint32_t points_count = points_of(input, owner, points);
    slow_clear(input, &slow);
    for (uint32_t i = 0; i < points_count; i++)
        if (points[i] > best && slow_sold_at(input, owner, points[i] - 1) >= l)
            best = points[i];
    for (uint32_t i = 0; i < points_count; i++) {
        uint32_t above = slow_sold_at(input, owner, points[i] + 1);
        prop_check(p, points[i] < best ? above >= l : above < l);
    }
    return best;
}

/* P8 */
static void thresholds_are_where_selling_stops(struct prop *p, struct lot_drawn *lot)
{
    struct lot_result result = lot_cleared(&lot->input);
    uint32_t sold[DRAWN_OWNERS_MAX] = {0};
    for (uint32_t i = 0; i < result.awards_count; i++) {
        uint32_t owner = lot->blocks[result.awards[i].block].owner;
        int64_t theta = threshold_by_trial(p, &lot->input, owner, ++sold[owner]);
        prop_check(p, result.awards[i].theta_uusd_per_hour == theta);
        /* A seller of one block is paid by the lot's index. */
        prop_check(p, owner_blocks(&lot->input, owner) > 1 || theta == result.index_uusd_per_hour);
    }
}

static void each_block_is_paid_the_score_at_which_it_would_stop_selling(void **state)
{
    (void)state;
    lots_hold(&shape, LOTS_COUNT, thresholds_are_where_selling_stops);
}

/* Is block `b` sold when it alone stands at `score`? */
static bool slow_is_sold_at(const struct lot_input *input, uint32_t b, int64_t score)
{
    slow_clear(input, &slow);
    slow.scores[b] = score;
    slow_walk(input, &slow);
    for (uint32_t rank = 0; rank < slow.sold_count; rank++)
        if (slow.order[rank] == b)
            return true;
    return false;
}

/* P13: the index is the score at which any winning block, moved alone, would have lost. */
static void the_index_is_critical_for_any_winner(struct prop *p, struct lot_drawn *lot)
{
    struct lot_result result = lot_cleared(&lot->input);
    if (result.awards_count == 0)
        return;
    int64_t last = result.awards_count - 1, index = result.index_uusd_per_hour;
    uint32_t winner = result.awards[prop_range(p, 0, last)].block;
    prop_check(p, index == 0 || slow_is_sold_at(&lot->input, winner, index - 1));
    prop_check(p, !slow_is_sold_at(&lot->input, winner, index + 1));
}

static void the_index_is_what_its_definition_says(void **state)
{
    (void)state;
    static const struct draw_shape mixed = {.blocks_max = 8,
                                            .demands_max = 6,
                                            .owners_max = 3,
                                            .k_max = 4,
                                            .price_steps = 12,
                                            .self_percent = 15,
                                            .has_adders = true,
                                            .has_adders_per_block = true};
    lots_hold(&mixed, LOTS_COUNT, the_index_is_critical_for_any_winner);
}

/* Lies ------------------------------------------------------------------------------------------*/

struct sale {
    uint32_t sold_count;
    int64_t gain_uusd_per_hour; /* what it is paid above its true cost */
};

/* What `owner`, whose block costs it `cost` in truth, makes of asking `ask`. */
static struct sale sale_at(struct lot_drawn *lot, uint32_t owner, int64_t cost, int64_t ask)
{
    for (uint32_t i = 0; i < lot->input.blocks_count; i++)
        if (lot->blocks[i].owner == owner)
            lot->blocks[i].ask_uusd_per_hour = ask;
    struct lot_result result = lot_cleared(&lot->input);
    struct sale sale = {.sold_count = 0};
    for (uint32_t i = 0; i < result.awards_count; i++) {
        if (lot->blocks[result.awards[i].block].owner != owner)
            continue;
        sale.sold_count++;
        sale.gain_uusd_per_hour += result.awards[i].price_uusd_per_hour - cost;
    }
    return sale;
}

static const struct lot_block *first_block_of(const struct lot_drawn *lot, uint32_t owner)
{
    for (uint32_t i = 0; i < lot->input.blocks_count; i++)
        if (lot->blocks[i].owner == owner)
            return &lot->blocks[i];
    return NULL;
}

static void lie_check(struct prop *p, struct lot_drawn *lot, uint32_t owner, int64_t lie)
{
    int64_t cost = first_block_of(lot, owner)->ask_uusd_per_hour;
    struct sale truth = sale_at(lot, owner, cost, cost);
    struct sale sale = sale_at(lot, owner, cost, lie);
    prop_check(p, truth.gain_uusd_per_hour >= 0);
    prop_check(p, sale.gain_uusd_per_hour <= truth.gain_uusd_per_hour);
    prop_check(p, lie >= cost ? sale.sold_count <= truth.sold_count
                              : sale.sold_count >= truth.sold_count);
    (void)sale_at(lot, owner, cost, cost);
}

/* P9 */
static void no_lie_pays(struct prop *p, struct lot_drawn *lot)
{
    for (uint32_t owner = 0; owner < lot->owners_count; owner++) {
        const struct lot_block *first = first_block_of(lot, owner);
        int64_t points[POINTS_MAX];
        uint32_t points_count = first ? points_of(&lot->input, owner, points) : 0;
        for (uint32_t i = 0; i < points_count; i++)
            for (int64_t step = -1; step <= 1; step++) {
                int64_t lie = points[i] + step - first->adder_uusd_per_hour;
                if (lie >= 0)
                    lie_check(p, lot, owner, lie);
            }
    }
}

static void no_seller_gains_by_another_ask(void **state)
{
    (void)state;
    lots_hold(&shape, LOTS_COUNT, no_lie_pays);
}

/* Nodes of one seller may differ in their adders where nobody wants several blocks or none; what
 * goes wrong where somebody does is shown in test_even.c. */
static void no_ask_at_all_pays(struct prop *p, struct lot_drawn *lot)
{
    for (uint32_t owner = 0; owner < lot->owners_count; owner++)
        for (int64_t lie = 0; first_block_of(lot, owner) && lie <= 13 * DRAWN_STEP; lie++)
            lie_check(p, lot, owner, lie);
}

static void nor_with_nodes_of_different_adders_when_nobody_wants_all_or_none(void **state)
{
    (void)state;
    struct draw_shape mixed = shape;
    mixed.k_max = 3;
    mixed.has_adders_per_block = true;
    lots_hold(&mixed, 20000, no_ask_at_all_pays);
}

/* P10. No theorem: evidence. */
static void no_hiding_pays(struct prop *p, struct lot_drawn *lot)
{
    static struct lot_drawn hidden;
    for (uint32_t owner = 0; owner < lot->owners_count; owner++) {
        const struct lot_block *first = first_block_of(lot, owner);
        if (!first)
            continue;
        int64_t cost = first->ask_uusd_per_hour;
        struct sale truth = sale_at(lot, owner, cost, cost);
        lot_copy(lot, &hidden);
        hidden.input.blocks_count = 0;
        for (uint32_t i = 0; i < lot->input.blocks_count; i++)
            if (lot->blocks[i].owner != owner || prop_chance(p, 50))
                hidden.blocks[hidden.input.blocks_count++] = lot->blocks[i];
        prop_check(p, sale_at(&hidden, owner, cost, cost).gain_uusd_per_hour <=
                          truth.gain_uusd_per_hour);
    }
}

static void no_seller_gains_by_hiding_blocks(void **state)
{
    (void)state;
    lots_hold(&shape, LOTS_COUNT, no_hiding_pays);
}

/* Every small lot -------------------------------------------------------------------------------*/

enum { STEPS = 3, SIZES = 3 };

static const struct {
    uint32_t k, kmin;
} wishes[] = {{1, 1}, {2, 1}, {2, 2}, {3, 2}, {3, 3}};

/* Digits of `number` in mixed radix: the next one below `radix`. */
static uint32_t digit(uint64_t *number, uint32_t radix)
{
    uint32_t value = (uint32_t)(*number % radix);
    *number /= radix;
    return value;
}

static void nth_seller_add(struct lot_drawn *lot, uint64_t *number)
{
    uint32_t owner = lot->owners_count++, blocks_count = digit(number, SIZES);
    int64_t ask = DRAWN_STEP * digit(number, STEPS);
    for (uint32_t i = 0; i < blocks_count; i++) {
        uint32_t at = lot->input.blocks_count++;
        lot->blocks[at] = (struct lot_block){
            .id = draw_block_id(lot->block_ids[at], owner, i),
            .owner = owner,
            .ask_uusd_per_hour = ask,
            .adder_uusd_per_hour = owner % 2 ? DRAWN_STEP : 0,
        };
    }
}

static void nth_workload_add(struct lot_drawn *lot, uint64_t *number)
{
    uint32_t at = lot->input.demands_count++, wish = digit(number, ARRAY_COUNT(wishes));
    lot->demands[at] = (struct lot_demand){
        .id = draw_demand_id(lot->demand_ids[at], at),
        .owner = LOT_OWNER_NONE,
        .r_uusd_per_hour = DRAWN_STEP * (1 + digit(number, STEPS)),
        .k = wishes[wish].k,
        .kmin = wishes[wish].kmin,
    };
}

/* The lot with that number: three sellers of up to two blocks each, two workloads. False when there
 * is no such lot. */
static bool nth_lot(uint64_t number, struct lot_drawn *ret)
{
    ret->owners_count = 0;
    ret->input = (struct lot_input){.blocks = ret->blocks, .demands = ret->demands};
    ret->input.seed.bytes[0] = (uint8_t)(number % 251); /* so that ties fall either way */
    for (int i = 0; i < 3; i++)
        nth_seller_add(ret, &number);
    for (int i = 0; i < 2; i++)
        nth_workload_add(ret, &number);
    return number == 0;
}

static void in_no_small_lot_does_any_ask_pay(void **state)
{
    (void)state;
    static struct lot_drawn lot;
    struct prop p = prop_start(UINT32_MAX); /* a lot's number is its seed */
    for (; p.left > 0 && nth_lot(p.seed, &lot); p.left--, p.seed++)
        for (uint32_t owner = 0; owner < lot.owners_count; owner++)
            for (int64_t lie = 0; first_block_of(&lot, owner) && lie <= (STEPS + 2) * DRAWN_STEP;
                 lie += DRAWN_STEP / 2)
                lie_check(&p, &lot, owner, lie);
    assert_true(p.left == 0 || p.seed > 100000);
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_block_is_paid_the_score_at_which_it_would_stop_selling),
        cmocka_unit_test(the_index_is_what_its_definition_says),
        cmocka_unit_test(no_seller_gains_by_another_ask),
        cmocka_unit_test(nor_with_nodes_of_different_adders_when_nobody_wants_all_or_none),
        cmocka_unit_test(no_seller_gains_by_hiding_blocks),
        cmocka_unit_test(in_no_small_lot_does_any_ask_pay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
