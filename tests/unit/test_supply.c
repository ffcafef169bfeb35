/* Cutting free devices into blocks: by counts alone, so that every idle node can compete. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "broker/market/turnout.h"
#include "tests/lib/prop.h"

#define NODES_MAX   8
#define DEVICES_MAX 64

struct row {
    const char *what;
    uint32_t devices[NODES_MAX]; /* free, per node */
    int64_t wanted[BLOCK_SIZES];
    uint32_t blocks[BLOCK_SIZES]; /* expected */
};

static const struct row rows[] = {
    {"nothing wanted: largest first", {7, 2}, {0}, {1, 2, 1, 0}},
    {"one small wish meets every idle pair", {2, 2, 2}, {1}, {6, 0, 0, 0}},
    {"and every idle eight", {8, 8}, {1}, {16, 0, 0, 0}},
    {"what is wanted whole stays whole", {2, 2}, {1, 2}, {0, 2, 0, 0}},
    {"what is left over goes in equal parts", {2, 2, 2, 2, 2}, {2, 1}, {4, 3, 0, 0}},
    {"a wish between", {8}, {0, 1}, {0, 4, 0, 0}},
    {"a large wish alone", {8, 4}, {0, 0, 0, 1}, {0, 0, 1, 1}},
    {"no devices", {0}, {1}, {0}},
};

struct world { /* one pool over a few nodes */
    struct supply_device devices[DEVICES_MAX];
    struct supply_node nodes[NODES_MAX];
    struct supply_pool pool;
    struct supply supply;
};

static void world_make(struct world *world, const uint32_t devices[NODES_MAX],
                       const int64_t wanted[BLOCK_SIZES])
{
    uint32_t devices_count = 0;
    memset(world, 0, sizeof(*world));
    world->pool = (struct supply_pool){.region = STR("eu-west"),
                                       .class = STR("rtx-4090"),
                                       .trust = STR("unverified"),
                                       .nodes_count = NODES_MAX};
    world->supply = (struct supply){
        .pools = &world->pool, .pools_count = 1, .nodes = world->nodes, .devices = world->devices};
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        world->nodes[i].node_id.bytes[15] = (uint8_t)(i + 1);
        world->nodes[i].device_first = devices_count;
        world->nodes[i].devices_count = devices[i];
        devices_count += devices[i];
    }
    for (uint32_t i = 0; i < devices_count; i++)
        world->devices[i].device_id.bytes[15] = (uint8_t)(i + 1);
    memcpy(world->pool.wanted, wanted, sizeof(world->pool.wanted));
}

static void world_free(struct world *world)
{
    for (uint32_t size = 0; size < BLOCK_SIZES; size++)
        free(world->pool.blocks[size]);
}

static void row_check(const struct row *row)
{
    struct world world;
    world_make(&world, row->devices, row->wanted);
    supply_cut(&world.supply);
    for (uint32_t size = 0; size < BLOCK_SIZES; size++)
        if (world.pool.blocks_count[size] != row->blocks[size])
            fail_msg("%s: %u blocks of %u, expected %u", row->what, world.pool.blocks_count[size],
                     1u << size, row->blocks[size]);
    world_free(&world);
}

static void test_cutting_reads_counts(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        row_check(&rows[i]);
}

static void test_every_device_is_in_one_block_of_its_node(void **state)
{
    (void)state;
    struct world world;
    bool is_seen[DEVICES_MAX] = {false};
    uint32_t seen_count = 0;
    world_make(&world, (const uint32_t[NODES_MAX]){8, 7, 3, 8}, (const int64_t[]){1, 0, 1, 1});
    supply_cut(&world.supply);
    for (uint32_t size = 0; size < BLOCK_SIZES; size++) {
        for (uint32_t i = 0; i < world.pool.blocks_count[size]; i++) {
            const struct supply_block *block = &world.pool.blocks[size][i];
            uint32_t first = (uint32_t)(block->devices - world.devices);
            assert_int_equal(block->devices_count, 1u << size);
            assert_true(first >= block->node->device_first);
            assert_true(first + block->devices_count <=
                        block->node->device_first + block->node->devices_count);
            assert_true(i == 0 || strcmp(block[-1].id, block->id) < 0);
            for (uint32_t j = first; j < first + block->devices_count; j++) {
                assert_false(is_seen[j]);
                is_seen[j] = true;
                seen_count++;
            }
        }
    }
    assert_int_equal(seen_count, 8 + 7 + 3 + 8);
    world_free(&world);
}

static void asks_draw(struct prop *p, struct world *world)
{
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        world->nodes[i].ask_uusd_per_device_hour = prop_range(p, 0, 1000000);
        world->nodes[i].spot_multiplier_bp = (int32_t)prop_range(p, 0, 20000);
        world->nodes[i].guaranteed_multiplier_bp = (int32_t)prop_range(p, 0, 20000);
        world->nodes[i].history.failures_milli = prop_range(p, 0, 9000);
    }
}

/* Whatever is asked, and whatever failed: the same blocks. */
static void test_asks_never_change_blocks(void **state)
{
    (void)state;
    PROP_FOR(p, 3000)
    {
        struct world one, other;
        uint32_t devices[NODES_MAX];
        int64_t wanted[BLOCK_SIZES];
        for (uint32_t i = 0; i < NODES_MAX; i++)
            devices[i] = (uint32_t)prop_range(&p, 0, 8);
        for (uint32_t i = 0; i < BLOCK_SIZES; i++)
            wanted[i] = prop_range(&p, 0, 4);
        world_make(&one, devices, wanted);
        world_make(&other, devices, wanted);
        one.supply.cutting.seed.bytes[0] = other.supply.cutting.seed.bytes[0] =
            (uint8_t)prop_u64(&p);
        asks_draw(&p, &one);
        asks_draw(&p, &other);
        supply_cut(&one.supply);
        supply_cut(&other.supply);
        for (uint32_t size = 0; size < BLOCK_SIZES; size++) {
            prop_check(&p, one.pool.blocks_count[size] == other.pool.blocks_count[size]);
            for (uint32_t i = 0; i < one.pool.blocks_count[size]; i++)
                prop_check(&p,
                           strcmp(one.pool.blocks[size][i].id, other.pool.blocks[size][i].id) == 0);
        }
        world_free(&one);
        world_free(&other);
    }
}

/* The last round ------------------------------------------------------------------------------*/

/* One eight, wanted whole by one workload in a lot; three pairs by one that found no lot; two fours
 * by one that looks elsewhere. */
static void turnout_make(struct world *world, uint32_t sold_count, struct turnout *ret_turnout)
{
    struct str region = world->pool.region, class = world->pool.class;
    struct demand demands[] = {
        {.block_size = 8,
         .k = 1,
         .trust_min = 1,
         .regions = {region},
         .classes = {class},
         .regions_count = 1,
         .classes_count = 1},
        {.block_size = 4,
         .k = 2,
         .trust_min = 1,
         .regions = {STR("us-east")},
         .classes = {class},
         .regions_count = 1,
         .classes_count = 1},
        {.block_size = 2,
         .k = 3,
         .trust_min = 1,
         .regions = {region},
         .classes = {class},
         .regions_count = 1,
         .classes_count = 1},
    };
    const struct demands all = {.at = demands, .count = ARRAY_COUNT(demands)};
    struct round_award award = {
        .demand = demands, .block = world->pool.blocks[3], .pool = &world->pool};
    const struct round_clearing clearing = {.awards = &award, .awards_count = sold_count};
    demands[0].pool = &world->pool;
    turnout_take(&world->supply, &all, &clearing, ret_turnout);
}

static void test_the_last_round_is_counted_per_pool(void **state)
{
    (void)state;
    struct world world;
    struct turnout turnout;
    world_make(&world, (const uint32_t[NODES_MAX]){8}, (const int64_t[]){0, 0, 0, 1});
    supply_cut(&world.supply);
    turnout_make(&world, 1, &turnout);
    const struct turnout_row *row = turnout_of(&turnout, &world.pool);
    assert_non_null(row);
    assert_int_equal(row->supply[3], 1);
    assert_int_equal(row->sold[3], 1);
    assert_int_equal(row->unmet[3], 0);
    assert_int_equal(row->unmet[2], 0); /* another region's wish */
    assert_int_equal(row->unmet[1], 3); /* found no lot */
    turnout_finish(&turnout);
    turnout_make(&world, 0, &turnout);
    assert_int_equal(turnout_of(&turnout, &world.pool)->unmet[3], 1);
    world.pool.is_spot = true;
    assert_null(turnout_of(&turnout, &world.pool));
    assert_null(turnout_of(NULL, &world.pool));
    turnout_finish(&turnout);
    assert_null(turnout_of(&turnout, &world.pool));
    world_free(&world);
}

/* In the second round the eight was offered and stood unsold: a small wish gets its turn. */
static void test_a_wish_that_cannot_pay_keeps_nothing(void **state)
{
    (void)state;
    static const int64_t wanted[BLOCK_SIZES] = {1, 0, 0, 1};
    struct world first, second, now;
    struct turnout turnout;
    const uint32_t devices[NODES_MAX] = {8};
    world_make(&first, devices, wanted);
    supply_cut(&first.supply);
    assert_int_equal(first.pool.blocks_count[3], 1);
    turnout_make(&first, 0, &turnout);
    world_make(&second, devices, wanted);
    second.supply.cutting.last = &turnout;
    supply_cut(&second.supply);
    assert_int_equal(second.pool.blocks_count[0], 8);
    /* Taking now: a new wish for eight keeps its block, whoever waited before. */
    world_make(&now, devices, wanted);
    now.supply.cutting.last = &turnout;
    now.supply.cutting.is_now = true;
    supply_cut(&now.supply);
    assert_int_equal(now.pool.blocks_count[3], 1);
    world_free(&first);
    world_free(&second);
    world_free(&now);
    turnout_finish(&turnout);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cutting_reads_counts),
        cmocka_unit_test(test_every_device_is_in_one_block_of_its_node),
        cmocka_unit_test(test_asks_never_change_blocks),
        cmocka_unit_test(test_the_last_round_is_counted_per_pool),
        cmocka_unit_test(test_a_wish_that_cannot_pay_keeps_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
