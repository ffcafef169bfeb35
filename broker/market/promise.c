#include "broker/market/promise.h"

static void add_number(struct buf *to, int64_t value)
{
    char digits[I64_TEXT_SIZE];
    buf_add(to, digits, i64_format(value, digits));
    buf_add_c(to, "|");
}

static void promise_text(const struct promise *promise, struct buf *to)
{
    char hex[65];
    hex_encode(promise->message_sha256.bytes, sizeof(promise->message_sha256.bytes), hex);
    buf_add_c(to, "undercut/promise/v1|");
    buf_add_c(to, promise->market);
    buf_add_c(to, "|");
    add_number(to, promise->round);
    add_number(to, promise->place);
    buf_add_c(to, hex);
}

struct ed25519_signature promise_sign(const struct promise *promise,
                                      const struct ed25519_secret *key)
{
    struct buf text = {.at = NULL};
    promise_text(promise, &text);
    struct ed25519_signature signature = ed25519_sign(key, text.at, text.len);
    buf_finish(&text);
    return signature;
}

bool promise_verify(const struct promise *promise, const struct ed25519_public *key,
                    const struct ed25519_signature *signature)
{
    struct buf text = {.at = NULL};
    promise_text(promise, &text);
    bool is_good = ed25519_verify(key, signature, text.at, text.len);
    buf_finish(&text);
    return is_good;
}

void promise_put(struct json_out *out, const char *key_or_null, const struct promise *promise,
                 const struct ed25519_secret *key)
{
    char hex[65], public_key[48], text[96];
    struct ed25519_signature signature = promise_sign(promise, key);
    hex_encode(promise->message_sha256.bytes, sizeof(promise->message_sha256.bytes), hex);
    base64url_encode(key->bytes + 32, 32, public_key); /* libsodium keeps the public half there */
    base64url_encode(signature.bytes, sizeof(signature.bytes), text);

    json_object_open(out, key_or_null);
    json_put_c(out, "market", promise->market);
    json_put_i64(out, "round", promise->round);
    json_put_i64(out, "place", promise->place);
    json_put_c(out, "message_sha256", hex);
    json_put_c(out, "public_key", public_key);
    json_put_c(out, "signature", text);
    json_object_close(out);
}
