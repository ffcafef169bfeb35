/* The book against lot_clear(): after any changes, in any order, it clears what stands exactly as a
 * lot that is sorted from nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "auction/book.h"
#include "tests/lib/lot_draw.h"

enum { BLOCKS_MAX = 600, DEMANDS_MAX = 200, OWNERS_MAX = 24 };

/* What should stand in the one lot under test. */
static struct model {
    struct book_block blocks[BLOCKS_MAX];
    struct book_demand demands[DEMANDS_MAX];
    uint32_t blocks_count, demands_count;
    uint64_t ids_count;
} model;
static struct book book;
static uint32_t lot; /* the lot under test; its neighbours stay empty */

static struct uuid id_next(struct prop *p)
{
    struct uuid id;
    uint64_t halves[2] = {++model.ids_count, prop_u64(p)};
    memcpy(id.bytes, halves, sizeof(halves));
    return id;
}

/* Asks come from few steps, so that equals are common. Zero means that the owner has no ask yet. */
static int64_t ask_of(uint32_t owner)
{
    for (uint32_t i = 0; i < model.blocks_count; i++)
        if (model.blocks[i].owner == owner)
            return model.blocks[i].ask_uusd_per_hour;
    return 0;
}

static int64_t adder_of(uint32_t owner)
{
    return owner % 3 * DRAWN_STEP;
}

static void block_add(struct prop *p)
{
    if (model.blocks_count == BLOCKS_MAX)
        return;
    uint32_t owner = (uint32_t)prop_range(p, 0, OWNERS_MAX - 1);
    int64_t ask = ask_of(owner);
    struct book_block block = {
        .id = id_next(p),
        .owner = owner,
        .ask_uusd_per_hour = ask ? ask : DRAWN_STEP * prop_range(p, 1, 30),
        .adder_uusd_per_hour = adder_of(owner),
    };
    prop_check(p, book_block_add(&book, lot, &block) == BOOK_DONE);
    prop_check(p, book_block_add(&book, lot, &block) == BOOK_ID_TAKEN);
    model.blocks[model.blocks_count++] = block;
}

static void block_drop(struct prop *p)
{
    if (model.blocks_count == 0)
        return;
    uint32_t at = (uint32_t)prop_range(p, 0, model.blocks_count - 1);
    struct uuid id = model.blocks[at].id;
    prop_check(p, book_block_drop(&book, lot, id) == BOOK_DONE);
    prop_check(p, book_block_drop(&book, lot, id) == BOOK_ID_UNKNOWN);
    model.blocks[at] = model.blocks[--model.blocks_count];
}

static void ask_change(struct prop *p)
{
    static struct uuid ids[BLOCKS_MAX];
    if (model.blocks_count == 0)
        return;
    uint32_t at = (uint32_t)prop_range(p, 0, model.blocks_count - 1);
    struct book_ask ask = {.owner = model.blocks[at].owner,
                           .ask_uusd_per_hour = DRAWN_STEP * prop_range(p, 1, 30),
                           .block_ids = ids};
    for (uint32_t i = 0; i < model.blocks_count; i++) {
        if (model.blocks[i].owner != ask.owner)
            continue;
        ids[ask.blocks_count++] = model.blocks[i].id;
        model.blocks[i].ask_uusd_per_hour = ask.ask_uusd_per_hour;
    }
    prop_check(p, book_ask_change(&book, lot, &ask) == BOOK_DONE);
}

static void adder_change(struct prop *p)
{
    if (model.blocks_count == 0)
        return;
    struct book_block *block = &model.blocks[prop_range(p, 0, model.blocks_count - 1)];
    prop_check(p, book_adder_change(&book, lot, block->id, DRAWN_STEP) == BOOK_DONE);
    prop_check(p,
               book_adder_change(&book, lot, block->id, block->adder_uusd_per_hour) == BOOK_DONE);
}

static void demand_put(struct prop *p)
{
    uint32_t at = (uint32_t)prop_range(p, 0, DEMANDS_MAX - 1);
    if (at >= model.demands_count)
        at = model.demands_count++;
    else if (prop_chance(p, 50))
        at = model.demands_count < DEMANDS_MAX ? model.demands_count++ : at;
    struct book_demand *demand = &model.demands[at];
    uint32_t k = (uint32_t)prop_range(p, 1, 9);
    *demand = (struct book_demand){
        .id = demand->k > 0 ? demand->id : id_next(p),
        .owner = prop_chance(p, 10) ? (uint32_t)prop_range(p, 0, 2 * OWNERS_MAX) : LOT_OWNER_NONE,
        .r_uusd_per_hour = DRAWN_STEP * prop_range(p, 0, 36),
        .k = k,
        .kmin = (uint32_t)prop_range(p, 1, k),
    };
    prop_check(p, book_demand_put(&book, lot, demand) == BOOK_DONE);
}

static void demand_drop(struct prop *p)
{
    if (model.demands_count == 0)
        return;
    uint32_t at = (uint32_t)prop_range(p, 0, model.demands_count - 1);
    struct uuid id = model.demands[at].id;
    prop_check(p, book_demand_drop(&book, lot, id) == BOOK_DONE);
    prop_check(p, book_demand_drop(&book, lot, id) == BOOK_ID_UNKNOWN);
    model.demands[at] = model.demands[--model.demands_count];
    model.demands[model.demands_count].k = 0;
}

static void anything_change(struct prop *p)
{
    static void (*const changes[])(struct prop * p) = {block_add,  block_add,    block_drop,
                                                       ask_change, adder_change, demand_put,
                                                       demand_put, demand_drop};
    changes[prop_range(p, 0, ARRAY_COUNT(changes) - 1)](p);
}

/* Clearing what the model says from nothing. */
static struct lot_result model_cleared(const struct sha256 *seed, struct lot_input *ret_input)
{
    static struct lot_block blocks[BLOCKS_MAX];
    static struct lot_demand demands[DEMANDS_MAX];
    static char texts[BLOCKS_MAX + DEMANDS_MAX][ID_TEXT_SIZE];
    for (uint32_t i = 0; i < model.blocks_count; i++)
        blocks[i] = (struct lot_block){
            .id = str_of(uuid_text(model.blocks[i].id, texts[i])),
            .owner = model.blocks[i].owner,
            .ask_uusd_per_hour = model.blocks[i].ask_uusd_per_hour,
            .adder_uusd_per_hour = model.blocks[i].adder_uusd_per_hour,
        };
    for (uint32_t i = 0; i < model.demands_count; i++)
        demands[i] = (struct lot_demand){
            .id = str_of(uuid_text(model.demands[i].id, texts[BLOCKS_MAX + i])),
            .owner = model.demands[i].owner,
            .r_uusd_per_hour = model.demands[i].r_uusd_per_hour,
            .k = model.demands[i].k,
            .kmin = model.demands[i].kmin,
        };
    *ret_input = (struct lot_input){.blocks = blocks,
                                    .demands = demands,
                                    .blocks_count = model.blocks_count,
                                    .demands_count = model.demands_count,
                                    .seed = *seed};
    return lot_cleared(ret_input);
}

static void verdicts_check(struct prop *p, const struct lot_result *expected,
                           const struct lot_result *result)
{
    for (uint32_t i = 0; i < model.demands_count; i++) {
        uint32_t slot = slots_find(&book.lots[lot].demands.slots, model.demands[i].id);
        prop_check(p, result->verdicts[slot] == expected->verdicts[i]);
        prop_check(p, result->accepted_counts[slot] == expected->accepted_counts[i]);
    }
}

static void clearing_check(struct prop *p)
{
    struct sha256 seed;
    for (size_t i = 0; i < sizeof(seed.bytes); i++)
        seed.bytes[i] = (uint8_t)prop_u64(p);
    struct lot_input input;
    struct lot_result expected = model_cleared(&seed, &input), result;
    (void)book_freeze(&book);
    book_lot_fetch(&book, lot);
    book_lot_sort(&book, lot);
    prop_check(p, book_lot_clear(&book, lot, &seed, &result) == LOT_CLEARED);
    prop_check(p, result.awards_count == expected.awards_count);
    prop_check(p, result.prefixes_count == expected.prefixes_count);
    prop_check(p, result.index_uusd_per_hour == expected.index_uusd_per_hour);
    for (uint32_t i = 0; i < result.awards_count; i++) {
        const struct lot_award *is = &result.awards[i], *should = &expected.awards[i];
        struct book_block block = book_block_at(&book, lot, is->block);
        struct book_demand demand = book_demand_at(&book, lot, is->demand);
        prop_check(p, uuid_equal(block.id, model.blocks[should->block].id));
        prop_check(p, block.ask_uusd_per_hour == model.blocks[should->block].ask_uusd_per_hour);
        prop_check(p, uuid_equal(demand.id, model.demands[should->demand].id));
        prop_check(p, demand.k == model.demands[should->demand].k);
        prop_check(p, is->theta_uusd_per_hour == should->theta_uusd_per_hour);
        prop_check(p, is->price_uusd_per_hour == should->price_uusd_per_hour);
    }
    for (uint32_t i = 0; i < result.prefixes_count; i++)
        prop_check(p, result.prefixes[i].k_total == expected.prefixes[i].k_total);
    verdicts_check(p, &expected, &result);
}

static void book_open(struct prop *p)
{
    memset(&model, 0, sizeof(model));
    lot = (uint32_t)prop_range(p, 0, 2);
    book_start(&book, 3);
}

static void it_clears_what_stands_as_a_lot_sorted_from_nothing(void **state)
{
    (void)state;
    PROP_FOR(p, 300)
    {
        book_open(&p);
        uint32_t loaded = (uint32_t)prop_range(&p, 0, prop_chance(&p, 30) ? BLOCKS_MAX : 20);
        if (prop_chance(&p, 50))
            book_reserve(&book, lot,
                         &(struct book_room){.blocks_count = loaded, .sellers_count = loaded / 9});
        for (uint32_t i = 0; i < loaded; i++)
            block_add(&p);
        for (int rounds = 0; rounds < 12; rounds++) {
            int64_t changes = prop_range(&p, 0, prop_chance(&p, 20) ? 300 : 10);
            for (int64_t i = 0; i < changes; i++)
                anything_change(&p);
            clearing_check(&p);
        }
        book_finish(&book);
    }
}

/* Sold blocks and served workloads leave, others arrive: the book never grows beyond its most. */
static void a_market_that_turns_over_does_not_grow_the_book(void **state)
{
    (void)state;
    struct prop p = prop_start(1);
    book_open(&p);
    size_t bytes = 0;
    for (int round = 0; round < 400; round++) {
        while (model.blocks_count < 300)
            block_add(&p);
        while (model.demands_count < 60)
            demand_put(&p);
        clearing_check(&p);
        while (model.blocks_count > 200)
            block_drop(&p);
        while (model.demands_count > 0)
            demand_drop(&p);
        bytes = round == 100 ? book_bytes(&book).asks : bytes;
    }
    prop_check(&p, book_bytes(&book).asks <= bytes + bytes / 4);
    book_finish(&book);
}

static void only_lots_that_changed_are_touched(void **state)
{
    (void)state;
    const struct book_demand demand = {
        .id = {{1}}, .owner = LOT_OWNER_NONE, .r_uusd_per_hour = 9, .k = 1, .kmin = 1};
    const struct book_block block = {.id = {{2}}, .owner = 4, .ask_uusd_per_hour = 5};
    book_start(&book, 5);
    assert_int_equal(book_freeze(&book).count, 0);
    assert_int_equal(book_demand_put(&book, 3, &demand), BOOK_DONE);
    assert_int_equal(book_block_add(&book, 3, &block), BOOK_DONE);
    assert_int_equal(book_block_add(&book, 1, &block), BOOK_DONE);
    struct book_touched touched = book_freeze(&book);
    assert_int_equal(touched.count, 2);
    assert_int_equal(touched.lots[0], 3);
    assert_int_equal(touched.lots[1], 1);
    assert_int_equal(book_block_add(&book, 1, &block), BOOK_ID_TAKEN);
    assert_int_equal(book_freeze(&book).count, 0);
    assert_int_equal(book_block_drop(&book, 1, block.id), BOOK_DONE);
    assert_int_equal(book_freeze(&book).count, 1);
    assert_int_equal(book_block_drop(&book, 3, block.id), BOOK_DONE); /* and nobody sorted it yet */
    assert_int_equal(book_freeze(&book).count, 1);
    assert_int_equal(book_freeze(&book).count, 0);
    book_finish(&book);
}

/* Refusals -------------------------------------------------------------------------------------*/

static void bad_blocks_are_refused_by_name(void **state)
{
    (void)state;
    const struct book_block good = {.id = {{1}}, .owner = 7, .ask_uusd_per_hour = 100};
    const struct {
        enum book_outcome outcome;
        uint32_t lot, owner;
        uint8_t id;
        int64_t ask, adder;
    } cases[] = {
        {BOOK_LOT_UNKNOWN, 2, 7, 2, 100, 0},
        {BOOK_OWNER_BAD, 0, LOT_OWNER_NONE, 2, 100, 0},
        {BOOK_ASK_BAD, 0, 7, 2, 0, 0},
        {BOOK_ASK_BAD, 0, 7, 2, -1, 0},
        {BOOK_ASK_BAD, 0, 7, 2, LOT_SCORE_MAX + 1, 0},
        {BOOK_ASK_BAD, 0, 7, 2, INT64_MAX, 0},
        {BOOK_ADDER_BAD, 0, 7, 2, 100, -1},
        {BOOK_ADDER_BAD, 0, 7, 2, 100, LOT_SCORE_MAX + 1},
        {BOOK_SCORE_BAD, 0, 7, 2, 100, LOT_SCORE_MAX - 99},
        {BOOK_ID_TAKEN, 0, 7, 1, 100, 0},
        {BOOK_TWO_ASKS, 0, 7, 2, 101, 0},
        {BOOK_DONE, 0, 7, 2, 100, LOT_SCORE_MAX - 100},
        {BOOK_DONE, 0, 8, 3, LOT_SCORE_MAX, 0},
    };
    book_start(&book, 2);
    assert_int_equal(book_block_add(&book, 0, &good), BOOK_DONE);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct book_block block = {.id = {{cases[i].id}},
                                         .owner = cases[i].owner,
                                         .ask_uusd_per_hour = cases[i].ask,
                                         .adder_uusd_per_hour = cases[i].adder};
        assert_int_equal(book_block_add(&book, cases[i].lot, &block), cases[i].outcome);
    }
    assert_int_equal(book.lots[0].blocks.slots.live_count, 3);
    assert_int_equal(book_block_at(&book, 0, 1).adder_uusd_per_hour, LOT_SCORE_MAX - 100);
    assert_int_equal(book_block_drop(&book, 2, good.id), BOOK_LOT_UNKNOWN);
    assert_int_equal(book_block_drop(&book, 1, good.id), BOOK_ID_UNKNOWN);
    assert_int_equal(book_adder_change(&book, 2, good.id, 1), BOOK_LOT_UNKNOWN);
    assert_int_equal(book_adder_change(&book, 1, good.id, 1), BOOK_ID_UNKNOWN);
    assert_int_equal(book_adder_change(&book, 0, good.id, -1), BOOK_ADDER_BAD);
    assert_int_equal(book_adder_change(&book, 0, good.id, LOT_SCORE_MAX), BOOK_SCORE_BAD);
    book_finish(&book);
}

static void bad_workloads_are_refused_by_name(void **state)
{
    (void)state;
    const struct {
        enum book_outcome outcome;
        uint32_t lot;
        int64_t r;
        uint32_t k, kmin;
    } cases[] = {
        {BOOK_LOT_UNKNOWN, 1, 5, 1, 1},
        {BOOK_RESERVE_BAD, 0, -1, 1, 1},
        {BOOK_RESERVE_BAD, 0, LOT_SCORE_MAX + 1, 1, 1},
        {BOOK_K_BAD, 0, 5, 0, 0},
        {BOOK_KMIN_BAD, 0, 5, 1, 0},
        {BOOK_KMIN_BAD, 0, 5, 1, 2},
        {BOOK_DONE, 0, LOT_SCORE_MAX, UINT32_MAX, 1},
        {BOOK_DONE, 0, 0, 3, 3},
    };
    book_start(&book, 1);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct book_demand demand = {.id = {{1}},
                                           .owner = LOT_OWNER_NONE,
                                           .r_uusd_per_hour = cases[i].r,
                                           .k = cases[i].k,
                                           .kmin = cases[i].kmin};
        assert_int_equal(book_demand_put(&book, cases[i].lot, &demand), cases[i].outcome);
    }
    assert_int_equal(book.lots[0].demands.slots.live_count, 1);
    assert_int_equal(book_demand_at(&book, 0, 0).kmin, 3);
    assert_int_equal(book_demand_drop(&book, 1, (struct uuid){{1}}), BOOK_LOT_UNKNOWN);
    assert_int_equal(book_demand_drop(&book, 0, (struct uuid){{2}}), BOOK_ID_UNKNOWN);
    book_finish(&book);
}

static void a_change_of_ask_names_each_block_of_the_seller_once(void **state)
{
    (void)state;
    const struct uuid a = {{1}}, b = {{2}}, other = {{3}}, nobody = {{4}};
    const struct {
        enum book_outcome outcome;
        uint32_t lot, owner, count;
        int64_t ask;
        struct uuid ids[2];
    } cases[] = {
        {BOOK_LOT_UNKNOWN, 1, 7, 2, 50, {a, b}},
        {BOOK_ASK_PARTIAL, 0, 9, 1, 50, {a}},
        {BOOK_ASK_PARTIAL, 0, 7, 1, 50, {a}},
        {BOOK_ASK_PARTIAL, 0, 7, 2, 50, {a, a}},
        {BOOK_ASK_PARTIAL, 0, 7, 2, 50, {a, other}},
        {BOOK_ID_UNKNOWN, 0, 7, 2, 50, {a, nobody}},
        {BOOK_ASK_BAD, 0, 7, 2, 0, {a, b}},
        {BOOK_SCORE_BAD, 0, 7, 2, LOT_SCORE_MAX, {a, b}},
        {BOOK_DONE, 0, 7, 2, 50, {b, a}},
    };
    const struct book_block blocks[] = {
        {.id = a, .owner = 7, .ask_uusd_per_hour = 100},
        {.id = b, .owner = 7, .ask_uusd_per_hour = 100, .adder_uusd_per_hour = 1},
        {.id = other, .owner = 8, .ask_uusd_per_hour = 100},
    };
    book_start(&book, 1);
    for (size_t i = 0; i < ARRAY_COUNT(blocks); i++)
        assert_int_equal(book_block_add(&book, 0, &blocks[i]), BOOK_DONE);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        assert_int_equal(book_block_at(&book, 0, 0).ask_uusd_per_hour, 100);
        const struct book_ask ask = {.owner = cases[i].owner,
                                     .ask_uusd_per_hour = cases[i].ask,
                                     .block_ids = cases[i].ids,
                                     .blocks_count = cases[i].count};
        assert_int_equal(book_ask_change(&book, cases[i].lot, &ask), cases[i].outcome);
    }
    assert_int_equal(book_block_at(&book, 0, 0).ask_uusd_per_hour, 50);
    assert_int_equal(book_block_at(&book, 0, 1).ask_uusd_per_hour, 50);
    assert_int_equal(book_block_at(&book, 0, 2).ask_uusd_per_hour, 100);
    book_finish(&book);
}

static void a_gang_wants_one_adder_per_seller(void **state)
{
    (void)state;
    const struct sha256 seed = {{0}};
    struct lot_result result;
    struct book_demand demand = {
        .id = {{9}}, .owner = LOT_OWNER_NONE, .r_uusd_per_hour = 200, .k = 2, .kmin = 1};
    const struct book_block blocks[] = {
        {.id = {{1}}, .owner = 7, .ask_uusd_per_hour = 100},
        {.id = {{2}}, .owner = 7, .ask_uusd_per_hour = 100, .adder_uusd_per_hour = 1},
    };
    book_start(&book, 1);
    assert_int_equal(book_block_add(&book, 0, &blocks[0]), BOOK_DONE);
    assert_int_equal(book_block_add(&book, 0, &blocks[1]), BOOK_DONE);
    assert_int_equal(book_demand_put(&book, 0, &demand), BOOK_DONE);
    book_lot_sort(&book, 0);
    assert_int_equal(book_lot_clear(&book, 0, &seed, &result), LOT_CLEARED);
    assert_int_equal(result.awards_count, 2);
    demand.kmin = 2;
    assert_int_equal(book_demand_put(&book, 0, &demand), BOOK_DONE);
    book_lot_sort(&book, 0);
    assert_int_equal(book_lot_clear(&book, 0, &seed, &result), LOT_INPUT_BAD);
    assert_int_equal(book.work.fault, LOT_FAULT_TWO_ADDERS);
    assert_int_equal(book_adder_change(&book, 0, blocks[0].id, 1), BOOK_DONE);
    book_lot_sort(&book, 0);
    assert_int_equal(book_lot_clear(&book, 0, &seed, &result), LOT_CLEARED);
    assert_int_equal(result.awards_count, 2);
    book_finish(&book);
}

static void every_outcome_has_a_sentence(void **state)
{
    (void)state;
    for (int outcome = BOOK_DONE; outcome < BOOK_OUTCOME_COUNT; outcome++)
        assert_true(strlen(book_outcome_text((enum book_outcome)outcome)) > 3);
    for (int fault = LOT_FAULT_NONE; fault <= LOT_FAULT_TWO_ADDERS; fault++)
        assert_true(strlen(lot_fault_text((enum lot_fault)fault)) > 3);
}

/* The ordered set ------------------------------------------------------------------------------*/

static int key_order(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static void set_check(struct prop *p, const struct key_set *set, uint64_t *keys, uint32_t count)
{
    static uint64_t read[4000], scratch[4000], sorted[4000];
    memcpy(sorted, keys, count * sizeof(*keys));
    keys_sort(sorted, scratch, count);
    qsort(keys, count, sizeof(*keys), key_order);
    prop_check(p, memcmp(sorted, keys, count * sizeof(*keys)) == 0);
    prop_check(p, set->count == count);
    prop_check(p, key_set_read(set, read, UINT32_MAX) == count);
    prop_check(p, memcmp(read, keys, count * sizeof(*keys)) == 0);
    uint32_t wanted = (uint32_t)prop_range(p, 0, count);
    uint32_t got = key_set_read(set, read, wanted);
    prop_check(p, got >= wanted && got <= count);
    prop_check(p, memcmp(read, keys, got * sizeof(*keys)) == 0);
    prop_check(p, got == 0 || got == count || key_value(keys[got]) > key_value(keys[got - 1]));
}

static void a_set_of_keys_stays_in_order(void **state)
{
    (void)state;
    static uint64_t keys[4000];
    PROP_FOR(p, 60)
    {
        struct key_set set = {.count = 0};
        uint32_t count = 0, serial = 0;
        int64_t steps = prop_chance(&p, 50) ? 3 : (int64_t)1 << 40;
        if (prop_chance(&p, 50)) {
            for (; count < 1000; count++)
                keys[count] = key_of(prop_range(&p, 0, steps - 1), serial++);
            qsort(keys, count, sizeof(*keys), key_order);
            key_set_fill(&set, keys, count);
        }
        for (int change = 0; change < 6000; change++) {
            bool is_growing = change / 1500 % 2 == 0;
            if (count < 4000 && (count == 0 || prop_chance(&p, is_growing ? 90 : 10))) {
                keys[count] = key_of(prop_range(&p, 0, steps - 1), serial++);
                key_set_insert(&set, keys[count++]);
            } else {
                uint32_t at = (uint32_t)prop_range(&p, 0, count - 1);
                key_set_remove(&set, keys[at]);
                keys[at] = keys[--count];
            }
            if (change % 500 == 0)
                set_check(&p, &set, keys, count);
        }
        set_check(&p, &set, keys, count);
        prop_check(&p, key_set_bytes(&set) >= count * sizeof(uint64_t));
        key_set_finish(&set);
    }
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_clears_what_stands_as_a_lot_sorted_from_nothing),
        cmocka_unit_test(a_market_that_turns_over_does_not_grow_the_book),
        cmocka_unit_test(only_lots_that_changed_are_touched),
        cmocka_unit_test(bad_blocks_are_refused_by_name),
        cmocka_unit_test(bad_workloads_are_refused_by_name),
        cmocka_unit_test(a_change_of_ask_names_each_block_of_the_seller_once),
        cmocka_unit_test(a_gang_wants_one_adder_per_seller),
        cmocka_unit_test(every_outcome_has_a_sentence),
        cmocka_unit_test(a_set_of_keys_stays_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
