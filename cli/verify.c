#include "cli/verify.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *verify_check_name(enum verify_check check)
{
    static const char *const names[VERIFY_CHECK_COUNT] = {
        [VERIFY_HEADS] = "heads",         [VERIFY_CONSISTENCY] = "consistency",
        [VERIFY_LEAVES] = "leaves",       [VERIFY_SEEDS] = "seeds",
        [VERIFY_CHAIN] = "chain",         [VERIFY_RECORDS] = "records",
        [VERIFY_CLEARINGS] = "clearings", [VERIFY_ROWS] = "rows",
        [VERIFY_ARRIVALS] = "arrivals",   [VERIFY_PROMISES] = "promises",
        [VERIFY_LEASES] = "leases",       [VERIFY_INDEXES] = "indexes",
    };
    must(check > 0 && check < VERIFY_CHECK_COUNT);
    return names[check];
}

bool verify_note(struct verify *verify, enum verify_check check, bool is_good, const char *format,
                 ...)
{
    struct verify_report *report = verify->report;
    report->counts[check]++;
    if (is_good)
        return true;
    if (report->faults_count < VERIFY_FAULTS_MAX) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(report->faults[report->faults_count].text, sizeof(report->faults[0].text),
                        format, args);
        va_end(args);
        report->faults[report->faults_count].check = check;
    }
    report->faults_count++;
    return false;
}

const struct verify_leaf *verify_leaf_of_round(const struct verify *verify, int64_t round)
{
    for (size_t i = 0; i < verify->leaves_count; i++)
        if (verify->leaves[i].is_round && verify->leaves[i].head.seed_parts.t == (uint64_t)round)
            return &verify->leaves[i];
    return NULL;
}

bool verify_hash(const json_t *object, const char *key, struct sha256 *ret_hash)
{
    return hex_decode(json_str(object, key), ret_hash->bytes, sizeof(ret_hash->bytes));
}

bool verify_base64url(const json_t *object, const char *key, void *ret, size_t size)
{
    struct str text = json_str(object, key);
    return text.at != NULL && base64url_decode(text, ret, size) == (ptrdiff_t)size;
}

bool verify_base64(const json_t *object, const char *key, struct buf *to)
{
    struct str text = json_str(object, key);
    while (text.len > 0 && text.at[text.len - 1] == '=')
        text.len--;
    if (text.at == NULL)
        return false;
    char *plain = malloc(text.len + 1);
    must(plain != NULL);
    for (size_t i = 0; i < text.len; i++)
        plain[i] = text.at[i] == '+' ? '-' : text.at[i] == '/' ? '_' : text.at[i];
    buf_reserve(to, text.len);
    ptrdiff_t got = base64url_decode((struct str){plain, text.len}, (uint8_t *)to->at + to->len,
                                     to->cap - to->len);
    free(plain);
    to->len += got > 0 ? (size_t)got : 0;
    return got >= 0;
}

bool verify_proof(const json_t *object, const char *key, struct merkle_proof *ret_proof)
{
    const json_t *list = json_object_get(object, key), *item;
    size_t i;
    ret_proof->count = 0;
    if (!json_is_array(list) || json_array_size(list) > MERKLE_PROOF_MAX)
        return false;
    json_array_foreach (list, i, item) {
        struct str text = {json_string_value(item), json_string_length(item)};
        if (!hex_decode(text, ret_proof->hashes[i].bytes, sizeof(struct sha256)))
            return false;
        ret_proof->count++;
    }
    return true;
}

static void leaves_free(struct verify_leaf *leaves, size_t count)
{
    for (size_t i = 0; i < count; i++)
        buf_finish(&leaves[i].text);
    free(leaves);
}

void verify_run(const struct verify_docs *docs, const struct ed25519_public *key_or_null,
                struct verify_report *ret_report)
{
    struct verify verify = {.docs = docs, .report = ret_report};
    const json_t *newest = json_array_get(docs->heads, json_array_size(docs->heads) - 1);
    *ret_report = (struct verify_report){.faults_count = 0};
    if (key_or_null != NULL)
        verify.key = *key_or_null;
    else if (!verify_base64url(newest, "public_key", &verify.key, sizeof(verify.key)))
        (void)verify_note(&verify, VERIFY_HEADS, false, "there is no head with a key");
    verify_log(&verify);
    verify_rounds(&verify);
    verify_promises(&verify);
    verify_leases(&verify);
    verify_indexes(&verify);
    leaves_free(verify.leaves, verify.leaves_count);
    leaves_free(verify.anchors, verify.anchors_count);
}
