#include "api/desired.h"

#include <stdlib.h>

#include "broker/market/ask.h"
#include "broker/market/bid.h"
#include "broker/market/node.h"

static bool is_stopping(const struct node_lease_list_out *row)
{
    return str_equal_c(row->state, "closing");
}

static void open_add(const struct desired_rows *rows, struct buf *text)
{
    for (int i = 0; rows->open != NULL && i < rows->open->row_count; i++) {
        struct direct_open_list_out row;
        char id[ID_TEXT_SIZE];
        direct_open_list_get(rows->open, i, &row);
        if (direct_open_is_offered(&row))
            buf_add_format(text, "open %s %d %lld %lld\n", uuid_text(row.workload_id, id),
                           row.wanted,
                           (long long)(row.has_bid_uusd_per_hour ? row.bid_uusd_per_hour : -1),
                           (long long)row.bid_expires_at_us);
    }
}

/* One line per thing that an agent acts upon. */
struct sha256 desired_version(const struct desired_rows *rows)
{
    struct buf text = {.at = NULL};
    for (int i = 0; i < rows->leases->row_count; i++) {
        struct node_lease_list_out row;
        char id[ID_TEXT_SIZE];
        node_lease_list_get(rows->leases, i, &row);
        buf_add_format(&text, "lease %s %d %s %.*s %d\n", uuid_text(row.lease_id, id), row.epoch,
                       is_stopping(&row) ? "stop" : "run", STR_ARG(row.close_reason),
                       row.has_interrupt_at);
    }
    for (int i = 0; i < rows->asks->row_count; i++) {
        struct ask_list_of_node_out row;
        ask_list_of_node_get(rows->asks, i, &row);
        buf_add_format(&text, "ask %.*s %.*s %.*s %lld %lld\n", STR_ARG(row.class),
                       STR_ARG(row.region), STR_ARG(row.status), (long long)row.price,
                       (long long)row.node_price);
    }
    open_add(rows, &text);
    struct sha256 version = sha256_of(text.at ? text.at : "", text.len);
    buf_finish(&text);
    return version;
}

static void put_or_null(struct json_out *out, const char *key, bool has_value, int64_t value)
{
    if (has_value)
        json_put_i64(out, key, value);
    else
        json_put_null(out, key);
}

static void ask_put_json(struct json_out *out, const struct ask_list_of_node_out *row)
{
    json_object_open(out, NULL);
    json_put_str(out, "class", row->class);
    json_put_str(out, "region", row->region);
    put_or_null(out, "price_uusd_per_device_hour", row->has_price, row->price);
    json_put_str(out, "status", row->status);
    put_or_null(out, "node_price_uusd_per_device_hour", row->has_node_price, row->node_price);
    json_object_close(out);
}

static void member_put(struct json_out *out, const char *key, const json_t *value,
                       const char *otherwise)
{
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    json_put_raw(out, key, str_of(text ? text : otherwise));
    free(text);
}

/* What a machine needs to run it. What its owner would pay is sealed: whoever runs it may sell to
 * the same owner again. */
static void manifest_put(struct json_out *out, struct str manifest)
{
    static const char *const keys[] = {"image",          "command",      "args",  "env",
                                       "user",           "working_dir",  "ports", "readiness",
                                       "max_duration_s", "notice_signal"};
    char why[128];
    json_t *whole = json_parse(manifest, why, sizeof(why));
    json_object_open(out, "manifest");
    for (size_t i = 0; i < ARRAY_COUNT(keys); i++) {
        const json_t *value = json_object_get(whole, keys[i]);
        if (value)
            member_put(out, keys[i], value, "null");
    }
    json_object_close(out);
    json_decref(whole);
}

static bool secrets_put(struct json_out *out, struct str sealed, const struct seal_key *key)
{
    struct buf plain = {.at = NULL};
    char why[128];
    json_t *opened = NULL;
    if (sealed.at) {
        if (seal_open(key, sealed, &plain))
            opened = json_parse(buf_str(&plain), why, sizeof(why));
        buf_finish(&plain);
        if (!opened)
            return false;
    }
    member_put(out, "secrets", json_object_get(opened, "secrets"), "{}");
    member_put(out, "registry_auth", json_object_get(opened, "registry_auth"), "null");
    json_decref(opened);
    return true;
}

static bool lease_put(struct json_out *out, const struct node_lease_list_out *row,
                      const struct seal_key *secret_key)
{
    char text[ID_TEXT_SIZE];
    json_object_open(out, NULL);
    json_put_c(out, "lease_id", lease_id_text((struct lease_id){row->lease_id}, text));
    json_put_i64(out, "epoch", row->epoch);
    json_put_c(out, "want", is_stopping(row) ? "stop" : "run");
    json_put_str(out, "stop_reason", row->close_reason);
    json_put_i64(out, "stop_grace_s", row->stop_grace_s);
    json_put_i64(out, "replica_index", row->replica_index);
    json_put_i64(out, "replica_count", row->replicas);
    json_put_c(out, "workload_id", workload_id_text((struct workload_id){row->workload_id}, text));
    json_put_str(out, "workload_name", row->workload_name);
    json_put_raw(out, "devices", row->hardware_ids);
    json_put_i64(out, "vcpu_milli", row->vcpu_milli);
    json_put_i64(out, "memory_mib", row->memory_mib);
    json_put_i64(out, "disk_mib", row->disk_mib);
    manifest_put(out, row->manifest);
    bool is_open = secrets_put(out, row->secrets_sealed, secret_key);
    put_or_null(out, "interrupt_at_us", row->has_interrupt_at, row->interrupt_at_us);
    json_put_null(out, "adopt_until_us"); /* a container that still runs may always be adopted */
    json_object_close(out);
    return is_open;
}

bool desired_put(struct json_out *out, const struct desired_rows *rows,
                 const struct seal_key *secret_key)
{
    bool is_open = true;
    json_array_open(out, "asks");
    for (int i = 0; i < rows->asks->row_count; i++) {
        struct ask_list_of_node_out row;
        ask_list_of_node_get(rows->asks, i, &row);
        ask_put_json(out, &row);
    }
    json_array_close(out);
    json_array_open(out, "leases");
    for (int i = 0; i < rows->leases->row_count; i++) {
        struct node_lease_list_out row;
        node_lease_list_get(rows->leases, i, &row);
        is_open = lease_put(out, &row, secret_key) && is_open;
    }
    json_array_close(out);
    json_array_open(out, "direct_workloads");
    for (int i = 0; rows->open != NULL && i < rows->open->row_count; i++) {
        struct direct_open_list_out row;
        direct_open_list_get(rows->open, i, &row);
        if (direct_open_is_offered(&row))
            direct_open_put(out, &row);
    }
    json_array_close(out);
    return is_open;
}
