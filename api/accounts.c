/* Accounts open themselves: name in, account and first key out. */
#include "api/call.h"
#include "api/idempotency.h"
#include "api/jwt.h"
#include "api/keys.h"
#include "broker/base/clock.h"
#include "broker/market/account.h"

struct account_view {
    struct account_id account_id;
    struct str name, email, mode;
    int64_t created_at_us;
};

static void account_put(struct json_out *out, const char *key_or_null,
                        const struct account_view *account)
{
    char id[ID_TEXT_SIZE];
    json_object_open(out, key_or_null);
    json_put_c(out, "account_id", account_id_text(account->account_id, id));
    json_put_str(out, "name", account->name);
    json_put_str(out, "email", account->email);
    json_put_str(out, "mode", account->mode);
    json_put_time(out, "created_at", account->created_at_us);
    json_object_close(out);
}

/* All but admin and audit: those are the platform's to give. */
static uint32_t first_key_scopes(void)
{
    return 1u << SCOPE_WORKLOADS_READ | 1u << SCOPE_WORKLOADS_WRITE | 1u << SCOPE_NODES_READ |
           1u << SCOPE_NODES_WRITE | 1u << SCOPE_MONEY_READ | 1u << SCOPE_KEYS_WRITE;
}

static enum flow_next account_create_store(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct account_create_request *body = call->body;
    struct db_call *stored = api_state(flow, sizeof(*stored));
    bool is_test = body->mode == ACCOUNT_CREATE_REQUEST_MODE_TEST;
    struct credential secret = credential_make(is_test ? CREDENTIAL_TEST : CREDENTIAL_LIVE);
    struct api_key_id key_id = api_key_id_new();
    struct account_view account = {
        .account_id = account_id_new(),
        .name = body->name,
        .email = body->email,
        .mode = str_of(account_create_request_mode_text(body->mode)),
        .created_at_us = clock_now_us(),
    };
    char key_text[ID_TEXT_SIZE];
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    account_put(out, "account", &account);
    json_object_open(out, "api_key");
    json_put_c(out, "key_id", api_key_id_text(key_id, key_text));
    json_put_c(out, "name", "first");
    json_put_c(out, "secret", secret.text);
    scopes_put(out, "scopes", first_key_scopes());
    json_put_null(out, "expires_at");
    json_object_close(out);
    json_object_close(out);

    struct buf scopes = {.at = NULL};
    scopes_write(first_key_scopes(), ',', &scopes);
    struct idempotency_row row = idempotency_row(flow);
    stored->flow = flow;
    account_create_submit(call->thread->db, stored,
                          &(struct account_create_in){
                              .account_id = account.account_id.u,
                              .name = account.name,
                              .email = account.email,
                              .mode = account.mode,
                              .created_at_us = account.created_at_us,
                              .key_id = key_id.u,
                              .secret_sha256 = sha256_slice(&secret.sha256),
                              .scopes = buf_str(&scopes),
                              .idem_key = row.key,
                              .idem_body_sha256 = row.body_sha256,
                              .idem_response = row.response_sealed,
                          });
    buf_finish(&scopes);
    return FLOW_WAIT;
}

static enum flow_next account_create_done(struct flow *flow)
{
    struct db_call *stored = flow->state;
    struct account_create_out row;
    if (db_call_check(flow, stored) != ERR_OK)
        return FLOW_END;
    account_create_get(stored, 0, &row);
    return row.is_done ? api_reply_json(flow, 201) : idempotency_lost(flow);
}

const struct flow_step account_create_steps[] = {
    {"recall", idempotency_recall},
    {"replay", idempotency_replay},
    {"store", account_create_store},
    {"done", account_create_done},
    {0},
};

static enum flow_next account_get_load(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    struct db_call *loaded = api_state(flow, sizeof(*loaded));
    loaded->flow = flow;
    account_get_submit(call->thread->db, loaded,
                       &(struct account_get_in){.account_id = call->principal.account_id.u});
    return FLOW_WAIT;
}

static enum flow_next account_get_reply(struct flow *flow)
{
    struct db_call *loaded = flow->state;
    struct account_get_out row;
    if (db_call_check(flow, loaded) != ERR_OK)
        return FLOW_END;
    if (loaded->row_count == 0)
        return flow_fail(flow, ERR_NOT_FOUND, "the account of these credentials is gone");
    account_get_get(loaded, 0, &row);
    account_put(api_json(flow), NULL,
                &(struct account_view){
                    .account_id = api_call_of(flow)->principal.account_id,
                    .name = row.name,
                    .email = row.email,
                    .mode = row.mode,
                    .created_at_us = row.created_at_us,
                });
    return api_reply_json(flow, 200);
}

const struct flow_step account_get_steps[] = {
    {"load", account_get_load},
    {"reply", account_get_reply},
    {0},
};
