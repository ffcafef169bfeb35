/* The ladder for everybody: no figure about fewer than three accounts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "auction/depth.h"
#include "tests/lib/prop.h"

#define BLOCKS_MAX 24

struct ladder { /* blocks as (account, score) */
    struct record_block blocks[BLOCKS_MAX];
    struct record_demand demands[BLOCKS_MAX];
    struct record_lot lot;
};

static struct uuid account(int number)
{
    return (struct uuid){.bytes = {[15] = (uint8_t)number}};
}

static void block_add(struct ladder *ladder, int owner, int64_t ask, int64_t adder)
{
    ladder->blocks[ladder->lot.blocks_count++] = (struct record_block){
        .owner = account(owner), .ask_uusd_per_hour = ask, .adder_uusd_per_hour = adder};
    ladder->lot.blocks = ladder->blocks;
}

static void demand_add(struct ladder *ladder, int owner, int64_t r)
{
    ladder->demands[ladder->lot.demands_count++] =
        (struct record_demand){.owner = account(owner), .r_uusd_per_hour = r, .k = 1, .kmin = 1};
    ladder->lot.demands = ladder->demands;
}

static void bucket_is(const struct depth_bucket *bucket, int32_t edge_bp, uint32_t blocks,
                      uint32_t accounts)
{
    assert_int_equal(bucket->edge_bp, edge_bp);
    assert_int_equal(bucket->blocks_count, blocks);
    assert_int_equal(bucket->accounts_count, accounts);
}

static void steps_with_few_accounts_are_merged(void **unused)
{
    (void)unused;
    static const int64_t scores[] = {90, 95, 100, 101, 109, 180};
    struct ladder ladder = {.lot = {.outcome = {.index_uusd_per_hour = 100}}};
    struct depth depth;
    for (int i = 0; i < 6; i++)
        block_add(&ladder, i + 1, scores[i] - 5, 5);
    depth_of(&ladder.lot, &depth);
    assert_int_equal(depth.accounts_count, 6);
    assert_int_equal(depth.buckets_count, 2);
    bucket_is(&depth.buckets[0], 0, 3, 3);
    bucket_is(&depth.buckets[1], DEPTH_EDGE_NONE, 3, 3);
}

static void what_is_left_at_the_top_joins_the_step_below(void **unused)
{
    (void)unused;
    struct ladder ladder = {.lot = {.outcome = {.index_uusd_per_hour = 1000}}};
    struct depth depth;
    for (int i = 1; i <= 4; i++)
        block_add(&ladder, i, 900, 0);
    for (int i = 1; i <= 3; i++)
        block_add(&ladder, i, 1010, 0); /* exactly on the edge of 1 % */
    block_add(&ladder, 5, 1011, 0);
    depth_of(&ladder.lot, &depth);
    assert_int_equal(depth.buckets_count, 2);
    bucket_is(&depth.buckets[0], 0, 4, 4);
    bucket_is(&depth.buckets[1], DEPTH_EDGE_NONE, 4, 4);
}

static void two_accounts_show_nothing(void **unused)
{
    (void)unused;
    struct ladder ladder = {.lot = {.outcome = {.index_uusd_per_hour = 100}}};
    struct depth depth;
    for (int i = 0; i < 8; i++)
        block_add(&ladder, 1 + i % 2, 80 + i, 0);
    demand_add(&ladder, 1, 200);
    demand_add(&ladder, 2, 300);
    depth_of(&ladder.lot, &depth);
    assert_int_equal(depth.accounts_count, 2);
    assert_int_equal(depth.buckets_count, 0);
    assert_false(depth.has_asks);
    assert_false(depth.has_reserves);
}

static void without_trade_there_is_no_step_but_percentiles(void **unused)
{
    (void)unused;
    struct ladder ladder = {.lot = {.outcome = {.index_uusd_per_hour = LOT_INDEX_NONE}}};
    struct depth depth;
    for (int i = 1; i <= 3; i++) {
        block_add(&ladder, i, 100 * i, 0);
        block_add(&ladder, i, 1000 * i, 0); /* an account counts once, with its best */
        demand_add(&ladder, i + 10, 50 * i);
    }
    depth_of(&ladder.lot, &depth);
    assert_int_equal(depth.buckets_count, 0);
    assert_true(depth.has_asks && depth.has_reserves);
    for (int i = 0; i < DEPTH_PERCENTILES; i++) {
        assert_int_equal(depth.asks_uusd[i], depth_step_up(200));
        assert_int_equal(depth.reserves_uusd[i], depth_step_up(100));
    }
}

static void percentiles_are_means_of_three_neighbours(void **unused)
{
    (void)unused;
    struct ladder ladder = {.lot = {.outcome = {.index_uusd_per_hour = LOT_INDEX_NONE}}};
    struct depth depth;
    for (int i = 11; i >= 1; i--)
        block_add(&ladder, i, 1000 * i, 0);
    depth_of(&ladder.lot, &depth);
    assert_int_equal(depth.asks_uusd[0], depth_step_up(2000)); /* of 1000, 2000, 3000 */
    assert_int_equal(depth.asks_uusd[2], depth_step_up(6000)); /* of 5000, 6000, 7000 */
    assert_int_equal(depth.asks_uusd[4], depth_step_up(10000));
}

static void steps_are_a_twentieth(void **unused)
{
    (void)unused;
    static const int64_t known[][2] = {{0, 1}, {1, 1}, {20, 20}, {21, 21}, {40, 40}, {41, 42}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        assert_int_equal(depth_step_up(known[i][0]), known[i][1]);
    PROP_FOR(p, 2000)
    {
        int64_t uusd = prop_range(&p, 1, 1000000000000);
        int64_t step = depth_step_up(uusd);
        prop_check(&p, step >= uusd && step <= uusd + uusd / 20 + 1);
        prop_check(&p, depth_step_up(step) == step);
    }
}

/* Whatever the ladder: each step has three accounts, and all blocks are counted once. */
static void no_step_speaks_of_fewer_than_three(void **unused)
{
    (void)unused;
    PROP_FOR(p, 5000)
    {
        struct ladder ladder = {.lot = {.outcome = {.index_uusd_per_hour = 1000}}};
        struct depth depth;
        uint32_t sum = 0;
        int64_t count = prop_range(&p, 0, BLOCKS_MAX);
        for (int64_t j = 0; j < count; j++)
            block_add(&ladder, (int)prop_range(&p, 1, 7), prop_range(&p, 800, 1400), 0);
        depth_of(&ladder.lot, &depth);
        for (uint32_t j = 0; j < depth.buckets_count; j++) {
            prop_check(&p, depth.buckets[j].accounts_count >= DEPTH_ACCOUNTS_MIN);
            prop_check(&p, depth.buckets[j].blocks_count >= depth.buckets[j].accounts_count);
            sum += depth.buckets[j].blocks_count;
        }
        prop_check(&p, sum == (depth.accounts_count < DEPTH_ACCOUNTS_MIN ? 0 : count));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_with_few_accounts_are_merged),
        cmocka_unit_test(what_is_left_at_the_top_joins_the_step_below),
        cmocka_unit_test(two_accounts_show_nothing),
        cmocka_unit_test(without_trade_there_is_no_step_but_percentiles),
        cmocka_unit_test(percentiles_are_means_of_three_neighbours),
        cmocka_unit_test(steps_are_a_twentieth),
        cmocka_unit_test(no_step_speaks_of_fewer_than_three),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
