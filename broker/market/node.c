#include "broker/market/node.h"

#include <string.h>

static bool signature_parse(struct str text, struct ed25519_signature *ret)
{
    return base64url_decode(text, ret->bytes, sizeof(ret->bytes)) == (ptrdiff_t)sizeof(ret->bytes);
}

static struct ed25519_public key_of(struct str bytes)
{
    struct ed25519_public key;
    must(bytes.len == sizeof(key.bytes));
    memcpy(key.bytes, bytes.at, sizeof(key.bytes));
    return key;
}

bool node_call_verify(const struct node_call *call, struct str key, struct str signature)
{
    struct ed25519_signature given;
    if (!signature_parse(signature, &given))
        return false;

    char node_id[ID_TEXT_SIZE], boot[ID_TEXT_SIZE], hex[65];
    struct buf text = {.at = NULL};
    hex_encode(call->body_sha256.bytes, sizeof(call->body_sha256.bytes), hex);
    buf_add_format(&text, "undercut/sync/v1|POST|%.*s|%s|%s|%lld|%s", STR_ARG(call->path),
                   node_id_text(call->node_id, node_id), uuid_text(call->boot, boot),
                   (long long)call->seq, hex);
    struct ed25519_public public = key_of(key);
    bool is_good = ed25519_verify(&public, &given, text.at, text.len);
    buf_finish(&text);
    return is_good;
}

const char *node_reply_sign(const struct node_call *call, int status, struct str body,
                            const struct ed25519_secret *market_key,
                            char ret_signature[NODE_SIGNATURE_SIZE])
{
    char node_id[ID_TEXT_SIZE], boot[ID_TEXT_SIZE], hex[65];
    struct sha256 digest = sha256_of(body.at, body.len);
    struct buf text = {.at = NULL};
    hex_encode(digest.bytes, sizeof(digest.bytes), hex);
    buf_add_format(&text, "undercut/reply/v1|%s|%s|%lld|%d|%s",
                   node_id_text(call->node_id, node_id), uuid_text(call->boot, boot),
                   (long long)call->seq, status, hex);
    struct ed25519_signature signature = ed25519_sign(market_key, text.at, text.len);
    buf_finish(&text);
    base64url_encode(signature.bytes, sizeof(signature.bytes), ret_signature);
    return ret_signature;
}

bool node_receipt_verify(struct str body, struct str key, struct str signature_text,
                         struct ed25519_signature *ret_signature)
{
    if (!signature_parse(signature_text, ret_signature))
        return false;
    struct buf text = {.at = NULL};
    buf_add_c(&text, "undercut/receipt/v1|");
    buf_add_str(&text, body);
    struct ed25519_public public = key_of(key);
    bool is_good = ed25519_verify(&public, ret_signature, text.at, text.len);
    buf_finish(&text);
    return is_good;
}

struct lease_facts node_lease_facts(const struct node_lease_list_out *row)
{
    return (struct lease_facts){
        .restart = restart_policy_of(row->restart),
        .stops_on_interruption = str_equal_c(row->on_interruption, "stop"),
        .has_run = row->has_run,
        .attempt = row->attempt,
    };
}

const char *node_topic(struct uuid node_id, char *buf, size_t size)
{
    char text[ID_TEXT_SIZE];
    must(str_format(buf, size, "node:%s", uuid_text(node_id, text)));
    return buf;
}
