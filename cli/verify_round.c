/* The happy path is: a whole record is cut into rows, whose root stands in the round's leaf, and
 * cleared again; single rows lead to that root by their paths and fit together as far as they are
 * shown; messages lead to R_t. Failure modes are: whatever of this does not hold, and a round whose
 * leaf is not among those in the log; each is named with its place.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/verify.h"
#include "cli/verify_clear.h"

/* Whole records --------------------------------------------------------------------------------*/

static void clearings_check(struct verify *verify, struct str record, int64_t round)
{
    struct record_reader reader;
    struct record_head head;
    struct record_lot lot;
    struct record_direct direct;
    char why[VERIFY_WHY_SIZE] = "";
    bool is_open = record_open(&reader, record, &head);
    while (is_open && record_next_lot(&reader, &lot)) {
        bool is_good = verify_lot(&lot, &head.seed, why);
        (void)verify_note(verify, VERIFY_CLEARINGS, is_good, "round %lld: lot %.*s: %s",
                          (long long)round, STR_ARG(lot.key), why);
    }
    while (is_open && record_next_direct(&reader, &direct)) {
        bool is_good = verify_direct(&direct, &head.seed, why);
        (void)verify_note(verify, VERIFY_CLEARINGS, is_good, "round %lld: workload %.*s: %s",
                          (long long)round, STR_ARG(direct.id), why);
    }
    (void)record_close(&reader);
}

/* The record is the one that the leaf commits to. */
static bool record_is_sealed(const struct verify_leaf *leaf, struct str record,
                             const struct sha256 *secret)
{
    struct sealed_rows rows;
    bool is_good = sealed_rows_make(record, secret, &rows);
    if (is_good) {
        struct sha256 root = sealed_rows_root(&rows);
        is_good = sha256_equal(&root, &leaf->rows_root) && str_equal(rows.head, leaf->head_bytes);
    }
    sealed_rows_finish(&rows);
    return is_good;
}

static void record_check(struct verify *verify, const json_t *doc, const struct verify_leaf *leaf)
{
    struct buf record = {0};
    struct sha256 secret;
    int64_t round = json_i64(doc, "round", -1);
    if (!json_is_string(json_object_get(doc, "record_base64")))
        return;
    bool is_good = verify_base64(doc, "record_base64", &record) &&
                   verify_hash(doc, "secret", &secret) &&
                   record_is_sealed(leaf, buf_str(&record), &secret);
    if (verify_note(verify, VERIFY_RECORDS, is_good,
                    "round %lld: the record is not the one its leaf commits to", (long long)round))
        clearings_check(verify, buf_str(&record), round);
    buf_finish(&record);
}

/* Single rows ----------------------------------------------------------------------------------*/

struct shown_row {
    struct record_row row; /* bytes in `home` */
    struct buf home;
};

struct shown_rows {
    struct shown_row *at;
    size_t count;
    long long round;
};

struct cursor { /* little-endian fields; bad once it ran out */
    struct str rest;
    bool is_bad;
};

static uint64_t read_uint(struct cursor *cursor, size_t size)
{
    uint64_t value = 0;
    if (cursor->rest.len < size) {
        cursor->is_bad = true;
        return 0;
    }
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)(uint8_t)cursor->rest.at[i] << (8 * i);
    cursor->rest = (struct str){cursor->rest.at + size, cursor->rest.len - size};
    return value;
}

static void skip(struct cursor *cursor, size_t size)
{
    for (; size > 0; size--)
        (void)read_uint(cursor, 1);
}

static const struct record_row *row_find(const struct shown_rows *rows, enum record_row_kind kind,
                                         uint32_t lot, uint32_t item)
{
    for (size_t i = 0; i < rows->count; i++) {
        const struct record_row *row = &rows->at[i].row;
        if (row->kind == kind && row->lot == lot && row->item == item)
            return row;
    }
    return NULL;
}

static bool row_take(const json_t *item, int64_t rows_size, const struct sha256 *rows_root,
                     struct shown_row *ret_row)
{
    struct sealed_salt salt;
    struct merkle_proof proof;
    int64_t place = json_i64(item, "place", -1);
    if (!verify_base64(item, "bytes_base64", &ret_row->home) ||
        !hex_decode(json_str(item, "salt"), salt.bytes, sizeof(salt.bytes)) ||
        !verify_proof(item, "path", &proof) || place < 0 || rows_size < 0)
        return false;
    ret_row->row = (struct record_row){
        .kind = (enum record_row_kind)json_i64(item, "kind", 0),
        .lot = (uint32_t)json_i64(item, "lot", 0),
        .item = (uint32_t)json_i64(item, "item", 0),
        .bytes = buf_str(&ret_row->home),
    };
    struct sha256 leaf = sealed_leaf(&salt, &ret_row->row);
    return merkle_path_holds(&proof, (uint64_t)rows_size, (uint64_t)place, &leaf, rows_root);
}

struct shown_award {
    uint32_t demand, block;
    int64_t theta, price;
};

static bool award_read(const struct record_row *row, struct shown_award *ret)
{
    struct cursor cursor = {.rest = row->bytes};
    bool is_direct = row->kind == RECORD_ROW_DIRECT_AWARD;
    ret->demand = is_direct ? 0 : (uint32_t)read_uint(&cursor, 4);
    ret->block = (uint32_t)read_uint(&cursor, 4);
    ret->theta = (int64_t)read_uint(&cursor, 8);
    ret->price = (int64_t)read_uint(&cursor, 8);
    return !cursor.is_bad && cursor.rest.len == 0;
}

/* An ask, or a bid, and what is added to it. */
static bool offer_read(const struct record_row *row, int64_t *ret_price, int64_t *ret_terms)
{
    struct cursor cursor = {.rest = row->bytes};
    skip(&cursor, (size_t)read_uint(&cursor, 1));
    skip(&cursor, 32);
    if (row->kind == RECORD_ROW_CANDIDATE) {
        skip(&cursor, (size_t)read_uint(&cursor, 1));
        skip(&cursor, (size_t)read_uint(&cursor, 1));
        skip(&cursor, 1);
    }
    *ret_price = (int64_t)read_uint(&cursor, 8);
    *ret_terms = (int64_t)read_uint(&cursor, 8);
    if (row->kind == RECORD_ROW_CANDIDATE)
        *ret_terms += (int64_t)read_uint(&cursor, 8);
    return !cursor.is_bad && cursor.rest.len == 0;
}

struct shown_wish {
    int64_t r;
    uint32_t k, kmin;
};

static bool wish_read(const struct record_row *row, struct shown_wish *ret)
{
    struct cursor cursor = {.rest = row->bytes};
    skip(&cursor, (size_t)read_uint(&cursor, 1));
    skip(&cursor, 16);
    if (row->kind == RECORD_ROW_DIRECT) {
        skip(&cursor, (size_t)read_uint(&cursor, 1));
        skip(&cursor, 2);
    }
    ret->r = (int64_t)read_uint(&cursor, 8);
    ret->k = (uint32_t)read_uint(&cursor, 4);
    ret->kmin = (uint32_t)read_uint(&cursor, 4);
    return !cursor.is_bad && cursor.rest.len == 0;
}

/* The number in a row that is nothing else, `otherwise` where it is not shown. */
static int64_t number_of(const struct shown_rows *rows, enum record_row_kind kind, uint32_t lot,
                         int64_t otherwise)
{
    const struct record_row *row = row_find(rows, kind, lot, 0);
    struct cursor cursor = {.rest = row ? row->bytes : STR("")};
    if (row == NULL)
        return otherwise;
    return (int64_t)read_uint(&cursor, row->bytes.len <= 8 ? row->bytes.len : 8);
}

static void award_check(struct verify *verify, const struct shown_rows *rows,
                        const struct record_row *row)
{
    bool is_direct = row->kind == RECORD_ROW_DIRECT_AWARD;
    struct shown_award award;
    struct shown_wish wish;
    int64_t price, terms;
    if (!verify_note(verify, VERIFY_ROWS, award_read(row, &award),
                     "round %lld: an award's row has another form", rows->round))
        return;
    int64_t sold = number_of(rows, is_direct ? RECORD_ROW_DIRECT_SOLD_COUNT : RECORD_ROW_SOLD_COUNT,
                             row->lot, INT64_MAX);
    (void)verify_note(verify, VERIFY_ROWS, row->item < sold,
                      "round %lld: award %u of a lot that sold %lld", rows->round, row->item,
                      (long long)sold);
    const struct record_row *block =
        row_find(rows, is_direct ? RECORD_ROW_CANDIDATE : RECORD_ROW_BLOCK, row->lot, award.block);
    if (block != NULL && offer_read(block, &price, &terms))
        (void)verify_note(
            verify, VERIFY_ROWS, award.price == award.theta - terms && award.price >= price,
            "round %lld: a block that asked %lld with %lld added was paid %lld at the "
            "threshold %lld",
            rows->round, (long long)price, (long long)terms, (long long)award.price,
            (long long)award.theta);
    const struct record_row *demand =
        row_find(rows, is_direct ? RECORD_ROW_DIRECT : RECORD_ROW_DEMAND, row->lot, award.demand);
    if (demand != NULL && wish_read(demand, &wish))
        (void)verify_note(verify, VERIFY_ROWS, award.price <= wish.r && award.theta <= wish.r,
                          "round %lld: a workload that pays up to %lld net was charged %lld",
                          rows->round, (long long)wish.r, (long long)award.price);
}

/* How many awards a block (or, with `is_demand`, a workload) has among the rows shown. */
static uint32_t awards_of(const struct shown_rows *rows, const struct record_row *of,
                          bool is_demand)
{
    bool is_direct = of->kind >= RECORD_ROW_DIRECT;
    enum record_row_kind kind = is_direct ? RECORD_ROW_DIRECT_AWARD : RECORD_ROW_AWARD;
    struct shown_award award;
    uint32_t count = 0;
    for (size_t i = 0; i < rows->count; i++) {
        const struct record_row *row = &rows->at[i].row;
        if (row->kind == kind && row->lot == of->lot && award_read(row, &award))
            count += (is_demand ? award.demand : award.block) == of->item;
    }
    return count;
}

/* A block that lost stands at or above the index: nobody dearer won in its place. */
static void offer_check(struct verify *verify, const struct shown_rows *rows,
                        const struct record_row *row)
{
    int64_t price = 0, terms = 0, index = number_of(rows, RECORD_ROW_INDEX, row->lot, -1);
    uint32_t awards = awards_of(rows, row, false);
    bool is_good = offer_read(row, &price, &terms) && awards <= 1;
    if (is_good && row->kind == RECORD_ROW_BLOCK && awards == 0)
        is_good = price + terms >= index;
    (void)verify_note(verify, VERIFY_ROWS, is_good,
                      "round %lld: a block with score %lld and %u awards, at the index %lld",
                      rows->round, (long long)(price + terms), awards, (long long)index);
}

static void wish_check(struct verify *verify, const struct shown_rows *rows,
                       const struct record_row *row)
{
    struct shown_wish wish = {0};
    uint32_t awards = awards_of(rows, row, true);
    bool is_good =
        wish_read(row, &wish) && (awards == 0 || (awards >= wish.kmin && awards <= wish.k));
    (void)verify_note(verify, VERIFY_ROWS, is_good,
                      "round %lld: a workload that wants %u to %u blocks got %u", rows->round,
                      wish.kmin, wish.k, awards);
}

static void rows_fit(struct verify *verify, const struct shown_rows *rows)
{
    for (size_t i = 0; i < rows->count; i++) {
        const struct record_row *row = &rows->at[i].row;
        if (row->kind == RECORD_ROW_AWARD || row->kind == RECORD_ROW_DIRECT_AWARD)
            award_check(verify, rows, row);
        if (row->kind == RECORD_ROW_BLOCK || row->kind == RECORD_ROW_CANDIDATE)
            offer_check(verify, rows, row);
        if (row->kind == RECORD_ROW_DEMAND || row->kind == RECORD_ROW_DIRECT)
            wish_check(verify, rows, row);
    }
}

static void rows_check(struct verify *verify, const json_t *doc, const struct verify_leaf *leaf)
{
    const json_t *list = json_object_get(doc, "rows"), *item;
    size_t i;
    struct shown_rows rows = {.at = calloc(json_array_size(list) + 1, sizeof(struct shown_row)),
                              .round = json_i64(doc, "round", -1)};
    must(rows.at != NULL);
    int64_t rows_size = json_i64(doc, "rows_size", -1);
    json_array_foreach (list, i, item) {
        struct shown_row *row = &rows.at[rows.count];
        bool is_good = row_take(item, rows_size, &leaf->rows_root, row);
        if (verify_note(verify, VERIFY_ROWS, is_good,
                        "round %lld: row %lld is not the one that the round's leaf commits to",
                        rows.round, (long long)json_i64(item, "place", -1)))
            rows.count++;
        else
            buf_finish(&row->home);
    }
    rows_fit(verify, &rows);
    for (i = 0; i < rows.count; i++)
        buf_finish(&rows.at[i].home);
    free(rows.at);
}

/* Arrivals -------------------------------------------------------------------------------------*/

static struct sha256 arrival_hash(int64_t round, const json_t *item, const struct sha256 *message)
{
    uint8_t bytes[48];
    uint64_t numbers[2] = {(uint64_t)round, (uint64_t)json_i64(item, "place", -1)};
    for (int i = 0; i < 16; i++)
        bytes[i] = (uint8_t)(numbers[i / 8] >> (8 * (7 - i % 8)));
    memcpy(bytes + 16, message->bytes, 32);
    return merkle_leaf(bytes, sizeof(bytes));
}

static void arrivals_check(struct verify *verify, const json_t *doc, const struct verify_leaf *leaf)
{
    const json_t *list = json_object_get(doc, "arrivals"), *item;
    const struct sha256 *root = &leaf->head.seed_parts.arrivals_root;
    int64_t round = json_i64(doc, "round", -1), count = json_i64(doc, "arrivals_count", -1);
    size_t i;
    json_array_foreach (list, i, item) {
        struct merkle_proof proof;
        struct sha256 message;
        bool is_good = verify_hash(item, "message_sha256", &message) &&
                       verify_proof(item, "path", &proof) && count > 0;
        if (is_good) {
            struct sha256 hash = arrival_hash(round, item, &message);
            is_good = merkle_path_holds(&proof, (uint64_t)count,
                                        (uint64_t)json_i64(item, "index", -1), &hash, root);
        }
        (void)verify_note(verify, VERIFY_ARRIVALS, is_good,
                          "round %lld: the message at place %lld is not under R_t",
                          (long long)round, (long long)json_i64(item, "place", -1));
    }
}

/* With the whole record come all arrivals: then none is missing either. */
static void arrivals_are_all(struct verify *verify, const json_t *doc)
{
    const json_t *list = json_object_get(doc, "arrivals"), *item;
    size_t i;
    bool is_all = (int64_t)json_array_size(list) == json_i64(doc, "arrivals_count", -1);
    json_array_foreach (list, i, item)
        is_all = is_all && json_i64(item, "index", -1) == (int64_t)i;
    if (json_is_string(json_object_get(doc, "record_base64")))
        (void)verify_note(verify, VERIFY_ARRIVALS, is_all,
                          "round %lld: not all of its arrivals are shown",
                          (long long)json_i64(doc, "round", -1));
}

const json_t *verify_round_doc(const struct verify *verify, int64_t round)
{
    size_t i;
    const json_t *doc;
    json_array_foreach (verify->docs->rounds, i, doc)
        if (json_i64(doc, "round", -1) == round)
            return doc;
    return NULL;
}

/* Whoever takes a round's openings out of a transcript takes its checks with them. */
static void openings_are_all(struct verify *verify)
{
    for (size_t i = 0; i < verify->leaves_count; i++) {
        const struct verify_leaf *leaf = &verify->leaves[i];
        int64_t round = (int64_t)leaf->head.seed_parts.t;
        if (leaf->is_round && verify_round_doc(verify, round) == NULL)
            (void)verify_note(verify, VERIFY_RECORDS, false,
                              "round %lld: its openings are not in the transcript",
                              (long long)round);
    }
}

void verify_rounds(struct verify *verify)
{
    size_t i;
    const json_t *doc;
    struct verify_report *report = verify->report;
    openings_are_all(verify);
    json_array_foreach (verify->docs->rounds, i, doc) {
        int64_t round = json_i64(doc, "round", -1);
        const struct verify_leaf *leaf = verify_leaf_of_round(verify, round);
        if (!verify_note(verify, VERIFY_RECORDS, leaf != NULL,
                         "round %lld: has no leaf among those in the log", (long long)round))
            continue;
        if (report->first_round == 0 || round < report->first_round)
            report->first_round = round;
        if (round > report->last_round)
            report->last_round = round;
        record_check(verify, doc, leaf);
        rows_check(verify, doc, leaf);
        arrivals_check(verify, doc, leaf);
        arrivals_are_all(verify, doc);
    }
}
