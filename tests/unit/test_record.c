/* Records of rounds: one encoding each, read back as written, and true to the rule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "auction/recompute.h"
#include "broker/base/merkle.h"
#include "tests/lib/lot_draw.h"

#define LOTS_COUNT     3
#define DIRECTS_COUNT  2
#define CANDIDATES_MAX 6

static struct lot_drawn drawn;
static struct record_block blocks[DRAWN_BLOCKS_MAX];
static struct record_demand demands[DRAWN_DEMANDS_MAX];

static const struct draw_shape shape = {.blocks_max = 6,
                                        .demands_max = 5,
                                        .owners_max = 3,
                                        .k_max = 3,
                                        .price_steps = 8,
                                        .self_percent = 20,
                                        .has_adders = true,
                                        .has_adders_per_block = true};

static struct uuid uuid_draw(struct prop *p)
{
    struct uuid id;
    for (int i = 0; i < 16; i++)
        id.bytes[i] = (uint8_t)prop_u64(p);
    return id;
}

static struct record_head head_draw(struct prop *p)
{
    struct record_head head = {
        .kind = RECORD_ROUND,
        .seed_parts = {.market = STR("eu-1"), .t = prop_u64(p)},
        .chain_index = prop_u64(p),
        .fee_bp = 1000,
        .lots_count = LOTS_COUNT,
        .directs_count = DIRECTS_COUNT,
    };
    for (int i = 0; i < 32; i++) {
        head.seed_parts.arrivals_root.bytes[i] = (uint8_t)prop_u64(p);
        head.seed_parts.chain_value.bytes[i] = (uint8_t)prop_u64(p);
    }
    head.seed = seed_of(&head.seed_parts);
    return head;
}

/* A drawn lot as a record, its outcome not yet known. */
static struct record_lot lot_record_draw(struct prop *p, struct str key)
{
    struct uuid owners[DRAWN_OWNERS_MAX];
    lot_draw(p, &shape, &drawn);
    for (uint32_t i = 0; i < drawn.owners_count; i++)
        owners[i] = uuid_draw(p);
    for (uint32_t i = 0; i < drawn.input.blocks_count; i++)
        blocks[i] = (struct record_block){
            .id = drawn.blocks[i].id,
            .owner = owners[drawn.blocks[i].owner],
            .node = uuid_draw(p),
            .ask_uusd_per_hour = drawn.blocks[i].ask_uusd_per_hour,
            .adder_uusd_per_hour = drawn.blocks[i].adder_uusd_per_hour,
        };
    for (uint32_t i = 0; i < drawn.input.demands_count; i++)
        demands[i] = (struct record_demand){
            .id = drawn.demands[i].id,
            .owner = drawn.demands[i].owner == LOT_OWNER_NONE ? uuid_draw(p)
                                                              : owners[drawn.demands[i].owner],
            .r_uusd_per_hour = drawn.demands[i].r_uusd_per_hour,
            .k = drawn.demands[i].k,
            .kmin = drawn.demands[i].kmin,
        };
    return (struct record_lot){
        .key = key,
        .blocks = blocks,
        .demands = demands,
        .blocks_count = drawn.input.blocks_count,
        .demands_count = drawn.input.demands_count,
    };
}

static const struct str keys[LOTS_COUNT] = {
    {.at = "eu-west/cpu-1c2g/1", .len = 18},
    {.at = "eu-west/rtx-4090/1", .len = 18},
    {.at = "eu-west/rtx-4090/2", .len = 18},
};

static const struct str regions[2] = {{.at = "eu-west", .len = 7}, {.at = "us-east", .len = 7}};

/* A workload by itself over a few nodes and regions, its outcome not yet known. */
static struct record_direct direct_record_draw(struct prop *p, struct str id)
{
    static struct record_candidate candidates[CANDIDATES_MAX];
    static char ids[CANDIDATES_MAX][4];
    struct uuid owners[3], nodes[4];
    for (int i = 0; i < 3; i++)
        owners[i] = uuid_draw(p);
    for (int i = 0; i < 4; i++)
        nodes[i] = uuid_draw(p);
    uint32_t k = (uint32_t)prop_range(p, 1, 3);
    struct record_direct direct = {
        .id = id,
        .owner = prop_chance(p, 20) ? owners[0] : uuid_draw(p),
        .tier = STR("flexible"),
        .devices = 2,
        .spread = (enum direct_spread)prop_range(p, DIRECT_SPREAD_NONE, DIRECT_SPREAD_REGION),
        .r_uusd_per_hour = prop_range(p, 0, 40),
        .k = k,
        .kmin = (uint32_t)prop_range(p, 1, k),
        .candidates = candidates,
        .candidates_count = (uint32_t)prop_range(p, 0, CANDIDATES_MAX),
    };
    for (uint32_t i = 0; i < direct.candidates_count; i++) {
        must(str_format(ids[i], sizeof(ids[i]), "d%u", i));
        candidates[i] = (struct record_candidate){
            .id = str_of(ids[i]),
            .owner = owners[prop_range(p, 0, 2)],
            .node = nodes[prop_range(p, 0, 3)],
            .region = regions[prop_range(p, 0, 1)],
            .class = STR("rtx-4090"),
            .kind = (enum direct_price)prop_range(p, DIRECT_PRICE_ASK, DIRECT_PRICE_BID),
            .price_uusd_per_hour = prop_range(p, 0, 20),
            .adder_uusd_per_hour = prop_range(p, 0, 4),
            .latency_uusd_per_hour = prop_range(p, 0, 4),
        };
    }
    return direct;
}

static const struct str workloads[DIRECTS_COUNT] = {{.at = "w1", .len = 2}, {.at = "w2", .len = 2}};

static void round_draw(struct prop *p, struct buf *to)
{
    struct record_head head = head_draw(p);
    struct buf memory = {0};
    record_put_head(to, &head);
    for (size_t i = 0; i < LOTS_COUNT; i++) {
        struct record_lot lot = lot_record_draw(p, keys[i]);
        prop_check(p, record_lot_clear(&lot, &head.seed, &memory, &lot.outcome) == LOT_CLEARED);
        record_put_lot(to, &lot);
    }
    for (size_t i = 0; i < DIRECTS_COUNT; i++) {
        struct record_direct direct = direct_record_draw(p, workloads[i]);
        prop_check(p, record_direct_clear(&direct, &head.seed, &memory, &direct.outcome) ==
                          LOT_CLEARED);
        record_put_direct(to, &direct);
    }
    buf_finish(&memory);
}

static void a_round_reads_back_as_written_and_holds(void **state)
{
    (void)state;
    PROP_FOR(p, 2000)
    {
        struct buf bytes = {0}, again = {0};
        struct record_reader reader;
        struct record_head head;
        struct record_lot lot;
        struct record_direct direct;
        round_draw(&p, &bytes);
        prop_check(&p, record_open(&reader, buf_str(&bytes), &head));
        record_put_head(&again, &head);
        prop_check(&p, !record_next_direct(&reader, &direct)); /* lots come first */
        while (record_next_lot(&reader, &lot))
            record_put_lot(&again, &lot);
        while (record_next_direct(&reader, &direct))
            record_put_direct(&again, &direct);
        prop_check(&p, record_close(&reader));
        prop_check(&p, str_equal(buf_str(&bytes), buf_str(&again)));
        prop_check(&p, record_recompute(buf_str(&bytes)) == RECORD_HOLDS);
        buf_finish(&bytes);
        buf_finish(&again);
    }
}

/* The record's own way to clear, with uuids for owners, is the auction's. */
static void a_recorded_lot_clears_as_the_lot_itself(void **state)
{
    (void)state;
    PROP_FOR(p, 2000)
    {
        struct buf memory = {0};
        struct lot_result recorded;
        struct record_lot lot = lot_record_draw(&p, keys[0]);
        prop_check(&p,
                   record_lot_clear(&lot, &drawn.input.seed, &memory, &recorded) == LOT_CLEARED);
        struct lot_result direct = lot_cleared(&drawn.input);
        prop_check(&p, recorded.awards_count == direct.awards_count);
        prop_check(&p, recorded.index_uusd_per_hour == direct.index_uusd_per_hour);
        for (uint32_t i = 0; i < direct.awards_count; i++)
            prop_check(&p, recorded.awards[i].block == direct.awards[i].block &&
                               recorded.awards[i].demand == direct.awards[i].demand &&
                               recorded.awards[i].price_uusd_per_hour ==
                                   direct.awards[i].price_uusd_per_hour);
        buf_finish(&memory);
    }
}

#define HEAD_SIZE      136
#define CHAIN_INDEX_AT 52
#define FEE_AT         124

/* Of the head, only what is checked elsewhere may change and leave a record that holds: the chain
 * index against the anchor, the fee against the terms. */
static bool is_bound_by_head(size_t at)
{
    bool is_chain_index = at >= CHAIN_INDEX_AT && at < CHAIN_INDEX_AT + 8;
    bool is_fee = at >= FEE_AT && at < FEE_AT + 4;
    return at < HEAD_SIZE && !is_chain_index && !is_fee;
}

/* P18. An input that did not matter, say an ask that lost, may change without changing who won;
 * the leaf's hash notices that too. */
static void any_changed_byte_changes_the_hash_or_is_refused(void **state)
{
    (void)state;
    PROP_FOR(p, 100)
    {
        struct buf bytes = {0};
        round_draw(&p, &bytes);
        struct sha256 leaf = merkle_leaf(bytes.at, bytes.len);
        for (size_t i = 0; i < bytes.len; i++) {
            char before = bytes.at[i];
            bytes.at[i] = (char)(before ^ 1 << prop_range(&p, 0, 7));
            struct sha256 other = merkle_leaf(bytes.at, bytes.len);
            bool still_holds = record_recompute(buf_str(&bytes)) == RECORD_HOLDS;
            prop_check(&p, !sha256_equal(&leaf, &other));
            prop_check(&p, !still_holds || !is_bound_by_head(i));
            bytes.at[i] = before;
        }
        prop_check(&p, record_recompute(buf_str(&bytes)) == RECORD_HOLDS);
        buf_finish(&bytes);
    }
}

static void a_changed_outcome_never_holds(void **state)
{
    (void)state;
    PROP_FOR(p, 2000)
    {
        struct record_head head = head_draw(&p);
        struct record_lot lot = lot_record_draw(&p, keys[0]);
        struct buf memory = {0}, bytes = {0};
        head.lots_count = 1;
        head.directs_count = 0;
        prop_check(&p, record_lot_clear(&lot, &head.seed, &memory, &lot.outcome) == LOT_CLEARED);
        record_put_head(&bytes, &head);
        record_put_lot(&bytes, &lot);
        size_t outcome_len =
            16 + (size_t)lot.outcome.prefixes_count * 16 + (size_t)lot.outcome.awards_count * 24;
        size_t at = bytes.len - 1 - (size_t)prop_range(&p, 0, (int64_t)outcome_len - 1);
        bytes.at[at] = (char)(bytes.at[at] ^ 1 << prop_range(&p, 0, 7));
        enum record_check check = record_recompute(buf_str(&bytes));
        prop_check(&p, check == RECORD_BAD_OUTCOME || check == RECORD_BAD_BYTES);
        buf_finish(&memory);
        buf_finish(&bytes);
    }
}

static void a_changed_outcome_of_a_direct_clearing_never_holds(void **state)
{
    (void)state;
    PROP_FOR(p, 2000)
    {
        struct record_head head = head_draw(&p);
        struct record_direct direct = direct_record_draw(&p, workloads[0]);
        struct buf memory = {0}, bytes = {0};
        head.lots_count = 0;
        head.directs_count = 1;
        prop_check(&p, record_direct_clear(&direct, &head.seed, &memory, &direct.outcome) ==
                           LOT_CLEARED);
        record_put_head(&bytes, &head);
        record_put_direct(&bytes, &direct);
        prop_check(&p, record_recompute(buf_str(&bytes)) == RECORD_HOLDS);
        size_t outcome_len = 12 + (size_t)direct.outcome.awards_count * 20;
        size_t at = bytes.len - 1 - (size_t)prop_range(&p, 0, (int64_t)outcome_len - 1);
        bytes.at[at] = (char)(bytes.at[at] ^ 1 << prop_range(&p, 0, 7));
        enum record_check check = record_recompute(buf_str(&bytes));
        prop_check(&p, check == RECORD_BAD_OUTCOME || check == RECORD_BAD_BYTES);
        buf_finish(&memory);
        buf_finish(&bytes);
    }
}

/* Where spread groups by node, no two awards share one; by region neither. */
static void a_spread_direct_clearing_takes_each_place_once(void **state)
{
    (void)state;
    PROP_FOR(p, 3000)
    {
        struct record_head head = head_draw(&p);
        struct record_direct direct = direct_record_draw(&p, workloads[0]);
        struct buf memory = {0};
        prop_check(&p, record_direct_clear(&direct, &head.seed, &memory, &direct.outcome) ==
                           LOT_CLEARED);
        const struct rfq_award *awards = direct.outcome.awards;
        for (uint32_t i = 0; i < direct.outcome.awards_count; i++) {
            const struct record_candidate *one = &direct.candidates[awards[i].candidate];
            prop_check(&p, !uuid_equal(one->owner, direct.owner));
            for (uint32_t j = 0; j < i; j++) {
                const struct record_candidate *other = &direct.candidates[awards[j].candidate];
                prop_check(&p, direct.spread != DIRECT_SPREAD_NODE ||
                                   !uuid_equal(one->node, other->node));
                prop_check(&p, direct.spread != DIRECT_SPREAD_REGION ||
                                   !str_equal(one->region, other->region));
            }
        }
        buf_finish(&memory);
    }
}

static void bytes_that_end_early_or_late_are_refused(void **state)
{
    (void)state;
    struct prop p = prop_start(1);
    struct buf bytes = {0};
    round_draw(&p, &bytes);
    for (size_t len = 0; len < bytes.len; len++)
        assert_int_equal(record_recompute((struct str){.at = bytes.at, .len = len}),
                         RECORD_BAD_BYTES);
    buf_add_c(&bytes, "x");
    assert_int_equal(record_recompute(buf_str(&bytes)), RECORD_BAD_BYTES);
    buf_finish(&bytes);
}

static void garbage_is_refused_and_never_crashes(void **state)
{
    (void)state;
    PROP_FOR(p, 3000)
    {
        struct buf bytes = {0};
        round_draw(&p, &bytes);
        size_t from = (size_t)prop_range(&p, 0, (int64_t)bytes.len - 1);
        for (size_t i = from; i < bytes.len && i < from + 8; i++)
            bytes.at[i] = (char)prop_u64(&p);
        enum record_check check = record_recompute(buf_str(&bytes));
        prop_check(&p, record_check_text(check)[0] != '\0');
        buf_finish(&bytes);
    }
}

static void the_seed_must_be_that_of_its_parts(void **state)
{
    (void)state;
    struct prop p = prop_start(1);
    struct record_head head = head_draw(&p);
    struct buf bytes = {0};
    head.lots_count = head.directs_count = 0;
    head.kind = RECORD_VOID;
    record_put_head(&bytes, &head);
    assert_int_equal(record_recompute(buf_str(&bytes)), RECORD_HOLDS);
    bytes.len = 0;
    head.seed_parts.t++;
    record_put_head(&bytes, &head);
    assert_int_equal(record_recompute(buf_str(&bytes)), RECORD_BAD_SEED);
    buf_finish(&bytes);
}

static void lots_out_of_order_are_refused(void **state)
{
    (void)state;
    struct prop p = prop_start(1);
    struct record_head head = head_draw(&p);
    struct buf bytes = {0};
    const struct record_lot none = {.outcome = {.index_uusd_per_hour = LOT_INDEX_NONE}};
    head.lots_count = 2;
    head.directs_count = 0;
    for (int order = 0; order < 3; order++) {
        struct record_lot first = none, second = none;
        first.key = keys[order == 1 ? 1 : 0];
        second.key = keys[order == 0 ? 1 : 0];
        bytes.len = 0;
        record_put_head(&bytes, &head);
        record_put_lot(&bytes, &first);
        record_put_lot(&bytes, &second);
        assert_int_equal(record_recompute(buf_str(&bytes)),
                         order == 0 ? RECORD_HOLDS : RECORD_BAD_BYTES);
    }
    buf_finish(&bytes);
}

static void inputs_that_no_round_can_have_are_named(void **state)
{
    (void)state;
    struct prop p = prop_start(1);
    struct record_head head = head_draw(&p);
    struct buf bytes = {0};
    const struct record_demand demand = {.id = STR("w"), .r_uusd_per_hour = 5, .k = 1, .kmin = 2};
    const struct record_lot lot = {.key = keys[0],
                                   .demands = &demand,
                                   .demands_count = 1,
                                   .outcome = {.index_uusd_per_hour = LOT_INDEX_NONE}};
    head.lots_count = 1;
    head.directs_count = 0;
    record_put_head(&bytes, &head);
    record_put_lot(&bytes, &lot);
    assert_int_equal(record_recompute(buf_str(&bytes)), RECORD_BAD_INPUT);
    buf_finish(&bytes);
}

static void directs_that_no_round_can_have_are_named_or_refused(void **state)
{
    (void)state;
    struct prop p = prop_start(1);
    struct record_head head = head_draw(&p);
    struct record_candidate candidate = {.id = STR("d"), .region = regions[0]};
    struct record_direct first = {.id = workloads[0],
                                  .spread = DIRECT_SPREAD_NONE,
                                  .k = 1,
                                  .kmin = 1,
                                  .candidates = &candidate,
                                  .candidates_count = 1,
                                  .outcome = {.index_uusd_per_hour = LOT_INDEX_NONE}};
    head.lots_count = 0;
    for (int fault = 0; fault <= 10; fault++) {
        struct buf bytes = {0};
        struct record_direct second = first;
        candidate.kind = fault == 1 ? 0 : fault == 2 ? 3 : DIRECT_PRICE_ASK;
        candidate.price_uusd_per_hour = 1;
        candidate.adder_uusd_per_hour = fault == 3 ? -1 : fault == 4 ? LOT_SCORE_MAX + 1 : 0;
        candidate.latency_uusd_per_hour = fault == 5 ? -1 : fault == 6 ? LOT_SCORE_MAX + 1 : 0;
        first.spread = fault == 7 ? 0 : fault == 8 ? 4 : DIRECT_SPREAD_NONE;
        first.kmin = fault == 9 ? 0 : 1;
        second.id = workloads[fault == 10 ? 0 : 1];
        head.directs_count = 2;
        record_put_head(&bytes, &head);
        record_put_direct(&bytes, &first);
        record_put_direct(&bytes, &second);
        enum record_check check = record_recompute(buf_str(&bytes));
        bool is_input = (fault >= 3 && fault <= 6) || fault == 9;
        assert_int_equal(check, fault == 0 ? RECORD_HOLDS
                                : is_input ? RECORD_BAD_INPUT
                                           : RECORD_BAD_BYTES);
        buf_finish(&bytes);
    }
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_round_reads_back_as_written_and_holds),
        cmocka_unit_test(a_recorded_lot_clears_as_the_lot_itself),
        cmocka_unit_test(any_changed_byte_changes_the_hash_or_is_refused),
        cmocka_unit_test(a_changed_outcome_never_holds),
        cmocka_unit_test(a_changed_outcome_of_a_direct_clearing_never_holds),
        cmocka_unit_test(a_spread_direct_clearing_takes_each_place_once),
        cmocka_unit_test(bytes_that_end_early_or_late_are_refused),
        cmocka_unit_test(garbage_is_refused_and_never_crashes),
        cmocka_unit_test(the_seed_must_be_that_of_its_parts),
        cmocka_unit_test(lots_out_of_order_are_refused),
        cmocka_unit_test(inputs_that_no_round_can_have_are_named),
        cmocka_unit_test(directs_that_no_round_can_have_are_named_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
