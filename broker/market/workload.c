#include "broker/market/workload.h"

#include "broker/market/lease.h"

struct sha256 workload_cancel_message(struct str id_or_name)
{
    static const struct str prefix = {.at = "undercut/cancel/v1|", .len = 19};
    struct sha256_run run;
    sha256_run_start(&run);
    sha256_run_add(&run, prefix.at, prefix.len);
    sha256_run_add(&run, id_or_name.at, id_or_name.len);
    return sha256_run_end(&run);
}

bool workload_is_terminal(const struct workload_get_out *workload)
{
    return workload->has_ended_at;
}

static void put_names(struct json_out *out, const char *key, struct str names)
{
    json_array_open(out, key);
    while (names.len > 0)
        json_put_str(out, NULL, str_cut(&names, ','));
    json_array_close(out);
}

static void put_wish(struct json_out *out, const struct workload_get_out *workload)
{
    json_put_str(out, "image", workload->image);
    json_put_str(out, "tier", workload->tier);
    json_put_str(out, "award", workload->award);
    json_put_str(out, "price_policy", workload->price_policy);
    json_put_i64(out, "reserve_uusd_per_hour", workload->reserve_uusd_per_hour);
    json_put_i64(out, "replicas", workload->replicas);
    json_put_i64(out, "min_replicas", workload->min_replicas);
}

static void put_counts(struct json_out *out, const struct workload_get_out *workload)
{
    json_put_i64(out, "replicas_running", workload->replicas_running);
    json_put_i64(out, "replicas_auctioning", workload->replicas_auctioning);
    json_put_i64(out, "replicas_starting", workload->replicas_starting);
    json_put_i64(out, "replicas_ended", workload->replicas_ended);
}

void workload_put(struct json_out *out, const struct workload_get_out *workload)
{
    char id[ID_TEXT_SIZE];
    json_put_c(out, "workload_id", uuid_prefixed(workload->workload_id, "wl", id));
    json_put_str(out, "name", workload->name);
    json_put_str(out, "state", workload->state);
    json_put_str(out, "status_reason", workload->status_reason);
    json_put_bool(out, "terminal", workload_is_terminal(workload));
    json_put_str(out, "desired", workload->desired);
    put_wish(out, workload);
    put_counts(out, workload);
    put_names(out, "device_class_candidates", workload->classes);
    put_names(out, "regions", workload->regions);
    json_put_i64(out, "block_size", workload->block_size);
    json_put_str(out, "trust_min", workload->trust_min);
    json_put_i64(out, "escrow_uusd", workload->escrow_uusd);
    json_put_i64(out, "spent_uusd", workload->spent_uusd);
    json_put_time(out, "interrupt_at", workload->has_interrupt_at ? workload->interrupt_at_us : 0);
    json_put_i64(out, "version", workload->version);
    json_put_time(out, "created_at", workload->created_at_us);
    json_put_time(out, "ended_at", workload->has_ended_at ? workload->ended_at_us : 0);
    json_put_raw(out, "labels", workload->labels);
    json_put_raw(out, "manifest", workload->manifest);
}

void account_wake(struct hub *hub, struct account_id account_id)
{
    lease_wake(hub, &(struct lease_parties){.account_id = account_id.u});
}

void workload_wake(struct hub *hub, struct account_id account_id, struct workload_id workload_id)
{
    lease_wake(hub,
               &(struct lease_parties){.workload_id = workload_id.u, .account_id = account_id.u});
}
