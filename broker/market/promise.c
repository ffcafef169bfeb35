#include "broker/market/promise.h"

#include <endian.h>
#include <string.h>

static void hex_of(const struct sha256 *hash, char hex[65])
{
    hex_encode(hash->bytes, sizeof(hash->bytes), hex);
}

static struct sha256 promise_leaf(const struct promise *promise)
{
    struct {
        uint64_t place_be;
        struct sha256 message;
    } leaf = {htobe64((uint64_t)promise->place), promise->message_sha256};
    _Static_assert(sizeof(leaf) == 40, "no padding");
    return merkle_leaf(&leaf, sizeof(leaf));
}

static void add_number(struct buf *to, int64_t value)
{
    char digits[I64_TEXT_SIZE];
    buf_add(to, digits, i64_format(value, digits));
    buf_add_c(to, "|");
}

static void batch_text(const struct promise *promise, const struct sha256 *root, struct buf *to)
{
    char hex[65];
    hex_of(root, hex);
    buf_add_c(to, "undercut/promise/v2|");
    buf_add_c(to, promise->market);
    buf_add_c(to, "|");
    add_number(to, promise->round);
    add_number(to, (int64_t)promise->count);
    buf_add_c(to, hex);
}

static struct ed25519_signature batch_sign(const struct promise *promise, const struct sha256 *root,
                                           const struct ed25519_secret *key)
{
    struct buf text = {.at = NULL};
    batch_text(promise, root, &text);
    struct ed25519_signature signature = ed25519_sign(key, text.at, text.len);
    buf_finish(&text);
    return signature;
}

void promise_sign(struct promise *const *promises, size_t count, const struct ed25519_secret *key)
{
    struct sha256 nodes[MERKLE_TABLE_SIZE(PROMISE_BATCH_MAX)];
    struct merkle_table table;
    must(count > 0 && count <= PROMISE_BATCH_MAX);
    for (size_t i = 0; i < count; i++) {
        must(promises[i]->round == promises[0]->round);
        nodes[i] = promise_leaf(promises[i]);
    }
    merkle_table_build(&table, nodes, count);
    struct merkle_source tree = merkle_table_source(&table);
    struct sha256 root = merkle_root_at(&tree, count);
    promises[0]->count = count;
    struct ed25519_signature signature = batch_sign(promises[0], &root, key);
    for (size_t i = 0; i < count; i++) {
        promises[i]->index = i;
        promises[i]->count = count;
        promises[i]->signature = signature;
        merkle_path(&tree, count, i, &promises[i]->path);
    }
}

bool promise_verify(const struct promise *promise, const struct ed25519_public *key)
{
    struct sha256 root, leaf = promise_leaf(promise);
    struct buf text = {.at = NULL};
    if (!merkle_path_climb(&promise->path, promise->count, promise->index, &leaf, &root))
        return false;
    batch_text(promise, &root, &text);
    bool is_good = ed25519_verify(key, &promise->signature, text.at, text.len);
    buf_finish(&text);
    return is_good;
}

void promise_put(struct json_out *out, const char *key_or_null, const struct promise *promise,
                 const struct ed25519_public *key)
{
    char hex[65], public_key[48], signature[96];
    must(promise->count > 0);
    json_object_open(out, key_or_null);
    json_put_c(out, "market", promise->market);
    json_put_i64(out, "round", promise->round);
    json_put_i64(out, "place", promise->place);
    hex_of(&promise->message_sha256, hex);
    json_put_c(out, "message_sha256", hex);
    json_object_open(out, "batch");
    json_put_i64(out, "index", (int64_t)promise->index);
    json_put_i64(out, "count", (int64_t)promise->count);
    json_array_open(out, "path");
    for (size_t i = 0; i < promise->path.count; i++) {
        hex_of(&promise->path.hashes[i], hex);
        json_put_c(out, NULL, hex);
    }
    json_array_close(out);
    json_object_close(out);
    base64url_encode(key->bytes, sizeof(key->bytes), public_key);
    json_put_c(out, "public_key", public_key);
    base64url_encode(promise->signature.bytes, sizeof(promise->signature.bytes), signature);
    json_put_c(out, "signature", signature);
    json_object_close(out);
}
