/* The happy path is: a promise bears the market's signature over its batch, and its message is
 * among its round's arrivals, which were held against R_t already; a lease's price is that of an
 * award that stands in the record, or in rows of it, of its round.
 * Failure modes are: a promise that was broken (keep it: it is proof), a lease that no award gave.
 * Both are only checked for rounds that the transcript holds.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/verify.h"

/* Promises -------------------------------------------------------------------------------------*/

struct promised {
    struct str market;
    int64_t round, place, index, count;
    struct sha256 message;
    struct merkle_proof path;
    struct ed25519_signature signature;
};

static bool promise_read(const json_t *item, struct promised *ret)
{
    const json_t *batch = json_object_get(item, "batch");
    ret->market = json_str(item, "market");
    ret->round = json_i64(item, "round", -1);
    ret->place = json_i64(item, "place", -1);
    ret->index = json_i64(batch, "index", -1);
    ret->count = json_i64(batch, "count", -1);
    return ret->market.at != NULL && ret->round > 0 && ret->index >= 0 && ret->count > ret->index &&
           verify_hash(item, "message_sha256", &ret->message) &&
           verify_proof(batch, "path", &ret->path) &&
           verify_base64url(item, "signature", &ret->signature, sizeof(ret->signature));
}

static bool promise_is_signed(const struct verify *verify, const struct promised *promise)
{
    uint8_t bytes[40];
    char hex[65];
    struct sha256 root;
    struct buf text = {0};
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)promise->place >> (8 * (7 - i)));
    memcpy(bytes + 8, promise->message.bytes, 32);
    struct sha256 leaf = merkle_leaf(bytes, sizeof(bytes));
    if (!merkle_path_climb(&promise->path, (uint64_t)promise->count, (uint64_t)promise->index,
                           &leaf, &root))
        return false;
    hex_encode(root.bytes, sizeof(root.bytes), hex);
    buf_add_format(&text, "undercut/promise/v2|%.*s|%lld|%lld|%s", STR_ARG(promise->market),
                   (long long)promise->round, (long long)promise->count, hex);
    bool is_good = ed25519_verify(&verify->key, &promise->signature, text.at, text.len);
    buf_finish(&text);
    return is_good;
}

static bool promise_was_kept(const json_t *doc, const struct promised *promise)
{
    size_t i;
    const json_t *item;
    json_array_foreach (json_object_get(doc, "arrivals"), i, item) {
        struct sha256 message;
        if (json_i64(item, "place", -1) == promise->place &&
            verify_hash(item, "message_sha256", &message) &&
            sha256_equal(&message, &promise->message))
            return true;
    }
    return false;
}

/* An auditor was shown all arrivals, anybody else those of one account. */
static void promise_judge(struct verify *verify, const json_t *doc, const struct promised *promise)
{
    long long place = promise->place, round = promise->round;
    bool was_kept = promise_was_kept(doc, promise);
    if (json_is_string(json_object_get(doc, "record_base64")))
        (void)verify_note(verify, VERIFY_PROMISES, was_kept,
                          "BROKEN PROMISE: place %lld of round %lld was promised to a message that "
                          "is not among its arrivals; keep the promise, it is proof",
                          place, round);
    else
        (void)verify_note(verify, VERIFY_PROMISES, was_kept,
                          "place %lld of round %lld was promised to a message that is not among "
                          "the arrivals shown to this key; if the promise was given to its "
                          "account, keep it, it is proof",
                          place, round);
}

void verify_promises(struct verify *verify)
{
    size_t i;
    const json_t *item;
    json_array_foreach (verify->docs->promises, i, item) {
        struct promised promise;
        const json_t *doc;
        if (!verify_note(verify, VERIFY_PROMISES, promise_read(item, &promise),
                         "promise %zu: not the form of a promise", i) ||
            !verify_note(verify, VERIFY_PROMISES, promise_is_signed(verify, &promise),
                         "promise for round %lld, place %lld: its signature is not that of the "
                         "market's key",
                         (long long)promise.round, (long long)promise.place))
            continue;
        doc = verify_round_doc(verify, promise.round);
        if (doc != NULL)
            promise_judge(verify, doc, &promise);
        else
            verify->report->promises_left++;
    }
}

/* Leases ---------------------------------------------------------------------------------------*/

struct lease_facts {
    int64_t round, price;
    bool has_workload; /* the tenant's view */
    struct uuid workload, node;
};

static bool lease_read(const json_t *item, struct lease_facts *ret)
{
    *ret = (struct lease_facts){.round = json_i64(item, "round", -1),
                                .price = json_i64(item, "price_uusd_per_hour", -1)};
    struct str workload = json_str(item, "workload_id");
    ret->has_workload = workload.at != NULL && uuid_parse_prefixed(workload, "wl", &ret->workload);
    return ret->round > 0 && ret->price >= 0 &&
           uuid_parse_prefixed(json_str(item, "node_id"), "node", &ret->node);
}

static bool is_of_workload(struct str id, const struct lease_facts *lease)
{
    struct uuid uuid;
    return !lease->has_workload || (uuid_parse(id, &uuid) && uuid_equal(uuid, lease->workload));
}

/* Against the whole record. */
static bool record_awards(struct str record, const struct lease_facts *lease)
{
    struct record_reader reader;
    struct record_head head;
    struct record_lot lot;
    struct record_direct direct;
    bool is_found = false, is_open = record_open(&reader, record, &head);
    while (is_open && record_next_lot(&reader, &lot))
        for (uint32_t i = 0; i < lot.outcome.awards_count; i++) {
            const struct lot_award *award = &lot.outcome.awards[i];
            is_found |= award->price_uusd_per_hour == lease->price &&
                        uuid_equal(lot.blocks[award->block].node, lease->node) &&
                        is_of_workload(lot.demands[award->demand].id, lease);
        }
    while (is_open && record_next_direct(&reader, &direct))
        for (uint32_t i = 0; i < direct.outcome.awards_count; i++) {
            const struct rfq_award *award = &direct.outcome.awards[i];
            is_found |= award->price_uusd_per_hour == lease->price &&
                        uuid_equal(direct.candidates[award->candidate].node, lease->node) &&
                        is_of_workload(direct.id, lease);
        }
    return record_close(&reader) && is_open && is_found;
}

/* Of a row: its kind, lot, item, and its bytes in `to`. */
static bool row_read(const json_t *item, struct record_row *ret_row, struct buf *to)
{
    to->len = 0;
    if (!verify_base64(item, "bytes_base64", to))
        return false;
    *ret_row = (struct record_row){
        .kind = (enum record_row_kind)json_i64(item, "kind", 0),
        .lot = (uint32_t)json_i64(item, "lot", 0),
        .item = (uint32_t)json_i64(item, "item", 0),
        .bytes = buf_str(to),
    };
    return true;
}

/* Is it the row of the lease's workload, or of its node? Both begin with an id; a block's goes on
 * with its owner and its node. */
static bool row_is_subject(const struct record_row *row, const struct lease_facts *lease)
{
    size_t id_len = row->bytes.len ? (uint8_t)row->bytes.at[0] : 0;
    struct str id = {row->bytes.at + 1, id_len};
    if (row->bytes.len < 1 + id_len + 32)
        return false;
    if (lease->has_workload)
        return (row->kind == RECORD_ROW_DEMAND || row->kind == RECORD_ROW_DIRECT) &&
               is_of_workload(id, lease);
    return (row->kind == RECORD_ROW_BLOCK || row->kind == RECORD_ROW_CANDIDATE) &&
           memcmp(row->bytes.at + 1 + id_len + 16, lease->node.bytes, 16) == 0;
}

static uint64_t little(const char *at, int size)
{
    uint64_t value = 0;
    for (int i = 0; i < size; i++)
        value |= (uint64_t)(uint8_t)at[i] << (8 * i);
    return value;
}

/* Is it an award of that subject at the lease's price? */
static bool row_is_award(const struct record_row *row, const struct record_row *subject,
                         const struct lease_facts *lease)
{
    bool is_direct = subject->kind >= RECORD_ROW_DIRECT;
    const char *at = row->bytes.at;
    if (row->kind != (is_direct ? RECORD_ROW_DIRECT_AWARD : RECORD_ROW_AWARD) ||
        row->lot != subject->lot || row->bytes.len != (is_direct ? 20 : 24))
        return false;
    bool is_demand = lease->has_workload;
    if (!is_direct && little(at + (is_demand ? 0 : 4), 4) != subject->item)
        return false;
    if (is_direct && !is_demand && little(at, 4) != subject->item)
        return false;
    return (int64_t)little(at + row->bytes.len - 8, 8) == lease->price;
}

static bool subject_has_award(const json_t *rows, const struct record_row *subject,
                              const struct lease_facts *lease)
{
    size_t i;
    const json_t *item;
    struct buf bytes = {0};
    struct record_row row;
    bool is_found = false;
    json_array_foreach (rows, i, item)
        is_found = is_found || (row_read(item, &row, &bytes) && row_is_award(&row, subject, lease));
    buf_finish(&bytes);
    return is_found;
}

/* Against the rows that a party was shown; they were held against the leaf already. */
static bool rows_award(const json_t *doc, const struct lease_facts *lease)
{
    size_t i;
    const json_t *rows = json_object_get(doc, "rows"), *item;
    struct buf bytes = {0};
    struct record_row row;
    bool is_found = false;
    json_array_foreach (rows, i, item)
        is_found = is_found || (row_read(item, &row, &bytes) && row_is_subject(&row, lease) &&
                                subject_has_award(rows, &row, lease));
    buf_finish(&bytes);
    return is_found;
}

void verify_leases(struct verify *verify)
{
    size_t i;
    const json_t *item;
    json_array_foreach (verify->docs->leases, i, item) {
        struct lease_facts lease;
        struct buf record = {0};
        struct str id = json_str(item, "lease_id");
        if (!lease_read(item, &lease)) {
            (void)verify_note(verify, VERIFY_LEASES, false, "lease %.*s: not the form of a lease",
                              STR_ARG(id));
            continue;
        }
        const json_t *doc = verify_round_doc(verify, lease.round);
        if (doc == NULL) {
            verify->report->leases_left++;
            continue;
        }
        bool is_awarded = verify_base64(doc, "record_base64", &record)
                              ? record_awards(buf_str(&record), &lease)
                              : rows_award(doc, &lease);
        (void)verify_note(verify, VERIFY_LEASES, is_awarded,
                          "lease %.*s: no award of round %lld gave it at the price %lld",
                          STR_ARG(id), (long long)lease.round, (long long)lease.price);
        buf_finish(&record);
    }
}
