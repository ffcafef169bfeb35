/* link.c - signing and verifying around http.c.
 *
 * The happy path is: take the next sequence number, sign the request's text, post, verify the
 * answer's signature over the same number, hand over the body.
 * Failure modes are: no answer, a problem document, and an answer that the market did not sign.
 */
#include "nodeagent/link.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/hash.h"
#include "broker/base/json.h"

#define ENROL_TIMEOUT_MS    15000
#define SIGNATURE_TEXT_SIZE 96
#define HEADER_SIZE         160

struct stamp { /* what one request is signed with */
    char boot[ID_TEXT_SIZE];
    char seq[24];
    char path[128];
};

static struct stamp stamp_take(struct link *link, const char *action);
static bool answer_verifies(const struct link *link, const struct stamp *stamp,
                            const struct http_reply *reply);
static enum link_outcome problem_read(const struct http_reply *reply, char ret_why[256]);

void link_start(struct link *link, const char *url, const struct identity *identity)
{
    *link = (struct link){.identity = identity, .boot = uuid_v7()};
    must(str_format(link->url, sizeof(link->url), "%s", url));
    must(pthread_mutex_init(&link->lock, NULL) == 0);
}

void link_finish(struct link *link)
{
    pthread_mutex_destroy(&link->lock);
}

struct http_client *link_client_create(const struct link *link)
{
    struct http_client *client = http_client_create();
    http_client_set_ca_file(client, link->ca_file);
    return client;
}

struct http_call link_call(const char *action, struct str body, int64_t timeout_ms)
{
    return (struct http_call){
        .method = "POST", .url = action, .body = body, .timeout_ms = timeout_ms};
}

void link_hash_hex(struct str body, char ret_hex[65])
{
    struct sha256 digest = sha256_of(body.at ? body.at : "", body.len);
    hex_encode(digest.bytes, sizeof(digest.bytes), ret_hex);
}

static struct stamp stamp_take(struct link *link, const char *action)
{
    struct stamp stamp;
    must(pthread_mutex_lock(&link->lock) == 0);
    int64_t seq = ++link->seq;
    must(pthread_mutex_unlock(&link->lock) == 0);
    uuid_text(link->boot, stamp.boot);
    must(str_format(stamp.seq, sizeof(stamp.seq), "%lld", (long long)seq));
    must(str_format(stamp.path, sizeof(stamp.path), "/v1/nodes/%s/%s", link->identity->node_id,
                    action));
    return stamp;
}

static void request_sign(const struct link *link, const struct stamp *stamp, struct str body,
                         char ret_header[HEADER_SIZE])
{
    char hash[65];
    char text[SIGNATURE_TEXT_SIZE];
    struct buf signed_text = {0};
    link_hash_hex(body, hash);
    buf_add_format(&signed_text, "undercut/sync/v1|POST|%s|%s|%s|%s|%s", stamp->path,
                   link->identity->node_id, stamp->boot, stamp->seq, hash);
    struct ed25519_signature signature =
        ed25519_sign(&link->identity->secret_key, signed_text.at, signed_text.len);
    base64url_encode(signature.bytes, sizeof(signature.bytes), text);
    must(str_format(ret_header, HEADER_SIZE, "Undercut-Signature: %s", text));
    buf_finish(&signed_text);
}

enum link_outcome link_post(struct link *link, struct http_client *client,
                            const struct http_call *shape, struct buf *ret_answer,
                            char ret_why[256])
{
    struct stamp stamp = stamp_take(link, shape->url);
    char url[512];
    char boot[HEADER_SIZE];
    char seq[HEADER_SIZE];
    char signature[HEADER_SIZE];
    must(str_format(url, sizeof(url), "%s%s", link->url, stamp.path));
    must(str_format(boot, sizeof(boot), "Undercut-Boot: %s", stamp.boot));
    must(str_format(seq, sizeof(seq), "Undercut-Seq: %s", stamp.seq));
    request_sign(link, &stamp, shape->body, signature);

    struct http_call call = *shape;
    call.url = url;
    call.headers[0] = boot;
    call.headers[1] = seq;
    call.headers[2] = signature;
    struct http_reply reply;
    enum http_outcome done = http_client_call(client, &call, &reply);
    if (done == HTTP_CUT)
        return LINK_CUT;
    if (done == HTTP_FAILED) {
        (void)str_format(ret_why, 256, "%s", reply.why);
        return LINK_UNREACHABLE;
    }
    enum link_outcome outcome = LINK_OK;
    if (reply.status != 200)
        outcome = problem_read(&reply, ret_why);
    else if (!answer_verifies(link, &stamp, &reply))
        outcome = LINK_FORGED;
    if (outcome == LINK_FORGED)
        (void)str_format(ret_why, 256, "the answer is not signed by the market");
    if (outcome == LINK_OK)
        *ret_answer = reply.body;
    else
        http_reply_finish(&reply);
    return outcome;
}

static bool answer_verifies(const struct link *link, const struct stamp *stamp,
                            const struct http_reply *reply)
{
    struct ed25519_signature signature;
    ptrdiff_t len =
        base64url_decode(str_of(reply->signature), signature.bytes, sizeof(signature.bytes));
    if (len != (ptrdiff_t)sizeof(signature.bytes))
        return false;
    char hash[65];
    struct buf text = {0};
    link_hash_hex(buf_str(&reply->body), hash);
    buf_add_format(&text, "undercut/reply/v1|%s|%s|%s|%d|%s", link->identity->node_id, stamp->boot,
                   stamp->seq, reply->status, hash);
    bool is_good = ed25519_verify(&link->identity->market_key, &signature, text.at, text.len);
    buf_finish(&text);
    return is_good;
}

static enum link_outcome problem_read(const struct http_reply *reply, char ret_why[256])
{
    char parse_why[128];
    json_t *json = json_parse(buf_str(&reply->body), parse_why, sizeof(parse_why));
    (void)str_format(ret_why, 256, "%d %.*s: %.*s", reply->status, STR_ARG(json_str(json, "code")),
                     STR_ARG(json_str(json, "detail")));
    json_decref(json);
    bool is_passing = reply->status >= 500 || reply->status == 408 || reply->status == 429;
    return is_passing ? LINK_UNREACHABLE : LINK_REFUSED;
}

enum link_outcome link_enrol(const struct link *link, struct str body, struct buf *ret_answer,
                             char ret_why[256])
{
    char url[512];
    must(str_format(url, sizeof(url), "%s/v1/nodes", link->url));
    struct http_client *client = link_client_create(link);
    struct http_call call = {
        .method = "POST", .url = url, .body = body, .timeout_ms = ENROL_TIMEOUT_MS};
    struct http_reply reply;
    enum http_outcome done = http_client_call(client, &call, &reply);
    http_client_destroy(client);
    if (done != HTTP_ANSWERED) {
        (void)str_format(ret_why, 256, "the broker at %.160s does not answer: %.60s", link->url,
                         reply.why);
        return LINK_UNREACHABLE;
    }
    if (reply.status != 200 && reply.status != 201) {
        enum link_outcome outcome = problem_read(&reply, ret_why);
        http_reply_finish(&reply);
        return outcome;
    }
    *ret_answer = reply.body;
    return LINK_OK;
}
