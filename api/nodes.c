/* nodes.c - machines of an account: tokens to enrol them, enrolment, what the owner sees,
 * retirement.
 *
 * The happy path is: the owner makes a one-time token; the agent spends it together with its
 * public key and an inventory, and learns its id and the market's key; later the owner reads
 * nodes and their devices.
 *
 * Failure modes are: a token that is unknown, spent or expired (unauthenticated), a key that
 * belongs to another account's node, a region that is none, a node of somebody else (not found).
 * Retiring first takes the node off the market, then closes its leases; a repeat closes what a
 * crash left over.
 */
#include "api/call.h"
#include "api/idempotency.h"
#include "api/inventory.h"
#include "broker/base/clock.h"
#include "broker/market/account.h"
#include "broker/market/lease.h"
#include "broker/market/node.h"

#define US_PER_S         1000000
#define TOKEN_TTL_S      3600
#define SYNC_INTERVAL_MS 4000
#define ENROL_TRIES_MAX  3

static enum flow_next token_store(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct node_token_create_request *body = call->body;
    struct db_call *stored = api_state(flow, sizeof(*stored));
    struct credential token = credential_make(CREDENTIAL_NODE_TOKEN);
    int64_t ttl_s = body ? body->expires_in_s : TOKEN_TTL_S;
    struct node_token_create_in in = {
        .account_id = call->principal.account_id.u,
        .token_id = token_id_new().u,
        .secret_sha256 = sha256_slice(&token.sha256),
        .region = body ? body->region : STR_NONE,
        .expires_at_us = clock_now_us() + ttl_s * US_PER_S,
    };
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    json_put_c(out, "token", token.text);
    json_put_str(out, "region", in.region);
    json_put_time(out, "expires_at", in.expires_at_us);
    json_object_close(out);

    struct idempotency_row row = idempotency_row(flow);
    in.idem_key = row.key;
    in.idem_body_sha256 = row.body_sha256;
    in.idem_response = row.response_sealed;
    stored->flow = flow;
    node_token_create_submit(call->thread->db, stored, &in);
    return FLOW_WAIT;
}

static enum flow_next region_refused(struct flow *flow)
{
    flow_field_error(flow, ERR_INVALID_FIELD, "/region", "unknown",
                     "must be a region of GET /v1/regions, and the token's own if that has one");
    return FLOW_END;
}

static enum flow_next token_done(struct flow *flow)
{
    struct db_call *stored = flow->state;
    struct node_token_create_out row;
    if (db_call_check(flow, stored) != ERR_OK)
        return FLOW_END;
    node_token_create_get(stored, 0, &row);
    if (!row.is_region)
        return region_refused(flow);
    return row.is_done ? api_reply_json(flow, 201) : idempotency_lost(flow);
}

const struct flow_step node_token_create_steps[] = {
    {"recall", idempotency_recall},
    {"replay", idempotency_replay},
    {"store", token_store},
    {"done", token_done},
    {0},
};

struct enrol_state {
    struct db_call stored;
    int tries_count;
};

static enum flow_next enrol_store(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct node_enrol_request *body = call->body;
    struct enrol_state *state = api_state(flow, sizeof(*state));
    struct sha256 token = credential_sha256(body->token);
    uint8_t public_key[32];
    struct str inventory;
    state->tries_count++;
    if (base64url_decode(body->public_key, public_key, sizeof(public_key)) != sizeof(public_key)) {
        flow_field_error(flow, ERR_INVALID_FIELD, "/public_key", "format",
                         "must be 32 bytes in base64url without padding");
        return FLOW_END;
    }
    if (!inventory_text(flow, &body->inventory, &inventory))
        return FLOW_END;
    state->stored.flow = flow;
    node_enrol_submit(call->thread->db, &state->stored,
                      &(struct node_enrol_in){
                          .secret_sha256 = sha256_slice(&token),
                          .public_key = {.at = (const char *)public_key, .len = sizeof(public_key)},
                          .node_id = node_id_new().u,
                          .name = body->name,
                          .region = body->region,
                          .inventory = inventory,
                      });
    return FLOW_WAIT;
}

static enum flow_next enrol_reply(struct flow *flow, const struct node_enrol_out *row, int status)
{
    const struct api_world *world = api_call_of(flow)->thread->world;
    char node[ID_TEXT_SIZE], account[ID_TEXT_SIZE], key[48];
    base64url_encode(world->market_public.bytes, sizeof(world->market_public.bytes), key);
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    json_put_c(out, "node_id", node_id_text((struct node_id){row->node_id}, node));
    json_put_c(out, "account_id", account_id_text((struct account_id){row->account_id}, account));
    json_put_str(out, "region", row->region);
    json_put_c(out, "market", world->settings.market);
    json_put_c(out, "market_public_key", key);
    json_put_i64(out, "sync_interval_ms", SYNC_INTERVAL_MS);
    json_object_close(out);
    return api_reply_json(flow, status);
}

static enum flow_next enrol_done(struct flow *flow)
{
    struct enrol_state *state = flow->state;
    struct node_enrol_out row;
    if (db_call_check(flow, &state->stored) != ERR_OK)
        return FLOW_END;
    if (state->stored.row_count == 0)
        return flow_fail(flow, ERR_UNAUTHENTICATED, "this is no enrolment token");
    node_enrol_get(&state->stored, 0, &row);
    if (str_equal_c(row.outcome, "enrolled")) {
        lease_wake(api_call_of(flow)->thread->hub,
                   &(struct lease_parties){.account_id = row.account_id});
        return enrol_reply(flow, &row, 201);
    }
    if (str_equal_c(row.outcome, "again"))
        return enrol_reply(flow, &row, 200);
    if (str_equal_c(row.outcome, "retry") && state->tries_count < ENROL_TRIES_MAX)
        return flow_goto(flow, "store");
    if (str_equal_c(row.outcome, "region"))
        return region_refused(flow);
    if (str_equal_c(row.outcome, "taken"))
        return flow_fail(flow, ERR_NODE_REVOKED, "this public key is the node of another account");
    return flow_fail(flow, ERR_UNAUTHENTICATED, "the enrolment token is %s",
                     str_equal_c(row.outcome, "expired") ? "expired" : "spent");
}

const struct flow_step node_enrol_steps[] = {
    {"store", enrol_store},
    {"done", enrol_done},
    {0},
};

struct nodes_state {
    struct db_call nodes, devices;
    int shown_count;
};

static enum flow_next nodes_submit(struct flow *flow, struct node_list_in *in)
{
    struct api_call *call = api_call_of(flow);
    struct nodes_state *state = api_state(flow, sizeof(*state));
    in->account_id = call->principal.account_id.u;
    state->nodes.flow = flow;
    node_list_submit(call->thread->db, &state->nodes, in);
    return FLOW_WAIT;
}

static enum flow_next node_list_load(struct flow *flow)
{
    const struct node_list_query *query = api_call_of(flow)->query;
    struct node_list_in in = {.limit_count = (int32_t)query->limit + 1};
    if (!api_cursor_open_id(flow, query->cursor, "node", &in.before))
        return FLOW_END;
    in.has_before = !uuid_is_nil(in.before);
    return nodes_submit(flow, &in);
}

static enum flow_next node_get_load(struct flow *flow)
{
    const struct node_get_path *path = api_call_of(flow)->path;
    return nodes_submit(
        flow, &(struct node_list_in){.has_one = true, .one = path->node_id.u, .limit_count = 1});
}

static enum flow_next devices_load(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    struct nodes_state *state = flow->state;
    if (db_call_check(flow, &state->nodes) != ERR_OK)
        return FLOW_END;
    const struct node_list_query *query = call->query;
    int shown_max = query ? (int)query->limit : 1;
    state->shown_count = state->nodes.row_count < shown_max ? state->nodes.row_count : shown_max;
    struct uuid *ids = flow_alloc(flow, sizeof(*ids) * (size_t)(state->shown_count + 1));
    for (int i = 0; i < state->shown_count; i++) {
        struct node_list_out row;
        node_list_get(&state->nodes, i, &row);
        ids[i] = row.node_id;
    }
    state->devices.flow = flow;
    node_device_list_submit(call->thread->db, &state->devices,
                            &(struct node_device_list_in){
                                .account_id = call->principal.account_id.u,
                                .node_ids = ids,
                                .node_ids_count = (size_t)state->shown_count,
                            });
    return FLOW_WAIT;
}

static void device_put(struct json_out *out, const struct node_device_list_out *row)
{
    char text[ID_TEXT_SIZE];
    json_object_open(out, NULL);
    json_put_c(out, "device_id", device_id_text((struct device_id){row->device_id}, text));
    json_put_str(out, "hardware_id", row->hardware_id);
    json_put_i64(out, "index", row->device_index);
    json_put_str(out, "class", row->class);
    json_put_str(out, "vendor", row->vendor);
    json_put_str(out, "model", row->model);
    json_put_i64(out, "vram_mib", row->vram_mib);
    json_put_bool(out, "is_simulated", row->is_simulated);
    json_put_bool(out, "is_present", row->is_present);
    json_put_bool(out, "is_reclaimed", row->is_reclaimed);
    json_put_str(out, "ask_status", row->ask_status);
    json_put_c(out, "lease_id",
               row->has_lease_id ? lease_id_text((struct lease_id){row->lease_id}, text) : NULL);
    json_object_close(out);
}

/* Writes one node; `at` walks through the devices, which come in the nodes' order. */
static void node_put(struct json_out *out, const struct node_list_out *row,
                     const struct db_call *devices, int *at)
{
    char text[ID_TEXT_SIZE];
    json_object_open(out, NULL);
    json_put_c(out, "node_id", node_id_text((struct node_id){row->node_id}, text));
    json_put_str(out, "name", row->name);
    json_put_str(out, "region", row->region);
    json_put_str(out, "state", row->state);
    json_put_str(out, "trust", row->trust);
    json_put_bool(out, "is_opted_in", row->is_opted_in);
    json_put_bool(out, "is_simulated", str_equal_c(row->trust, "simulated"));
    json_put_time(out, "last_seen_at", row->last_seen_at_us);
    json_put_time(out, "created_at", row->created_at_us);
    json_put_time(out, "retired_at", row->has_retired_at ? row->retired_at_us : 0);
    json_put_time(out, "reclaimed_at", row->has_reclaimed_at ? row->reclaimed_at_us : 0);
    json_array_open(out, "devices");
    for (; *at < devices->row_count; ++*at) {
        struct node_device_list_out device;
        node_device_list_get(devices, *at, &device);
        if (!uuid_equal(device.node_id, row->node_id))
            break;
        device_put(out, &device);
    }
    json_array_close(out);
    json_object_close(out);
}

static enum flow_next node_list_reply(struct flow *flow)
{
    struct nodes_state *state = flow->state;
    struct str last = STR_NONE;
    int device_at = 0;
    if (db_call_check(flow, &state->devices) != ERR_OK)
        return FLOW_END;
    struct json_out *out = api_list_open(flow);
    for (int i = 0; i < state->shown_count; i++) {
        char text[ID_TEXT_SIZE];
        struct node_list_out row;
        node_list_get(&state->nodes, i, &row);
        node_put(out, &row, &state->devices, &device_at);
        if (i + 1 == state->shown_count && state->nodes.row_count > state->shown_count)
            last =
                str_of(flow_printf(flow, "%s", node_id_text((struct node_id){row.node_id}, text)));
    }
    return api_list_reply(flow, last);
}

const struct flow_step node_list_steps[] = {
    {"load", node_list_load},
    {"devices", devices_load},
    {"reply", node_list_reply},
    {0},
};

static enum flow_next node_get_reply(struct flow *flow)
{
    struct nodes_state *state = flow->state;
    struct node_list_out row;
    int device_at = 0;
    if (db_call_check(flow, &state->devices) != ERR_OK)
        return FLOW_END;
    if (state->nodes.row_count == 0)
        return flow_fail(flow, ERR_NOT_FOUND, "no node of this account has this id");
    node_list_get(&state->nodes, 0, &row);
    node_put(api_json(flow), &row, &state->devices, &device_at);
    return api_reply_json(flow, 200);
}

const struct flow_step node_get_steps[] = {
    {"load", node_get_load},
    {"devices", devices_load},
    {"reply", node_get_reply},
    {0},
};

struct retire_state {
    struct db_call retired, leases;
    struct db_call *closes;
};

static enum flow_next node_delete_store(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct node_delete_path *path = call->path;
    struct retire_state *state = api_state(flow, sizeof(*state));
    state->retired.flow = flow;
    node_retire_submit(call->thread->db, &state->retired,
                       &(struct node_retire_in){
                           .account_id = call->principal.account_id.u,
                           .node_id = path->node_id.u,
                       });
    return FLOW_WAIT;
}

static enum flow_next node_delete_leases(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct node_delete_path *path = call->path;
    struct retire_state *state = flow->state;
    if (db_call_check(flow, &state->retired) != ERR_OK)
        return FLOW_END;
    if (state->retired.row_count == 0)
        return flow_fail(flow, ERR_NOT_FOUND, "no node of this account has this id");
    state->leases.flow = flow;
    node_lease_list_submit(call->thread->db, &state->leases,
                           &(struct node_lease_list_in){.node_id = path->node_id.u});
    return FLOW_WAIT;
}

static enum flow_next node_delete_close(struct flow *flow)
{
    struct retire_state *state = flow->state;
    if (db_call_check(flow, &state->leases) != ERR_OK)
        return FLOW_END;
    size_t count = (size_t)state->leases.row_count;
    state->closes = flow_alloc(flow, sizeof(*state->closes) * (count + 1));
    for (size_t i = 0; i < count; i++) {
        struct node_lease_list_out row;
        node_lease_list_get(&state->leases, (int)i, &row);
        struct lease_close_in in = {.lease_id = row.lease_id, .epoch = row.epoch};
        struct lease_facts facts = node_lease_facts(&row);
        struct lease_plan plan = lease_close_plan(CLOSE_NODE_WITHDRAWN, &facts);
        lease_plan_apply(&plan, CLOSE_NODE_WITHDRAWN, &in);
        state->closes[i].flow = flow;
        lease_close_submit(api_call_of(flow)->thread->db, &state->closes[i], &in);
    }
    return count ? FLOW_WAIT : FLOW_NEXT;
}

static enum flow_next node_delete_done(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct node_delete_path *path = call->path;
    struct retire_state *state = flow->state;
    for (int i = 0; i < state->leases.row_count; i++) {
        struct lease_close_out row;
        if (db_call_check(flow, &state->closes[i]) != ERR_OK)
            return FLOW_END;
        if (state->closes[i].row_count == 0)
            continue;
        lease_close_get(&state->closes[i], 0, &row);
        lease_wake(call->thread->hub,
                   &(struct lease_parties){row.workload_id, row.account_id, row.operator_account_id,
                                           row.node_id});
    }
    lease_wake(call->thread->hub, &(struct lease_parties){
                                      .account_id = call->principal.account_id.u,
                                      .node_id = path->node_id.u,
                                  });
    return api_reply_empty(flow, 204);
}

const struct flow_step node_delete_steps[] = {
    {"store", node_delete_store},
    {"leases", node_delete_leases},
    {"close", node_delete_close},
    {"done", node_delete_done},
    {0},
};
