/* lib_broker.c - the protocol's other side, with one lock around everything.
 *
 * The happy path is: a connection's thread brings a request, it is verified, taken in, and
 * answered. Failure modes are: a client that hangs up while a sync is held, and what a test asks
 * for by mood.
 */
#include "tests/agent/lib_broker.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <sodium.h>

#include "broker/base/clock.h"
#include "broker/base/hash.h"
#include "broker/base/id.h"
#include "tests/agent/lib_serve.h"

#define LEASES_MAX 64
#define BODY_MAX   (256 * 1024)

struct fake_lease {
    char lease_id[ID_TEXT_SIZE];
    int64_t epoch;
    json_t *wanted; /* NULL: not listed */
    json_t *report; /* NULL: not in the last sync */
    json_t *last_report;
    int64_t healthy_ms;
    int64_t receipt_ms;
    bool is_final;
    struct buf log;
    bool is_in_logs; /* of the call being answered */
};

struct broker {
    struct serve *serve;
    char url[64];
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct ed25519_public market_public;
    struct ed25519_secret market_secret;
    struct ed25519_secret forger_secret;
    struct ed25519_public node_public;
    char node_id[ID_TEXT_SIZE];
    _Atomic enum broker_mood mood; /* also read without the lock, when an answer is signed */
    bool is_ending;
    int sync_count;
    json_t *open; /* NULL: nothing to bid on */
    char *bids;   /* of the last sync; NULL: none */
    int64_t version;
    int64_t receipt_seq;
    int64_t receipt_interval_ms;
    char boot[64];
    int64_t boot_seq;
    struct fake_lease leases[LEASES_MAX];
    size_t leases_count;
    json_t *inventory;
    char violations[1024];
};

static bool answer(void *arg, int fd, const struct request *request);

static void violate(struct broker *broker, const char *what)
{
    size_t len = strlen(broker->violations);
    (void)str_format(broker->violations + len, sizeof(broker->violations) - len, "%s; ", what);
}

struct broker *broker_start(void)
{
    struct broker *broker = calloc(1, sizeof(*broker));
    must(broker);
    struct ed25519_public unused;
    ed25519_generate(&broker->market_public, &broker->market_secret);
    ed25519_generate(&unused, &broker->forger_secret);
    node_id_text(node_id_new(), broker->node_id);
    broker->mood = BROKER_WELL;
    broker->version = 1;
    broker->receipt_interval_ms = 60000;
    must(pthread_mutex_init(&broker->lock, NULL) == 0);
    pthread_condattr_t attr;
    must(pthread_condattr_init(&attr) == 0);
    must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    must(pthread_cond_init(&broker->changed, &attr) == 0);
    broker->serve = serve_start(answer, broker);
    must(str_format(broker->url, sizeof(broker->url), "http://127.0.0.1:%d",
                    serve_port(broker->serve)));
    return broker;
}

/* With the lock held. */
static void wait_ms(struct broker *broker, int64_t timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + timeout_ms % 1000 * 1000000;
    until.tv_sec += timeout_ms / 1000 + ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    (void)pthread_cond_timedwait(&broker->changed, &broker->lock, &until);
}

static void bump(struct broker *broker)
{
    broker->version++;
    pthread_cond_broadcast(&broker->changed);
}

void broker_stop(struct broker *broker)
{
    pthread_mutex_lock(&broker->lock);
    broker->is_ending = true;
    bump(broker);
    pthread_mutex_unlock(&broker->lock);
    serve_stop(broker->serve);
    for (size_t i = 0; i < broker->leases_count; i++) {
        json_decref(broker->leases[i].wanted);
        json_decref(broker->leases[i].report);
        json_decref(broker->leases[i].last_report);
        buf_finish(&broker->leases[i].log);
    }
    json_decref(broker->inventory);
    json_decref(broker->open);
    free(broker->bids);
    pthread_cond_destroy(&broker->changed);
    pthread_mutex_destroy(&broker->lock);
    free(broker);
}

const char *broker_url(const struct broker *broker)
{
    return broker->url;
}

static struct fake_lease *lease_of(struct broker *broker, struct str lease_id)
{
    for (size_t i = 0; i < broker->leases_count; i++)
        if (str_equal_c(lease_id, broker->leases[i].lease_id))
            return &broker->leases[i];
    return NULL;
}

void broker_want(struct broker *broker, const char *lease_id, int64_t epoch, const char *json)
{
    char why[128];
    pthread_mutex_lock(&broker->lock);
    struct fake_lease *lease = lease_of(broker, str_of(lease_id));
    if (!lease) {
        must(broker->leases_count < LEASES_MAX);
        lease = &broker->leases[broker->leases_count++];
        must(str_format(lease->lease_id, sizeof(lease->lease_id), "%s", lease_id));
        lease->receipt_ms = -1;
    }
    json_decref(lease->wanted);
    lease->wanted = json_parse(str_of(json), why, sizeof(why));
    must(lease->wanted);
    if (lease->epoch != epoch) {
        lease->healthy_ms = 0;
        lease->receipt_ms = -1;
        lease->is_final = false;
    }
    lease->epoch = epoch;
    json_object_set_new(lease->wanted, "lease_id", json_string(lease_id));
    json_object_set_new(lease->wanted, "epoch", json_integer(epoch));
    if (!json_object_get(lease->wanted, "want"))
        json_object_set_new(lease->wanted, "want", json_string("run"));
    bump(broker);
    pthread_mutex_unlock(&broker->lock);
}

void broker_want_stop(struct broker *broker, const char *lease_id)
{
    pthread_mutex_lock(&broker->lock);
    struct fake_lease *lease = lease_of(broker, str_of(lease_id));
    must(lease && lease->wanted);
    json_object_set_new(lease->wanted, "want", json_string("stop"));
    json_object_set_new(lease->wanted, "stop_reason", json_string("tenant_stopped"));
    bump(broker);
    pthread_mutex_unlock(&broker->lock);
}

void broker_unlist(struct broker *broker, const char *lease_id)
{
    pthread_mutex_lock(&broker->lock);
    struct fake_lease *lease = lease_of(broker, str_of(lease_id));
    must(lease);
    json_decref(lease->wanted);
    lease->wanted = NULL;
    bump(broker);
    pthread_mutex_unlock(&broker->lock);
}

void broker_set_mood(struct broker *broker, enum broker_mood mood)
{
    pthread_mutex_lock(&broker->lock);
    broker->mood = mood;
    bump(broker);
    pthread_mutex_unlock(&broker->lock);
}

void broker_set_receipt_interval(struct broker *broker, int64_t interval_ms)
{
    pthread_mutex_lock(&broker->lock);
    broker->receipt_interval_ms = interval_ms;
    bump(broker);
    pthread_mutex_unlock(&broker->lock);
}

struct wait_for {
    const char *lease_id;
    const char *text;
    int count;
};

typedef bool is_so(struct broker *broker, const struct wait_for *what);

static bool wait_until(struct broker *broker, is_so *check, const struct wait_for *what,
                       int64_t timeout_ms)
{
    int64_t until_mono_ms = clock_mono_ms() + timeout_ms;
    pthread_mutex_lock(&broker->lock);
    bool is_met;
    while (!(is_met = check(broker, what)) && clock_mono_ms() < until_mono_ms)
        wait_ms(broker, 50);
    pthread_mutex_unlock(&broker->lock);
    return is_met;
}

static bool has_state(struct broker *broker, const struct wait_for *what)
{
    const struct fake_lease *lease = lease_of(broker, str_of(what->lease_id));
    return lease && str_equal_c(json_str(lease->report, "state"), what->text);
}

bool broker_wait_state(struct broker *broker, const char *lease_id, const char *state,
                       int64_t timeout_ms)
{
    struct wait_for what = {.lease_id = lease_id, .text = state};
    return wait_until(broker, has_state, &what, timeout_ms);
}

static bool has_syncs(struct broker *broker, const struct wait_for *what)
{
    return broker->sync_count >= what->count;
}

bool broker_wait_syncs(struct broker *broker, int count, int64_t timeout_ms)
{
    struct wait_for what = {.count = broker_sync_count(broker) + count};
    return wait_until(broker, has_syncs, &what, timeout_ms);
}

void broker_open(struct broker *broker, const char *json)
{
    pthread_mutex_lock(&broker->lock);
    json_decref(broker->open);
    broker->open = json_loads(json, 0, NULL);
    bump(broker);
    pthread_mutex_unlock(&broker->lock);
}

static bool has_bids(struct broker *broker, const struct wait_for *what)
{
    return strcmp(broker->bids ? broker->bids : "", what->text) == 0;
}

bool broker_wait_bids(struct broker *broker, const char *bids, int64_t timeout_ms)
{
    return wait_until(broker, has_bids, &(struct wait_for){.text = bids}, timeout_ms);
}

static bool is_forgotten(struct broker *broker, const struct wait_for *what)
{
    const struct fake_lease *lease = lease_of(broker, str_of(what->lease_id));
    return lease && !lease->report;
}

bool broker_wait_forgotten(struct broker *broker, const char *lease_id, int64_t timeout_ms)
{
    struct wait_for what = {.lease_id = lease_id};
    return wait_until(broker, is_forgotten, &what, timeout_ms);
}

static bool has_log(struct broker *broker, const struct wait_for *what)
{
    const struct fake_lease *lease = lease_of(broker, str_of(what->lease_id));
    return lease && lease->log.len &&
           memmem(lease->log.at, lease->log.len, what->text, strlen(what->text));
}

bool broker_wait_log(struct broker *broker, const char *lease_id, const char *text,
                     int64_t timeout_ms)
{
    struct wait_for what = {.lease_id = lease_id, .text = text};
    return wait_until(broker, has_log, &what, timeout_ms);
}

json_t *broker_report(struct broker *broker, const char *lease_id)
{
    pthread_mutex_lock(&broker->lock);
    const struct fake_lease *lease = lease_of(broker, str_of(lease_id));
    json_t *report = lease ? json_incref(lease->last_report) : NULL;
    pthread_mutex_unlock(&broker->lock);
    return report;
}

json_t *broker_inventory(struct broker *broker)
{
    pthread_mutex_lock(&broker->lock);
    json_t *inventory = json_incref(broker->inventory);
    pthread_mutex_unlock(&broker->lock);
    return inventory;
}

int64_t broker_receipt_healthy_ms(struct broker *broker, const char *lease_id, bool *ret_is_final)
{
    pthread_mutex_lock(&broker->lock);
    const struct fake_lease *lease = lease_of(broker, str_of(lease_id));
    int64_t healthy_ms = lease ? lease->receipt_ms : -1;
    *ret_is_final = lease && lease->is_final;
    pthread_mutex_unlock(&broker->lock);
    return healthy_ms;
}

int64_t broker_receipt_seq(struct broker *broker)
{
    pthread_mutex_lock(&broker->lock);
    int64_t seq = broker->receipt_seq;
    pthread_mutex_unlock(&broker->lock);
    return seq;
}

int broker_sync_count(struct broker *broker)
{
    pthread_mutex_lock(&broker->lock);
    int count = broker->sync_count;
    pthread_mutex_unlock(&broker->lock);
    return count;
}

const char *broker_violations(struct broker *broker)
{
    return broker->violations;
}

static void reply_send(struct broker *broker, int fd, const struct request *request, int status,
                       const json_t *body)
{
    char hex[65];
    char signature_text[96];
    struct buf text = {0};
    struct buf reply = {0};
    char *json = json_dumps(body, JSON_COMPACT);
    struct sha256 digest = sha256_of(json, strlen(json));
    hex_encode(digest.bytes, sizeof(digest.bytes), hex);
    buf_add_format(&text, "undercut/reply/v1|%s|%s|%s|%d|%s", broker->node_id, request->boot,
                   request->seq, status, hex);
    bool is_forged = broker->mood == BROKER_FORGING;
    struct ed25519_signature signature = ed25519_sign(
        is_forged ? &broker->forger_secret : &broker->market_secret, text.at, text.len);
    base64url_encode(signature.bytes, sizeof(signature.bytes), signature_text);
    buf_add_format(&reply,
                   "HTTP/1.1 %d Answer\r\nContent-Type: application/json\r\n"
                   "Undercut-Signature: %s\r\nContent-Length: %zu\r\n\r\n%s",
                   status, signature_text, strlen(json), json);
    (void)send(fd, reply.at, reply.len, MSG_NOSIGNAL);
    free(json);
    buf_finish(&text);
    buf_finish(&reply);
}

/* The protocol ---------------------------------------------------------------------------------*/

static bool request_verifies(struct broker *broker, const struct request *request)
{
    char hex[65];
    int64_t seq = 0;
    struct buf text = {0};
    struct ed25519_signature signature = {{0}};
    struct sha256 digest = sha256_of(request->body.at, request->body.len);
    hex_encode(digest.bytes, sizeof(digest.bytes), hex);
    buf_add_format(&text, "undercut/sync/v1|POST|%s|%s|%s|%s|%s", request->path, broker->node_id,
                   request->boot, request->seq, hex);
    bool is_good = base64url_decode(str_of(request->signature), signature.bytes,
                                    sizeof(signature.bytes)) == sizeof(signature.bytes) &&
                   ed25519_verify(&broker->node_public, &signature, text.at, text.len) &&
                   str_to_i64(str_of(request->seq), &seq);
    buf_finish(&text);
    if (strcmp(broker->boot, request->boot) != 0) {
        (void)str_format(broker->boot, sizeof(broker->boot), "%s", request->boot);
        broker->boot_seq = 0;
    }
    bool is_fresh = seq > broker->boot_seq - 64;
    if (seq > broker->boot_seq)
        broker->boot_seq = seq;
    if (!is_good || !is_fresh)
        violate(broker, is_good ? "stale seq" : "bad signature");
    return is_good && is_fresh;
}

static json_t *enrol(struct broker *broker, const json_t *body)
{
    struct str key = json_str(body, "public_key");
    char market_key[64];
    must(base64url_decode(key, broker->node_public.bytes, 32) == 32);
    json_decref(broker->inventory);
    broker->inventory = json_incref(json_object_get(body, "inventory"));
    base64url_encode(broker->market_public.bytes, 32, market_key);
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:i}", "node_id", broker->node_id, "account_id",
                     "acct_test", "region", "eu-west", "market", "test", "market_public_key",
                     market_key, "sync_interval_ms", 4000);
}

static void receipt_lines_take(struct broker *broker, const json_t *receipt)
{
    size_t i;
    json_t *line;
    json_array_foreach (json_object_get(receipt, "leases"), i, line) {
        struct fake_lease *lease = lease_of(broker, json_str(line, "lease_id"));
        int64_t healthy_ms = json_i64(line, "healthy_ms", -1);
        if (!lease || json_i64(line, "epoch", 0) != lease->epoch)
            continue;
        if (lease->is_final)
            violate(broker, "a receipt behind the final one");
        if (healthy_ms < lease->receipt_ms)
            violate(broker, "healthy time fell in a receipt");
        lease->receipt_ms = healthy_ms;
        lease->is_final = json_bool(line, "is_final", false);
    }
}

static void receipt_take(struct broker *broker, const json_t *wrapped)
{
    char why[128];
    struct buf text = {0};
    struct ed25519_signature signature = {{0}};
    struct str body = json_str(wrapped, "body");
    int64_t seq = json_i64(wrapped, "seq", 0);
    if (seq <= broker->receipt_seq)
        return; /* again: our answer may not have arrived */
    buf_add_format(&text, "undercut/receipt/v1|%.*s", STR_ARG(body));
    bool is_good = base64url_decode(json_str(wrapped, "signature"), signature.bytes, 64) == 64 &&
                   ed25519_verify(&broker->node_public, &signature, text.at, text.len);
    buf_finish(&text);
    json_t *receipt = json_parse(body, why, sizeof(why));
    if (!is_good || json_i64(receipt, "seq", 0) != seq)
        violate(broker, "bad receipt");
    else
        receipt_lines_take(broker, receipt);
    json_decref(receipt);
    broker->receipt_seq = seq;
}

static void reports_take(struct broker *broker, const json_t *body)
{
    size_t i;
    json_t *item;
    for (size_t l = 0; l < broker->leases_count; l++) {
        json_decref(broker->leases[l].report);
        broker->leases[l].report = NULL;
    }
    json_array_foreach (json_object_get(body, "leases"), i, item) {
        struct fake_lease *lease = lease_of(broker, json_str(item, "lease_id"));
        if (!lease || json_i64(item, "epoch", 0) != lease->epoch)
            continue;
        /* What an agent told and did not sign may be lost with it when it is killed. */
        if (json_i64(item, "healthy_ms", -1) < lease->receipt_ms)
            violate(broker, "healthy time fell");
        lease->healthy_ms = json_i64(item, "healthy_ms", 0);
        json_decref(lease->last_report);
        lease->report = json_incref(item);
        lease->last_report = json_incref(item);
    }
    if (broker->mood != BROKER_UNACKING)
        json_array_foreach (json_object_get(body, "receipts"), i, item)
            receipt_take(broker, item);
    if (json_object_get(body, "inventory")) {
        json_decref(broker->inventory);
        broker->inventory = json_incref(json_object_get(body, "inventory"));
    }
    free(broker->bids);
    broker->bids = json_dumps(json_object_get(body, "bids"), JSON_COMPACT);
    broker->sync_count++;
    pthread_cond_broadcast(&broker->changed);
}

static json_t *desired_make(struct broker *broker)
{
    char version[32];
    json_t *leases = json_array();
    for (size_t i = 0; i < broker->leases_count; i++)
        if (broker->leases[i].wanted)
            json_array_append_new(leases, json_deep_copy(broker->leases[i].wanted));
    must(str_format(version, sizeof(version), "%lld", (long long)broker->version));
    return json_pack("{s:s,s:I,s:I,s:b,s:I,s:I,s:[{s:s,s:s,s:I,s:s,s:I}],s:o,s:O?}",
                     "desired_version", version, "server_time_us", (json_int_t)clock_now_us(),
                     "receipt_seq", (json_int_t)broker->receipt_seq, "want_inventory", 0,
                     "receipt_interval_ms", (json_int_t)broker->receipt_interval_ms,
                     "log_bytes_max", (json_int_t)4194304, "asks", "class", "cpu-2c4g", "region",
                     "eu-west", "price_uusd_per_device_hour", (json_int_t)300000, "status",
                     "mismatch", "node_price_uusd_per_device_hour", (json_int_t)310000, "leases",
                     leases, "direct_workloads", broker->open);
}

static bool is_hung_up(int fd)
{
    struct pollfd client = {.fd = fd, .events = POLLIN | POLLRDHUP};
    return poll(&client, 1, 0) > 0;
}

static json_t *sync_answer(struct broker *broker, int fd, const json_t *body)
{
    int64_t known = 0;
    reports_take(broker, body);
    if (!str_to_i64(json_str(body, "known"), &known))
        known = 0;
    int64_t until_mono_ms = clock_mono_ms() + json_i64(body, "hold_ms", 0);
    while (known == broker->version && clock_mono_ms() < until_mono_ms && !broker->is_ending)
        if (wait_ms(broker, 20), is_hung_up(fd))
            break;
    return desired_make(broker);
}

static json_t *logs_answer(struct broker *broker, const json_t *body)
{
    size_t i;
    json_t *chunk;
    json_t *leases = json_array();
    json_array_foreach (json_object_get(body, "chunks"), i, chunk) {
        struct fake_lease *lease = lease_of(broker, json_str(chunk, "lease_id"));
        struct str data = json_str(chunk, "data");
        unsigned char bytes[65536];
        size_t len = 0;
        if (!lease)
            continue;
        must(sodium_base642bin(bytes, sizeof(bytes), data.at, data.len, NULL, &len, NULL,
                               sodium_base64_VARIANT_ORIGINAL) == 0);
        int64_t offset = json_i64(chunk, "offset", -1);
        if (offset > (int64_t)lease->log.len)
            violate(broker, "a hole in a log");
        if (offset == (int64_t)lease->log.len)
            buf_add(&lease->log, bytes, len);
        lease->is_in_logs = true;
    }
    for (size_t l = 0; l < broker->leases_count; l++) {
        struct fake_lease *lease = &broker->leases[l];
        if (lease->is_in_logs)
            json_array_append_new(leases, json_pack("{s:s,s:I,s:b}", "lease_id", lease->lease_id,
                                                    "next_offset", (json_int_t)lease->log.len,
                                                    "is_full", 0));
        lease->is_in_logs = false;
    }
    pthread_cond_broadcast(&broker->changed);
    return json_pack("{s:o}", "leases", leases);
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text);
    size_t end_len = strlen(end);
    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static bool answer(void *arg, int fd, const struct request *request)
{
    struct broker *broker = arg;
    char why[128];
    int status = 200;
    json_t *body = json_parse(request->body, why, sizeof(why));
    json_t *reply = NULL;
    pthread_mutex_lock(&broker->lock);
    bool is_silent = broker->mood == BROKER_SILENT;
    bool is_enrol = strcmp(request->path, "/v1/nodes") == 0;
    if (request->body.len > BODY_MAX)
        violate(broker, "a body over 256 KiB");
    if (is_silent) {
        reply = NULL;
    } else if (is_enrol && str_equal_c(json_str(body, "token"), "uct_good")) {
        status = 201;
        reply = enrol(broker, body);
    } else if (is_enrol || !request_verifies(broker, request)) {
        status = 401;
        reply = json_pack("{s:s,s:s}", "code", "unauthenticated", "detail", "no");
    } else if (ends_with(request->path, "/logs")) {
        reply = logs_answer(broker, body);
    } else {
        reply = sync_answer(broker, fd, body);
    }
    is_silent = broker->mood == BROKER_SILENT; /* it may have fallen silent in between */
    pthread_mutex_unlock(&broker->lock);
    if (!is_silent)
        reply_send(broker, fd, request, status, reply);
    json_decref(body);
    json_decref(reply);
    return !is_silent;
}
