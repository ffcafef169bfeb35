#include "nodeagent/desired.h"

#include <stdlib.h>

#define STOP_GRACE_S            10
#define RECEIPT_INTERVAL_MS     60000
#define RECEIPT_INTERVAL_MIN_MS 100
#define LOG_BYTES_MAX           (4 << 20)
#define LEASES_MAX              4096

static const char *lease_parse(json_t *json, struct desired_lease *ret_lease);

bool desired_parse(struct str text, struct desired *ret_desired, char ret_why[DESIRED_WHY_SIZE])
{
    json_t *json = json_parse(text, ret_why, DESIRED_WHY_SIZE);
    const json_t *leases = json_object_get(json, "leases");
    size_t count = json_array_size(leases);
    if (json && (!json_is_array(leases) || count > LEASES_MAX))
        (void)str_format(ret_why, DESIRED_WHY_SIZE, "leases is not a list of at most %d",
                         LEASES_MAX);
    if (!json_is_array(leases) || count > LEASES_MAX) {
        json_decref(json);
        return false;
    }
    struct desired desired = {
        .json = json,
        .receipt_seq = json_i64(json, "receipt_seq", 0),
        .receipt_interval_ms = json_i64(json, "receipt_interval_ms", RECEIPT_INTERVAL_MS),
        .log_bytes_max = json_i64(json, "log_bytes_max", LOG_BYTES_MAX),
        .want_inventory = json_bool(json, "want_inventory", false),
        .leases = calloc(count + 1, sizeof(struct desired_lease)),
    };
    must(desired.leases);
    if (desired.receipt_interval_ms < RECEIPT_INTERVAL_MIN_MS)
        desired.receipt_interval_ms = RECEIPT_INTERVAL_MIN_MS;
    bool is_good = str_format(desired.version, sizeof(desired.version), "%.*s",
                              STR_ARG(json_str(json, "desired_version")));
    for (size_t i = 0; is_good && i < count; i++) {
        const char *why = lease_parse(json_array_get(leases, i), &desired.leases[i]);
        desired.leases_count += why == NULL;
        is_good = why == NULL;
        if (why)
            (void)str_format(ret_why, DESIRED_WHY_SIZE, "leases[%zu]: %s", i, why);
    }
    if (is_good)
        *ret_desired = desired;
    else
        desired_finish(&desired);
    return is_good;
}

static const char *lease_parse(json_t *json, struct desired_lease *ret_lease)
{
    struct lease_id id;
    struct str want = json_str(json, "want");
    struct desired_lease lease = {
        .epoch = json_i64(json, "epoch", 0),
        .want = str_equal_c(want, "stop") ? LEASE_WANT_STOP : LEASE_WANT_RUN,
        .has_notice = json_i64(json, "interrupt_at_us", 0) > 0,
        .stop_grace_ms = json_i64(json, "stop_grace_s", STOP_GRACE_S) * 1000,
        .replica_index = json_i64(json, "replica_index", 0),
        .replica_count = json_i64(json, "replica_count", 1),
        .vcpu_milli = json_i64(json, "vcpu_milli", 0),
        .memory_mib = json_i64(json, "memory_mib", 0),
        .disk_mib = json_i64(json, "disk_mib", 0),
    };
    if (!lease_id_parse(json_str(json, "lease_id"), &id))
        return "lease_id is not one";
    lease_id_text(id, lease.lease_id);
    if (lease.epoch < 0)
        return "epoch is negative";
    if (!str_equal_c(want, "run") && lease.want != LEASE_WANT_STOP)
        return "want must be run or stop";
    if (lease.stop_grace_ms < 0 || lease.memory_mib < 0 || lease.disk_mib < 0)
        return "a size or duration is negative";
    (void)str_format(lease.stop_reason, sizeof(lease.stop_reason), "%.*s",
                     STR_ARG(json_str(json, "stop_reason")));
    (void)str_format(lease.workload_name, sizeof(lease.workload_name), "%.*s",
                     STR_ARG(json_str(json, "workload_name")));
    lease.json = json_incref(json);
    *ret_lease = lease;
    return NULL;
}

void desired_finish(struct desired *desired)
{
    for (size_t i = 0; i < desired->leases_count; i++)
        desired_lease_finish(&desired->leases[i]);
    free(desired->leases);
    json_decref(desired->json);
    *desired = (struct desired){0};
}

struct desired_lease desired_lease_copy(const struct desired_lease *lease)
{
    struct desired_lease copy = *lease;
    json_incref(copy.json);
    return copy;
}

void desired_lease_finish(struct desired_lease *lease)
{
    json_decref(lease->json);
    lease->json = NULL;
}

const json_t *desired_lease_manifest(const struct desired_lease *lease)
{
    return json_object_get(lease->json, "manifest");
}

struct str desired_lease_notice_signal(const struct desired_lease *lease)
{
    return json_str(desired_lease_manifest(lease), "notice_signal");
}

size_t desired_lease_devices_count(const struct desired_lease *lease)
{
    return json_array_size(json_object_get(lease->json, "devices"));
}

struct str desired_lease_device(const struct desired_lease *lease, size_t at)
{
    const json_t *id = json_array_get(json_object_get(lease->json, "devices"), at);
    if (!json_is_string(id))
        return STR_NONE;
    return (struct str){.at = json_string_value(id), .len = json_string_length(id)};
}
