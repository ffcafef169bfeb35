#include "broker/market/lease_view.h"

#include "billing/meter.h"
#include "broker/base/id.h"
#include "broker/base/money.h"

static void put_identity(struct json_out *out, const struct lease_view_get_out *lease)
{
    char text[ID_TEXT_SIZE];
    json_put_c(out, "lease_id", uuid_prefixed(lease->lease_id, "lse", text));
    if (lease->is_tenant) {
        json_put_c(out, "workload_id", uuid_prefixed(lease->workload_id, "wl", text));
        json_put_str(out, "workload_name", lease->workload_name);
    }
    json_put_i64(out, "replica_index", lease->replica_index);
    json_put_c(out, "node_id", uuid_prefixed(lease->node_id, "node", text));
    json_put_str(out, "node_name", lease->node_name);
    json_put_str(out, "region", lease->region);
    json_put_str(out, "device_class", lease->class);
    json_put_i64(out, "block_size", lease->block_size);
    json_put_i64(out, "devices_count", lease->devices_count);
    json_put_str(out, "tier", lease->tier);
    json_put_bool(out, "is_simulated", lease->is_simulated);
    json_put_i64(out, "epoch", lease->epoch);
}

static void put_life(struct json_out *out, const struct lease_view_get_out *lease)
{
    json_put_str(out, "state", lease->state);
    json_put_str(out, "stage", lease->stage);
    json_put_time(out, "awarded_at", lease->awarded_at_us);
    json_put_time(out, "running_at", lease->has_running_at ? lease->running_at_us : 0);
    json_put_time(out, "closed_at", lease->has_closed_at ? lease->closed_at_us : 0);
    json_put_time(out, "interrupt_at", lease->has_interrupt_at ? lease->interrupt_at_us : 0);
    json_put_str(out, "interrupt_reason", lease->interrupt_reason);
    json_put_str(out, "close_reason", lease->close_reason);
    if (lease->has_exit_code)
        json_put_i64(out, "exit_code", lease->exit_code);
    else
        json_put_null(out, "exit_code");
    if (lease->is_tenant)
        json_put_str(out, "detail", lease->detail);
}

static void put_money(struct json_out *out, const struct lease_view_get_out *lease)
{
    struct meter_terms terms = {
        .price_uusd_per_hour = lease->price_uusd_per_hour,
        .fee_bp = lease->fee_bp,
    };
    json_put_i64(out, "price_uusd_per_hour", lease->price_uusd_per_hour);
    json_put_i64(out, "fee_bp", lease->fee_bp);
    json_put_i64(out, "gross_uusd_per_hour", bill_for(&terms, MS_PER_HOUR).gross_uusd);
    json_put_i64(out, "healthy_ms", lease->receipt_ms);
    json_put_i64(out, "billed_ms", lease->billed_ms);
    json_put_i64(out, "net_uusd", lease->net_uusd);
    json_put_i64(out, "fee_uusd", lease->fee_uusd);
    json_put_i64(out, "gross_uusd", lease->net_uusd + lease->fee_uusd);
}

void lease_view_put(struct json_out *out, const struct lease_view_get_out *lease)
{
    json_object_open(out, NULL);
    put_identity(out, lease);
    put_life(out, lease);
    put_money(out, lease);
    json_put_i64(out, "round", lease->round);
    json_object_close(out);
}
