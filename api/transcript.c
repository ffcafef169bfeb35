/* transcript.c - the market's log for anybody: its signed head, its leaves with their paths, and
 * proofs that one size is the beginning of another.
 *
 * The happy path is: read what is asked for, note which stored nodes its proofs need, read those,
 * answer. Failure modes are: a log without a head yet, a size that it has not reached.
 */
#include "api/transcript.h"

#include "api/call.h"
#include "broker/io/db.h"
#include "broker/market/transcript.h"

struct log_read {
    struct db_call head, leaves, nodes_call;
    struct log_head_get_out row;
    struct log_nodes nodes;
    struct merkle_proof proof;
    int64_t size;
};

static struct str market_of(struct flow *flow, struct str wanted)
{
    return wanted.at != NULL ? wanted : str_of(api_call_of(flow)->thread->world->settings.market);
}

void sha256_put(struct json_out *out, const char *key, struct str bytes)
{
    char hex[65];
    must(bytes.len == 32);
    hex_encode((const uint8_t *)bytes.at, bytes.len, hex);
    json_put_c(out, key, hex);
}

static void put_base64url(struct json_out *out, const char *key, struct str bytes)
{
    char text[96];
    must(bytes.len <= 64);
    base64url_encode((const uint8_t *)bytes.at, bytes.len, text);
    json_put_c(out, key, text);
}

void merkle_proof_put(struct json_out *out, const char *key, const struct merkle_proof *proof)
{
    json_array_open(out, key);
    for (size_t i = 0; i < proof->count; i++)
        sha256_put(out, NULL, (struct str){(const char *)proof->hashes[i].bytes, 32});
    json_array_close(out);
}

/* ---- the head */

static enum flow_next log_head_load(struct flow *flow)
{
    const struct log_head_query *query = api_call_of(flow)->query;
    struct log_read *state = api_state(flow, sizeof(*state));
    state->head.flow = flow;
    log_head_get_submit(api_call_of(flow)->thread->db, &state->head,
                        &(struct log_head_get_in){
                            .market = market_of(flow, query->market),
                            .has_size = query->has_size,
                            .size = query->size,
                        });
    return FLOW_WAIT;
}

static enum flow_next log_head_reply(struct flow *flow)
{
    const struct log_head_query *query = api_call_of(flow)->query;
    struct log_read *state = flow->state;
    if (db_call_check(flow, &state->head) != ERR_OK)
        return FLOW_END;
    if (state->head.row_count == 0)
        return flow_fail(flow, ERR_NOT_FOUND,
                         "no head of this market's log was signed at that size");
    log_head_get_get(&state->head, 0, &state->row);
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    json_put_str(out, "market", market_of(flow, query->market));
    json_put_i64(out, "size", state->row.size);
    sha256_put(out, "root_sha256", state->row.root_sha256);
    json_put_i64(out, "signed_at_us", state->row.signed_at_us);
    put_base64url(out, "signature", state->row.signature);
    put_base64url(out, "public_key", state->row.signing_public_key);
    json_object_close(out);
    return api_reply_json(flow, 200);
}

const struct flow_step log_head_steps[] = {
    {"load", log_head_load},
    {"reply", log_head_reply},
    {0},
};

/* ---- proofs: one pass to note the nodes, one to make it */

static enum flow_next nodes_submit(struct flow *flow, struct str market)
{
    struct log_read *state = flow->state;
    state->nodes_call.flow = flow;
    log_nodes_read_submit(api_call_of(flow)->thread->db, &state->nodes_call,
                          &(struct log_nodes_read_in){
                              .market = market,
                              .levels = state->nodes.levels,
                              .levels_count = state->nodes.count,
                              .node_indexes = state->nodes.indexes,
                              .node_indexes_count = state->nodes.count,
                          });
    return FLOW_WAIT;
}

/* False: failed. */
static bool nodes_take(struct flow *flow)
{
    struct log_read *state = flow->state;
    if (db_call_check(flow, &state->nodes_call) != ERR_OK)
        return false;
    for (int i = 0; i < state->nodes_call.row_count; i++) {
        struct log_nodes_read_out row;
        log_nodes_read_get(&state->nodes_call, i, &row);
        log_nodes_fill(&state->nodes, row.ord, row.hash);
    }
    if (log_nodes_are_whole(&state->nodes))
        return true;
    flow_field_error(flow, ERR_INVALID_FIELD, "?size", "range",
                     "the log has not reached this size; GET /v1/log/head says how long it is");
    return false;
}

/* ---- leaves */

static enum flow_next log_leaves_load(struct flow *flow)
{
    const struct log_leaves_query *query = api_call_of(flow)->query;
    struct db *db = api_call_of(flow)->thread->db;
    struct log_read *state = api_state(flow, sizeof(*state));
    struct str market = market_of(flow, query->market), cursor;
    int64_t from = query->from;
    if (!api_cursor_open(flow, query->cursor, &cursor))
        return FLOW_END;
    if (cursor.at != NULL && !str_to_i64(cursor, &from))
        return flow_fail(flow, ERR_INVALID_FIELD, "?cursor must be a next_cursor of this list");
    state->head.flow = state->leaves.flow = flow;
    log_head_get_submit(db, &state->head, &(struct log_head_get_in){.market = market});
    log_leaf_list_submit(db, &state->leaves,
                         &(struct log_leaf_list_in){
                             .market = market,
                             .start_index = from,
                             .has_round = query->has_round && cursor.at == NULL,
                             .round = query->round,
                             .kind = str_of(log_leaves_query_kind_text(query->kind)),
                             .limit_count = (int32_t)query->limit + 1,
                         });
    return FLOW_WAIT;
}

static int leaves_shown(const struct log_read *state, int64_t limit)
{
    return state->leaves.row_count < limit ? state->leaves.row_count : (int)limit;
}

static enum flow_next log_leaves_nodes(struct flow *flow)
{
    const struct log_leaves_query *query = api_call_of(flow)->query;
    struct log_read *state = flow->state;
    const struct merkle_source source = log_nodes_source(&state->nodes);
    if (db_call_check(flow, &state->head) != ERR_OK ||
        db_call_check(flow, &state->leaves) != ERR_OK)
        return FLOW_END;
    if (state->head.row_count > 0)
        log_head_get_get(&state->head, 0, &state->row);
    state->size = query->has_size ? query->size : state->row.size;
    for (int i = 0; i < leaves_shown(state, query->limit); i++) {
        struct log_leaf_list_out leaf;
        log_leaf_list_get(&state->leaves, i, &leaf);
        if (leaf.size <= state->size)
            merkle_path(&source, (uint64_t)state->size, (uint64_t)leaf.size - 1, &state->proof);
    }
    return nodes_submit(flow, market_of(flow, query->market));
}

static void leaf_put(struct json_out *out, struct log_read *state,
                     const struct log_leaf_list_out *leaf)
{
    const struct merkle_source source = log_nodes_source(&state->nodes);
    json_object_open(out, NULL);
    json_put_i64(out, "index", leaf->size - 1);
    json_put_str(out, "kind", leaf->kind);
    if (leaf->has_round)
        json_put_i64(out, "round", leaf->round);
    else
        json_put_null(out, "round");
    json_put_base64(out, "body_base64", leaf->body);
    sha256_put(out, "leaf_sha256", leaf->leaf_sha256);
    if (leaf->size <= state->size) {
        merkle_path(&source, (uint64_t)state->size, (uint64_t)leaf->size - 1, &state->proof);
        json_put_i64(out, "path_size", state->size);
        merkle_proof_put(out, "path", &state->proof);
    } else {
        json_put_null(out, "path_size");
        json_put_null(out, "path");
    }
    json_object_close(out);
}

static enum flow_next log_leaves_reply(struct flow *flow)
{
    const struct log_leaves_query *query = api_call_of(flow)->query;
    struct log_read *state = flow->state;
    struct str last = STR_NONE;
    if (!nodes_take(flow))
        return FLOW_END;
    struct json_out *out = api_list_open(flow);
    int count = leaves_shown(state, query->limit);
    for (int i = 0; i < count; i++) {
        struct log_leaf_list_out leaf;
        log_leaf_list_get(&state->leaves, i, &leaf);
        leaf_put(out, state, &leaf);
        if (i + 1 == query->limit && state->leaves.row_count > query->limit)
            last = str_of(flow_printf(flow, "%lld", (long long)leaf.size));
    }
    return api_list_reply(flow, last);
}

const struct flow_step log_leaves_steps[] = {
    {"load", log_leaves_load},
    {"nodes", log_leaves_nodes},
    {"reply", log_leaves_reply},
    {0},
};

/* ---- consistency */

static enum flow_next log_consistency_nodes(struct flow *flow)
{
    const struct log_consistency_query *query = api_call_of(flow)->query;
    struct log_read *state = api_state(flow, sizeof(*state));
    const struct merkle_source source = log_nodes_source(&state->nodes);
    if (query->before > query->size) {
        flow_field_error(flow, ERR_INVALID_FIELD, "?before", "range", "must not be above size");
        return FLOW_END;
    }
    merkle_consistency(&source, (uint64_t)query->size, (uint64_t)query->before, &state->proof);
    /* Its last leaf says whether the log is that long at all. */
    (void)source.node(source.data, 0, (uint64_t)query->size - 1);
    return nodes_submit(flow, market_of(flow, query->market));
}

static enum flow_next log_consistency_reply(struct flow *flow)
{
    const struct log_consistency_query *query = api_call_of(flow)->query;
    struct log_read *state = flow->state;
    const struct merkle_source source = log_nodes_source(&state->nodes);
    if (!nodes_take(flow))
        return FLOW_END;
    merkle_consistency(&source, (uint64_t)query->size, (uint64_t)query->before, &state->proof);
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    json_put_str(out, "market", market_of(flow, query->market));
    json_put_i64(out, "before", query->before);
    json_put_i64(out, "size", query->size);
    merkle_proof_put(out, "path", &state->proof);
    json_object_close(out);
    return api_reply_json(flow, 200);
}

const struct flow_step log_consistency_steps[] = {
    {"nodes", log_consistency_nodes},
    {"reply", log_consistency_reply},
    {0},
};
