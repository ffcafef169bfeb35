/* Why a seller has one adder in a lot where a gang bids: the lie that pays without, and that none
 * does with it, on every small lot of a kind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "auction/even.h"
#include "tests/lib/lot_draw.h"

static struct lot_drawn lot;
static struct slow_lot slow;

/* What seller 0 makes of asking `ask` when each block costs it `cost`: by the slow rule, which does
 * not mind adders that differ. */
static int64_t gain_at(int64_t ask, int64_t cost)
{
    int64_t gain = 0;
    uint32_t sold_count = 0;
    for (uint32_t i = 0; i < lot.input.blocks_count; i++)
        if (lot.blocks[i].owner == 0)
            lot.blocks[i].ask_uusd_per_hour = ask;
    slow_clear(&lot.input, &slow);
    for (uint32_t rank = 0; rank < slow.sold_count; rank++) {
        const struct lot_block *block = &lot.blocks[slow.order[rank]];
        if (block->owner == 0)
            gain += slow_threshold(&lot.input, &slow, 0, ++sold_count) -
                    block->adder_uusd_per_hour - cost;
    }
    return gain;
}

static void lot_reset(uint32_t blocks_count, uint32_t demands_count)
{
    lot.input = (struct lot_input){.blocks = lot.blocks,
                                   .demands = lot.demands,
                                   .blocks_count = blocks_count,
                                   .demands_count = demands_count};
    for (uint32_t i = 0; i < blocks_count; i++)
        lot.blocks[i] = (struct lot_block){.id = draw_block_id(lot.block_ids[i], 0, i)};
    for (uint32_t i = 0; i < demands_count; i++)
        lot.demands[i] = (struct lot_demand){
            .id = draw_demand_id(lot.demand_ids[i], i), .owner = LOT_OWNER_NONE, .k = 1, .kmin = 1};
}

/* The same lot by the rule that stands: adders made even as the broker does. */
static void adders_level(void)
{
    struct record_block blocks[8] = {0};
    struct record_demand demands[8] = {0};
    must(lot.input.blocks_count <= 8 && lot.input.demands_count <= 8);
    for (uint32_t i = 0; i < lot.input.blocks_count; i++) {
        blocks[i].owner.bytes[0] = (uint8_t)lot.blocks[i].owner;
        blocks[i].adder_uusd_per_hour = lot.blocks[i].adder_uusd_per_hour;
    }
    for (uint32_t i = 0; i < lot.input.demands_count; i++)
        demands[i].kmin = lot.demands[i].kmin;
    adders_make_even(blocks, lot.input.blocks_count, demands, lot.input.demands_count);
    for (uint32_t i = 0; i < lot.input.blocks_count; i++)
        lot.blocks[i].adder_uusd_per_hour = blocks[i].adder_uusd_per_hour;
}

/* Two nodes that cost 4, with adders 1 and 4, and a gang that pays up to 7 each. In truth the dear
 * node scores 8 and the gang goes without. Asking 0 sells both, at 7 - 1 and 7 - 4: 9 for what
 * costs 8, the one node paying for the other. With one adder, 3, the truth wins 4 each. */
static void a_gang_makes_one_node_pay_for_the_other(void **state)
{
    (void)state;
    lot_reset(2, 1);
    lot.blocks[0].adder_uusd_per_hour = 1;
    lot.blocks[1].adder_uusd_per_hour = 4;
    lot.demands[0] = (struct lot_demand){
        .id = STR("w"), .owner = LOT_OWNER_NONE, .r_uusd_per_hour = 7, .k = 2, .kmin = 2};
    assert_int_equal(gain_at(4, 4), 0);
    assert_int_equal(gain_at(0, 4), 1);

    adders_level();
    assert_int_equal(lot.blocks[0].adder_uusd_per_hour, 3);
    assert_int_equal(lot.blocks[1].adder_uusd_per_hour, 3);
    for (int64_t lie = 0; lie < 12; lie++)
        assert_true(gain_at(lie, 4) <= gain_at(4, 4));
}

/* So the engine refuses the one and takes the other. */
static void the_engine_refuses_what_the_theorem_does_not_cover(void **state)
{
    (void)state;
    struct lot_result result;
    lot_reset(3, 1);
    lot.blocks[2].owner = 1;
    lot.blocks[1].adder_uusd_per_hour = 4;
    lot.demands[0].k = 2;
    assert_int_equal(lot_clear(lot_bench(), &lot.input, &result), LOT_CLEARED);
    lot.demands[0].kmin = 2;
    assert_int_equal(lot_clear(lot_bench(), &lot.input, &result), LOT_INPUT_BAD);
    assert_int_equal(lot_bench()->fault, LOT_FAULT_TWO_ADDERS);
    assert_int_equal(lot_bench()->fault_at, 1);
    adders_level();
    assert_int_equal(lot_clear(lot_bench(), &lot.input, &result), LOT_CLEARED);
    assert_int_equal(lot.blocks[1].adder_uusd_per_hour, 2);
    assert_int_equal(lot.blocks[2].adder_uusd_per_hour, 0);
    lot.blocks[1].ask_uusd_per_hour = 1;
    assert_int_equal(lot_clear(lot_bench(), &lot.input, &result), LOT_INPUT_BAD);
    assert_int_equal(lot_bench()->fault, LOT_FAULT_TWO_ASKS);
}

/* Every small lot -------------------------------------------------------------------------------*/

enum { PRICES = 4, ADDERS = 4 };

struct wish {
    uint32_t k, kmin;
};

static uint32_t digit(uint64_t *number, uint32_t radix)
{
    uint32_t value = (uint32_t)(*number % radix);
    *number /= radix;
    return value;
}

/* Two blocks of seller 0 with any adders, one of somebody else, two workloads. False past the last
 * lot. */
static bool small_lot(uint64_t number, const struct wish *wishes, uint32_t wishes_count)
{
    lot_reset(3, 2);
    lot.blocks[0].adder_uusd_per_hour = digit(&number, ADDERS);
    lot.blocks[1].adder_uusd_per_hour = digit(&number, ADDERS);
    lot.blocks[2].owner = 1;
    lot.blocks[2].ask_uusd_per_hour = digit(&number, PRICES);
    for (uint32_t i = 0; i < 2; i++) {
        const struct wish *wish = &wishes[digit(&number, wishes_count)];
        lot.demands[i].k = wish->k;
        lot.demands[i].kmin = wish->kmin;
        lot.demands[i].r_uusd_per_hour = digit(&number, PRICES + ADDERS);
    }
    return number == 0;
}

/* How many of all lies pay, over all small lots, all true costs and all asks. */
static uint64_t lies_that_pay(const struct wish *wishes, uint32_t wishes_count, bool is_level)
{
    uint64_t paid = 0, step = getenv("CASES_MAX") ? 97 : 1; /* a short run looks at a sample */
    for (uint64_t number = 0; small_lot(number, wishes, wishes_count); number += step) {
        if (is_level)
            adders_level();
        int64_t gains[PRICES + ADDERS + 1];
        for (int64_t cost = 0; cost < PRICES; cost++) {
            int64_t truth = gain_at(cost, cost);
            for (int64_t lie = 0; lie < (int64_t)ARRAY_COUNT(gains); lie++)
                paid += gain_at(lie, cost) > truth;
        }
    }
    return paid;
}

static const struct wish singles[] = {{1, 1}, {2, 1}, {3, 1}};
static const struct wish gangs[] = {{1, 1}, {2, 2}, {3, 2}};

static void no_lie_pays_in_any_small_lot_without_gangs(void **state)
{
    (void)state;
    assert_int_equal(lies_that_pay(singles, ARRAY_COUNT(singles), false), 0);
}

static void nor_with_gangs_and_even_adders(void **state)
{
    (void)state;
    assert_int_equal(lies_that_pay(gangs, ARRAY_COUNT(gangs), true), 0);
}

static void but_with_gangs_and_uneven_adders(void **state)
{
    (void)state;
    assert_true(lies_that_pay(gangs, ARRAY_COUNT(gangs), false) > 0);
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gang_makes_one_node_pay_for_the_other),
        cmocka_unit_test(the_engine_refuses_what_the_theorem_does_not_cover),
        cmocka_unit_test(no_lie_pays_in_any_small_lot_without_gangs),
        cmocka_unit_test(nor_with_gangs_and_even_adders),
        cmocka_unit_test(but_with_gangs_and_uneven_adders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
