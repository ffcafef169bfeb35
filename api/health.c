#include <stdatomic.h>

#include "api/call.h"
#include "api/jwt.h"
#include "api/metrics.h"
#include "broker/io/cache.h"
#include "broker/io/db.h"
#include "broker/market/figures.h"

/* healthz - GET /healthz: the process answers. */
static enum flow_next healthz(struct flow *flow)
{
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    json_put_c(out, "status", "ok");
    json_put_c(out, "version", UNDERCUT_VERSION);
    json_object_close(out);
    return api_reply_json(flow, 200);
}

const struct flow_step healthz_steps[] = {{"reply", healthz}, {0}};

/* readyz - GET /readyz: the database is there and nobody is shutting us down. */
static enum flow_next readyz(struct flow *flow)
{
    const struct api_thread *thread = api_call_of(flow)->thread;
    bool is_draining = atomic_load_explicit(&thread->world->is_draining, memory_order_relaxed);
    bool is_ready = db_is_up(thread->db) && !is_draining;
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    json_put_c(out, "status", is_ready ? "ready" : "not_ready");
    json_put_c(out, "database", db_is_up(thread->db) ? "up" : "down");
    json_put_c(out, "cache", cache_is_up(thread->cache) ? "up" : "down");
    json_object_close(out);
    return api_reply_json(flow, is_ready ? 200 : 503);
}

const struct flow_step readyz_steps[] = {{"reply", readyz}, {0}};

/* metrics - GET /metrics
 *
 *   count  what lives, from the database; without it the rest is still worth having
 *   reply  Prometheus' text format
 */
static enum flow_next metrics_count(struct flow *flow)
{
    struct db_call *call = api_state(flow, sizeof(*call));
    call->flow = flow;
    figure_list_submit(api_call_of(flow)->thread->db, call);
    return FLOW_WAIT;
}

static void write_counts(const struct db_call *call, struct buf *to)
{
    struct str name_before = STR_NONE;
    for (int i = 0; call->err == ERR_OK && i < call->row_count; i++) {
        struct figure_list_out row;
        figure_list_get(call, i, &row);
        figures_write_count(&row, &name_before, to);
    }
}

static enum flow_next metrics_reply(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct api_world *world = call->thread->world;
    const struct db_call *counts = flow->state;
    struct buf *text = api_json(flow)->to;
    metrics_write(world->metrics, text);
    metrics_write_gauge(text, "undercut_database_up", "1: this thread's lanes are connected.",
                        counts->err == ERR_OK);
    metrics_write_gauge(text, "undercut_cache_up", "1: Redis answers.",
                        cache_is_up(call->thread->cache));
    figures_write_leader(world->leader, text);
    figures_write_settle(world->settle, text);
    figures_write_history(world->history, text);
    write_counts(counts, text);
    return api_reply_text(flow, 200, "text/plain; version=0.0.4", buf_str(text));
}

const struct flow_step metrics_steps[] = {{"count", metrics_count}, {"reply", metrics_reply}, {0}};

/* openapi - GET /openapi.json: the document this server was generated from. */
static enum flow_next openapi(struct flow *flow)
{
    return api_reply_text(flow, 200, "application/json",
                          (struct str){.at = openapi_json, .len = openapi_json_len});
}

const struct flow_step openapi_steps[] = {{"reply", openapi}, {0}};

/* jwks - GET /.well-known/jwks.json */
static enum flow_next jwks(struct flow *flow)
{
    const struct api_call *call = api_call_of(flow);
    struct buf *text = api_json(flow)->to;
    jwt_keys_write(call->thread->world->jwt_keys, text);
    return api_reply_text(flow, 200, "application/json", buf_str(text));
}

const struct flow_step jwks_steps[] = {{"reply", jwks}, {0}};
