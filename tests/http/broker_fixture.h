/* broker_fixture.h - the API on a real database and a real port, in this process, and a client for
 * it.
 *
 * Tests only; one broker per program, on one loop thread. The client is blocking (libcurl) and
 * keeps the last answer. The platform's admin key is there; the market leader is not.
 */
#ifndef UNDERCUT_TESTS_HTTP_BROKER_FIXTURE_H
#define UNDERCUT_TESTS_HTTP_BROKER_FIXTURE_H

#include "tests/sql/market_fixture.h"

#include <curl/curl.h>

#include "api/auth.h"
#include "api/jwt.h"
#include "api/metrics.h"
#include "api/notary.h"
#include "api/rate.h"
#include "api/router.h"
#include "broker/base/json.h"
#include "broker/io/cache.h"
#include "broker/io/db.h"
#include "broker/io/hub.h"
#include "broker/market/account.h"
#include "broker/server.h"

struct broker {
    struct market_world world; /* its database */
    struct api_world api;
    struct api_thread thread;
    struct jwt_keys *jwt_keys;
    struct server *server;
    struct credential admin;
    /* the last answer */
    long status;
    char replayed[16], signature[128];
    struct buf body;
    json_t *json;
};

static inline void broker_handle(void *data, int thread_index, struct st_h2o_req_t *req)
{
    struct broker *broker = data;
    (void)thread_index;
    router_handle(&broker->thread, req);
}

static inline void broker_world_start(struct broker *broker)
{
    uint8_t seed[32] = {7};
    struct buf pem = {0};
    jwt_keys_make_pem(&pem);
    broker->jwt_keys = jwt_keys_create(buf_str(&pem), "undercut");
    must(broker->jwt_keys != NULL);
    buf_finish(&pem);
    broker->api = (struct api_world){
        .settings = {.market = "main",
                     .fee_bp = 1000,
                     .hold_s = 600,
                     .sync_hold_ms = 4000,
                     .receipt_interval_ms = 60000,
                     .log_bytes_max = 1000,
                     .rate_per_minute = 100000,
                     .rate_public_per_minute = 100000,
                     .is_api = true},
        .hub = hub_create(),
        .jwt_keys = broker->jwt_keys,
        .metrics = metrics_create(),
        .secret_key = seal_key_of(STR("test"), "workload"),
        .reply_key = seal_key_of(STR("test"), "reply"),
        .rate = rate_create(),
    };
    ed25519_from_seed(seed, &broker->api.market_public, &broker->api.market_secret);
}

static inline void broker_open(struct broker *broker)
{
    char why[256];
    struct api_key_id key_id;
    hash_start();
    curl_global_init(CURL_GLOBAL_DEFAULT);
    world_open(&broker->world);
    broker_world_start(broker);
    must(account_make_admin_key(broker->world.session, &broker->admin, &key_id) == ERR_OK);
    struct server_config config = {
        .listen_host = "127.0.0.1", .threads = 1, .connections_max = 100};
    struct server_hooks hooks = {.handle = broker_handle, .data = broker};
    broker->server = server_create(&config, &hooks, why, sizeof(why));
    must(broker->server != NULL);
    struct loop *loop = server_loop(broker->server, 0);
    hub_add_loop(broker->api.hub, loop);
    broker->thread = (struct api_thread){
        .loop = loop,
        .db = db_create(loop, broker->world.conninfo, "test"),
        .hub = broker->api.hub,
        .cache = cache_create(loop, "", "main"),
        .auth = auth_create(broker->jwt_keys),
        .notary = notary_create(loop, &broker->api.market_secret),
        .world = &broker->api,
    };
    server_run(broker->server);
}

static inline void broker_close(struct broker *broker)
{
    server_drain(broker->server, 2000);
    server_stop(broker->server);
    auth_destroy(broker->thread.auth);
    notary_destroy(broker->thread.notary);
    buf_finish(&broker->thread.spare);
    cache_destroy(broker->thread.cache);
    db_destroy(broker->thread.db);
    hub_destroy(broker->api.hub);
    server_destroy(broker->server);
    metrics_destroy(broker->api.metrics);
    rate_destroy(broker->api.rate);
    jwt_keys_destroy(broker->jwt_keys);
    world_close(&broker->world);
    json_decref(broker->json);
    buf_finish(&broker->body);
    curl_global_cleanup();
}

static inline size_t broker_body_add(char *bytes, size_t size, size_t count, void *data)
{
    buf_add(data, bytes, size * count);
    return size * count;
}

static inline size_t broker_header_seen(char *bytes, size_t size, size_t count, void *data)
{
    struct broker *broker = data;
    struct str rest = {.at = bytes, .len = size * count};
    struct str name = str_cut(&rest, ':');
    while (rest.len && (rest.at[rest.len - 1] == '\n' || rest.at[rest.len - 1] == '\r'))
        rest.len--;
    rest = str_trim(rest);
    if (name.len == 19 && strncasecmp(name.at, "idempotent-replayed", 19) == 0)
        (void)str_format(broker->replayed, sizeof(broker->replayed), "%.*s", STR_ARG(rest));
    if (name.len == 18 && strncasecmp(name.at, "undercut-signature", 18) == 0)
        (void)str_format(broker->signature, sizeof(broker->signature), "%.*s", STR_ARG(rest));
    return size * count;
}

struct ask_of { /* one request */
    const char *method, *path, *key, *body;
    const char *headers[4]; /* "Name: value"; NULL ends them */
};

static inline struct curl_slist *broker_headers(const struct ask_of *ask)
{
    char line[256];
    struct curl_slist *list = NULL;
    if (ask->key) {
        must(str_format(line, sizeof(line), "Authorization: Bearer %s", ask->key));
        list = curl_slist_append(list, line);
    }
    if (ask->body)
        list = curl_slist_append(list, "Content-Type: application/json");
    for (int i = 0; i < 4 && ask->headers[i]; i++)
        list = curl_slist_append(list, ask->headers[i]);
    return list;
}

/* Returns the status; the JSON, if any, is in broker->json. */
static inline long broker_ask(struct broker *broker, const struct ask_of *ask)
{
    char url[512];
    CURL *curl = curl_easy_init();
    must(curl != NULL);
    must(str_format(url, sizeof(url), "http://127.0.0.1:%d%s", server_port(broker->server),
                    ask->path));
    broker->replayed[0] = broker->signature[0] = '\0';
    broker->body.len = 0;
    struct curl_slist *headers = broker_headers(ask);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, ask->method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 20000L);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, broker_body_add);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &broker->body);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, broker_header_seen);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, broker);
    if (ask->body)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, ask->body);
    CURLcode done = curl_easy_perform(curl);
    if (done != CURLE_OK)
        print_error("%s %s: %s\n", ask->method, ask->path, curl_easy_strerror(done));
    must(done == CURLE_OK);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &broker->status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);

    char why[128];
    json_decref(broker->json);
    broker->json = broker->body.len ? json_parse(buf_str(&broker->body), why, sizeof(why)) : NULL;
    return broker->status;
}

/* A member of the last answer by a path such as "account.name"; "" when it is not a string. */
static inline const char *broker_text(const struct broker *broker, const char *path)
{
    char name[64];
    const json_t *at = broker->json;
    for (struct str rest = str_of(path); rest.at != NULL;) {
        struct str part = str_cut(&rest, '.');
        int64_t index;
        must(str_format(name, sizeof(name), "%.*s", STR_ARG(part)));
        at = str_to_i64(part, &index) ? json_array_get(at, (size_t)index)
                                      : json_object_get(at, name);
    }
    const char *text = json_string_value(at);
    return text ? text : "";
}

#endif
