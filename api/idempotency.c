#include "api/idempotency.h"

#include "broker/io/db.h"
#include "broker/market/stored_reply.h"

bool idempotency_key_parse(struct str header, struct str *ret_key)
{
    struct str key = str_trim(header);
    if (key.len >= 2 && key.at[0] == '"' && key.at[key.len - 1] == '"')
        key = (struct str){.at = key.at + 1, .len = key.len - 2};
    if (key.len < 1 || key.len > IDEMPOTENCY_KEY_MAX)
        return false;
    for (size_t i = 0; i < key.len; i++) {
        if (key.at[i] < 0x20 || key.at[i] > 0x7e || key.at[i] == '"')
            return false;
    }
    *ret_key = key;
    return true;
}

enum flow_next idempotency_recall(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    if (call->idempotency_key.at == NULL)
        return FLOW_NEXT;
    call->replay_call = flow_alloc(flow, sizeof(*call->replay_call));
    call->replay_call->flow = flow;
    stored_reply_find_submit(call->thread->db, call->replay_call,
                             &(struct stored_reply_find_in){
                                 .account_id = call->principal.account_id.u,
                                 .operation = str_of(call->op->operation_id),
                                 .key = call->idempotency_key,
                             });
    return FLOW_WAIT;
}

static enum flow_next send_again(struct flow *flow, const struct stored_reply_find_out *row)
{
    struct api_call *call = api_call_of(flow);
    struct buf *text = api_json(flow)->to;
    struct str sha256 = {.at = (const char *)call->body_sha256.bytes, .len = 32};
    text->len = 0;
    switch (stored_reply_open(row, &call->thread->world->reply_key, sha256, text)) {
    case STORED_REPLY_SAME:
        api_set_header(flow, "Idempotent-Replayed", "true");
        return api_reply_json(flow, row->status);
    case STORED_REPLY_OTHER:
        return flow_fail(flow, ERR_IDEMPOTENCY_REUSED,
                         "the first request with this key was different");
    case STORED_REPLY_BROKEN:
        return flow_fail(flow, ERR_INTERNAL, "the stored answer cannot be opened");
    }
    must_not_reach();
}

enum flow_next idempotency_replay(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    struct stored_reply_find_out row;
    if (call->idempotency_key.at == NULL)
        return FLOW_NEXT;
    if (db_call_check(flow, call->replay_call) != ERR_OK)
        return FLOW_END;
    if (call->replay_call->row_count > 0) {
        stored_reply_find_get(call->replay_call, 0, &row);
        return send_again(flow, &row);
    }
    if (call->has_lost_race)
        return flow_fail(flow, ERR_CONFLICT, "a request with the same key is still under way");
    return FLOW_NEXT;
}

enum flow_next idempotency_lost(struct flow *flow)
{
    api_call_of(flow)->has_lost_race = true;
    return flow_goto(flow, "recall");
}

struct idempotency_row idempotency_row(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    if (call->idempotency_key.at == NULL)
        return (struct idempotency_row){0};
    struct buf sealed = {0};
    seal_close(&call->thread->world->reply_key, api_reply_text_so_far(flow), &sealed);
    char *copy = flow_strdup(flow, buf_str(&sealed));
    size_t len = sealed.len;
    buf_finish(&sealed);
    return (struct idempotency_row){
        .key = call->idempotency_key,
        .body_sha256 = {.at = (const char *)call->body_sha256.bytes, .len = 32},
        .response_sealed = {.at = copy, .len = len},
    };
}
