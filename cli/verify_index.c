/* The happy path is: each lot that was published for a round is found in the record, or among the
 * rows shown of it, by its key, and has the same index there.
 * Failure modes are: another index, or a lot that the record does not have.
 */
#include <string.h>

#include "cli/verify.h"

#define KEY_SIZE 256

struct found_lot {
    bool is_there;
    int64_t index; /* LOT_INDEX_NONE: nothing traded */
};

static struct found_lot record_find(struct str record, struct str key)
{
    struct record_reader reader;
    struct record_head head;
    struct record_lot lot;
    struct found_lot found = {.is_there = false};
    bool is_open = record_open(&reader, record, &head);
    while (is_open && record_next_lot(&reader, &lot))
        if (str_equal(lot.key, key))
            found = (struct found_lot){.is_there = true, .index = lot.outcome.index_uusd_per_hour};
    (void)record_close(&reader);
    return found;
}

/* The row of a kind in a lot, its bytes in `to`. */
static bool row_find(const json_t *rows, enum record_row_kind kind, int64_t lot, struct buf *to)
{
    size_t i;
    const json_t *item;
    json_array_foreach (rows, i, item) {
        to->len = 0;
        if (json_i64(item, "kind", 0) == (int64_t)kind && json_i64(item, "lot", -1) == lot)
            return verify_base64(item, "bytes_base64", to);
    }
    return false;
}

static struct found_lot rows_find(const json_t *rows, struct str key)
{
    struct buf bytes = {0};
    struct found_lot found = {.is_there = false};
    size_t i;
    const json_t *item;
    json_array_foreach (rows, i, item) {
        bytes.len = 0;
        if (found.is_there || json_i64(item, "kind", 0) != RECORD_ROW_LOT ||
            !verify_base64(item, "bytes_base64", &bytes) || bytes.len != key.len + 1 ||
            memcmp(bytes.at + 1, key.at, key.len) != 0)
            continue;
        uint64_t index = 0;
        found.is_there =
            row_find(rows, RECORD_ROW_INDEX, json_i64(item, "lot", -1), &bytes) && bytes.len == 8;
        for (size_t n = 0; found.is_there && n < 8; n++)
            index |= (uint64_t)(uint8_t)bytes.at[n] << (8 * n);
        found.index = (int64_t)index;
    }
    buf_finish(&bytes);
    return found;
}

static void lot_check(struct verify *verify, const json_t *doc, const json_t *lot)
{
    char key[KEY_SIZE];
    struct buf record = {0};
    (void)str_format(key, sizeof(key), "%.*s/%.*s/%lld/%.*s/%.*s", STR_ARG(json_str(lot, "region")),
                     STR_ARG(json_str(lot, "device_class")),
                     (long long)json_i64(lot, "block_size", 0), STR_ARG(json_str(lot, "tier")),
                     STR_ARG(json_str(lot, "trust")));
    int64_t published = json_i64(lot, "index_uusd_per_hour", LOT_INDEX_NONE);
    struct found_lot found = verify_base64(doc, "record_base64", &record)
                                 ? record_find(buf_str(&record), str_of(key))
                                 : rows_find(json_object_get(doc, "rows"), str_of(key));
    buf_finish(&record);
    if (!found.is_there && published == LOT_INDEX_NONE)
        return; /* one that was cleared by itself alone counts into its lot's figures */
    (void)verify_note(verify, VERIFY_INDEXES, found.is_there && found.index == published,
                      "round %lld: lot %s: the index was published as %lld, and is %lld in the "
                      "record",
                      (long long)json_i64(doc, "round", 0), key, (long long)published,
                      (long long)(found.is_there ? found.index : LOT_INDEX_NONE));
}

void verify_indexes(struct verify *verify)
{
    size_t i, n;
    const json_t *round, *lot;
    json_array_foreach (verify->docs->published, i, round) {
        const json_t *doc = verify_round_doc(verify, json_i64(round, "round", -2));
        if (doc == NULL)
            continue;
        json_array_foreach (json_object_get(round, "lots"), n, lot)
            lot_check(verify, doc, lot);
    }
}
