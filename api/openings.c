/* openings.c - what of a round's sealed record a caller may see, each row with the path that proves
 * it, and the caller's messages with the paths that prove that they arrived.
 *
 * The happy path is: read the round and its arrivals, ask whose the blocks and workloads of its
 * record are and which have been over for long enough, answer what is left. Failure modes are: a
 * round that is not in the log (yet), a record that cannot be decoded (ours to mend: internal).
 */
#include "broker/market/openings.h"

#include <string.h>

#include "api/call.h"
#include "api/transcript.h"
#include "broker/io/db.h"
#include "broker/market/round.h"

struct opening_read {
    struct db_call round_call, arrivals_call, blocks_call, demands_call;
    struct opening_round_out round;
    struct openings openings;
    struct sha256 secret;
    struct merkle_proof proof;
    bool is_auditor;
};

static void state_finish(void *data)
{
    struct opening_read *state = data;
    openings_finish(&state->openings);
}

static struct str market_of(struct flow *flow)
{
    const struct round_openings_query *query = api_call_of(flow)->query;
    return query->market.at != NULL ? query->market
                                    : str_of(api_call_of(flow)->thread->world->settings.market);
}

static enum flow_next round_openings_load(struct flow *flow)
{
    const struct api_call *call = api_call_of(flow);
    const struct round_openings_path *path = call->path;
    struct opening_read *state = api_state(flow, sizeof(*state));
    state->is_auditor = principal_has(&call->principal, SCOPE_AUDIT);
    state->round_call.flow = state->arrivals_call.flow = flow;
    opening_round_submit(call->thread->db, &state->round_call,
                         &(struct opening_round_in){
                             .market = market_of(flow),
                             .round = path->round,
                         });
    opening_arrivals_submit(call->thread->db, &state->arrivals_call,
                            &(struct opening_arrivals_in){
                                .market = market_of(flow),
                                .round = path->round,
                                .has_account_id = !uuid_is_nil(call->principal.account_id.u),
                                .account_id = call->principal.account_id.u,
                                .is_auditor = state->is_auditor,
                            });
    return FLOW_WAIT;
}

static void blocks_submit(struct flow *flow)
{
    const struct api_call *call = api_call_of(flow);
    const struct round_openings_path *path = call->path;
    struct opening_read *state = flow->state;
    size_t count = state->openings.blocks_count;
    struct uuid *nodes = flow_alloc(flow, (count + 1) * sizeof(*nodes));
    struct str *regions = flow_alloc(flow, (count + 1) * sizeof(*regions));
    struct str *classes = flow_alloc(flow, (count + 1) * sizeof(*classes));
    for (uint32_t i = 0; i < count; i++) {
        const struct opening_block *block = openings_block(&state->openings, i);
        nodes[i] = block->node;
        regions[i] = block->region;
        classes[i] = block->class;
    }
    state->blocks_call.flow = flow;
    opening_blocks_submit(call->thread->db, &state->blocks_call,
                          &(struct opening_blocks_in){
                              .round = path->round,
                              .has_account_id = !uuid_is_nil(call->principal.account_id.u),
                              .account_id = call->principal.account_id.u,
                              .node_ids = nodes,
                              .node_ids_count = count,
                              .regions = regions,
                              .regions_count = count,
                              .classes = classes,
                              .classes_count = count,
                          });
}

static void demands_submit(struct flow *flow)
{
    const struct api_call *call = api_call_of(flow);
    struct opening_read *state = flow->state;
    size_t count = state->openings.demands_count;
    struct uuid *workloads = flow_alloc(flow, (count + 1) * sizeof(*workloads));
    for (uint32_t i = 0; i < count; i++)
        workloads[i] = openings_demand(&state->openings, i)->workload;
    state->demands_call.flow = flow;
    opening_demands_submit(call->thread->db, &state->demands_call,
                           &(struct opening_demands_in){
                               .has_account_id = !uuid_is_nil(call->principal.account_id.u),
                               .account_id = call->principal.account_id.u,
                               .workload_ids = workloads,
                               .workload_ids_count = count,
                           });
}

static enum flow_next round_openings_rights(struct flow *flow)
{
    struct opening_read *state = flow->state;
    if (db_call_check(flow, &state->round_call) != ERR_OK ||
        db_call_check(flow, &state->arrivals_call) != ERR_OK)
        return FLOW_END;
    if (state->round_call.row_count == 0)
        return flow_fail(flow, ERR_NOT_FOUND, "no such round stands in this market's log");
    opening_round_get(&state->round_call, 0, &state->round);
    must(state->round.opening_secret.len == sizeof(state->secret));
    memcpy(&state->secret, state->round.opening_secret.at, sizeof(state->secret));
    api_at_end(flow, state_finish, state);
    if (!openings_make(state->round.record, &state->secret, &state->openings))
        return flow_fail(flow, ERR_INTERNAL, "the record of this round cannot be decoded");
    blocks_submit(flow);
    demands_submit(flow);
    return FLOW_WAIT;
}

static void rights_take(struct opening_read *state)
{
    for (int i = 0; i < state->blocks_call.row_count; i++) {
        struct opening_blocks_out row;
        opening_blocks_get(&state->blocks_call, i, &row);
        const struct opening_block *block = openings_block(&state->openings, (uint32_t)row.ord - 1);
        openings_grant(&state->openings, block->place, row.is_own, row.is_open);
    }
    for (int i = 0; i < state->demands_call.row_count; i++) {
        struct opening_demands_out row;
        opening_demands_get(&state->demands_call, i, &row);
        const struct opening_demand *demand =
            openings_demand(&state->openings, (uint32_t)row.ord - 1);
        openings_grant(&state->openings, demand->place, row.is_own, row.is_open);
    }
    openings_decide(&state->openings);
}

static void row_put(struct json_out *out, struct opening_read *state, uint32_t number)
{
    struct sealed_rows *rows = &state->openings.rows;
    const struct record_row *row = sealed_row(rows, number);
    uint32_t place = sealed_place(rows, number);
    const struct merkle_source source = merkle_table_source(&rows->tree);
    struct sealed_salt salt = sealed_salt(&state->secret, number);
    char hex[2 * SEALED_SALT_SIZE + 1];
    hex_encode(salt.bytes, sizeof(salt.bytes), hex);
    merkle_path(&source, rows->tree.count, place, &state->proof);
    json_object_open(out, NULL);
    json_put_i64(out, "place", place);
    json_put_i64(out, "kind", (int64_t)row->kind);
    json_put_i64(out, "lot", row->lot);
    json_put_i64(out, "item", row->item);
    json_put_c(out, "salt", hex);
    json_put_base64(out, "bytes_base64", row->bytes);
    merkle_proof_put(out, "path", &state->proof);
    json_object_close(out);
}

static void arrivals_put(struct flow *flow, struct json_out *out)
{
    const struct round_openings_path *path = api_call_of(flow)->path;
    struct opening_read *state = flow->state;
    int count = state->arrivals_call.row_count;
    struct merkle_table table;
    struct sha256 *nodes = flow_alloc(flow, MERKLE_TABLE_SIZE((size_t)count) * sizeof(*nodes));
    struct opening_arrivals_out row;
    for (int i = 0; i < count; i++) {
        struct sha256 message;
        opening_arrivals_get(&state->arrivals_call, i, &row);
        memcpy(&message, row.message_sha256.at, sizeof(message));
        nodes[i] = arrival_leaf(path->round, row.place, &message);
    }
    merkle_table_build(&table, nodes, (size_t)count);
    const struct merkle_source source = merkle_table_source(&table);
    json_put_i64(out, "arrivals_count", count);
    json_array_open(out, "arrivals");
    for (int i = 0; i < count; i++) {
        opening_arrivals_get(&state->arrivals_call, i, &row);
        if (!row.is_shown)
            continue;
        merkle_path(&source, (uint64_t)count, (uint64_t)i, &state->proof);
        json_object_open(out, NULL);
        json_put_i64(out, "index", i);
        json_put_i64(out, "place", row.place);
        sha256_put(out, "message_sha256", row.message_sha256);
        merkle_proof_put(out, "path", &state->proof);
        json_object_close(out);
    }
    json_array_close(out);
}

static enum flow_next round_openings_reply(struct flow *flow)
{
    const struct round_openings_path *path = api_call_of(flow)->path;
    struct opening_read *state = flow->state;
    struct str secret = {(const char *)state->secret.bytes, sizeof(state->secret.bytes)};
    if (db_call_check(flow, &state->blocks_call) != ERR_OK ||
        db_call_check(flow, &state->demands_call) != ERR_OK)
        return FLOW_END;
    rights_take(state);
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    json_put_str(out, "market", market_of(flow));
    json_put_i64(out, "round", path->round);
    json_put_i64(out, "leaf_index", state->round.log_size - 1);
    json_put_base64(out, "body_base64", state->round.body);
    if (state->is_auditor) {
        json_put_base64(out, "record_base64", state->round.record);
        sha256_put(out, "secret", secret);
    } else {
        json_put_null(out, "record_base64");
        json_put_null(out, "secret");
    }
    json_put_i64(out, "rows_size", (int64_t)state->openings.rows.tree.count);
    json_array_open(out, "rows");
    for (uint32_t i = 0; !state->is_auditor && i < state->openings.rows.count; i++)
        if (openings_is_shown(&state->openings, i))
            row_put(out, state, i);
    json_array_close(out);
    arrivals_put(flow, out);
    json_object_close(out);
    return api_reply_json(flow, 200);
}

const struct flow_step round_openings_steps[] = {
    {"load", round_openings_load},
    {"rights", round_openings_rights},
    {"reply", round_openings_reply},
    {0},
};
