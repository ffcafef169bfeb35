/* Fragmentation against a slow model written from its definition, by hand and over random nodes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "auction/frag.h"
#include "tests/lib/prop.h"

#define RIGHT_TYPES_MAX 12

static struct frag_types types; /* large, so not on the stack */

static const struct frag_need one = {
    .models = FRAG_MODELS_ANY, .devices_count = 1, .device_milli = 1000};
static const struct frag_need half = {
    .models = FRAG_MODELS_ANY, .devices_count = 1, .device_milli = 500};
static const struct frag_need four = {
    .models = FRAG_MODELS_ANY, .devices_count = 4, .device_milli = 1000};
static const struct frag_need none = {.cpu_milli = 100, .models = FRAG_MODELS_ANY};

static struct frag_node node_of(uint32_t count, const uint16_t *free_milli)
{
    struct frag_node node = {
        .cpu_milli = 1000, .memory_mib = 1000, .model = 1, .devices_count = count};
    memset(node.free_milli, 1, sizeof(node.free_milli)); /* what is no device must not count */
    for (uint32_t i = 0; i < count; i++)
        node.free_milli[i] = free_milli[i];
    return node;
}

static void worked_by_hand(void **state)
{
    (void)state;
    const struct frag_type list[] = {{one, 3}, {four, 1}, {none, 2}};
    const struct frag_node node = node_of(4, (const uint16_t[]){1000, 1000, 1000, 300});
    assert_true(frag_types_start(&types, list, 3));
    assert_int_equal(types.weight_total, 6);
    /* One: the 300 beside the whole ones. Four: does not fit. None: never uses a device. */
    assert_int_equal(frag_measure(&types, &node), 3 * 300 + 1 * 3300 + 2 * 3300);
    /* Half a device: from the 300 it does not fit; from a whole one it leaves 500 more stranded. */
    struct frag_fit fit = frag_fit_find(&types, &node, frag_measure(&types, &node), &half);
    assert_true(fit.fits && fit.devices == 1);
    assert_int_equal(fit.delta, 3 * 500 - 500 - 2 * 500);
    /* A hundredth fits the opened device without opening another. */
    struct frag_need bit = half;
    bit.device_milli = 10;
    assert_int_equal(frag_fit_find(&types, &node, 0, &bit).devices, 1 << 3);
    /* Four whole ones are not there. */
    assert_false(frag_fit_find(&types, &node, 0, &four).fits);
    /* No device is needed: it fits and takes none. */
    fit = frag_fit_find(&types, &node, frag_measure(&types, &node), &none);
    assert_true(fit.fits && fit.devices == 0 && fit.delta == 0);
}

static void room_is_needed_of_every_kind(void **state)
{
    (void)state;
    const struct frag_node node = node_of(2, (const uint16_t[]){1000, 1000});
    const struct frag_need rows[] = {
        {.cpu_milli = 1001, .models = 1, .devices_count = 1, .device_milli = 1},
        {.memory_mib = 1001, .models = 1, .devices_count = 1, .device_milli = 1},
        {.models = 2, .devices_count = 1, .device_milli = 1},
        {.models = 1, .devices_count = 3, .device_milli = 1},
        {.cpu_milli = 1001},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        const struct frag_type list[] = {{rows[i], 1}};
        assert_true(frag_types_start(&types, list, 1));
        assert_false(frag_fit_find(&types, &node, 0, &rows[i]).fits);
        /* As a typical type, all that is idle is of no use to it. */
        assert_int_equal(frag_measure(&types, &node), 2000);
    }
    const struct frag_node full = node_of(1, (const uint16_t[]){0});
    assert_false(frag_fit_find(&types, &full, 0, &one).fits);
    assert_int_equal(frag_fit_find(&types, &full, 5, &one).delta, 0);
    const struct frag_need any_model_without_devices = {.models = 2};
    assert_true(frag_fit_find(&types, &node, 0, &any_model_without_devices).fits);
}

static void two_devices_are_the_fullest_that_fit(void **state)
{
    (void)state;
    const struct frag_type list[] = {{one, 1}};
    const struct frag_node node = node_of(6, (const uint16_t[]){1000, 400, 700, 500, 500, 500});
    const struct frag_need two = {.models = 1, .devices_count = 2, .device_milli = 450};
    assert_true(frag_types_start(&types, list, 1));
    struct frag_fit fit = frag_fit_find(&types, &node, frag_measure(&types, &node), &two);
    assert_int_equal(fit.devices, 1 << 3 | 1 << 4);
    assert_int_equal(fit.delta, -900);
}

static void what_is_out_of_range_is_refused(void **state)
{
    (void)state;
    static struct frag_type many[FRAG_TYPES_MAX + 1];
    const struct frag_type rows[] = {
        {{.cpu_milli = -1}, 1},
        {{.memory_mib = -1}, 1},
        {{.devices_count = FRAG_DEVICES_MAX + 1, .device_milli = 1}, 1},
        {{.devices_count = 1, .device_milli = 0}, 1},
        {{.devices_count = 1, .device_milli = FRAG_DEVICE_MILLI + 1}, 1},
        {one, -1},
        {one, FRAG_WEIGHT_MAX + 1},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        assert_false(frag_types_start(&types, &rows[i], 1));
    const struct frag_type most = {{.devices_count = FRAG_DEVICES_MAX, .device_milli = 1}, 0};
    assert_true(frag_types_start(&types, &most, 1));
    for (uint32_t i = 0; i < ARRAY_COUNT(many); i++)
        many[i] = (struct frag_type){one, FRAG_WEIGHT_MAX};
    assert_false(frag_types_start(&types, many, FRAG_TYPES_MAX + 1));
    assert_true(frag_types_start(&types, many, FRAG_TYPES_MAX));
    assert_int_equal(types.weight_total, FRAG_TYPES_MAX * FRAG_WEIGHT_MAX);
    for (uint32_t i = 0; i < FRAG_GRAINS_MAX + 1; i++)
        many[i].need.device_milli = i + 1;
    assert_false(frag_types_start(&types, many, FRAG_GRAINS_MAX + 1));
    assert_true(frag_types_start(&types, many, FRAG_GRAINS_MAX));
    const struct frag_node node = node_of(1, (const uint16_t[]){2});
    /* What needs 3 and more has no use for 2; what needs 1 or 2 leaves nothing over. */
    assert_int_equal(frag_measure(&types, &node), (FRAG_GRAINS_MAX - 2) * 2 * FRAG_WEIGHT_MAX);
}

static void the_adder_rounds_up(void **state)
{
    (void)state;
    assert_int_equal(frag_adder(4, 0, 350000, 1000), 0);
    assert_int_equal(frag_adder(4, 4000, 350000, 1000), 35000); /* a whole one, lambda 0.1 */
    assert_int_equal(frag_adder(4, 1, 350000, 1000), 9);        /* 8.75 */
    assert_int_equal(frag_adder(4, 4000, (int64_t)1 << 40, 10000), (int64_t)1 << 40);
    assert_int_equal(frag_adder(4, 4000, 350000, 0), 0);
}

/* In service: taking one of eight idle devices leaves seven of no use to who wants eight, taking
 * the last one of a node rids it of one that was of no use to most. */
static void whole_devices_weigh_the_sizes_that_are_wanted(void **state)
{
    (void)state;
    static const int64_t one_wanted[] = {1, 0, 0, 0}, eight_wanted[] = {1, 0, 0, 1};
    static const int64_t two_wanted[] = {0, 3, 0, 0}, none_wanted[] = {0, 0, 0, 0};
    struct frag_whole whole = frag_whole_of(one_wanted);
    assert_int_equal(whole.weight_total, 2000);
    assert_int_equal(frag_whole_delta(&whole, 8), 7 * 6 * 1000);
    assert_int_equal(frag_whole_delta(&whole, 9), 0);
    assert_int_equal(frag_whole_delta(&whole, 64), 0);
    assert_int_equal(frag_whole_delta(&whole, 7), -6 * 1000);
    assert_int_equal(frag_whole_delta(&whole, 4), (3 * 2 - 6) * 1000);
    assert_int_equal(frag_whole_delta(&whole, 2), (3 - 2 - 6) * 1000);
    assert_int_equal(frag_whole_delta(&whole, 1), -(3 + 2 + 6) * 1000);
    assert_int_equal(frag_whole_delta(&whole, 0), 0);
    whole = frag_whole_of(eight_wanted);
    assert_int_equal(frag_whole_delta(&whole, 8), 7 * 506 * 1000);
    whole = frag_whole_of(two_wanted);
    assert_int_equal(frag_whole_delta(&whole, 2), (1003 - 2 - 6) * 1000);
    whole = frag_whole_of(none_wanted);
    assert_int_equal(whole.weight_total, 1000);
    assert_int_equal(frag_whole_delta(&whole, 8), 7 * 6 * 1000);
}

/* The slow model -------------------------------------------------------------------------------*/

static int64_t slow_measure(const struct frag_type *list, uint32_t count,
                            const struct frag_node *node)
{
    int64_t sum = 0;
    for (uint32_t m = 0; m < count; m++) {
        const struct frag_need *need = &list[m].need;
        int64_t all = 0, small = 0;
        uint32_t enough = 0;
        for (uint32_t i = 0; i < node->devices_count; i++) {
            all += node->free_milli[i];
            if (node->free_milli[i] < need->device_milli)
                small += node->free_milli[i];
            else
                enough++;
        }
        bool fits = need->devices_count > 0 && enough >= need->devices_count &&
                    node->cpu_milli >= need->cpu_milli && node->memory_mib >= need->memory_mib &&
                    (node->model & need->models);
        sum += list[m].weight * (fits ? small : all);
    }
    return sum;
}

static struct frag_need any_need(struct prop *p)
{
    static const uint16_t grains[] = {1000, 1000, 1000, 500, 250, 810, 1};
    return (struct frag_need){.cpu_milli = prop_range(p, 0, 60),
                              .memory_mib = prop_range(p, 0, 60),
                              .models = (uint64_t)prop_range(p, 1, 3),
                              .devices_count = (uint32_t)prop_range(p, 0, 3),
                              .device_milli = grains[prop_range(p, 0, 6)]};
}

static struct frag_node any_node(struct prop *p)
{
    struct frag_node node = {.cpu_milli = prop_range(p, 0, 100),
                             .memory_mib = prop_range(p, 0, 100),
                             .model = (uint64_t)prop_range(p, 1, 2),
                             .devices_count = (uint32_t)prop_range(p, 0, 5)};
    for (uint32_t i = 0; i < FRAG_DEVICES_MAX; i++)
        node.free_milli[i] = (uint16_t)prop_range(p, 0, 1000);
    for (uint32_t i = 0; i < node.devices_count; i++)
        node.free_milli[i] = prop_chance(p, 50) ? 1000 : (uint16_t)(prop_range(p, 0, 10) * 100);
    return node;
}

/* Every single device tried; what is taken is given back. */
static void fit_check(struct prop *p, const struct frag_type *list, uint32_t count,
                      const struct frag_node *node, const struct frag_need *need)
{
    int64_t before = slow_measure(list, count, node);
    struct frag_fit fit = frag_fit_find(&types, node, before, need);
    bool has_room = node->cpu_milli >= need->cpu_milli && node->memory_mib >= need->memory_mib &&
                    (need->devices_count == 0 || (node->model & need->models));
    uint32_t enough = 0;
    for (uint32_t i = 0; i < node->devices_count; i++)
        enough += node->free_milli[i] >= need->device_milli;
    prop_check(p, fit.fits == (has_room && enough >= need->devices_count));
    if (!fit.fits)
        return;
    struct frag_node after = *node;
    frag_node_take(&after, need, fit.devices);
    prop_check(p, after.cpu_milli == node->cpu_milli - need->cpu_milli);
    prop_check(p, after.memory_mib == node->memory_mib - need->memory_mib);
    prop_check(p, (uint32_t)__builtin_popcount(fit.devices) == need->devices_count);
    prop_check(p, slow_measure(list, count, &after) - before == fit.delta);
    for (uint32_t i = 0; need->devices_count == 1 && i < node->devices_count; i++) {
        struct frag_node other = *node;
        if (node->free_milli[i] < need->device_milli)
            continue;
        frag_node_take(&other, need, (uint16_t)(1u << i));
        int64_t delta = slow_measure(list, count, &other) - before;
        uint32_t taken = (uint32_t)__builtin_ctz(fit.devices);
        prop_check(p, delta >= fit.delta);
        prop_check(p, delta > fit.delta || node->free_milli[i] > node->free_milli[taken] ||
                          (node->free_milli[i] == node->free_milli[taken] && i >= taken));
    }
    frag_node_give(&after, need, fit.devices);
    prop_check(p, after.version == node->version + 2);
    after.version = node->version;
    prop_check(p, memcmp(&after, node, sizeof(after)) == 0);
}

static void agrees_with_the_slow_model(void **state)
{
    (void)state;
    PROP_FOR(p, 20000)
    {
        struct frag_type list[RIGHT_TYPES_MAX];
        uint32_t count = (uint32_t)prop_range(&p, 0, RIGHT_TYPES_MAX);
        for (uint32_t i = 0; i < count; i++)
            list[i] = (struct frag_type){any_need(&p), prop_range(&p, 0, 9)};
        struct frag_node node = any_node(&p);
        struct frag_need need = any_need(&p);
        prop_check(&p, frag_types_start(&types, list, count));
        prop_check(&p, frag_measure(&types, &node) == slow_measure(list, count, &node));
        fit_check(&p, list, count, &node, &need);
    }
}

static void the_cache_reckons_only_what_changed(void **state)
{
    (void)state;
    const struct frag_type list[] = {{one, 1}, {half, 1}};
    struct frag_need needs[] = {one, half, half};
    struct frag_node nodes[] = {node_of(2, (const uint16_t[]){1000, 1000}),
                                node_of(1, (const uint16_t[]){400})};
    struct frag_fit fits[6] = {{.delta = 0}};
    struct frag_known measures[2] = {{.measure = 0}};
    needs[2].device_milli = 100;
    assert_true(frag_types_start(&types, list, 2));
    struct frag_cache cache = {.types = &types,
                               .needs = needs,
                               .nodes = nodes,
                               .fits = fits,
                               .measures = measures,
                               .nodes_count = 2};
    for (int again = 0; again < 2; again++) {
        assert_true(frag_cache_fit(&cache, 0, 0)->fits);
        assert_false(frag_cache_fit(&cache, 0, 1)->fits);
        assert_int_equal(frag_cache_fit(&cache, 1, 0)->devices, 1);
        assert_int_equal(frag_cache_fit(&cache, 1, 0)->delta, 500);
        assert_int_equal(frag_cache_fit(&cache, 2, 1)->delta, -200);
        assert_int_equal(cache.found_count, 4);
    }
    frag_node_take(&nodes[0], &half, 1);
    assert_int_equal(frag_cache_fit(&cache, 0, 0)->devices, 2); /* the device that is still whole */
    assert_int_equal(cache.found_count, 5);
    assert_int_equal(frag_cache_fit(&cache, 1, 0)->devices, 1); /* the opened one, to its end */
    assert_int_equal(frag_cache_fit(&cache, 1, 0)->delta, -500);
    assert_int_equal(cache.found_count, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worked_by_hand),
        cmocka_unit_test(room_is_needed_of_every_kind),
        cmocka_unit_test(two_devices_are_the_fullest_that_fit),
        cmocka_unit_test(what_is_out_of_range_is_refused),
        cmocka_unit_test(the_adder_rounds_up),
        cmocka_unit_test(whole_devices_weigh_the_sizes_that_are_wanted),
        cmocka_unit_test(agrees_with_the_slow_model),
        cmocka_unit_test(the_cache_reckons_only_what_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
