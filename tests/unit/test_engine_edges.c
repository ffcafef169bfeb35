/* The rims of the engine: nothing at all, one too many, and every name it gives to what it does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "auction/book.h"
#include "auction/even.h"
#include "auction/hindsight.h"
#include "auction/losers.h"
#include "auction/recompute.h"
#include "tests/lib/lot_draw.h"

static void every_verdict_has_a_name_of_its_own(void **state)
{
    (void)state;
    static const char *const names[] = {"filled",        "partly_filled", "sells_here",
                                        "lot_too_small", "reserve_short", "outbid"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        assert_string_equal(demand_verdict_slug((enum demand_verdict)(DEMAND_FILLED + i)),
                            names[i]);
}

static void more_than_the_memory_or_a_key_can_number_is_refused(void **state)
{
    (void)state;
    static const struct {
        uint32_t blocks_max, demands_max, blocks_count, demands_count, fault_at;
    } cases[] = {
        {3, 3, 4, 0, 4},
        {UINT32_MAX, 3, KEY_INDEX_MAX + 1, 0, KEY_INDEX_MAX + 1},
        {3, 3, 0, 4, 4},
        {3, UINT32_MAX, 0, KEY_INDEX_MAX + 1, KEY_INDEX_MAX + 1},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct lot_clear lot = {
            .limits = {.blocks_max = cases[i].blocks_max, .demands_max = cases[i].demands_max}};
        const struct lot_input input = {.blocks_count = cases[i].blocks_count,
                                        .demands_count = cases[i].demands_count};
        struct lot_result result;
        assert_int_equal(lot_clear(&lot, &input, &result), LOT_INPUT_BAD);
        assert_int_equal(lot.fault, LOT_FAULT_COUNT);
        assert_int_equal(lot.fault_at, cases[i].fault_at);
    }
}

static void a_lot_of_nothing_clears_to_nothing(void **state)
{
    (void)state;
    const struct lot_input input = {.blocks_count = 0};
    struct lot_result result = lot_cleared(&input);
    assert_int_equal(result.awards_count, 0);
    assert_int_equal(result.prefixes_count, 0);
    assert_int_equal(result.index_uusd_per_hour, LOT_INDEX_NONE);
}

static void a_book_without_lots_or_with_a_full_one(void **state)
{
    (void)state;
    struct book book;
    book_start(&book, 0);
    assert_int_equal(book_freeze(&book).count, 0);
    assert_true(book_bytes(&book).shared > 0);
    book_finish(&book);

    const struct book_block block = {.id = {.bytes = {1}}, .ask_uusd_per_hour = 1};
    const struct book_demand demand = {
        .id = {.bytes = {1}}, .owner = LOT_OWNER_NONE, .k = 1, .kmin = 1};
    book_start(&book, 1);
    book.lots[0].blocks.slots.live_count = KEY_INDEX_MAX; /* as if it held so many */
    assert_int_equal(book_block_add(&book, 0, &block), BOOK_LOT_FULL);
    book.lots[0].blocks.slots.live_count = 0;
    assert_int_equal(book_demand_put(&book, 0, &demand), BOOK_DONE);
    book.lots[0].demands.slots.live_count = KEY_INDEX_MAX;
    const struct book_demand other = {.id = {.bytes = {2}}, .k = 1, .kmin = 1};
    assert_int_equal(book_demand_put(&book, 0, &other), BOOK_LOT_FULL);
    assert_int_equal(book_demand_put(&book, 0, &demand), BOOK_DONE); /* a change takes no room */
    book.lots[0].demands.slots.live_count = 1;
    book_finish(&book);
}

static void room_that_is_there_is_not_taken_again(void **state)
{
    (void)state;
    struct sellers sellers = {.at = NULL};
    struct slots slots;
    sellers_reserve(&sellers, 8);
    slots_start(&slots, sizeof(struct uuid));
    slots_reserve(&slots, 8);
    size_t sellers_size = sellers_bytes(&sellers), slots_size = slots_bytes(&slots);
    sellers_reserve(&sellers, 3);
    slots_reserve(&slots, 3);
    assert_int_equal(sellers_bytes(&sellers), sellers_size);
    assert_int_equal(slots_bytes(&slots), slots_size);
    sellers_finish(&sellers);
    slots_finish(&slots);
}

enum { KEYS_COUNT = 114 }; /* a little over one leaf: two half full ones */

static void thin_leaves_join_and_keep_their_keys(void **state)
{
    (void)state;
    uint64_t keys[KEYS_COUNT], read[KEYS_COUNT];
    struct key_set set = {.leaves = NULL};
    for (uint32_t i = 0; i < KEYS_COUNT; i++)
        keys[i] = key_of(10 + i, i);
    key_set_fill(&set, keys, 0);
    assert_int_equal(key_set_read(&set, read, KEYS_COUNT), 0);
    key_set_fill(&set, keys, KEYS_COUNT);
    assert_int_equal(set.leaves_count, 2);
    for (uint32_t removed = 0; removed < KEYS_COUNT; removed++) {
        assert_int_equal(key_set_read(&set, read, KEYS_COUNT), KEYS_COUNT - removed);
        assert_memory_equal(read, keys + removed, (KEYS_COUNT - removed) * sizeof(*read));
        key_set_remove(&set, keys[removed]);
        assert_true(set.leaves_count <= (KEYS_COUNT - removed - 1 > 64 ? 2 : 1));
    }
    assert_int_equal(set.leaves_count, 0);
    key_set_finish(&set);
}

/* Two sellers in turn, adders 1, 9, 2, 6: even means 2 and 8, rounded up. */
static void adders_are_even_per_seller_and_only_for_a_gang(void **state)
{
    (void)state;
    static const int64_t before[] = {1, 9, 2, 6}, after[] = {2, 8, 2, 8};
    static const struct record_demand demands[] = {
        {.k = 3, .kmin = 1}, {.k = 1, .kmin = 1}, {.k = 2, .kmin = 2}};
    for (uint32_t demands_count = 0; demands_count <= 3; demands_count++) {
        struct record_block blocks[4] = {0};
        for (uint32_t i = 0; i < 4; i++) {
            blocks[i].owner.bytes[15] = i % 2;
            blocks[i].adder_uusd_per_hour = before[i];
        }
        adders_make_even(blocks, 4, demands, demands_count);
        for (uint32_t i = 0; i < 4; i++)
            assert_int_equal(blocks[i].adder_uusd_per_hour,
                             demands_count == 3 ? after[i] : before[i]);
    }
    adders_make_even(NULL, 0, demands, 3);
}

enum { KIND_AT = 6 }; /* behind the magic and the version */

/* A void round holds nothing: neither lots nor workloads that were cleared by themselves. */
static void a_void_record_with_anything_in_it_is_refused(void **state)
{
    (void)state;
    for (uint32_t lots = 0; lots < 2; lots++)
        for (uint32_t directs = 0; directs < 2; directs++) {
            struct record_head head = {.kind = RECORD_ROUND,
                                       .seed_parts = {.market = STR("eu")},
                                       .lots_count = lots,
                                       .directs_count = directs};
            struct record_reader reader;
            struct record_lot lot;
            struct buf bytes = {0};
            head.seed = seed_of(&head.seed_parts);
            record_put_head(&bytes, &head);
            bytes.at[KIND_AT] = RECORD_VOID; /* which the encoder would not write */
            bool is_open = record_open(&reader, buf_str(&bytes), &head);
            assert_int_equal(is_open, lots + directs == 0);
            assert_false(record_next_lot(&reader, &lot));
            assert_int_equal(record_close(&reader), is_open);
            buf_finish(&bytes);
        }
}

/* Three blocks that lost, with adders 3, 1, 2: the second stood nearest. */
static void the_nearest_of_several_losing_blocks_tells_the_gap(void **state)
{
    (void)state;
    struct record_block blocks[3] = {0};
    const struct record_lot lot = {.key = STR("eu-west/cpu-1c2g/1/flexible/unverified"),
                                   .blocks = blocks,
                                   .blocks_count = 3,
                                   .outcome = {.index_uusd_per_hour = 40}};
    const struct uuid account = {.bytes = {1}};
    static const int64_t adders[] = {3, 1, 2};
    for (uint32_t i = 0; i < 3; i++)
        blocks[i] = (struct record_block){
            .owner = account, .ask_uusd_per_hour = 50, .adder_uusd_per_hour = adders[i]};
    struct ask_outcome outcome = ask_outcome_of(&lot, &account);
    assert_int_equal(outcome.fate, ASK_FATE_ABOVE_INDEX);
    assert_int_equal(outcome.score_uusd_per_hour, 51);
    assert_int_equal(outcome.gap_uusd_per_hour, 11);
}

/* One seller's two blocks are priced at the first two losers, the dearer of them first. */
static void a_price_is_found_behind_cheaper_losers(void **state)
{
    (void)state;
    static const int64_t asks[] = {10, 10, 20, 30, 40};
    struct record_block blocks[5] = {0};
    const struct record_demand pair = {
        .id = STR("w"), .owner = {.bytes = {9}}, .r_uusd_per_hour = 35, .k = 2, .kmin = 2};
    struct record_lot lot = {
        .key = STR("l"), .blocks = blocks, .blocks_count = 5, .demands = &pair, .demands_count = 1};
    const struct sha256 seed = {.bytes = {0}};
    struct buf memory = {0};
    bool is_set[2] = {false, false};
    for (uint32_t i = 0; i < 5; i++)
        blocks[i] = (struct record_block){.id = {.at = "abcde" + i, .len = 1},
                                          .owner = {.bytes = {(uint8_t)(i < 2 ? 1 : i)}},
                                          .ask_uusd_per_hour = asks[i]};
    assert_int_equal(record_lot_clear(&lot, &seed, &memory, &lot.outcome), LOT_CLEARED);
    assert_int_equal(lot.outcome.awards_count, 2);
    assert_int_equal(lot.outcome.awards[0].theta_uusd_per_hour, 30);
    assert_int_equal(lot.outcome.awards[1].theta_uusd_per_hour, 20);
    losers_mark(&lot, is_set);
    assert_true(is_set[0] && is_set[1]);
    buf_finish(&memory);
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_verdict_has_a_name_of_its_own),
        cmocka_unit_test(more_than_the_memory_or_a_key_can_number_is_refused),
        cmocka_unit_test(a_lot_of_nothing_clears_to_nothing),
        cmocka_unit_test(a_book_without_lots_or_with_a_full_one),
        cmocka_unit_test(room_that_is_there_is_not_taken_again),
        cmocka_unit_test(thin_leaves_join_and_keep_their_keys),
        cmocka_unit_test(adders_are_even_per_seller_and_only_for_a_gang),
        cmocka_unit_test(the_nearest_of_several_losing_blocks_tells_the_gap),
        cmocka_unit_test(a_price_is_found_behind_cheaper_losers),
        cmocka_unit_test(a_void_record_with_anything_in_it_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
