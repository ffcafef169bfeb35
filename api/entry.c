/* The happy path is authenticate (from memory, or one look-up), admit (scope and rate), read
 * (parameters and body into structs), enter (the operation's own steps). Failure modes: each step
 * refuses with its own problem; nothing is read from a body before its sender is known.
 */
#include "api/entry.h"

#include <string.h>
#include <strings.h>

#include "api/auth.h"
#include "api/idempotency.h"
#include "api/jwt.h"
#include "api/query.h"
#include "api/rate.h"
#include "api/router.h"
#include "api/yaml.h"
#include "broker/io/db.h"
#include "broker/market/account.h"

/* ---- who */

/* Requests of the client's address; guessing credentials is charged to it, as nobody else can be.
 */
static struct rate_state take_address(struct flow *flow, int64_t cost)
{
    struct api_call *call = api_call_of(flow);
    const struct api_world *world = call->thread->world;
    return rate_take(world->rate, call->thread->cache, rate_bucket_of_address(router_address(flow)),
                     world->settings.rate_public_per_minute, cost);
}

static enum flow_next refuse_credentials(struct flow *flow, enum err_code err, const char *why)
{
    take_address(flow, 1);
    return flow_fail(flow, err, "%s", why);
}

static enum flow_next look_up_key(struct flow *flow, const struct sha256 *sha256)
{
    struct api_call *call = api_call_of(flow);
    if (take_address(flow, 0).is_over)
        return flow_fail(flow, ERR_RATE_LIMITED, "too many bad credentials from this address");
    call->auth_sha256 = *sha256;
    call->auth_call = flow_alloc(flow, sizeof(*call->auth_call));
    call->auth_call->flow = flow;
    api_key_find_submit(
        call->thread->db, call->auth_call,
        &(struct api_key_find_in){.secret_sha256 = sha256_slice(&call->auth_sha256)});
    return FLOW_WAIT;
}

static enum flow_next authenticate(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    struct str authorization = api_header(flow, "authorization");
    struct auth_result result;
    call->principal.kind = call->op->auth == AUTH_NODE ? PRINCIPAL_NODE : PRINCIPAL_NONE;
    bool is_optional = call->op->auth == AUTH_PUBLIC,
         is_service = is_optional && call->op->is_unlimited;
    if (!call->thread->world->settings.is_api && !is_service)
        return flow_fail(flow, ERR_NOT_FOUND, "this process does not serve the API");
    if (call->op->auth == AUTH_NODE || (is_optional && !call->op->reads_bearer) ||
        (is_optional && authorization.at == NULL))
        return FLOW_NEXT;
    switch (auth_check(call->thread->auth, authorization, &result)) {
    case AUTH_IS_KNOWN:
        call->principal = result.principal;
        return FLOW_NEXT;
    case AUTH_ASK_DATABASE:
        return look_up_key(flow, &result.sha256);
    case AUTH_IS_REFUSED:
        return refuse_credentials(flow, result.err, result.why);
    }
    must_not_reach();
}

static enum flow_next authenticated(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    struct api_key_find_out row;
    if (call->auth_call == NULL)
        return FLOW_NEXT;
    if (db_call_check(flow, call->auth_call) != ERR_OK)
        return FLOW_END;
    if (call->auth_call->row_count == 0)
        return refuse_credentials(flow, ERR_UNAUTHENTICATED, "there is no such API key");
    api_key_find_get(call->auth_call, 0, &row);
    if (!row.is_live)
        return refuse_credentials(flow, ERR_UNAUTHENTICATED,
                                  "the API key was revoked or has expired");
    call->principal = (struct principal){
        .kind = PRINCIPAL_KEY,
        .account_id = {row.account_id},
        .key_id = {row.key_id},
        .is_test = str_equal_c(row.mode, "test"),
        .expires_at_us = row.has_expires_at ? row.expires_at_us : 0,
    };
    if (!scopes_parse(row.scopes, ',', &call->principal.scopes))
        return flow_fail(flow, ERR_INTERNAL, "the key's scopes cannot be read");
    auth_remember(call->thread->auth, &call->auth_sha256, &call->principal);
    return FLOW_NEXT;
}

/* ---- may they */

static enum flow_next admit(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct api_world *world = call->thread->world;
    if (call->op->auth == AUTH_SCOPE && !principal_has(&call->principal, call->op->scope))
        return flow_fail(flow, ERR_FORBIDDEN_SCOPE, "this needs the scope %s",
                         scope_text(call->op->scope));
    if (call->op->is_unlimited)
        return FLOW_NEXT;
    if (uuid_is_nil(call->principal.account_id.u))
        call->rate = take_address(flow, 1);
    else
        call->rate = rate_take(world->rate, call->thread->cache,
                               rate_bucket_of_account(call->principal.account_id),
                               world->settings.rate_per_minute, 1);
    if (!call->rate.is_over)
        return FLOW_NEXT;
    flow->retry_after_ms = call->rate.reset_s * 1000;
    return flow_fail(flow, ERR_RATE_LIMITED, "%lld requests per minute are allowed",
                     (long long)call->rate.limit);
}

/* ---- what do they want */

static void *alloc_in_flow(void *data, size_t size)
{
    return flow_alloc(data, size);
}

struct schema_binding entry_binding(struct flow *flow)
{
    return (struct schema_binding){.alloc = alloc_in_flow, .data = flow};
}

bool entry_accept(struct flow *flow, const struct schema_binding *binding)
{
    for (int i = 0; i < binding->errors_count; i++)
        flow_field_error(flow, binding->errors[i].err, binding->errors[i].pointer,
                         binding->errors[i].code, binding->errors[i].detail);
    if (binding->errors_total > binding->errors_count)
        str_format(flow->detail, sizeof(flow->detail),
                   "%d fields are wrong; the first %d are listed", binding->errors_total,
                   binding->errors_count);
    return binding->errors_total == 0;
}

static bool read_path(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct schema *schema = call->op->path;
    if (schema == NULL)
        return true;
    struct schema_binding binding = entry_binding(flow);
    void *path = flow_alloc(flow, schema->size);
    for (size_t i = 0; i < schema->fields_count; i++) {
        struct str text;
        if (!query_decode(&binding, QUERY_PATH, call->path_params[i], &text) ||
            !schema_bind_text(&binding, &schema->fields[i], "", text, path)) {
            flow_fail(flow, ERR_NOT_FOUND, "no %s can look like that", schema->fields[i].name);
            return false;
        }
    }
    call->path = path;
    return true;
}

static bool read_query(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    struct schema_binding binding = entry_binding(flow);
    static const struct schema nothing = {.kind = SCHEMA_OBJECT, .size = 1, .json_offset = -1};
    const struct schema *schema = call->op->query != NULL ? call->op->query : &nothing;
    void *query = flow_alloc(flow, schema->size);
    query_bind(&binding, schema, call->url_query, query);
    call->query = call->op->query != NULL ? query : NULL;
    return entry_accept(flow, &binding);
}

static bool read_key(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    struct str header =
        call->op->idempotency != IDEMPOTENCY_NONE ? api_header(flow, "idempotency-key") : STR_NONE;
    bool is_public = call->op->auth == AUTH_PUBLIC;
    if (header.at == NULL && call->op->idempotency != IDEMPOTENCY_REQUIRED)
        return true;
    if (header.at == NULL)
        flow_fail(flow, ERR_MALFORMED_REQUEST, "this operation needs an Idempotency-Key header");
    else if (!idempotency_key_parse(header, &call->idempotency_key))
        flow_fail(flow, ERR_MALFORMED_REQUEST,
                  "Idempotency-Key must be 1 to %d printable characters", IDEMPOTENCY_KEY_MAX);
    else if (is_public && call->idempotency_key.len < IDEMPOTENCY_PUBLIC_KEY_MIN)
        flow_fail(flow, ERR_MALFORMED_REQUEST,
                  "without credentials, Idempotency-Key must have at least %d characters",
                  IDEMPOTENCY_PUBLIC_KEY_MIN);
    return flow->err == ERR_OK;
}

enum media { MEDIA_OTHER = 1, MEDIA_JSON, MEDIA_YAML };

static enum media media_of(struct flow *flow)
{
    struct str rest = api_header(flow, "content-type"), type = str_trim(str_cut(&rest, ';'));
    static const struct {
        const char *name;
        enum media media;
    } known[] = {{"application/json", MEDIA_JSON},
                 {"application/yaml", MEDIA_YAML},
                 {"application/x-yaml", MEDIA_YAML},
                 {"text/yaml", MEDIA_YAML}};
    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        if (type.len == strlen(known[i].name) && strncasecmp(type.at, known[i].name, type.len) == 0)
            return known[i].media;
    }
    return MEDIA_OTHER;
}

static bool parse_body(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    char why[200] = "";
    call->json = call->is_yaml ? yaml_to_json(call->raw_body, why, sizeof(why))
                               : json_parse(call->raw_body, why, sizeof(why));
    if (call->json != NULL)
        return true;
    flow_fail(flow, ERR_MALFORMED_REQUEST, "the body is not %s: %s",
              call->is_yaml ? "YAML" : "JSON", why);
    return false;
}

/* False: failed. */
static bool check_body(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    struct str encoding = api_header(flow, "content-encoding");
    enum media media = media_of(flow);
    if (call->raw_body.len == 0)
        flow_fail(flow, ERR_MALFORMED_REQUEST, "this operation needs a body");
    else if (call->raw_body.len > ROUTER_BODY_MAX)
        flow_fail(flow, ERR_BODY_TOO_LARGE, "the body has %zu bytes", call->raw_body.len);
    else if (encoding.at != NULL && !str_equal_c(encoding, "identity"))
        flow_fail(flow, ERR_MEDIA_TYPE, "no content encoding is understood");
    else if (media == MEDIA_OTHER || (media == MEDIA_YAML && !call->op->accepts_yaml))
        flow_fail(flow, ERR_MEDIA_TYPE, "Content-Type must be application/json%s",
                  call->op->accepts_yaml ? " or application/yaml" : "");
    call->is_yaml = media == MEDIA_YAML;
    return flow->err == ERR_OK;
}

/* Most bodies are plain and flawless; the others are parsed first, so that each fault is named. */
static bool bind_body(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct schema *schema = call->op->body;
    struct schema_binding binding = entry_binding(flow);
    call->body = flow_alloc(flow, schema->size);
    if (!call->is_yaml && schema_read(&binding, schema, call->raw_body, (void *)call->body))
        return true;
    if (!parse_body(flow))
        return false;
    void *body = flow_alloc(flow, schema->size);
    binding = entry_binding(flow);
    schema_bind(&binding, schema, call->json, body);
    call->body = body;
    return entry_accept(flow, &binding);
}

/* An optional body that is absent counts as {}, so that defaults apply. */
static bool read_body(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    bool is_absent = call->raw_body.len == 0;
    if (call->op->body == NULL && !is_absent)
        flow_fail(flow, ERR_MALFORMED_REQUEST, "this operation takes no body");
    if (call->op->body == NULL || flow->err != ERR_OK)
        return flow->err == ERR_OK;
    call->body_sha256 = sha256_of(call->raw_body.at, call->raw_body.len);
    if (is_absent && !call->op->is_body_required)
        call->raw_body = STR("{}");
    else if (!check_body(flow))
        return false;
    return bind_body(flow);
}

static enum flow_next read_request(struct flow *flow)
{
    bool is_good = read_path(flow) && read_key(flow) && read_query(flow) && read_body(flow);
    return is_good ? FLOW_NEXT : FLOW_END;
}

static enum flow_next enter(struct flow *flow)
{
    flow->steps = operation_steps[api_call_of(flow)->op->op];
    return flow_goto(flow, flow->steps[0].name);
}

const struct flow_step entry_steps[] = {
    {"authenticate", authenticate},
    {"authenticated", authenticated},
    {"admit", admit},
    {"read", read_request},
    {"enter", enter},
    {0},
};

/* ---- nowhere to go */

static enum flow_next lost(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    if (call->refusal != ERR_OK)
        return flow_fail(flow, call->refusal, "%s", call->refusal_detail);
    if (call->allow == NULL)
        return flow_fail(flow, ERR_NOT_FOUND, "there is no such path");
    api_set_header(flow, "Allow", call->allow);
    if (call->is_options)
        return api_reply_empty(flow, 204);
    return flow_fail(flow, ERR_METHOD_NOT_ALLOWED, "allowed are %s", call->allow);
}

const struct flow_step entry_lost_steps[] = {{"route", lost}, {0}};
