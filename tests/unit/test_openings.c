/* Who sees which row of a sealed record, and when: nobody sees what is not his before its time. */
#include "broker/market/openings.h"

#include <string.h>

#include "tests/lib/test.h"

/* Rows of the record below, in their order. */
enum {
    LOT,
    BLOCK_COUNT,
    BLOCK_1,
    BLOCK_2,
    DEMAND_COUNT,
    DEMAND_1,
    DEMAND_2,
    INDEX,
    PREFIX_COUNT,
    PREFIX_1,
    SOLD_COUNT,
    AWARD_1,
    ALONE_LOT,
    ALONE_BLOCK_COUNT,
    ALONE_DEMAND_COUNT,
    ALONE_DEMAND,
    ALONE_INDEX,
    ALONE_PREFIX_COUNT,
    ALONE_SOLD_COUNT,
    DIRECT,
    CANDIDATE_COUNT,
    CANDIDATE_ASK,
    CANDIDATE_BID,
    DIRECT_INDEX,
    DIRECT_SOLD_COUNT,
    DIRECT_AWARD,
    ROWS_COUNT
};

#define ROW(row) ((uint32_t)1 << (row))
#define AT_ONCE  (ROW(LOT) | ROW(INDEX) | ROW(SOLD_COUNT))

static const char *const ids[] = {
    "00000000-0000-7000-a000-000000000001",
    "00000000-0000-7000-a000-000000000002",
    "00000000-0000-7000-a000-000000000003",
    "00000000-0000-7000-a000-000000000004",
};

static void record_make(struct buf *to)
{
    const struct record_head head = {.kind = RECORD_ROUND,
                                     .seed_parts = {.market = STR("main"), .t = 3},
                                     .lots_count = 2,
                                     .directs_count = 1};
    const struct record_block blocks[] = {{.id = STR("b1")}, {.id = STR("b2")}};
    const struct record_demand demands[] = {{.id = str_of(ids[0]), .k = 1, .kmin = 1},
                                            {.id = str_of(ids[1]), .k = 1, .kmin = 1}};
    const struct record_demand alone = {.id = str_of(ids[2]), .k = 1, .kmin = 1};
    const struct lot_prefix prefix = {.k_total = 1, .demand = 1};
    const struct lot_award award = {.demand = 1, .block = 0};
    const struct record_lot lot = {
        .key = STR("eu-west/rtx-4090/1/flexible/unverified"),
        .blocks = blocks,
        .demands = demands,
        .blocks_count = 2,
        .demands_count = 2,
        .outcome = {.awards = &award, .awards_count = 1, .prefixes = &prefix, .prefixes_count = 1}};
    const struct record_lot alone_lot = {.key = STR("eu-west/rtx-4090/1/flexible/unverified|w"),
                                         .demands = &alone,
                                         .demands_count = 1,
                                         .outcome = {.index_uusd_per_hour = LOT_INDEX_NONE}};
    const struct record_candidate candidates[] = {
        {.id = STR("c1"), .region = STR("eu-west"), .class = STR("l40s"), .kind = DIRECT_PRICE_ASK},
        {.id = STR("c2"),
         .region = STR("us-east"),
         .class = STR("l40s"),
         .kind = DIRECT_PRICE_BID}};
    const struct rfq_award direct_award = {.candidate = 1};
    const struct record_direct direct = {.id = str_of(ids[3]),
                                         .tier = STR("flexible"),
                                         .devices = 1,
                                         .spread = DIRECT_SPREAD_NONE,
                                         .k = 1,
                                         .kmin = 1,
                                         .candidates = candidates,
                                         .candidates_count = 2,
                                         .outcome = {.awards = &direct_award, .awards_count = 1}};
    record_put_head(to, &head);
    record_put_lot(to, &lot);
    record_put_lot(to, &alone_lot);
    record_put_direct(to, &direct);
}

/* What somebody sees who owns the rows in `own`, when those in `open` are open to everybody. */
static uint32_t seen(uint32_t own, uint32_t open)
{
    struct buf record = {0};
    struct openings openings;
    uint32_t shown = 0;
    record_make(&record);
    assert_true(openings_make(buf_str(&record), &(struct sha256){{0}}, &openings));
    assert_int_equal(openings.rows.count, ROWS_COUNT);
    for (uint32_t i = 0; i < ROWS_COUNT; i++)
        openings_grant(&openings, i, own >> i & 1, open >> i & 1);
    openings_decide(&openings);
    for (uint32_t i = 0; i < ROWS_COUNT; i++)
        shown |= openings_is_shown(&openings, i) ? ROW(i) : 0;
    openings_finish(&openings);
    buf_finish(&record);
    return shown;
}

static void everybody_sees_keys_indexes_and_numbers_sold_at_once(void **state)
{
    (void)state;
    assert_int_equal(seen(0, 0), AT_ONCE);
}

static void an_operator_sees_its_blocks_and_what_they_were_paid(void **state)
{
    (void)state;
    assert_int_equal(seen(ROW(BLOCK_1), 0), AT_ONCE | ROW(BLOCK_1) | ROW(AWARD_1));
    assert_int_equal(seen(ROW(BLOCK_2), 0), AT_ONCE | ROW(BLOCK_2));
    assert_int_equal(seen(ROW(CANDIDATE_BID), 0), AT_ONCE | ROW(CANDIDATE_BID) | ROW(DIRECT_AWARD));
    assert_int_equal(seen(ROW(CANDIDATE_ASK), 0), AT_ONCE | ROW(CANDIDATE_ASK));
}

static void a_tenant_sees_its_wish_and_what_it_got(void **state)
{
    (void)state;
    assert_int_equal(seen(ROW(DEMAND_1), 0), AT_ONCE | ROW(DEMAND_1));
    assert_int_equal(seen(ROW(DEMAND_2), 0),
                     AT_ONCE | ROW(DEMAND_2) | ROW(PREFIX_1) | ROW(AWARD_1));
    assert_int_equal(seen(ROW(ALONE_DEMAND), 0), AT_ONCE | ROW(ALONE_LOT) | ROW(ALONE_DEMAND) |
                                                     ROW(ALONE_INDEX) | ROW(ALONE_SOLD_COUNT));
    assert_int_equal(seen(ROW(DIRECT), 0), AT_ONCE | ROW(DIRECT) | ROW(DIRECT_INDEX) |
                                               ROW(DIRECT_SOLD_COUNT) | ROW(DIRECT_AWARD));
}

static void what_is_open_is_shown_and_a_lot_only_when_all_of_it_is(void **state)
{
    (void)state;
    uint32_t inputs = ROW(BLOCK_1) | ROW(BLOCK_2) | ROW(DEMAND_1) | ROW(DEMAND_2);
    assert_int_equal(seen(0, ROW(BLOCK_1)), AT_ONCE | ROW(BLOCK_1));
    assert_int_equal(seen(0, inputs & ~ROW(DEMAND_1)), AT_ONCE | (inputs & ~ROW(DEMAND_1)));
    assert_int_equal(seen(0, inputs), AT_ONCE | inputs | ROW(BLOCK_COUNT) | ROW(DEMAND_COUNT) |
                                          ROW(PREFIX_COUNT) | ROW(PREFIX_1) | ROW(AWARD_1));
}

/* A direct bid has no ask that ends: it opens with the workload it was made for. */
static void a_bid_opens_with_its_workload(void **state)
{
    (void)state;
    assert_int_equal(seen(0, ROW(DIRECT)), AT_ONCE | ROW(DIRECT) | ROW(CANDIDATE_BID));
    assert_int_equal(seen(0, ROW(DIRECT) | ROW(CANDIDATE_ASK)),
                     AT_ONCE | ROW(DIRECT) | ROW(CANDIDATE_COUNT) | ROW(CANDIDATE_ASK) |
                         ROW(CANDIDATE_BID) | ROW(DIRECT_INDEX) | ROW(DIRECT_SOLD_COUNT) |
                         ROW(DIRECT_AWARD));
    assert_int_equal(seen(0, ROW(CANDIDATE_ASK)), AT_ONCE | ROW(CANDIDATE_ASK));
}

static void blocks_and_workloads_are_listed_with_their_rows(void **state)
{
    (void)state;
    static const uint32_t blocks[] = {BLOCK_1, BLOCK_2, CANDIDATE_ASK, CANDIDATE_BID};
    static const uint32_t demands[] = {DEMAND_1, DEMAND_2, ALONE_DEMAND, DIRECT};
    struct buf record = {0};
    struct openings openings;
    record_make(&record);
    assert_true(openings_make(buf_str(&record), &(struct sha256){{0}}, &openings));
    assert_int_equal(openings.blocks_count, ARRAY_COUNT(blocks));
    assert_int_equal(openings.demands_count, ARRAY_COUNT(demands));
    for (uint32_t i = 0; i < ARRAY_COUNT(blocks); i++) {
        char text[ID_TEXT_SIZE];
        assert_int_equal(openings_block(&openings, i)->place, blocks[i]);
        assert_int_equal(openings_demand(&openings, i)->place, demands[i]);
        assert_string_equal(uuid_text(openings_demand(&openings, i)->workload, text), ids[i]);
    }
    assert_true(str_equal_c(openings_block(&openings, 0)->region, "eu-west"));
    assert_true(str_equal_c(openings_block(&openings, 0)->class, "rtx-4090"));
    assert_true(str_equal_c(openings_block(&openings, 3)->region, "us-east"));
    openings_finish(&openings);
    assert_false(openings_make(STR("x"), &(struct sha256){{0}}, &openings));
    openings_finish(&openings);
    buf_finish(&record);
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everybody_sees_keys_indexes_and_numbers_sold_at_once),
        cmocka_unit_test(an_operator_sees_its_blocks_and_what_they_were_paid),
        cmocka_unit_test(a_tenant_sees_its_wish_and_what_it_got),
        cmocka_unit_test(what_is_open_is_shown_and_a_lot_only_when_all_of_it_is),
        cmocka_unit_test(a_bid_opens_with_its_workload),
        cmocka_unit_test(blocks_and_workloads_are_listed_with_their_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
