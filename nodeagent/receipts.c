/* receipts.c - made under "receipt:<seq>" in the journal, with "receipt_seq" beside them.
 *
 * The happy path is: build the canonical JSON, sign it, journal number and receipt, send it in each
 * sync until the broker's receipt_seq covers it.
 * Failure modes are: a kill before the journal is synced (nobody saw the number, so it may be used
 * again) or after (the receipt is sent after the restart).
 */
#include "nodeagent/receipts.h"

#include <stdlib.h>
#include <string.h>

#define SEQ_KEY     "receipt_seq"
#define KEY_PREFIX  "receipt:"
#define KEY_SIZE    40
#define EMITTED_MAX 64 /* per sync */

static int64_t seq_of(struct str key)
{
    size_t len = sizeof(KEY_PREFIX) - 1;
    int64_t seq;
    if (!str_starts_with(key, STR(KEY_PREFIX)) ||
        !str_to_i64((struct str){.at = key.at + len, .len = key.len - len}, &seq))
        return 0;
    return seq;
}

static void seq_set(struct receipts *receipts, int64_t seq)
{
    char number[32];
    must(seq >= receipts->last_seq);
    must(str_format(number, sizeof(number), "%lld", (long long)seq));
    journal_put(receipts->journal, SEQ_KEY, str_of(number));
    receipts->last_seq = seq;
}

void receipts_start(struct receipts *receipts, struct journal *journal, const char *node_id,
                    const struct ed25519_secret *secret)
{
    *receipts = (struct receipts){.journal = journal, .node_id = node_id, .secret = secret};
    if (!str_to_i64(journal_get(journal, SEQ_KEY), &receipts->last_seq))
        receipts->last_seq = 0;
    struct str key;
    struct str json;
    for (size_t i = 0; journal_each(journal, i, &key, &json); i++)
        if (seq_of(key) > receipts->last_seq)
            receipts->last_seq = seq_of(key);
}

/* Canonical: these keys, this order, no blanks. The signature covers exactly these bytes. */
static void body_make(const struct receipts *receipts, int64_t seq,
                      const struct receipt_line *lines, size_t count, struct buf *to)
{
    struct json_out out;
    json_out_start(&out, to);
    json_object_open(&out, NULL);
    json_put_i64(&out, "v", 1);
    json_put_c(&out, "node_id", receipts->node_id);
    json_put_i64(&out, "seq", seq);
    json_array_open(&out, "leases");
    for (size_t i = 0; i < count; i++) {
        json_object_open(&out, NULL);
        json_put_c(&out, "lease_id", lines[i].lease_id);
        json_put_i64(&out, "epoch", lines[i].epoch);
        json_put_i64(&out, "healthy_ms", lines[i].healthy_ms);
        json_put_c(&out, "image_digest", lines[i].image_digest);
        json_put_bool(&out, "is_final", lines[i].is_final);
        json_object_close(&out);
    }
    json_array_close(&out);
    json_object_close(&out);
}

static void signature_make(const struct receipts *receipts, struct str body, char ret_text[96])
{
    struct buf signed_text = {0};
    buf_add_c(&signed_text, "undercut/receipt/v1|");
    buf_add_str(&signed_text, body);
    struct ed25519_signature signature =
        ed25519_sign(receipts->secret, signed_text.at, signed_text.len);
    base64url_encode(signature.bytes, sizeof(signature.bytes), ret_text);
    buf_finish(&signed_text);
}

/* Drops the numbers up to `seq` for which `is_final` receipts are kept or not, as asked. */
static void drop_until(struct receipts *receipts, int64_t seq, bool keeps_final)
{
    struct str key;
    struct str json;
    for (size_t i = 0; journal_each(receipts->journal, i, &key, &json);) {
        int64_t found = seq_of(key);
        /* The body is JSON inside JSON, so its quotes are escaped. */
        static const char final_mark[] = "\\\"is_final\\\":true";
        bool is_kept = keeps_final && memmem(json.at, json.len, final_mark, strlen(final_mark));
        if (found > 0 && found <= seq && !is_kept) {
            char text[KEY_SIZE];
            must(str_format(text, sizeof(text), "%.*s", STR_ARG(key)));
            journal_drop(receipts->journal, text);
        } else {
            i++;
        }
    }
}

int64_t receipts_make(struct receipts *receipts, const struct receipt_line *lines, size_t count)
{
    int64_t seq = receipts->last_seq + 1;
    drop_until(receipts, receipts->last_seq, /* keeps_final= */ true);

    struct buf body = {0};
    struct buf record = {0};
    char signature[96];
    char key[KEY_SIZE];
    body_make(receipts, seq, lines, count, &body);
    signature_make(receipts, buf_str(&body), signature);
    struct json_out out;
    json_out_start(&out, &record);
    json_object_open(&out, NULL);
    json_put_i64(&out, "seq", seq);
    json_put_str(&out, "body", buf_str(&body));
    json_put_c(&out, "signature", signature);
    json_object_close(&out);

    must(str_format(key, sizeof(key), KEY_PREFIX "%lld", (long long)seq));
    seq_set(receipts, seq);
    journal_put(receipts->journal, key, buf_str(&record));
    buf_finish(&body);
    buf_finish(&record);
    return seq;
}

void receipts_acknowledge(struct receipts *receipts, int64_t seq)
{
    drop_until(receipts, seq, /* keeps_final= */ false);
    if (seq > receipts->last_seq)
        seq_set(receipts, seq);
}

void receipts_emit(const struct receipts *receipts, struct json_out *out, size_t size_max)
{
    struct str key;
    struct str json;
    size_t size = 0;
    size_t count = 0;
    for (size_t i = 0; journal_each(receipts->journal, i, &key, &json); i++) {
        if (seq_of(key) == 0)
            continue;
        size += json.len + 1;
        if (size > size_max || count++ == EMITTED_MAX)
            return;
        json_put_raw(out, NULL, json);
    }
}

bool receipts_is_acknowledged(const struct receipts *receipts, int64_t seq)
{
    char key[KEY_SIZE];
    must(str_format(key, sizeof(key), KEY_PREFIX "%lld", (long long)seq));
    return seq > 0 && !journal_get(receipts->journal, key).at;
}
