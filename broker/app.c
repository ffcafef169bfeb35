/* The happy path is: keys, world, server, then per thread a database, a cache and a memory of
 * credentials; then the roles, which work beside the API on threads of their own. Failure modes at
 * start are a key file or an address that cannot be had; a database or a Redis that is away is not
 * one: both are waited for.
 */
#include "broker/app.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/auth.h"
#include "api/catalogue.h"
#include "api/jwt.h"
#include "api/metrics.h"
#include "api/notary.h"
#include "api/rate.h"
#include "api/router.h"
#include "broker/base/log.h"
#include "broker/base/money.h"
#include "broker/io/cache.h"
#include "broker/io/db.h"
#include "broker/io/db_lanes.h"
#include "broker/io/hub.h"
#include "broker/io/loop.h"
#include "broker/io/sql_wire.h"
#include "broker/keyfile.h"
#include "broker/market/account.h"
#include "broker/market/history.h"
#include "broker/market/leader.h"
#include "broker/market/settle.h"
#include "broker/server.h"

#define APP_THREADS_MAX 64

struct app {
    const struct config *config;
    struct api_world world;
    struct seal_key chain_key;
    struct server *server;
    struct hub *hub;
    struct db_lanes *lanes;
    struct leader *leader;
    struct settle *settle;
    struct history *history;
    char holder[64], address[300];
    int threads_count;
    struct api_thread threads[APP_THREADS_MAX];
};

/* ---- what is shared */

static bool load_jwt_keys(struct app *app, char *ret_why, size_t why_size)
{
    struct buf pem = {0};
    const char *path = app->config->jwt_key_file;
    if (!keyfile_load(path, jwt_keys_make_pem, &pem, ret_why, why_size))
        return false;
    app->world.jwt_keys = jwt_keys_create(buf_str(&pem), app->config->issuer);
    if (app->world.jwt_keys == NULL)
        str_format(ret_why, why_size, "%s: must hold P-256 private keys in PEM", path);
    explicit_bzero(pem.at, pem.len);
    buf_finish(&pem);
    return app->world.jwt_keys != NULL;
}

static bool load_keys(struct app *app, char *ret_why, size_t why_size)
{
    uint8_t market_seed[32], secret[32];
    if (!keyfile_load_seed(app->config->market_key_file, market_seed, ret_why, why_size) ||
        !keyfile_load_seed(app->config->secret_key_file, secret, ret_why, why_size) ||
        !load_jwt_keys(app, ret_why, why_size))
        return false;
    struct str secret_text = {.at = (const char *)secret, .len = sizeof(secret)};
    ed25519_from_seed(market_seed, &app->world.market_public, &app->world.market_secret);
    app->world.secret_key = seal_key_of(secret_text, "workload");
    app->world.reply_key = seal_key_of(secret_text, "reply");
    app->chain_key = seal_key_of(secret_text, "chain");
    explicit_bzero(market_seed, sizeof(market_seed));
    explicit_bzero(secret, sizeof(secret));
    return true;
}

static void open_world(struct app *app)
{
    const struct config *config = app->config;
    app->hub = hub_create();
    app->lanes = db_lanes_create();
    app->world.hub = app->hub;
    app->world.metrics = metrics_create();
    app->world.rate = rate_create();
    app->world.settings = (struct api_settings){
        .market = config->market,
        .fee_bp = config->fee_bp,
        .direct_bid_s = config->direct_bid_s,
        .hold_s = config->hold_s,
        .sync_hold_ms = config->sync_hold_ms,
        .receipt_interval_ms = config->receipt_interval_ms,
        .log_bytes_max = config->log_bytes_max,
        .rate_per_minute = config->rate_per_minute,
        .rate_public_per_minute = config->rate_public_per_minute,
        .proxy_hops = config->proxy_hops,
        .is_api = config_has_role(config, "api"),
        .sealed_age_ms = config->sealed_age_ms,
        .openings_age_s = config->openings_age_s,
    };
}

/* ---- the server and its threads */

static void handle(void *data, int thread_index, struct st_h2o_req_t *req)
{
    struct app *app = data;
    router_handle(&app->threads[thread_index], req);
}

static void refuse(void *data, int thread_index, struct st_h2o_req_t *req, enum err_code err,
                   const char *detail)
{
    struct app *app = data;
    router_refuse(&app->threads[thread_index], req, err, detail);
}

static void log_trouble(void *data, const struct sql_statement *statement,
                        const struct sql_trouble *trouble)
{
    char quoted[512];
    (void)data;
    log_event(LOG_WARN, "statement_failed", "statement=%s sqlstate=%s why=%s", statement->name,
              trouble->sqlstate, log_quote(str_of(trouble->message), quoted, sizeof(quoted)));
}

static int threads_wanted(const struct config *config)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (!config_has_role(config, "api"))
        return 1;
    if (config->threads > 0)
        return (int)config->threads;
    return cores < 1 ? 1 : cores > 8 ? 8 : (int)cores;
}

static bool open_server(struct app *app, char *ret_why, size_t why_size)
{
    const struct config *config = app->config;
    app->threads_count = threads_wanted(config);
    app->server = server_create(
        &(struct server_config){
            .listen_host = config->listen,
            .port = (int)config->port,
            .threads = app->threads_count,
            .connections_max = (int)config->connections_max,
            .body_max = ROUTER_BODY_MAX,
        },
        &(struct server_hooks){.handle = handle, .refuse = refuse, .data = app}, ret_why, why_size);
    return app->server != NULL;
}

static void open_thread(struct app *app, int index)
{
    struct api_thread *thread = &app->threads[index];
    struct loop *loop = server_loop(app->server, index);
    *thread = (struct api_thread){
        .loop = loop,
        .db = db_create(loop, app->config->database_url, "undercutd-api"),
        .hub = app->hub,
        .cache = cache_create(loop, app->config->redis_url, app->config->market),
        .auth = auth_create(app->world.jwt_keys),
        .notary = notary_create(loop, &app->world.market_secret),
        .world = &app->world,
        .index = index,
    };
    db_lanes_join(app->lanes, thread->db);
    db_on_trouble(thread->db, log_trouble, NULL);
    hub_add_loop(app->hub, loop);
}

static void close_thread(struct api_thread *thread)
{
    loop_run_posted(thread->loop); /* the roles' last wake-ups use the cache */
    db_destroy(thread->db);
    api_catalogue_release(thread->catalogue);
    cache_destroy(thread->cache);
    auth_destroy(thread->auth);
    notary_destroy(thread->notary);
    buf_finish(&thread->spare);
}

/* ---- the roles */

static void name_ourselves(struct app *app)
{
    uint8_t nonce[8];
    char hex[17], host[40] = "";
    gethostname(host, sizeof(host) - 1);
    random_bytes(nonce, sizeof(nonce));
    hex_encode(nonce, sizeof(nonce), hex);
    str_format(app->holder, sizeof(app->holder), "%s/%d/%s", host, (int)getpid(), hex);
    str_format(app->address, sizeof(app->address), "%s:%d", app->config->listen, app_port(app));
}

static void start_leader(struct app *app)
{
    const struct config *config = app->config;
    app->leader = leader_start(&(struct leader_config){
        .conninfo = config->database_url,
        .market = config->market,
        .holder = app->holder,
        .address = app->address,
        .hub = app->hub,
        .seal_key = app->chain_key,
        .signing_key = app->world.market_public,
        .signing_secret = app->world.market_secret,
        .round_ms = config->round_ms,
        .ack_timeout_ms = config->ack_timeout_ms,
        .node_unknown_ms = config->node_unknown_ms,
        .node_lost_ms = config->node_lost_ms,
        .node_freeze_pct = (int32_t)config->node_freeze_pct,
        .start_timeout_ms = config->start_timeout_ms,
        .final_receipt_ms = config->final_receipt_ms,
        .tiers = {.spot_notice_ms = config->spot_notice_ms,
                  .flexible_notice_ms = config->flexible_notice_ms,
                  .tenure_ms = config->spot_tenure_ms},
        .direct_window_rounds = config->direct_window_rounds,
        .fee_bp = (uint32_t)config->fee_bp,
    });
    app->world.leader = app->leader;
    for (int i = 0; i < app->threads_count; i++)
        db_lend(app->threads[i].db, leader_take, app->leader);
}

static void start_settle(struct app *app)
{
    app->settle = settle_start(&(struct settle_config){
        .conninfo = app->config->database_url,
        .market = app->config->market,
        .holder = app->holder,
        .address = app->address,
        .interval_ms = app->config->settle_interval_ms,
        .seal_ms = 60000,
    });
    app->world.settle = app->settle;
}

/* Seconds of history follow rounds, so it turns as often as they come. */
static void start_history(struct app *app)
{
    const struct config *config = app->config;
    app->history = history_start(&(struct history_config){
        .conninfo = config->database_url,
        .market = config->market,
        .holder = app->holder,
        .address = app->address,
        .every_ms = config->round_ms,
        .seconds_ms = config->history_seconds_h * MS_PER_HOUR,
        .minutes_ms = config->history_minutes_d * 24 * MS_PER_HOUR,
        .sample_ms = config->history_sample_ms,
        .sealed_age_ms = config->sealed_age_ms,
    });
    app->world.history = app->history;
}

/* ---- together */

struct app *app_open(const struct config *config, char *ret_why, size_t why_size)
{
    struct app *app = calloc(1, sizeof(*app));
    must(app != NULL);
    app->config = config;
    if (!load_keys(app, ret_why, why_size) || !open_server(app, ret_why, why_size)) {
        jwt_keys_destroy((struct jwt_keys *)app->world.jwt_keys);
        free(app);
        return NULL;
    }
    open_world(app);
    name_ourselves(app);
    for (int i = 0; i < app->threads_count; i++)
        open_thread(app, i);
    hub_attach_cache(app->hub, app->threads[0].cache);
    return app;
}

int app_port(const struct app *app)
{
    return server_port(app->server);
}

void app_run(struct app *app)
{
    if (config_has_role(app->config, "market"))
        start_leader(app);
    if (config_has_role(app->config, "settle"))
        start_settle(app);
    if (config_has_role(app->config, "market"))
        start_history(app);
    server_run(app->server);
}

void app_close(struct app *app)
{
    atomic_store(&app->world.is_draining, true);
    hub_wake(app->hub, HUB_TOPIC_DRAIN);
    int left = server_drain(app->server, app->config->drain_ms);
    if (left > 0)
        log_event(LOG_WARN, "drain_ended", "requests=%d", left);
    server_stop(app->server); /* before the roles: /metrics reads their figures */
    leader_stop(app->leader);
    settle_stop(app->settle);
    history_stop(app->history);
    db_lanes_part(app->lanes);
    for (int i = 0; i < app->threads_count; i++)
        close_thread(&app->threads[i]);
    hub_destroy(app->hub);
    db_lanes_destroy(app->lanes);
    server_destroy(app->server);
    metrics_destroy(app->world.metrics);
    rate_destroy(app->world.rate);
    jwt_keys_destroy((struct jwt_keys *)app->world.jwt_keys);
    explicit_bzero(app, sizeof(*app));
    free(app);
}

bool app_make_admin_key(const struct config *config)
{
    char why[256] = "", id[ID_TEXT_SIZE];
    struct credential credential;
    struct api_key_id key_id;
    struct session *session =
        session_open(config->database_url, "undercutd-admin", why, sizeof(why));
    if (session == NULL) {
        fprintf(stderr, "undercutd: the database cannot be reached: %s\n", why);
        return false;
    }
    enum err_code err = account_make_admin_key(session, &credential, &key_id);
    session_close(session);
    if (err != ERR_OK)
        fprintf(stderr, "undercutd: the key was not made: %s\n", err_info(err)->title);
    else
        printf("%s\n", credential.text);
    if (err == ERR_OK)
        fprintf(stderr, "undercutd: admin key %s; this is the only time it is shown\n",
                api_key_id_text(key_id, id));
    return err == ERR_OK;
}
