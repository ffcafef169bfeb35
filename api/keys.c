/* keys.c - API keys, and the short-lived tokens that they are exchanged for.
 *
 * The happy path is: the new key's scopes are among the caller's, the secret is made, shown once
 * and stored as a hash together with the sealed answer.
 *
 * Failure modes are: a scope that the caller lacks, another request with the same Idempotency-Key
 * (its answer is replayed), a key of another account (not found), a token that wants to prolong
 * itself or to outlive its key's revocation.
 */
#include "api/keys.h"

#include "api/auth.h"
#include "api/call.h"
#include "api/idempotency.h"
#include "api/jwt.h"
#include "broker/base/clock.h"
#include "broker/market/account.h"

#define US_PER_S 1000000

struct scope_list { /* what the generator makes of an array of scopes */
    const enum scope *at;
    size_t count;
};

void scopes_put(struct json_out *out, const char *key, uint32_t scopes)
{
    json_array_open(out, key);
    for (enum scope scope = SCOPE_WORKLOADS_READ; scope <= SCOPE_AUDIT; scope++) {
        if (scopes & 1u << scope)
            json_put_c(out, NULL, scope_text(scope));
    }
    json_array_close(out);
}

/* False: the flow failed, because the caller lacks one of them. */
static bool scopes_choose(struct flow *flow, struct scope_list wanted, uint32_t *ret)
{
    const struct principal *principal = &api_call_of(flow)->principal;
    *ret = 0;
    for (size_t i = 0; i < wanted.count; i++) {
        if (!principal_has(principal, wanted.at[i])) {
            flow_fail(flow, ERR_FORBIDDEN_SCOPE, "the credentials lack %s, so they cannot give it",
                      scope_text(wanted.at[i]));
            return false;
        }
        *ret |= 1u << wanted.at[i];
    }
    return true;
}

static enum flow_next api_key_create_store(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct api_key_create_request *body = call->body;
    uint32_t bits;
    if (!scopes_choose(flow, (struct scope_list){body->scopes.at, body->scopes.count}, &bits))
        return FLOW_END;

    struct db_call *stored = api_state(flow, sizeof(*stored));
    struct credential secret =
        credential_make(call->principal.is_test ? CREDENTIAL_TEST : CREDENTIAL_LIVE);
    struct buf scopes = {.at = NULL};
    scopes_write(bits, ',', &scopes);
    struct api_key_create_in in = {
        .account_id = call->principal.account_id.u,
        .key_id = api_key_id_new().u,
        .name = body->name,
        .secret_sha256 = sha256_slice(&secret.sha256),
        .scopes = buf_str(&scopes),
        .created_at_us = clock_now_us(),
        .has_expires_at = body->has_expires_in_s,
        .expires_at_us = clock_now_us() + body->expires_in_s * US_PER_S,
    };
    char text[ID_TEXT_SIZE];
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    json_put_c(out, "key_id", api_key_id_text((struct api_key_id){in.key_id}, text));
    json_put_str(out, "name", in.name);
    json_put_c(out, "secret", secret.text);
    scopes_put(out, "scopes", bits);
    json_put_time(out, "expires_at", in.has_expires_at ? in.expires_at_us : 0);
    json_object_close(out);

    struct idempotency_row row = idempotency_row(flow);
    in.idem_key = row.key;
    in.idem_body_sha256 = row.body_sha256;
    in.idem_response = row.response_sealed;
    in.caller_key_id = call->principal.key_id.u;
    stored->flow = flow;
    api_key_create_submit(call->thread->db, stored, &in);
    buf_finish(&scopes);
    return FLOW_WAIT;
}

static enum flow_next api_key_create_done(struct flow *flow)
{
    struct db_call *stored = flow->state;
    struct api_key_create_out row;
    if (db_call_check(flow, stored) != ERR_OK)
        return FLOW_END;
    api_key_create_get(stored, 0, &row);
    if (!row.is_live)
        return flow_fail(flow, ERR_UNAUTHENTICATED,
                         "the API key behind these credentials is revoked or has expired");
    return row.is_done ? api_reply_json(flow, 201) : idempotency_lost(flow);
}

const struct flow_step api_key_create_steps[] = {
    {"recall", idempotency_recall},
    {"replay", idempotency_replay},
    {"store", api_key_create_store},
    {"done", api_key_create_done},
    {0},
};

static enum flow_next api_key_list_load(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct api_key_list_query *query = call->query;
    struct db_call *loaded = api_state(flow, sizeof(*loaded));
    struct api_key_list_in in = {.account_id = call->principal.account_id.u};
    if (!api_cursor_open_id(flow, query->cursor, "key", &in.before))
        return FLOW_END;
    in.has_before = !uuid_is_nil(in.before);
    in.limit_count = (int32_t)query->limit + 1;
    loaded->flow = flow;
    api_key_list_submit(call->thread->db, loaded, &in);
    return FLOW_WAIT;
}

static enum flow_next api_key_list_reply(struct flow *flow)
{
    const struct api_key_list_query *query = api_call_of(flow)->query;
    struct db_call *loaded = flow->state;
    if (db_call_check(flow, loaded) != ERR_OK)
        return FLOW_END;
    char text[ID_TEXT_SIZE];
    bool has_more = loaded->row_count > query->limit;
    struct json_out *out = api_list_open(flow);
    for (int i = 0; i < loaded->row_count && i < query->limit; i++) {
        struct api_key_list_out row;
        uint32_t scopes = 0;
        api_key_list_get(loaded, i, &row);
        must(scopes_parse(row.scopes, ',', &scopes));
        json_object_open(out, NULL);
        json_put_c(out, "key_id", api_key_id_text((struct api_key_id){row.key_id}, text));
        json_put_str(out, "name", row.name);
        scopes_put(out, "scopes", scopes);
        json_put_time(out, "created_at", row.created_at_us);
        json_put_time(out, "expires_at", row.has_expires_at ? row.expires_at_us : 0);
        json_put_time(out, "revoked_at", row.has_revoked_at ? row.revoked_at_us : 0);
        json_object_close(out);
    }
    return api_list_reply(flow, has_more ? str_of(text) : STR_NONE);
}

const struct flow_step api_key_list_steps[] = {
    {"load", api_key_list_load},
    {"reply", api_key_list_reply},
    {0},
};

static enum flow_next api_key_delete_store(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct api_key_delete_path *path = call->path;
    struct db_call *stored = api_state(flow, sizeof(*stored));
    stored->flow = flow;
    api_key_revoke_submit(call->thread->db, stored,
                          &(struct api_key_revoke_in){
                              .account_id = call->principal.account_id.u,
                              .key_id = path->key_id.u,
                          });
    return FLOW_WAIT;
}

static enum flow_next api_key_delete_done(struct flow *flow)
{
    struct db_call *stored = flow->state;
    struct api_key_revoke_out row;
    struct sha256 hash;
    if (db_call_check(flow, stored) != ERR_OK)
        return FLOW_END;
    if (stored->row_count == 0)
        return flow_fail(flow, ERR_NOT_FOUND, "no API key of this account has this id");
    api_key_revoke_get(stored, 0, &row);
    must(sha256_of_slice(row.secret_sha256, &hash));
    auth_forget(api_call_of(flow)->thread->auth, hash);
    return api_reply_empty(flow, 204);
}

const struct flow_step api_key_delete_steps[] = {
    {"store", api_key_delete_store},
    {"done", api_key_delete_done},
    {0},
};

static enum flow_next token_create_reply(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct token_create_request *body = call->body;
    struct jwt_claims claims = {
        .account_id = call->principal.account_id,
        .key_id = call->principal.key_id,
        .scopes = call->principal.scopes,
        .is_test = call->principal.is_test,
        .issued_at_s = clock_now_us() / US_PER_S,
    };
    if (call->principal.kind != PRINCIPAL_KEY)
        return flow_fail(flow, ERR_UNAUTHENTICATED,
                         "a token cannot be exchanged for another one; send the API key");
    if (body && body->scopes.at &&
        !scopes_choose(flow, (struct scope_list){body->scopes.at, body->scopes.count},
                       &claims.scopes))
        return FLOW_END;
    claims.expires_at_s = claims.issued_at_s + (body ? body->ttl_s : JWT_TTL_MAX_S);
    int64_t key_end_s = call->principal.expires_at_us / US_PER_S;
    if (key_end_s != 0 && claims.expires_at_s > key_end_s)
        claims.expires_at_s = key_end_s; /* no token outlives its key */

    struct buf token = {.at = NULL};
    jwt_token_make(call->thread->world->jwt_keys, &claims, &token);
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    json_put_str(out, "access_token", buf_str(&token));
    json_put_c(out, "token_type", "Bearer");
    json_put_i64(out, "expires_in", claims.expires_at_s - claims.issued_at_s);
    scopes_put(out, "scopes", claims.scopes);
    json_object_close(out);
    buf_finish(&token);
    return api_reply_json(flow, 201);
}

const struct flow_step token_create_steps[] = {
    {"reply", token_create_reply},
    {0},
};
