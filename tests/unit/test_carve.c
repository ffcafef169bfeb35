/* Cutting free devices into blocks: what must hold on any input, against a slow model, and why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "auction/carve.h"
#include "broker/base/must.h"
#include "tests/lib/prop.h"

#define GROUPS_MAX  12
#define DEVICES_MAX 256

struct cut { /* blocks in the order of their first device */
    struct carve_block blocks[DEVICES_MAX];
    uint32_t count;
};

static int first_order(const void *a, const void *b)
{
    const struct carve_block *left = a, *right = b;
    return (left->first > right->first) - (left->first < right->first);
}

static struct cut cut_in(const struct carve_input *input, int filling)
{
    struct cut cut;
    const struct carve_block *blocks = NULL;
    size_t size = carve_memory_size(input);
    void *memory = malloc(size ? size : 1);
    must(memory != NULL);
    memset(memory, filling, size);
    cut.count = carve(input, memory, &blocks);
    must(cut.count <= DEVICES_MAX);
    memcpy(cut.blocks, blocks, cut.count * sizeof(*blocks));
    free(memory);
    qsort(cut.blocks, cut.count, sizeof(*cut.blocks), first_order);
    return cut;
}

/* Whatever lay in the lent memory. */
static struct cut cut_of(const struct carve_input *input)
{
    struct cut cut = cut_in(input, 0), other = cut_in(input, 0xa5);
    must(cut.count == other.count);
    must(memcmp(cut.blocks, other.blocks, cut.count * sizeof(*cut.blocks)) == 0);
    return cut;
}

static uint32_t cut_sized(const struct cut *cut, uint32_t size)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < cut->count; i++)
        count += cut->blocks[i].size == size;
    return count;
}

struct draw {
    struct carve_group groups[GROUPS_MAX];
    char ids[GROUPS_MAX][16];
    struct carve_input input;
};

/* Groups of free devices, side by side with gaps; some nodes have two groups. */
static void draw_groups(struct prop *p, struct draw *draw)
{
    uint32_t count = (uint32_t)prop_range(p, 0, GROUPS_MAX), node = 0, first = 0;
    for (uint32_t i = 0; i < count; i++) {
        node += i > 0 && prop_chance(p, 70);
        snprintf(draw->ids[i], sizeof(draw->ids[i]), "g%u", i);
        draw->groups[i] = (struct carve_group){
            .id = str_of(draw->ids[i]),
            .node = node,
            .first = first,
            .devices_count = (uint32_t)(prop_chance(p, 40) ? 8 : prop_range(p, 0, 18)),
        };
        first += draw->groups[i].devices_count + (uint32_t)prop_range(p, 0, 2);
    }
    draw->input = (struct carve_input){
        .groups = draw->groups, .groups_count = count, .nodes_count = node + 1};
    for (size_t i = 0; i < sizeof(draw->input.seed.bytes); i++)
        draw->input.seed.bytes[i] = (uint8_t)prop_u64(p);
}

static void draw_counts(struct prop *p, struct carve_counts *counts)
{
    counts->wanted_has_unmet = prop_chance(p, 70);
    for (uint32_t size = 0; size < CARVE_SIZES; size++) {
        counts->wanted[size] = prop_chance(p, 50) ? prop_range(p, 0, 20) >> size : 0;
        if (prop_chance(p, 40))
            continue;
        counts->last_supply[size] = prop_range(p, 0, 6);
        counts->last_sold[size] = prop_range(p, 0, 6);
        counts->last_unmet[size] = prop_range(p, 0, 6);
    }
}

/* In place: the input points into the draw. */
static void draw_any(struct prop *p, struct draw *draw)
{
    draw_groups(p, draw);
    draw_counts(p, &draw->input.counts);
}

/* Every device in one block -------------------------------------------------------------------*/

static const struct carve_group *group_at(const struct carve_input *input, uint32_t device)
{
    for (uint32_t i = 0; i < input->groups_count; i++)
        if (device >= input->groups[i].first &&
            device < input->groups[i].first + input->groups[i].devices_count)
            return &input->groups[i];
    return NULL;
}

static void every_device_is_in_one_block_of_its_group(void **state)
{
    (void)state;
    PROP_FOR(p, 10000)
    {
        struct draw draw;
        draw_any(&p, &draw);
        struct cut cut = cut_of(&draw.input);
        uint32_t devices_count = 0, end = 0;
        for (uint32_t i = 0; i < cut.count; i++) {
            const struct carve_block *block = &cut.blocks[i];
            const struct carve_group *group = &draw.groups[block->group];
            uint32_t block_end = block->first + (1u << block->size);
            prop_check(&p, block->size < CARVE_SIZES && block->first >= end);
            prop_check(&p, group_at(&draw.input, block->first) == group);
            prop_check(&p, block_end <= group->first + group->devices_count);
            devices_count += 1u << block->size;
            end = block_end;
        }
        uint32_t free_count = 0;
        for (uint32_t i = 0; i < draw.input.groups_count; i++)
            free_count += draw.groups[i].devices_count;
        prop_check(&p, devices_count == free_count);
    }
}

/* Merging what was halved gives the largest blocks back: each block is a half, quarter or eighth of
 * one, in its place. */
static void merging_buddies_undoes_all_splits(void **state)
{
    (void)state;
    PROP_FOR(p, 10000)
    {
        struct draw draw;
        draw_any(&p, &draw);
        struct cut cut = cut_of(&draw.input);
        draw.input.counts = (struct carve_counts){.wanted = {0}};
        struct cut whole = cut_of(&draw.input);
        for (uint32_t merged = 1; merged > 0;) {
            merged = 0;
            for (uint32_t i = 0, w = 0; i + 1 < cut.count; i++) {
                struct carve_block *a = &cut.blocks[i], *b = &cut.blocks[i + 1];
                while (w + 1 < whole.count && whole.blocks[w + 1].first <= a->first)
                    w++;
                bool are_buddies = a->size == b->size && a->size < whole.blocks[w].size &&
                                   (a->first - whole.blocks[w].first) % (2u << a->size) == 0;
                if (!are_buddies)
                    continue;
                prop_check(&p, b->first == a->first + (1u << a->size));
                a->size++;
                memmove(b, b + 1, (--cut.count - i - 1) * sizeof(*b));
                merged++;
            }
        }
        prop_check(&p, cut.count == whole.count);
        prop_check(&p, memcmp(cut.blocks, whole.blocks, cut.count * sizeof(*cut.blocks)) == 0);
    }
}

static void the_order_of_groups_does_not_matter(void **state)
{
    (void)state;
    PROP_FOR(p, 10000)
    {
        struct draw draw;
        draw_any(&p, &draw);
        struct cut cut = cut_of(&draw.input), again = cut_of(&draw.input);
        prop_check(&p, cut.count == again.count &&
                           memcmp(cut.blocks, again.blocks, cut.count * sizeof(*cut.blocks)) == 0);
        for (uint32_t i = draw.input.groups_count; i > 1; i--) {
            uint32_t j = (uint32_t)prop_range(&p, 0, i - 1);
            struct carve_group swap = draw.groups[i - 1];
            draw.groups[i - 1] = draw.groups[j];
            draw.groups[j] = swap;
        }
        for (uint32_t i = 0; i < draw.input.groups_count; i++)
            draw.groups[i].node = draw.input.nodes_count - 1 - draw.groups[i].node;
        again = cut_of(&draw.input);
        prop_check(&p, cut.count == again.count);
        for (uint32_t i = 0; i < cut.count; i++)
            prop_check(&p, cut.blocks[i].first == again.blocks[i].first &&
                               cut.blocks[i].size == again.blocks[i].size);
    }
}

/* The slow model ------------------------------------------------------------------------------*/

/* From the definition: wishes that are new, and waiting ones that lacked blocks. */
static int64_t slow_kept(const struct carve_counts *counts, uint32_t size)
{
    int64_t kept = 0, waiting = counts->last_unmet[size];
    int64_t unsold = counts->last_supply[size] - counts->last_sold[size];
    for (int64_t wish = 0; wish < waiting; wish++)
        kept += wish >= unsold; /* an unsold block stood before each of the first ones */
    if (!counts->wanted_has_unmet)
        return kept + counts->wanted[size];
    for (int64_t wish = waiting; wish < counts->wanted[size]; wish++)
        kept++;
    return kept < counts->wanted[size] ? kept : counts->wanted[size];
}

static uint32_t slow_halves(const struct carve_counts *counts, const struct cut *cut, uint32_t size)
{
    uint32_t halves = 0, blocks = cut_sized(cut, size);
    int64_t devices = 0, smaller_wanted = 0, sizes = 0;
    for (uint32_t i = 0; i < size; i++) {
        devices += cut_sized(cut, i) << i;
        smaller_wanted += counts->wanted[i] << i;
        sizes += counts->wanted[i] > 0;
    }
    int64_t left_over = blocks - slow_kept(counts, size);
    int64_t parts = sizes + (counts->wanted[size] > 0);
    while (sizes > 0 && halves < left_over &&
           (halves * parts < left_over * sizes ||
            devices + ((int64_t)halves << size) < smaller_wanted))
        halves++;
    return halves;
}

static struct sha256 slow_tie(const struct carve_input *input, const struct carve_block *block)
{
    const struct carve_group *group = &input->groups[block->group];
    char text[128] = "undercut/carve/v1|";
    size_t len = strlen(text);
    memcpy(text + len, input->seed.bytes, 32);
    memcpy(text + len + 32, group->id.at, group->id.len);
    return sha256_of(text, len + 32 + group->id.len);
}

/* What halving the block makes useless to its size: all that is idle on its node, unless the node
 * holds another block as large. */
static uint32_t slow_cost(const struct carve_input *input, const struct cut *cut, uint32_t at)
{
    uint32_t node = input->groups[cut->blocks[at].group].node, idle = 0;
    for (uint32_t i = 0; i < cut->count; i++) {
        if (input->groups[cut->blocks[i].group].node != node)
            continue;
        if (i != at && cut->blocks[i].size >= cut->blocks[at].size)
            return 0;
        idle += 1u << cut->blocks[i].size;
    }
    return idle;
}

static bool slow_comes_before(const struct carve_input *input, const struct cut *cut, uint32_t a,
                              uint32_t b)
{
    uint32_t cost_a = slow_cost(input, cut, a), cost_b = slow_cost(input, cut, b);
    struct sha256 tie_a = slow_tie(input, &cut->blocks[a]);
    struct sha256 tie_b = slow_tie(input, &cut->blocks[b]);
    if (cost_a != cost_b)
        return cost_a < cost_b;
    int order = memcmp(&tie_a, &tie_b, sizeof(tie_a));
    return order < 0 || (order == 0 && cut->blocks[a].first < cut->blocks[b].first);
}

static void slow_halve_best(const struct carve_input *input, struct cut *cut, uint32_t size)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < cut->count; i++)
        if (cut->blocks[i].size == size &&
            (best == UINT32_MAX || slow_comes_before(input, cut, i, best)))
            best = i;
    struct carve_block *block = &cut->blocks[best];
    block->size--;
    cut->blocks[cut->count++] = (struct carve_block){
        .group = block->group, .first = block->first + (1u << block->size), .size = block->size};
}

static void agrees_with_the_slow_model(void **state)
{
    (void)state;
    PROP_FOR(p, 5000)
    {
        struct draw draw;
        draw_any(&p, &draw);
        struct cut cut = cut_of(&draw.input), slow;
        struct carve_counts counts = draw.input.counts;
        draw.input.counts = (struct carve_counts){.wanted = {0}};
        slow = cut_of(&draw.input);
        for (uint32_t size = CARVE_SIZES; --size > 0;)
            for (uint32_t halves = slow_halves(&counts, &slow, size); halves > 0; halves--)
                slow_halve_best(&draw.input, &slow, size);
        qsort(slow.blocks, slow.count, sizeof(*slow.blocks), first_order);
        prop_check(&p, cut.count == slow.count);
        prop_check(&p, memcmp(cut.blocks, slow.blocks, cut.count * sizeof(*cut.blocks)) == 0);
    }
}

static void memory_is_lent_by_devices_and_nodes(void **state)
{
    (void)state;
    const struct carve_input nothing = {.groups_count = 0};
    const struct carve_group group = {.id = STR("a"), .devices_count = 2};
    const struct carve_input two = {.groups = &group, .groups_count = 1, .nodes_count = 1};
    const struct carve_input two_of_two = {.groups = &group, .groups_count = 1, .nodes_count = 2};
    assert_int_equal(carve_memory_size(&nothing), 0);
    assert_true(carve_memory_size(&two) >= 2 * sizeof(struct carve_block));
    assert_true(carve_memory_size(&two) < carve_memory_size(&two_of_two));
}

/* What it is for ------------------------------------------------------------------------------*/

struct row {
    const char *what;
    uint32_t devices[6]; /* free, per node of one group */
    struct carve_counts counts;
    uint32_t blocks[CARVE_SIZES]; /* expected */
};

static const struct row rows[] = {
    {"nothing wanted: largest first", {7, 2}, {.wanted = {0}}, {1, 2, 1, 0}},
    {"sixteen", {16, 9}, {.wanted = {0}}, {1, 0, 0, 3}},
    {"one small wish meets every idle node", {8, 8, 8}, {.wanted = {1}}, {24, 0, 0, 0}},
    {"only what is wanted is cut", {8, 8}, {.wanted = {0, 0, 3}}, {0, 0, 4, 0}},
    {"new wishes keep their blocks", {8, 8}, {.wanted = {5, 0, 0, 2}}, {0, 0, 0, 2}},
    {"what is left over goes in equal parts",
     {8, 8, 8, 8, 8},
     {.wanted = {1, 0, 0, 1}},
     {16, 0, 0, 3}},
    {"per size, whatever the sizes", {8, 8, 8, 8}, {.wanted = {1, 1, 0, 1}}, {8, 4, 0, 2}},
    {"but need comes before competition",
     {8, 8, 8, 8, 8},
     {.wanted = {30, 0, 0, 1}},
     {32, 0, 0, 1}},
    {"and counts what lies in small blocks already",
     {8, 8, 7, 7, 7},
     {.wanted = {30, 0, 0, 1}, .wanted_has_unmet = true},
     {29, 0, 0, 1}},
    {"a waiting wish that lacked blocks keeps one",
     {8},
     {.wanted = {1, 0, 0, 1}, .last_unmet = {0, 0, 0, 1}, .wanted_has_unmet = true},
     {0, 0, 0, 1}},
    {"one that a block stood unsold for does not",
     {8},
     {.wanted = {1, 0, 0, 1},
      .last_supply = {0, 0, 0, 1},
      .last_unmet = {0, 0, 0, 1},
      .wanted_has_unmet = true},
     {8, 0, 0, 0}},
    {"taking now spares what others wait for",
     {8, 8},
     {.wanted = {1}, .last_unmet = {0, 0, 0, 1}},
     {8, 0, 0, 1}},
    {"unless they did not take it",
     {8, 8},
     {.wanted = {1}, .last_supply = {0, 0, 0, 2}, .last_unmet = {0, 0, 0, 1}},
     {16, 0, 0, 0}},
    {"who gave up waiting keeps nothing",
     {8},
     {.wanted = {1}, .last_unmet = {0, 0, 0, 1}, .wanted_has_unmet = true},
     {8, 0, 0, 0}},
    {"no devices", {0}, {.wanted = {1}}, {0}},
};

static struct cut row_cut(const struct row *row, struct carve_group groups[6])
{
    static const char *const ids[] = {"a", "b", "c", "d", "e", "f"};
    struct carve_input input = {
        .groups = groups, .groups_count = 6, .nodes_count = 6, .counts = row->counts};
    uint32_t first = 0;
    for (uint32_t i = 0; i < 6; i++) {
        groups[i] = (struct carve_group){
            .id = str_of(ids[i]), .node = i, .first = first, .devices_count = row->devices[i]};
        first += row->devices[i];
    }
    return cut_of(&input);
}

static void counts_decide_how_much_is_halved(void **state)
{
    (void)state;
    struct carve_group groups[6];
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct cut cut = row_cut(&rows[i], groups);
        for (uint32_t size = 0; size < CARVE_SIZES; size++)
            if (cut_sized(&cut, size) != rows[i].blocks[size])
                fail_msg("%s: %u blocks of %u, not %u", rows[i].what, cut_sized(&cut, size),
                         1u << size, rows[i].blocks[size]);
    }
}

/* Node 0 keeps an eight in its other group; of the rest, node 1 has least to lose. */
static void halving_starts_where_it_fragments_least(void **state)
{
    (void)state;
    const struct carve_group groups[] = {
        {.id = STR("a"), .node = 0, .first = 0, .devices_count = 8},
        {.id = STR("b"), .node = 0, .first = 8, .devices_count = 8},
        {.id = STR("c"), .node = 1, .first = 16, .devices_count = 8},
        {.id = STR("d"), .node = 2, .first = 24, .devices_count = 12},
    };
    struct carve_input input = {
        .groups = groups, .groups_count = 4, .nodes_count = 3, .counts = {.wanted = {6, 0, 0, 3}}};
    struct cut cut = cut_of(&input); /* one of four left over */
    assert_int_equal(cut_sized(&cut, 3), 3);
    assert_true(cut.blocks[0].size == 3 || cut.blocks[1].first == 1);
    for (uint32_t i = 0; i < cut.count; i++)
        assert_true(cut.blocks[i].size == 3 || cut.blocks[i].first < 16 ||
                    cut.blocks[i].first >= 32);
    input.counts.wanted[3] = 2; /* two of four: one of node 0, then node 1 */
    input.counts.wanted[0] = 17;
    cut = cut_of(&input);
    uint32_t kept_first = 0;
    for (uint32_t i = 0; i < cut.count; i++)
        if (cut.blocks[i].size == 3 && cut.blocks[i].first >= 16)
            kept_first = cut.blocks[i].first;
    assert_int_equal(kept_first, 24);
    assert_int_equal(cut_sized(&cut, 3), 2);
}

/* A large wish that can never pay, renewed forever: whoever wants one device gets his turn. */
static void no_wish_shuts_the_market_for_another(void **state)
{
    (void)state;
    const struct carve_group group = {.id = STR("a"), .devices_count = 8};
    struct carve_input input = {.groups = &group, .groups_count = 1, .nodes_count = 1};
    struct carve_counts *counts = &input.counts;
    int small_turns = 0, large_turns = 0;
    counts->wanted_has_unmet = true;
    for (int round = 0; round < 10; round++) {
        counts->wanted[0] = counts->wanted[3] = 1;
        struct cut cut = cut_of(&input);
        small_turns += cut_sized(&cut, 0) > 0;
        large_turns += cut_sized(&cut, 3) > 0;
        for (uint32_t size = 0; size < CARVE_SIZES; size++)
            counts->last_supply[size] = cut_sized(&cut, size);
        counts->last_unmet[0] = counts->last_unmet[3] = 1;
    }
    assert_int_equal(small_turns, 5);
    assert_int_equal(large_turns, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_device_is_in_one_block_of_its_group),
        cmocka_unit_test(merging_buddies_undoes_all_splits),
        cmocka_unit_test(the_order_of_groups_does_not_matter),
        cmocka_unit_test(agrees_with_the_slow_model),
        cmocka_unit_test(memory_is_lent_by_devices_and_nodes),
        cmocka_unit_test(counts_decide_how_much_is_halved),
        cmocka_unit_test(halving_starts_where_it_fragments_least),
        cmocka_unit_test(no_wish_shuts_the_market_for_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
