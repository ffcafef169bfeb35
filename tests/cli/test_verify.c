/* The verifier on a transcript made in memory: it holds; and whatever single byte of a record, a
 * leaf, a row or a secret is changed, it does not.
 */
#include "cli/verify.h"

#include <stdlib.h>
#include <string.h>

#include "auction/recompute.h"
#include "tests/lib/test.h"

#define CHAIN_LENGTH 4
#define ROUND        7

static struct ed25519_public key;
static struct ed25519_secret secret_key;
static struct sha256 links[CHAIN_LENGTH + 1]; /* links[0] is the anchor */
static struct sha256 opening_secret;
static struct buf record, body, anchor_body;
static struct verify_docs docs;
static struct verify_report report;

static struct uuid uuid_number(uint8_t number)
{
    struct uuid id = {{0}};
    id.bytes[15] = number;
    return id;
}

static const struct record_block blocks[] = {
    {.id = {"b1", 2},
     .owner = {{1}},
     .node = {{11}},
     .ask_uusd_per_hour = 200,
     .adder_uusd_per_hour = 3},
    {.id = {"b2", 2},
     .owner = {{1}},
     .node = {{12}},
     .ask_uusd_per_hour = 200,
     .adder_uusd_per_hour = 3},
    {.id = {"b3", 2},
     .owner = {{2}},
     .node = {{13}},
     .ask_uusd_per_hour = 310,
     .adder_uusd_per_hour = 1},
};
static const struct record_demand demands[] = {
    {.id = {"w1", 2}, .owner = {{3}}, .r_uusd_per_hour = 500, .k = 1, .kmin = 1},
    {.id = {"w2", 2}, .owner = {{4}}, .r_uusd_per_hour = 400, .k = 2, .kmin = 1},
    {.id = {"w3", 2}, .owner = {{5}}, .r_uusd_per_hour = 100, .k = 1, .kmin = 1},
};
static const struct record_candidate candidates[] = {
    {.id = {"c1", 2},
     .owner = {{6}},
     .node = {{14}},
     .region = {"eu-west", 7},
     .class = {"rtx-4090", 8},
     .kind = DIRECT_PRICE_BID,
     .price_uusd_per_hour = 300,
     .adder_uusd_per_hour = 40,
     .latency_uusd_per_hour = 5},
    {.id = {"c2", 2},
     .owner = {{7}},
     .node = {{15}},
     .region = {"eu-west", 7},
     .class = {"rtx-4090", 8},
     .kind = DIRECT_PRICE_ASK,
     .price_uusd_per_hour = 320,
     .adder_uusd_per_hour = 7},
};

static struct record_head head_make(const struct sha256 *arrivals_root)
{
    struct record_head head = {
        .kind = RECORD_ROUND,
        .seed_parts = {.market = STR("main"),
                       .t = ROUND,
                       .arrivals_root = *arrivals_root,
                       .chain_value = links[2]},
        .chain_index = 2,
        .fee_bp = 1000,
        .lots_count = 1,
        .directs_count = 1,
    };
    head.seed = seed_of(&head.seed_parts);
    return head;
}

static void record_make(const struct sha256 *arrivals_root)
{
    struct record_head head = head_make(arrivals_root);
    struct buf memory = {0};
    struct record_lot lot = {.key = STR("eu-west/rtx-4090/1/flexible/unverified"),
                             .blocks = blocks,
                             .demands = demands,
                             .blocks_count = ARRAY_COUNT(blocks),
                             .demands_count = ARRAY_COUNT(demands)};
    struct record_direct direct = {.id = STR("w9"),
                                   .owner = uuid_number(9),
                                   .tier = STR("flexible"),
                                   .devices = 1,
                                   .spread = DIRECT_SPREAD_NONE,
                                   .r_uusd_per_hour = 500,
                                   .k = 1,
                                   .kmin = 1,
                                   .candidates = candidates,
                                   .candidates_count = ARRAY_COUNT(candidates)};
    record_put_head(&record, &head);
    assert_int_equal(record_lot_clear(&lot, &head.seed, &memory, &lot.outcome), LOT_CLEARED);
    assert_true(lot.outcome.awards_count > 0);
    record_put_lot(&record, &lot);
    assert_int_equal(record_direct_clear(&direct, &head.seed, &memory, &direct.outcome),
                     LOT_CLEARED);
    assert_int_equal(direct.outcome.awards_count, 1);
    record_put_direct(&record, &direct);
    buf_finish(&memory);
}

/* JSON in the forms of the API -----------------------------------------------------------------*/

static void put_hash(json_t *object, const char *name, const struct sha256 *hash)
{
    char hex[65];
    hex_encode(hash->bytes, sizeof(hash->bytes), hex);
    json_object_set_new(object, name, json_string(hex));
}

static void put_base64(json_t *object, const char *name, struct str bytes)
{
    char *text = malloc(bytes.len * 2 + 8);
    must(text != NULL);
    base64url_encode((const uint8_t *)bytes.at, bytes.len, text);
    for (char *c = text; *c; c++)
        *c = *c == '-' ? '+' : *c == '_' ? '/' : *c;
    json_object_set_new(object, name, json_string(text));
    free(text);
}

static void put_base64url(json_t *object, const char *name, const void *bytes, size_t len)
{
    char text[96];
    base64url_encode(bytes, len, text);
    json_object_set_new(object, name, json_string(text));
}

static json_t *proof_json(const struct merkle_proof *proof)
{
    json_t *list = json_array(), *holder = json_object();
    for (size_t i = 0; i < proof->count; i++) {
        put_hash(holder, "x", &proof->hashes[i]);
        json_array_append(list, json_object_get(holder, "x"));
    }
    json_decref(holder);
    return list;
}

static json_t *leaf_json(struct merkle_table *log, size_t index, struct str bytes)
{
    struct merkle_proof proof;
    const struct merkle_source source = merkle_table_source(log);
    json_t *leaf = json_pack("{s:I, s:s, s:I}", "index", (json_int_t)index, "kind",
                             index == 0 ? "anchor" : "round", "path_size", (json_int_t)log->count);
    merkle_path(&source, log->count, index, &proof);
    put_base64(leaf, "body_base64", bytes);
    json_object_set_new(leaf, "round", index == 0 ? json_null() : json_integer(ROUND));
    json_object_set_new(leaf, "path", proof_json(&proof));
    return leaf;
}

static json_t *head_json(const struct sha256 *root, int64_t size)
{
    const struct log_head head = {
        .market = STR("main"), .size = size, .root = *root, .signed_at_us = 1700000000000000};
    struct ed25519_signature signature = log_head_sign(&head, &secret_key);
    json_t *json = json_pack("{s:s, s:I, s:I}", "market", "main", "size", (json_int_t)size,
                             "signed_at_us", (json_int_t)head.signed_at_us);
    put_hash(json, "root_sha256", root);
    put_base64url(json, "signature", signature.bytes, sizeof(signature.bytes));
    put_base64url(json, "public_key", key.bytes, sizeof(key.bytes));
    return json;
}

static json_t *row_json(struct sealed_rows *rows, uint32_t number)
{
    struct merkle_proof proof;
    char hex[2 * SEALED_SALT_SIZE + 1];
    const struct record_row *row = sealed_row(rows, number);
    uint32_t place = sealed_place(rows, number);
    const struct merkle_source source = merkle_table_source(&rows->tree);
    struct sealed_salt salt = sealed_salt(&opening_secret, number);
    json_t *json = json_pack("{s:i, s:i, s:i, s:i}", "place", (int)place, "kind", (int)row->kind,
                             "lot", (int)row->lot, "item", (int)row->item);
    merkle_path(&source, rows->tree.count, place, &proof);
    hex_encode(salt.bytes, sizeof(salt.bytes), hex);
    json_object_set_new(json, "salt", json_string(hex));
    put_base64(json, "bytes_base64", row->bytes);
    json_object_set_new(json, "path", proof_json(&proof));
    return json;
}

/* As an auditor gets it, or, row by row, as somebody who may see all rows. */
static json_t *round_json(struct str bytes, struct sealed_rows *rows, bool is_whole)
{
    struct merkle_proof proof = {.count = 0}; /* one arrival is the whole tree */
    struct sha256 message = sha256_of("message", 7);
    json_t *arrival = json_pack("{s:i, s:i}", "index", 0, "place", 5);
    put_hash(arrival, "message_sha256", &message);
    json_object_set_new(arrival, "path", proof_json(&proof));
    json_t *doc =
        json_pack("{s:s, s:i, s:i, s:[o], s:i}", "market", "main", "round", ROUND, "arrivals_count",
                  1, "arrivals", arrival, "rows_size", (int)rows->tree.count);
    json_t *shown = json_array();
    for (uint32_t i = 0; !is_whole && i < rows->count; i++)
        json_array_append_new(shown, row_json(rows, i));
    json_object_set_new(doc, "rows", shown);
    if (is_whole) {
        put_base64(doc, "record_base64", bytes);
        put_hash(doc, "secret", &opening_secret);
    }
    return doc;
}

/* A market that sealed, logged and signed this record. */
static struct verify_docs docs_of(struct str bytes, bool is_whole, struct buf *leaf)
{
    struct sha256 log_nodes[MERKLE_TABLE_SIZE(2)];
    struct merkle_table log;
    struct sealed_rows rows;
    assert_true(sealed_rows_make(bytes, &opening_secret, &rows));
    struct sha256 root = sealed_rows_root(&rows);
    leaf->len = 0;
    sealed_put_public(leaf, &root, rows.head);
    log_nodes[0] = merkle_leaf(anchor_body.at, anchor_body.len);
    log_nodes[1] = merkle_leaf(leaf->at, leaf->len);
    merkle_table_build(&log, log_nodes, 2);
    const struct merkle_source source = merkle_table_source(&log);
    root = merkle_root_at(&source, 2);
    struct verify_docs made = {
        .heads = json_pack("[o]", head_json(&root, 2)),
        .anchors = json_pack("[o]", leaf_json(&log, 0, buf_str(&anchor_body))),
        .leaves = json_pack("[o]", leaf_json(&log, 1, buf_str(leaf))),
        .rounds = json_pack("[o]", round_json(bytes, &rows, is_whole)),
    };
    sealed_rows_finish(&rows);
    return made;
}

static void docs_free(struct verify_docs *old)
{
    json_decref(old->heads);
    json_decref(old->anchors);
    json_decref(old->leaves);
    json_decref(old->rounds);
}

static int setup(void **state)
{
    (void)state;
    struct sha256 message = sha256_of("message", 7);
    uint8_t arrival[48] = {[7] = ROUND, [15] = 5};
    ed25519_generate(&key, &secret_key);
    random_bytes(&opening_secret, sizeof(opening_secret));
    links[CHAIN_LENGTH] = sha256_of("chain", 5);
    for (int i = CHAIN_LENGTH; i > 0; i--)
        links[i - 1] = sha256_of(&links[i], sizeof(struct sha256));
    const struct sealed_anchor anchor = {
        .market = STR("main"), .chain_id = 1, .length = CHAIN_LENGTH, .anchor = links[0]};
    sealed_put_anchor(&anchor_body, &anchor);
    memcpy(arrival + 16, message.bytes, 32);
    struct sha256 arrivals_root = merkle_leaf(arrival, sizeof(arrival));
    record_make(&arrivals_root);
    docs = docs_of(buf_str(&record), true, &body);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    docs_free(&docs);
    buf_finish(&record);
    buf_finish(&body);
    buf_finish(&anchor_body);
    return 0;
}

static int64_t faults(void)
{
    verify_run(&docs, &key, &report);
    return report.faults_count;
}

/* Tests ----------------------------------------------------------------------------------------*/

static void a_true_transcript_holds_in_every_check(void **state)
{
    (void)state;
    assert_int_equal(faults(), 0);
    static const enum verify_check checked[] = {VERIFY_HEADS,   VERIFY_LEAVES,  VERIFY_SEEDS,
                                                VERIFY_CHAIN,   VERIFY_RECORDS, VERIFY_CLEARINGS,
                                                VERIFY_ARRIVALS};
    for (size_t i = 0; i < ARRAY_COUNT(checked); i++)
        assert_true(report.counts[checked[i]] > 0);
    assert_int_equal(report.counts[VERIFY_CLEARINGS], 2);
}

/* Every byte, with every one of its bits in turn. */
static void every_byte_changed_is_found(json_t *object, const char *name, struct buf *bytes)
{
    for (size_t i = 0; i < bytes->len; i++) {
        for (int bit = 0; bit < 8; bit++) {
            bytes->at[i] = (char)(bytes->at[i] ^ 1 << bit);
            put_base64(object, name, buf_str(bytes));
            assert_true(faults() > 0);
            assert_true(report.faults[0].text[0] != '\0');
            bytes->at[i] = (char)(bytes->at[i] ^ 1 << bit);
        }
    }
    put_base64(object, name, buf_str(bytes));
    assert_int_equal(faults(), 0);
}

static void any_single_byte_of_a_record_that_changed_is_found(void **state)
{
    (void)state;
    every_byte_changed_is_found(json_array_get(docs.rounds, 0), "record_base64", &record);
}

static void any_single_byte_of_a_leaf_that_changed_is_found(void **state)
{
    (void)state;
    every_byte_changed_is_found(json_array_get(docs.leaves, 0), "body_base64", &body);
    every_byte_changed_is_found(json_array_get(docs.anchors, 0), "body_base64", &anchor_body);
}

static void a_record_that_ends_early_or_late_is_found(void **state)
{
    (void)state;
    json_t *doc = json_array_get(docs.rounds, 0);
    for (size_t len = 0; len < record.len; len++) {
        put_base64(doc, "record_base64", (struct str){record.at, len});
        assert_true(faults() > 0);
    }
    buf_add_c(&record, "x");
    put_base64(doc, "record_base64", buf_str(&record));
    assert_true(faults() > 0);
    record.len--;
    put_base64(doc, "record_base64", buf_str(&record));
    assert_int_equal(faults(), 0);
}

/* The faults of a market that lied from the start: all hangs together but what it says. */
static int64_t faults_of(struct str lie, bool is_whole)
{
    struct verify_docs honest = docs;
    struct buf leaf = {0};
    docs = docs_of(lie, is_whole, &leaf);
    int64_t count = faults();
    docs_free(&docs);
    buf_finish(&leaf);
    docs = honest;
    return count;
}

static void a_wrong_price_that_was_signed_and_logged_is_found(void **state)
{
    (void)state;
    struct buf lie = {0};
    assert_int_equal(faults_of(buf_str(&record), true), 0);
    assert_int_equal(faults_of(buf_str(&record), false), 0);
    assert_true(report.counts[VERIFY_ROWS] > 20);
    buf_add_str(&lie, buf_str(&record));
    lie.at[lie.len - 8] = (char)(lie.at[lie.len - 8] + 1); /* the last award's price */
    assert_int_equal(faults_of(buf_str(&lie), true), 1);
    assert_int_equal(report.faults[0].check, VERIFY_CLEARINGS);
    assert_non_null(strstr(report.faults[0].text, "a price is 3"));
    assert_int_equal(faults_of(buf_str(&lie), false), 1); /* its parties see that, too */
    assert_int_equal(report.faults[0].check, VERIFY_ROWS);
    assert_non_null(strstr(report.faults[0].text, "was paid"));
    buf_finish(&lie);
}

/* The chain was lost with its key: the round is void, and nobody is blamed. */
static void a_void_round_whose_link_is_lost_is_counted(void **state)
{
    (void)state;
    struct buf lost = {0};
    struct record_reader reader;
    struct record_head head;
    assert_true(record_open(&reader, buf_str(&record), &head));
    (void)record_close(&reader);
    head.kind = RECORD_VOID;
    head.lots_count = head.directs_count = 0;
    record_put_head(&lost, &head);
    assert_int_equal(faults_of(buf_str(&lost), true), 0);
    assert_int_equal(report.void_count, 1);
    assert_int_equal(report.lost_links_count, 0);
    memset(&head.seed, 0, sizeof(head.seed));
    memset(&head.seed_parts.chain_value, 0, sizeof(head.seed_parts.chain_value));
    lost.len = 0;
    record_put_head(&lost, &head);
    assert_int_equal(faults_of(buf_str(&lost), true), 0);
    assert_int_equal(report.lost_links_count, 1);
    head.kind = RECORD_ROUND; /* a round that traded must show its link */
    lost.len = 0;
    record_put_head(&lost, &head);
    assert_true(faults_of(buf_str(&lost), true) > 0);
    buf_finish(&lost);
}

static void two_heads_of_one_size_are_told_as_equivocation(void **state)
{
    (void)state;
    struct sha256 other = sha256_of("another past", 12);
    json_array_append_new(docs.heads, head_json(&other, 2));
    assert_true(faults() > 0);
    assert_non_null(strstr(report.faults[0].text, "EQUIVOCATION"));
    json_array_remove(docs.heads, 1);
    assert_int_equal(faults(), 0);
}

/* Whatever else a member may be replaced by, the verifier survives it and finds fault. */
static void members_of_another_form_are_refused_and_never_crash(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "null", "-1", "9223372036854775807", "\"\"", "\"zz\"", "[]", "{}", "[[]]"};
    json_t *lists[] = {docs.heads, docs.anchors, docs.leaves, docs.rounds};
    for (size_t l = 0; l < ARRAY_COUNT(lists); l++) {
        json_t *copy = json_copy(json_array_get(lists[l], 0)), *value;
        const char *name;
        json_object_foreach (copy, name, value) {
            for (size_t w = 0; w < ARRAY_COUNT(wrong); w++) {
                json_t *object = json_array_get(lists[l], 0);
                json_object_set_new(object, name, json_loads(wrong[w], JSON_DECODE_ANY, NULL));
                (void)faults();
                json_object_set(object, name, value);
            }
        }
        json_decref(copy);
    }
    assert_int_equal(faults(), 0);
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_true_transcript_holds_in_every_check),
        cmocka_unit_test(any_single_byte_of_a_record_that_changed_is_found),
        cmocka_unit_test(any_single_byte_of_a_leaf_that_changed_is_found),
        cmocka_unit_test(a_record_that_ends_early_or_late_is_found),
        cmocka_unit_test(a_wrong_price_that_was_signed_and_logged_is_found),
        cmocka_unit_test(a_void_round_whose_link_is_lost_is_counted),
        cmocka_unit_test(two_heads_of_one_size_are_told_as_equivocation),
        cmocka_unit_test(members_of_another_form_are_refused_and_never_crash),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
