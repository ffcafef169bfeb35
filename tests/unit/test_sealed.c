/* The public half of a record: every byte of it is committed to, each row can be shown alone, and
 * nothing else passes for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "auction/recompute.h"
#include "auction/sealed.h"

static const struct sha256 secret = {.bytes = {7, 7, 7}};

enum { BLOCKS_COUNT = 6 };

static const struct record_demand demand = {
    .id = STR("w"), .owner = {.bytes = {3}}, .r_uusd_per_hour = 600, .k = 2, .kmin = 1};
static const struct record_candidate candidates[] = {{.id = STR("c"),
                                                      .owner = {.bytes = {4}},
                                                      .region = STR("eu-west"),
                                                      .class = STR("cpu-1c2g"),
                                                      .kind = DIRECT_PRICE_BID,
                                                      .price_uusd_per_hour = 300}};

/* A round of one lot and one workload that was cleared by itself. */
static void round_write(struct buf *to)
{
    struct record_block blocks[BLOCKS_COUNT];
    for (uint32_t i = 0; i < BLOCKS_COUNT; i++)
        blocks[i] = (struct record_block){.id = {.at = "abcdef" + i, .len = 1},
                                          .owner = {.bytes = {(uint8_t)(10 + i)}},
                                          .ask_uusd_per_hour = 200 + 10 * i};
    struct record_head head = {.kind = RECORD_ROUND,
                               .seed_parts = {.market = STR("eu"), .t = 7},
                               .fee_bp = 1000,
                               .lots_count = 1,
                               .directs_count = 1};
    struct record_lot lot = {.key = STR("eu-west/cpu-1c2g/1"),
                             .blocks = blocks,
                             .demands = &demand,
                             .blocks_count = BLOCKS_COUNT,
                             .demands_count = 1};
    struct record_direct direct = {.id = STR("v"),
                                   .owner = {.bytes = {5}},
                                   .tier = STR("flexible"),
                                   .devices = 1,
                                   .spread = DIRECT_SPREAD_NONE,
                                   .r_uusd_per_hour = 400,
                                   .k = 1,
                                   .kmin = 1,
                                   .candidates = candidates,
                                   .candidates_count = 1};
    struct buf memory = {0};
    head.seed = seed_of(&head.seed_parts);
    record_put_head(to, &head);
    assert_int_equal(record_lot_clear(&lot, &head.seed, &memory, &lot.outcome), LOT_CLEARED);
    record_put_lot(to, &lot);
    assert_int_equal(record_direct_clear(&direct, &head.seed, &memory, &direct.outcome),
                     LOT_CLEARED);
    record_put_direct(to, &direct);
    assert_int_equal(record_recompute(buf_str(to)), RECORD_HOLDS);
    buf_finish(&memory);
}

static void rows_are_the_whole_record_and_each_proves_itself(void **state)
{
    (void)state;
    struct buf record = {0}, joined = {0};
    struct sealed_rows rows;
    round_write(&record);
    assert_true(sealed_rows_make(buf_str(&record), &secret, &rows));
    struct sha256 root = sealed_rows_root(&rows);
    struct merkle_source source = merkle_table_source(&rows.tree);
    assert_int_equal(rows.tree.count, 32); /* padded: the path does not tell how many there are */
    assert_true(rows.count > 16 && rows.count < 32);
    buf_add_str(&joined, rows.head);
    for (uint32_t i = 0; i < rows.count; i++) {
        const struct record_row *row = sealed_row(&rows, i);
        struct sealed_salt salt = sealed_salt(&secret, i);
        struct sha256 leaf = sealed_leaf(&salt, row);
        struct merkle_proof proof;
        merkle_path(&source, rows.tree.count, i, &proof);
        assert_true(merkle_path_holds(&proof, rows.tree.count, i, &leaf, &root));
        buf_add_str(&joined, row->bytes);
        struct sealed_salt other = sealed_salt(&secret, i + 1);
        struct sha256 forged = sealed_leaf(&other, row);
        assert_false(merkle_path_holds(&proof, rows.tree.count, i, &forged, &root));
    }
    assert_true(str_equal(buf_str(&joined), buf_str(&record)));
    sealed_rows_finish(&rows);
    buf_finish(&record);
    buf_finish(&joined);
}

static void a_row_of_another_kind_place_or_text_has_another_leaf(void **state)
{
    (void)state;
    const struct sealed_salt salt = sealed_salt(&secret, 0x01020304);
    const struct record_row row = {.kind = RECORD_ROW_BLOCK, .lot = 1, .item = 2,
                                   .bytes = STR("text")};
    struct record_row others[] = {row, row, row, row, row};
    others[0].kind = RECORD_ROW_DEMAND;
    others[1].lot = 257;
    others[2].item = 258;
    others[3].bytes = STR("texT");
    others[4].bytes = STR("");
    struct sha256 leaf = sealed_leaf(&salt, &row);
    for (size_t i = 0; i < ARRAY_COUNT(others); i++) {
        struct sha256 other = sealed_leaf(&salt, &others[i]);
        assert_false(sha256_equal(&leaf, &other));
    }
    /* As the header says, byte by byte. */
    struct buf bytes = {0};
    buf_add(&bytes, "\0", 1);
    buf_add(&bytes, salt.bytes, SEALED_SALT_SIZE);
    buf_add(&bytes, (const char[]){RECORD_ROW_BLOCK, 1, 0, 0, 0, 2, 0, 0, 0}, 9);
    buf_add_c(&bytes, "text");
    struct sha256 wanted = sha256_of(bytes.at, bytes.len);
    assert_true(sha256_equal(&leaf, &wanted));
    bytes.len = 0;
    buf_add_c(&bytes, "undercut/salt/v1|");
    buf_add(&bytes, secret.bytes, 32);
    buf_add(&bytes, "\4\3\2\1", 4);
    wanted = sha256_of(bytes.at, bytes.len);
    assert_memory_equal(salt.bytes, wanted.bytes, SEALED_SALT_SIZE);
    buf_finish(&bytes);
}

static void what_is_no_record_has_no_rows(void **state)
{
    (void)state;
    struct buf record = {0};
    struct sealed_rows rows;
    round_write(&record);
    for (size_t len = 0; len < record.len; len++) {
        assert_false(sealed_rows_make((struct str){.at = record.at, .len = len}, &secret, &rows));
        sealed_rows_finish(&rows);
    }
    buf_finish(&record);
}

static void the_public_half_reads_back_and_nothing_else_does(void **state)
{
    (void)state;
    struct buf record = {0}, public_half = {0};
    struct sealed_rows rows;
    struct record_head head;
    struct str head_bytes;
    struct sha256 read_root;
    round_write(&record);
    assert_true(sealed_rows_make(buf_str(&record), &secret, &rows));
    struct sha256 root = sealed_rows_root(&rows);
    sealed_put_public(&public_half, &root, rows.head);
    struct str whole = buf_str(&public_half);
    assert_true(sealed_read_public(whole, &head, &head_bytes, &read_root));
    assert_true(sha256_equal(&root, &read_root) && str_equal(head_bytes, rows.head));
    assert_int_equal(head.seed_parts.t, 7);

    for (size_t len = 0; len < whole.len; len++)
        assert_false(sealed_read_public((struct str){.at = whole.at, .len = len}, &head,
                                        &head_bytes, &read_root));
    for (size_t i = 0; i < 6; i++) { /* the magic and the version */
        public_half.at[i] ^= 1;
        assert_false(sealed_read_public(whole, &head, &head_bytes, &read_root));
        public_half.at[i] ^= 1;
    }
    buf_add(&public_half, "", 1);
    assert_false(sealed_read_public(buf_str(&public_half), &head, &head_bytes, &read_root));
    sealed_rows_finish(&rows);
    buf_finish(&record);
    buf_finish(&public_half);
}

static void an_anchor_reads_back_and_nothing_else_does(void **state)
{
    (void)state;
    const struct sealed_anchor anchor = {.market = STR("main"),
                                         .chain_id = 0x0102030405060708u,
                                         .length = 86400,
                                         .anchor = {.bytes = {9}}};
    struct sealed_anchor read;
    struct buf bytes = {0};
    sealed_put_anchor(&bytes, &anchor);
    assert_true(sealed_read_anchor(buf_str(&bytes), &read));
    assert_true(str_equal(read.market, anchor.market) && read.chain_id == anchor.chain_id);
    assert_true(read.length == 86400 && sha256_equal(&read.anchor, &anchor.anchor));
    for (size_t len = 0; len < bytes.len; len++)
        assert_false(sealed_read_anchor((struct str){.at = bytes.at, .len = len}, &read));
    for (size_t i = 0; i < 7; i++) { /* the magic, the version and the length of the name */
        bytes.at[i] ^= 1;
        assert_false(sealed_read_anchor(buf_str(&bytes), &read));
        bytes.at[i] ^= 1;
    }
    buf_finish(&bytes);
}

static void a_head_is_signed_in_all_its_parts(void **state)
{
    (void)state;
    struct ed25519_public key;
    struct ed25519_secret signing;
    ed25519_from_seed((const uint8_t *)"the market's key of these tests.", &key, &signing);
    const struct log_head head = {
        .market = STR("main"), .size = 3, .root = {.bytes = {1}}, .signed_at_us = 5};
    struct ed25519_signature signature = log_head_sign(&head, &signing);
    assert_true(log_head_holds(&head, &key, &signature));
    struct log_head others[] = {head, head, head, head, head};
    others[4].market = STR_NONE;
    others[0].market = STR("eu");
    others[1].size = 4;
    others[2].root.bytes[31] = 1;
    others[3].signed_at_us = 6;
    for (size_t i = 0; i < ARRAY_COUNT(others); i++)
        assert_false(log_head_holds(&others[i], &key, &signature));
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_the_whole_record_and_each_proves_itself),
        cmocka_unit_test(a_row_of_another_kind_place_or_text_has_another_leaf),
        cmocka_unit_test(what_is_no_record_has_no_rows),
        cmocka_unit_test(the_public_half_reads_back_and_nothing_else_does),
        cmocka_unit_test(an_anchor_reads_back_and_nothing_else_does),
        cmocka_unit_test(a_head_is_signed_in_all_its_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
