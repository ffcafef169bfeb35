/* The happy path is begin (find the operation, make the call), the flow's steps, one api_reply_*()
 * and the flow's end. Failure modes: the client is gone (nothing is sent, the end is still logged
 * and counted), or the flow failed (the end sends the problem).
 */
#include "api/router.h"

#include <arpa/inet.h>
#include <h2o.h>
#include <stdatomic.h>
#include <string.h>

#include "api/entry.h"
#include "api/metrics.h"
#include "api/problem.h"
#include "broker/base/clock.h"
#include "broker/base/log.h"
#include "broker/io/stream.h"

#define SPARE_SIZE_MAX (16 * 1024) /* memory that is kept for the next answer */

static void flow_ended(struct flow *flow);

/* ---- reading what h2o knows */

struct str api_header(struct flow *flow, const char *name)
{
    if (flow->req == NULL)
        return STR_NONE;
    char lower[64];
    size_t len = strlen(name);
    must(len < sizeof(lower));
    memcpy(lower, name, len);
    h2o_strtolower(lower, len);
    ssize_t at = h2o_find_header_by_str(&flow->req->headers, lower, len, -1);
    if (at < 0)
        return STR_NONE;
    h2o_iovec_t value = flow->req->headers.entries[at].value;
    return (struct str){.at = flow_strdup(flow, (struct str){.at = value.base, .len = value.len}),
                        .len = value.len};
}

bool api_accepts(struct flow *flow, const char *media_type)
{
    for (struct str rest = api_header(flow, "accept"); rest.at != NULL;) {
        struct str item = str_cut(&rest, ','), type = str_trim(str_cut(&item, ';'));
        if (str_equal_c(type, media_type))
            return true;
    }
    return false;
}

/* The n-th entry of X-Forwarded-For from the right, which the n-th trusted proxy wrote. */
static struct str forwarded_for(struct flow *flow, int64_t hops)
{
    struct str list = api_header(flow, "x-forwarded-for"), found = STR_NONE;
    for (; hops > 0 && list.at != NULL; hops--) {
        size_t at = list.len;
        while (at > 0 && list.at[at - 1] != ',')
            at--;
        found = str_trim((struct str){.at = list.at + at, .len = list.len - at});
        list = at > 0 ? (struct str){.at = list.at, .len = at - 1} : STR_NONE;
    }
    return found;
}

struct str router_address(struct flow *flow)
{
    const struct api_world *world = api_call_of(flow)->thread->world;
    struct sockaddr_storage peer = {0};
    char host[INET6_ADDRSTRLEN] = "local";
    if (flow->req == NULL)
        return STR("gone");
    struct str forwarded = forwarded_for(flow, world->settings.proxy_hops);
    if (forwarded.len == 0) {
        flow->req->conn->callbacks->get_peername(flow->req->conn, (void *)&peer);
        if (peer.ss_family == AF_INET)
            inet_ntop(AF_INET, &((struct sockaddr_in *)&peer)->sin_addr, host, sizeof(host));
        else if (peer.ss_family == AF_INET6)
            inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&peer)->sin6_addr, host, sizeof(host));
        forwarded = str_of(host);
    }
    return str_of(flow_printf(flow, "%.*s", STR_ARG(forwarded)));
}

/* ---- sending */

static const char *reason_of(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 201:
        return "Created";
    case 202:
        return "Accepted";
    case 204:
        return "No Content";
    case 304:
        return "Not Modified";
    default:
        return status < 500 ? "Refused" : "Failed";
    }
}

struct header_name {
    const char *lower, *shown;
    size_t len;
};
#define HEADER_NAME(lower_name, shown_name) \
    ((struct header_name){                  \
        .lower = (lower_name), .shown = (shown_name), .len = sizeof(lower_name) - 1})

/* Name and value live as long as the request. */
static void add_fixed(h2o_req_t *req, struct header_name name, struct str value)
{
    h2o_add_header_by_str(&req->pool, &req->res.headers, name.lower, name.len,
                          /* maybe_token= */ 0, name.shown, value.at, value.len);
}

/* The value is copied. */
static void add_header(h2o_req_t *req, struct header_name name, struct str value)
{
    h2o_iovec_t copy = h2o_strdup(&req->pool, value.at, value.len);
    add_fixed(req, name, (struct str){.at = copy.base, .len = copy.len});
}

void api_set_header(struct flow *flow, const char *name, const char *value)
{
    struct api_call *call = api_call_of(flow);
    bool is_etag = strcmp(name, "ETag") == 0;
    call->has_etag |= is_etag;
    if (flow->req == NULL)
        return;
    if (is_etag) {
        add_header(flow->req, HEADER_NAME("etag", "ETag"), str_of(value));
        return;
    }
    h2o_iovec_t lower = h2o_strdup(&flow->req->pool, name, strlen(name));
    h2o_iovec_t shown = h2o_strdup(&flow->req->pool, name, strlen(name));
    h2o_strtolower(lower.base, lower.len);
    add_header(flow->req,
               (struct header_name){.lower = lower.base, .shown = shown.base, .len = lower.len},
               str_of(value));
}

/* `"default"` and two parameters of one letter each. */
static struct str rate_text(char text[64], const char *names, int64_t first, int64_t second)
{
    char *at = text;
    memcpy(at, "\"default\";", 10);
    at += 10;
    for (int i = 0; i < 2; i++) {
        *at++ = names[i];
        *at++ = '=';
        at += i64_format(i == 0 ? first : second, at);
        *at++ = ';';
    }
    return (struct str){text, (size_t)(at - text) - 1};
}

static void add_rate_headers(h2o_req_t *req, const struct rate_state *rate)
{
    char text[64];
    if (rate->limit == 0)
        return;
    add_header(req, HEADER_NAME("ratelimit-policy", "RateLimit-Policy"),
               rate_text(text, "qw", rate->limit, RATE_WINDOW_S));
    add_header(req, HEADER_NAME("ratelimit", "RateLimit"),
               rate_text(text, "rt", rate->remaining, rate->reset_s));
}

/* What every answer carries. */
static void add_common_headers(struct flow *flow, const char *content_type)
{
    struct api_call *call = api_call_of(flow);
    h2o_req_t *req = flow->req;
    char id[ID_TEXT_SIZE];
    bool is_public_read =
        call->op != NULL && call->op->auth == AUTH_PUBLIC && call->op->method == METHOD_GET;
    add_header(req, HEADER_NAME("request-id", "Request-Id"),
               str_of(request_id_text(flow->request_id, id)));
    if (content_type != NULL)
        add_header(req, HEADER_NAME("content-type", "Content-Type"), str_of(content_type));
    add_fixed(req, HEADER_NAME("cache-control", "Cache-Control"),
              call->has_etag ? STR("private, no-cache") : STR("no-store"));
    add_fixed(req, HEADER_NAME("x-content-type-options", "X-Content-Type-Options"), STR("nosniff"));
    if (is_public_read)
        add_fixed(req, HEADER_NAME("access-control-allow-origin", "Access-Control-Allow-Origin"),
                  STR("*"));
    add_rate_headers(req, &call->rate);
    if (atomic_load_explicit(&call->thread->world->is_draining, memory_order_relaxed))
        req->http1_is_persistent = 0;
}

enum flow_next api_reply_text(struct flow *flow, int status, const char *content_type,
                              struct str body)
{
    struct api_call *call = api_call_of(flow);
    must(!call->is_sent);
    call->is_sent = true;
    call->status = status;
    if (flow->req == NULL)
        return FLOW_END;
    flow->req->res.status = status;
    flow->req->res.reason = reason_of(status);
    add_common_headers(flow, content_type);
    if (status != 204 && status != 304)
        flow->req->res.content_length = body.len;
    h2o_send_inline(flow->req, body.at != NULL ? body.at : "", body.len); /* knows HEAD */
    return FLOW_END;
}

struct stream *api_stream_start(struct flow *flow, const char *content_type,
                                void (*gone)(void *data), void *data)
{
    struct api_call *call = api_call_of(flow);
    if (call->is_head)
        api_reply_text(flow, 200, content_type, STR_NONE);
    if (call->is_head || flow->req == NULL)
        return NULL;
    call->is_sent = true;
    call->status = 200;
    flow->req->res.status = 200;
    flow->req->res.reason = reason_of(200);
    add_common_headers(flow, content_type);
    return stream_start(flow->req, gone, data);
}

static void send_problem(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    char id[ID_TEXT_SIZE];
    int64_t retry_after_s = problem_retry_after_s(flow->err, flow->retry_after_ms);
    if (retry_after_s > 0)
        api_set_header(flow, "Retry-After", flow_printf(flow, "%lld", (long long)retry_after_s));
    if (err_info(flow->err)->http_status == 401)
        api_set_header(flow, "WWW-Authenticate", "Bearer");
    call->reply.len = 0;
    problem_write(
        &(struct problem){
            .err = flow->err,
            .detail = flow->detail,
            .errors = flow->field_errors,
            .errors_count = flow->field_errors_count,
            .request_id = request_id_text(flow->request_id, id),
        },
        &call->reply);
    api_reply_text(flow, err_info(flow->err)->http_status, PROBLEM_CONTENT_TYPE,
                   buf_str(&call->reply));
}

/* ---- the end */

/* Reads that went well are many and dull: they are logged at debug level. */
static enum log_level level_of(const struct api_call *call)
{
    if (call->status >= 500)
        return LOG_WARN;
    bool is_dull =
        call->op != NULL && (call->op->method == METHOD_GET || call->op->auth == AUTH_NODE);
    return is_dull && call->status < 400 ? LOG_DEBUG : LOG_INFO;
}

static void log_end(struct flow *flow, int64_t duration_us)
{
    const struct api_call *call = api_call_of(flow);
    if (!log_is_on(level_of(call)))
        return;
    char id[ID_TEXT_SIZE], account[ID_TEXT_SIZE], detail[FLOW_DETAIL_SIZE];
    bool has_account = !uuid_is_nil(call->principal.account_id.u);
    log_event(
        level_of(call), "request_served", "op=%s status=%d dur_us=%lld req=%s account=%s%s%s%s%s",
        call->op != NULL ? call->op->operation_id : "none", call->status, (long long)duration_us,
        request_id_text(flow->request_id, id),
        has_account ? account_id_text(call->principal.account_id, account) : "none",
        flow->err != ERR_OK ? " code=" : "", flow->err != ERR_OK ? err_info(flow->err)->slug : "",
        flow->detail[0] != '\0' ? " detail=" : "",
        flow->detail[0] != '\0' ? log_quote(str_of(flow->detail), detail, sizeof(detail)) : "");
}

/* The next answer is written where this one was. */
static void reply_keep(struct api_call *call)
{
    struct buf *spare = &call->thread->spare;
    if (spare->at != NULL || call->reply.cap > SPARE_SIZE_MAX) {
        buf_finish(&call->reply);
        return;
    }
    *spare = call->reply;
    spare->len = 0;
}

static void flow_ended(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    api_run_ends(call);
    if (!call->is_sent && flow->err == ERR_OK)
        flow_fail(flow, ERR_INTERNAL, "%s", "the operation ended without an answer");
    bool is_gone = flow->req == NULL;
    if (!call->is_sent)
        send_problem(flow);
    if (is_gone)
        call->status = err_info(ERR_CANCELLED)->http_status;
    int64_t duration_us = clock_mono_us() - flow->started_mono_us;
    metrics_served(call->thread->world->metrics, call->op != NULL ? call->op->op : OP_NONE,
                   call->status, duration_us);
    log_end(flow, duration_us);
    json_decref(call->json);
    reply_keep(call);
}

/* ---- the beginning */

static void *copy_of(struct flow *flow, const void *bytes, size_t len)
{
    return flow_strdup(flow, (struct str){.at = bytes, .len = len});
}

/* Everything is copied: the request may die before its flow. */
static void copy_request(struct flow *flow, const h2o_req_t *req, const struct route *route)
{
    struct api_call *call = api_call_of(flow);
    const char *target = copy_of(flow, req->path.base, req->path.len);
    struct str rest = {.at = target, .len = req->path.len};
    call->url_path = str_cut(&rest, '?');
    call->url_query = rest;
    for (int i = 0; i < route->params_count; i++)
        call->path_params[i] = (struct str){.at = target + (route->params[i].at - req->path.base),
                                            .len = route->params[i].len};
    if (req->entity.len > ROUTER_BODY_MAX) /* refused by its length alone */
        call->raw_body = (struct str){.at = "", .len = req->entity.len};
    else if (req->entity.base != NULL)
        call->raw_body = (struct str){.at = copy_of(flow, req->entity.base, req->entity.len),
                                      .len = req->entity.len};
}

/* The call of a request; its flow is created but has not run. */
static struct flow *begin(struct api_thread *thread, h2o_req_t *req, const struct route *route)
{
    const struct op_info *op = route->op != OP_NONE ? &operations[route->op] : NULL;
    struct flow *flow = flow_create(&(struct flow_start){
        .req = req,
        .loop = thread->loop,
        .thread = thread,
        .steps = op != NULL ? entry_steps : entry_lost_steps,
        .deadline_ms = op != NULL ? op->deadline_ms : 0,
        .on_end = flow_ended,
    });
    struct api_call *call = flow_alloc(flow, sizeof(*call));
    flow->user = call;
    call->op = op;
    call->thread = thread;
    call->is_head = route->is_head;
    call->is_options = route->is_options;
    copy_request(flow, req, route);
    if (route->node != NULL && op == NULL) {
        struct buf allow = {0};
        route_allow(route->node, &allow);
        call->allow = flow_strdup(flow, buf_str(&allow));
        buf_finish(&allow);
    }
    return flow;
}

void router_handle(struct api_thread *thread, struct st_h2o_req_t *req)
{
    struct str rest = {.at = req->path.base, .len = req->path.len}, path = str_cut(&rest, '?');
    struct str method = {.at = req->method.base, .len = req->method.len};
    struct route route = route_find(method, path);
    flow_run(begin(thread, req, &route));
}

void router_refuse(struct api_thread *thread, struct st_h2o_req_t *req, enum err_code err,
                   const char *detail)
{
    struct route route = {0};
    struct flow *flow = begin(thread, req, &route);
    struct api_call *call = api_call_of(flow);
    req->http1_is_persistent = 0;
    call->refusal = err;
    call->refusal_detail = flow_strdup(flow, str_of(detail));
    flow_run(flow);
}
