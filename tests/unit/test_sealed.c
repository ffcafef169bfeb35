/* The public half of a record and its rows: all bytes, each provable alone, nothing told by place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "auction/sealed.h"
#include "tests/lib/prop.h"

static const struct record_block blocks[] = {{.id = {"b1", 2}, .ask_uusd_per_hour = 5},
                                             {.id = {"b2", 2}, .ask_uusd_per_hour = 7}};
static const struct record_demand demands[] = {
    {.id = {"w1", 2}, .r_uusd_per_hour = 9, .k = 1, .kmin = 1}};
static const struct lot_prefix prefixes[] = {{.r_uusd_per_hour = 9, .k_total = 1}};
static const struct lot_award awards[] = {{.theta_uusd_per_hour = 7, .price_uusd_per_hour = 7}};
static const struct record_candidate candidates[] = {
    {.id = {"c1", 2}, .region = {"a", 1}, .class = {"b", 1}, .kind = DIRECT_PRICE_ASK}};
static const struct rfq_award direct_awards[] = {{.theta_uusd_per_hour = 7}};

static const enum record_row_kind kinds[] = {
    RECORD_ROW_LOT,
    RECORD_ROW_BLOCK_COUNT,
    RECORD_ROW_BLOCK,
    RECORD_ROW_BLOCK,
    RECORD_ROW_DEMAND_COUNT,
    RECORD_ROW_DEMAND,
    RECORD_ROW_INDEX,
    RECORD_ROW_PREFIX_COUNT,
    RECORD_ROW_PREFIX,
    RECORD_ROW_SOLD_COUNT,
    RECORD_ROW_AWARD,
    RECORD_ROW_LOT,
    RECORD_ROW_BLOCK_COUNT,
    RECORD_ROW_DEMAND_COUNT,
    RECORD_ROW_INDEX,
    RECORD_ROW_PREFIX_COUNT,
    RECORD_ROW_SOLD_COUNT,
    RECORD_ROW_DIRECT,
    RECORD_ROW_CANDIDATE_COUNT,
    RECORD_ROW_CANDIDATE,
    RECORD_ROW_DIRECT_INDEX,
    RECORD_ROW_DIRECT_SOLD_COUNT,
    RECORD_ROW_DIRECT_AWARD,
};

static void record_make(struct buf *to)
{
    const struct record_head head = {.kind = RECORD_ROUND,
                                     .seed_parts = {.market = STR("main"), .t = 3},
                                     .lots_count = 2,
                                     .directs_count = 1};
    const struct record_lot lot = {
        .key = STR("k1"),
        .blocks = blocks,
        .demands = demands,
        .blocks_count = 2,
        .demands_count = 1,
        .outcome = {.awards = awards,
                    .awards_count = 1,
                    .prefixes = prefixes,
                    .prefixes_count = 1,
                    .index_uusd_per_hour = 7},
    };
    const struct record_lot empty = {.key = STR("k2"),
                                     .outcome = {.index_uusd_per_hour = LOT_INDEX_NONE}};
    const struct record_direct direct = {
        .id = STR("w2"),
        .tier = STR("flexible"),
        .devices = 1,
        .spread = DIRECT_SPREAD_NONE,
        .k = 1,
        .kmin = 1,
        .candidates = candidates,
        .candidates_count = 1,
        .outcome = {.awards = direct_awards, .awards_count = 1, .index_uusd_per_hour = 7},
    };
    record_put_head(to, &head);
    record_put_lot(to, &lot);
    record_put_lot(to, &empty);
    record_put_direct(to, &direct);
}

static void rows_are_all_bytes_in_their_order(void **state)
{
    (void)state;
    const struct sha256 secret = {{1}};
    struct buf record = {0}, joined = {0};
    struct sealed_rows rows;
    record_make(&record);
    assert_true(sealed_rows_make(buf_str(&record), &secret, &rows));
    assert_int_equal(rows.count, ARRAY_COUNT(kinds));
    assert_int_equal(rows.tree.count, 32);
    buf_add_str(&joined, rows.head);
    for (uint32_t i = 0; i < rows.count; i++) {
        const struct record_row *row = sealed_row(&rows, i);
        assert_int_equal(row->kind, kinds[i]);
        assert_int_equal(row->lot, i >= 11 && i < 17 ? 1 : 0);
        assert_int_equal(row->item, i == 3 ? 1 : 0);
        buf_add_str(&joined, row->bytes);
    }
    assert_true(str_equal(buf_str(&joined), buf_str(&record)));
    sealed_rows_finish(&rows);
    buf_finish(&record);
    buf_finish(&joined);
}

static void each_row_is_proven_alone_and_no_other_in_its_place(void **state)
{
    (void)state;
    const struct sha256 secret = {{2}};
    struct buf record = {0};
    struct sealed_rows rows;
    record_make(&record);
    assert_true(sealed_rows_make(buf_str(&record), &secret, &rows));
    const struct merkle_source source = merkle_table_source(&rows.tree);
    struct sha256 root = sealed_rows_root(&rows);
    for (uint32_t i = 0; i < rows.count; i++) {
        struct merkle_proof proof;
        struct record_row row = *sealed_row(&rows, i);
        struct sealed_salt salt = sealed_salt(&secret, i);
        uint32_t place = sealed_place(&rows, i);
        merkle_path(&source, rows.tree.count, place, &proof);
        assert_int_equal(proof.count, 5);
        struct sha256 leaf = sealed_leaf(&salt, &row);
        assert_true(merkle_path_holds(&proof, rows.tree.count, place, &leaf, &root));
        row.item++;
        leaf = sealed_leaf(&salt, &row);
        assert_false(merkle_path_holds(&proof, rows.tree.count, place, &leaf, &root));
        row.item--;
        salt.bytes[15] ^= 1;
        leaf = sealed_leaf(&salt, &row);
        assert_false(merkle_path_holds(&proof, rows.tree.count, place, &leaf, &root));
    }
    sealed_rows_finish(&rows);
    buf_finish(&record);
}

/* Rounds of a few rows and of none have trees of one size; another secret gives another order. */
static void neither_size_nor_place_tells_how_many_rows_there_are(void **state)
{
    (void)state;
    struct buf record = {0}, none = {0};
    struct sealed_rows rows;
    const struct record_head head = {.kind = RECORD_VOID, .seed_parts = {.market = STR("main")}};
    uint32_t seen = 0;
    record_make(&record);
    for (uint8_t i = 0; i < 64; i++) {
        const struct sha256 secret = {{i}};
        assert_true(sealed_rows_make(buf_str(&record), &secret, &rows));
        seen |= (uint32_t)1 << sealed_place(&rows, 0);
        sealed_rows_finish(&rows);
    }
    assert_true(__builtin_popcount(seen) > 20);
    record_put_head(&none, &head);
    assert_true(sealed_rows_make(buf_str(&none), &(struct sha256){{0}}, &rows));
    assert_int_equal(rows.count, 0);
    assert_int_equal(rows.tree.count, 16);
    sealed_rows_finish(&rows);
    buf_finish(&record);
    buf_finish(&none);
}

static void what_is_no_record_has_no_rows(void **state)
{
    (void)state;
    struct buf record = {0};
    record_make(&record);
    for (size_t len = 0; len < record.len; len++) {
        struct sealed_rows rows;
        assert_false(sealed_rows_make((struct str){record.at, len}, &(struct sha256){{0}}, &rows));
        sealed_rows_finish(&rows);
    }
    buf_finish(&record);
}

static void public_halves_read_back_and_nothing_else_does(void **state)
{
    (void)state;
    const struct sha256 secret = {{3}};
    struct buf record = {0}, half = {0};
    struct sealed_rows rows;
    struct record_head head;
    struct str head_bytes;
    struct sha256 root, read;
    record_make(&record);
    assert_true(sealed_rows_make(buf_str(&record), &secret, &rows));
    root = sealed_rows_root(&rows);
    sealed_put_public(&half, &root, rows.head);
    assert_true(sealed_read_public(buf_str(&half), &head, &head_bytes, &read));
    assert_true(sha256_equal(&root, &read) && str_equal(head_bytes, rows.head));
    assert_int_equal(head.lots_count, 2);
    for (size_t len = 0; len < half.len; len++)
        assert_false(sealed_read_public((struct str){half.at, len}, &head, &head_bytes, &read));
    for (size_t i = 0; i < 6; i++) { /* magic and version */
        half.at[i] ^= 1;
        assert_false(sealed_read_public(buf_str(&half), &head, &head_bytes, &read));
        half.at[i] ^= 1;
    }
    buf_add_c(&half, "x");
    assert_false(sealed_read_public(buf_str(&half), &head, &head_bytes, &read));
    sealed_rows_finish(&rows);
    buf_finish(&record);
    buf_finish(&half);
}

static void anchors_read_back_and_nothing_else_does(void **state)
{
    (void)state;
    const struct sealed_anchor anchor = {
        .market = STR("main"), .chain_id = 1ull << 40, .length = 100000, .anchor = {{9}}};
    struct sealed_anchor read;
    struct buf bytes = {0};
    sealed_put_anchor(&bytes, &anchor);
    assert_true(sealed_read_anchor(buf_str(&bytes), &read));
    assert_true(str_equal(read.market, anchor.market) &&
                sha256_equal(&read.anchor, &anchor.anchor));
    assert_int_equal(read.chain_id, anchor.chain_id);
    assert_int_equal(read.length, anchor.length);
    for (size_t len = 0; len < bytes.len; len++)
        assert_false(sealed_read_anchor((struct str){bytes.at, len}, &read));
    for (size_t i = 0; i < 7; i++) { /* magic, version, length */
        bytes.at[i] ^= 1;
        assert_false(sealed_read_anchor(buf_str(&bytes), &read));
        bytes.at[i] ^= 1;
    }
    buf_finish(&bytes);
}

static void a_head_is_signed_over_all_it_says(void **state)
{
    (void)state;
    struct ed25519_public key;
    struct ed25519_secret secret;
    ed25519_generate(&key, &secret);
    const struct log_head head = {
        .market = STR("main"), .size = 7, .root = {{1}}, .signed_at_us = 1000};
    struct ed25519_signature signature = log_head_sign(&head, &secret);
    assert_true(log_head_holds(&head, &key, &signature));
    struct log_head others[] = {head, head, head, head};
    others[0].market = STR("mail");
    others[1].size++;
    others[2].root.bytes[31] = 1;
    others[3].signed_at_us++;
    for (size_t i = 0; i < ARRAY_COUNT(others); i++)
        assert_false(log_head_holds(&others[i], &key, &signature));
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_all_bytes_in_their_order),
        cmocka_unit_test(each_row_is_proven_alone_and_no_other_in_its_place),
        cmocka_unit_test(neither_size_nor_place_tells_how_many_rows_there_are),
        cmocka_unit_test(what_is_no_record_has_no_rows),
        cmocka_unit_test(public_halves_read_back_and_nothing_else_does),
        cmocka_unit_test(anchors_read_back_and_nothing_else_does),
        cmocka_unit_test(a_head_is_signed_over_all_it_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
