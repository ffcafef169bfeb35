/* money.c - balances, ledger entries, and credits by the platform.
 *
 * The happy path is: one statement, one answer; a credit is booked under a source key made of the
 * caller and the Idempotency-Key, for ever.
 *
 * Failure modes are: the source key is taken (the same credit is answered again, another one
 * refused), an account that does not exist, a cursor that is not ours.
 */
#include "api/call.h"
#include "broker/base/log.h"
#include "broker/market/money.h"

static enum flow_next balance_get_load(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    struct db_call *loaded = api_state(flow, sizeof(*loaded));
    loaded->flow = flow;
    balance_get_submit(call->thread->db, loaded,
                       &(struct balance_get_in){.account_id = call->principal.account_id.u});
    return FLOW_WAIT;
}

static enum flow_next balance_get_reply(struct flow *flow)
{
    struct db_call *loaded = flow->state;
    struct balance_get_out row;
    if (db_call_check(flow, loaded) != ERR_OK)
        return FLOW_END;
    balance_get_get(loaded, 0, &row);
    int64_t left_s = runway_s(&row);
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    json_put_c(out, "currency", "USD");
    json_put_i64(out, "wallet_uusd", row.wallet_uusd);
    json_put_i64(out, "escrow_uusd", row.escrow_uusd);
    json_put_i64(out, "payable_uusd", row.payable_uusd);
    json_put_i64(out, "bond_uusd", row.bond_uusd);
    json_put_i64(out, "burn_uusd_per_hour", row.burn_uusd_per_hour);
    if (left_s < 0)
        json_put_null(out, "runway_s");
    else
        json_put_i64(out, "runway_s", left_s);
    json_object_close(out);
    return api_reply_json(flow, 200);
}

const struct flow_step balance_get_steps[] = {
    {"load", balance_get_load},
    {"reply", balance_get_reply},
    {0},
};

/* A cursor is "<journal>.<line>" of the last entry shown. */
static bool entry_cursor_open(struct flow *flow, struct str cursor, struct ledger_list_in *ret)
{
    struct str rest;
    int64_t line = 0;
    if (!api_cursor_open(flow, cursor, &rest))
        return false;
    if (rest.at == NULL)
        return true;
    struct str journal = str_cut(&rest, '.');
    if (!str_to_i64(journal, &ret->before_journal_id) || !str_to_i64(rest, &line) || line < 0 ||
        line > INT32_MAX) {
        flow_field_error(flow, ERR_INVALID_FIELD, "?cursor", "format",
                         "must be a next_cursor of this list, unchanged");
        return false;
    }
    ret->before_line = (int32_t)line;
    ret->has_before_journal_id = ret->has_before_line = true;
    return true;
}

static enum flow_next ledger_list_load(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct ledger_list_query *query = call->query;
    struct db_call *loaded = api_state(flow, sizeof(*loaded));
    struct ledger_list_in in = {
        .account_id = call->principal.account_id.u,
        .limit_count = (int32_t)query->limit + 1,
    };
    if (!entry_cursor_open(flow, query->cursor, &in))
        return FLOW_END;
    loaded->flow = flow;
    ledger_list_submit(call->thread->db, loaded, &in);
    return FLOW_WAIT;
}

static void entry_put(struct json_out *out, const struct ledger_list_out *row)
{
    char ref[ID_TEXT_SIZE];
    json_object_open(out, NULL);
    json_put_i64(out, "journal_id", row->journal_id);
    json_put_i64(out, "line", row->line);
    json_put_str(out, "kind", row->kind);
    json_put_str(out, "ledger_account", row->ledger_account);
    json_put_str(out, "currency", row->currency);
    json_put_i64(out, "amount_uusd", row->amount_uusd);
    json_put_c(out, "ref", row->has_ref ? uuid_text(row->ref, ref) : NULL);
    json_put_str(out, "memo", row->memo);
    json_put_time(out, "created_at", row->created_at_us);
    json_object_close(out);
}

static enum flow_next ledger_list_reply(struct flow *flow)
{
    const struct ledger_list_query *query = api_call_of(flow)->query;
    struct db_call *loaded = flow->state;
    struct str last = STR_NONE;
    if (db_call_check(flow, loaded) != ERR_OK)
        return FLOW_END;
    struct json_out *out = api_list_open(flow);
    for (int i = 0; i < loaded->row_count && i < query->limit; i++) {
        struct ledger_list_out row;
        ledger_list_get(loaded, i, &row);
        entry_put(out, &row);
        if (i + 1 == query->limit && loaded->row_count > query->limit)
            last = str_of(flow_printf(flow, "%lld.%d", (long long)row.journal_id, row.line));
    }
    return api_list_reply(flow, last);
}

const struct flow_step ledger_list_steps[] = {
    {"load", ledger_list_load},
    {"reply", ledger_list_reply},
    {0},
};

struct credit_state {
    struct db_call stored, found;
    char source_key[CREDIT_SOURCE_KEY_SIZE];
};

static enum flow_next credit_store(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct admin_credit_request *body = call->body;
    struct credit_state *state = api_state(flow, sizeof(*state));
    char actor[ID_TEXT_SIZE];
    credit_source_key(call->principal.account_id, call->idempotency_key, state->source_key);
    state->stored.flow = flow;
    credit_store_submit(call->thread->db, &state->stored,
                        &(struct credit_store_in){
                            .source_key = str_of(state->source_key),
                            .credited_account_id = body->account_id.u,
                            .amount_uusd = body->amount_uusd,
                            .memo = body->memo,
                            .actor = str_of(api_key_id_text(call->principal.key_id, actor)),
                            .has_request_id = true,
                            .request_id = flow->request_id.u,
                        });
    return FLOW_WAIT;
}

static enum flow_next credit_reply(struct flow *flow, int64_t journal_id)
{
    const struct admin_credit_request *body = api_call_of(flow)->body;
    char account[ID_TEXT_SIZE];
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    json_put_i64(out, "journal_id", journal_id);
    json_put_c(out, "account_id", account_id_text(body->account_id, account));
    json_put_i64(out, "amount_uusd", body->amount_uusd);
    json_put_str(out, "memo", body->memo);
    json_object_close(out);
    return api_reply_json(flow, 201);
}

static enum flow_next credit_find(struct flow *flow)
{
    const struct admin_credit_request *body = api_call_of(flow)->body;
    struct credit_state *state = flow->state;
    struct credit_store_out row;
    if (db_call_check(flow, &state->stored) != ERR_OK)
        return FLOW_END;
    if (state->stored.row_count == 1) {
        char account[ID_TEXT_SIZE];
        credit_store_get(&state->stored, 0, &row);
        log_event(LOG_INFO, "account_credited", "account=%s amount_uusd=%lld journal=%lld",
                  account_id_text(body->account_id, account), (long long)body->amount_uusd,
                  (long long)row.journal_id);
        return credit_reply(flow, row.journal_id);
    }
    state->found.flow = flow;
    credit_find_submit(api_call_of(flow)->thread->db, &state->found,
                       &(struct credit_find_in){.source_key = str_of(state->source_key)});
    return FLOW_WAIT;
}

static enum flow_next credit_again(struct flow *flow)
{
    const struct admin_credit_request *body = api_call_of(flow)->body;
    struct credit_state *state = flow->state;
    struct credit_find_out row;
    if (db_call_check(flow, &state->found) != ERR_OK)
        return FLOW_END;
    if (state->found.row_count == 0)
        return flow_fail(flow, ERR_NOT_FOUND, "there is no account with this account_id");
    credit_find_get(&state->found, 0, &row);
    bool is_same = uuid_equal(row.credited_account_id, body->account_id.u) &&
                   row.amount_uusd == body->amount_uusd && str_equal(row.memo, body->memo);
    if (!is_same)
        return flow_fail(flow, ERR_IDEMPOTENCY_REUSED,
                         "this key booked %lld uusd before, and not this credit",
                         (long long)row.amount_uusd);
    api_set_header(flow, "Idempotent-Replayed", "true");
    return credit_reply(flow, row.journal_id);
}

const struct flow_step admin_credit_steps[] = {
    {"store", credit_store},
    {"find", credit_find},
    {"again", credit_again},
    {0},
};
