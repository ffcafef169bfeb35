/* Output of containers, as their node's agent delivers it. */
#include "api/node_auth.h"

struct logs_state {
    struct node_auth auth; /* first: see node_auth.h */
    struct db_call stored;
};

static enum flow_next logs_load(struct flow *flow)
{
    const struct node_logs_path *path = api_call_of(flow)->path;
    struct logs_state *state = api_state(flow, sizeof(*state));
    return node_auth_load(flow, &state->auth, path->node_id);
}

struct chunks { /* as columns, the way the statement wants them */
    struct uuid *lease_ids;
    int32_t *epochs;
    int64_t *offsets;
    struct str *streams;
    int64_t *ats_us;
    struct str *bytes;
};

/* Standard base64 is base64url in other letters, and padded to fours. */
static ptrdiff_t base64_decode(struct flow *flow, struct str text, uint8_t *ret, size_t size)
{
    char *letters = flow_strdup(flow, text);
    size_t len = text.len;
    if (len % 4 != 0)
        return -1;
    while (len > 0 && text.len - len < 2 && letters[len - 1] == '=')
        len--;
    for (size_t i = 0; i < len; i++) {
        if (letters[i] == '-' || letters[i] == '_')
            return -1;
        letters[i] = letters[i] == '+' ? '-' : letters[i] == '/' ? '_' : letters[i];
    }
    return base64url_decode((struct str){.at = letters, .len = len}, ret, size);
}

static bool chunk_read(struct flow *flow, const struct log_chunk *chunk, size_t at,
                       struct chunks *to)
{
    uint8_t *bytes = flow_alloc(flow, chunk->data.len / 4 * 3 + 3);
    ptrdiff_t len = base64_decode(flow, chunk->data, bytes, chunk->data.len / 4 * 3 + 3);
    if (len < 0) {
        flow_field_error(flow, ERR_INVALID_FIELD, flow_printf(flow, "/chunks/%zu/data", at),
                         "format", "must be standard base64");
        return false;
    }
    to->lease_ids[at] = chunk->lease_id.u;
    to->epochs[at] = (int32_t)chunk->epoch;
    to->offsets[at] = chunk->offset;
    to->streams[at] = str_of(log_chunk_stream_text(chunk->stream));
    to->ats_us[at] = chunk->at_us;
    to->bytes[at] = (struct str){.at = (const char *)bytes, .len = (size_t)len};
    return true;
}

static enum flow_next logs_store(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct node_logs_request *body = call->body;
    struct logs_state *state = flow->state;
    size_t count = body->chunks.count;
    if (node_auth_check(flow, &state->auth) != FLOW_NEXT)
        return FLOW_END;
    struct chunks chunks = {
        .lease_ids = flow_alloc(flow, sizeof(struct uuid) * (count + 1)),
        .epochs = flow_alloc(flow, sizeof(int32_t) * (count + 1)),
        .offsets = flow_alloc(flow, sizeof(int64_t) * (count + 1)),
        .streams = flow_alloc(flow, sizeof(struct str) * (count + 1)),
        .ats_us = flow_alloc(flow, sizeof(int64_t) * (count + 1)),
        .bytes = flow_alloc(flow, sizeof(struct str) * (count + 1)),
    };
    for (size_t i = 0; i < count; i++) {
        if (!chunk_read(flow, &body->chunks.at[i], i, &chunks))
            return FLOW_END;
    }
    state->stored.flow = flow;
    node_log_store_submit(call->thread->db, &state->stored,
                          &(struct node_log_store_in){
                              .node_id = state->auth.call.node_id.u,
                              .lease_ids = chunks.lease_ids,
                              .lease_ids_count = count,
                              .epochs = chunks.epochs,
                              .epochs_count = count,
                              .offsets = chunks.offsets,
                              .offsets_count = count,
                              .streams = chunks.streams,
                              .streams_count = count,
                              .ats_us = chunks.ats_us,
                              .ats_us_count = count,
                              .bytes = chunks.bytes,
                              .bytes_count = count,
                              .bytes_max = call->thread->world->settings.log_bytes_max,
                          });
    return FLOW_WAIT;
}

/* A lease that is not this node's counts as full, so that the agent stops sending it. */
static enum flow_next logs_reply(struct flow *flow)
{
    struct logs_state *state = flow->state;
    if (db_call_check(flow, &state->stored) != ERR_OK)
        return FLOW_END;
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    json_array_open(out, "leases");
    for (int i = 0; i < state->stored.row_count; i++) {
        struct node_log_store_out row;
        char text[ID_TEXT_SIZE];
        node_log_store_get(&state->stored, i, &row);
        if (row.is_longer)
            lease_wake(api_call_of(flow)->thread->hub,
                       &(struct lease_parties){.workload_id = row.workload_id});
        json_object_open(out, NULL);
        json_put_c(out, "lease_id", lease_id_text((struct lease_id){row.lease_id}, text));
        json_put_i64(out, "next_offset", row.next_offset);
        json_put_bool(out, "is_full", row.is_full);
        json_object_close(out);
    }
    json_array_close(out);
    json_object_close(out);
    return node_auth_reply(flow, &state->auth);
}

const struct flow_step node_logs_steps[] = {
    {"load", logs_load},
    {"store", logs_store},
    {"reply", logs_reply},
    {0},
};
