/* Cutting free devices into blocks: by counts alone, so that every idle node can compete. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "broker/market/supply.h"

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
    {"what is left over goes by shares", {2, 2, 2, 2, 2}, {2, 1}, {4, 3, 0, 0}},
    {"a wish between", {8}, {0, 1}, {0, 4, 0, 0}},
    {"a large wish alone", {8, 4}, {0, 0, 0, 1}, {0, 0, 1, 1}},
    {"no devices", {0}, {1}, {0}},
};

static void row_check(const struct row *row)
{
    static struct supply_device devices[DEVICES_MAX];
    struct supply_node nodes[NODES_MAX] = {{.devices_count = 0}};
    struct supply_pool pool = {.nodes_count = NODES_MAX};
    struct supply supply = {.pools = &pool, .pools_count = 1, .nodes = nodes, .devices = devices};
    uint32_t devices_count = 0;
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        nodes[i].device_first = devices_count;
        nodes[i].devices_count = row->devices[i];
        devices_count += row->devices[i];
    }
    for (uint32_t i = 0; i < devices_count; i++)
        devices[i].device_id.bytes[15] = (uint8_t)(i + 1);
    for (uint32_t size = 0; size < BLOCK_SIZES; size++)
        pool.wanted[size] = row->wanted[size];
    supply_cut(&supply);
    uint32_t devices_cut = 0;
    for (uint32_t size = 0; size < BLOCK_SIZES; size++) {
        devices_cut += pool.blocks_count[size] << size;
        if (pool.blocks_count[size] != row->blocks[size])
            fail_msg("%s: %u blocks of %u, expected %u", row->what, pool.blocks_count[size],
                     1u << size, row->blocks[size]);
        free(pool.blocks[size]);
    }
    assert_int_equal(devices_cut, devices_count);
}

static void test_cutting_reads_counts_and_loses_no_device(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        row_check(&rows[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cutting_reads_counts_and_loses_no_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
