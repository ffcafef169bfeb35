#include "nodeagent/report.h"

#include "nodeagent/bids.h"
#include "nodeagent/pricer.h"

#define RECEIPTS_SIZE_MAX (96 * 1024) /* of a body of 256 KiB */

static void lease_emit_report(struct json_out *out, const struct lease *lease)
{
    const char *stage = lease_stage(lease->state);
    json_object_open(out, NULL);
    json_put_c(out, "lease_id", lease->lease_id);
    json_put_i64(out, "epoch", lease->epoch);
    json_put_c(out, "state", lease_report_state(lease));
    json_put_i64(out, "healthy_ms", lease->meter.healthy_ms);
    if (stage)
        json_put_c(out, "stage", stage);
    if (lease->image_id[0])
        json_put_c(out, "image_digest", lease->image_id);
    if (lease->state == LEASE_EXITED) {
        json_put_c(out, "reason", lease->reason);
        json_put_c(out, "detail", lease->detail);
        if (lease->has_exit_code)
            json_put_i64(out, "exit_code", lease->exit_code);
    }
    json_object_close(out);
}

static void asks_emit(struct json_out *out, const struct report *report,
                      const struct config_price *prices, size_t count)
{
    if (!count)
        return;
    json_array_open(out, "asks");
    for (size_t i = 0; i < count; i++) {
        json_object_open(out, NULL);
        json_put_c(out, "class", prices[i].device_class);
        json_put_i64(out, "price_uusd_per_device_hour", prices[i].price_uusd_per_device_hour);
        if (report->pricer_or_null)
            json_put_bool(out, "moves_ask", true);
        json_object_close(out);
    }
    json_array_close(out);
}

static void prices_emit(struct json_out *out, const struct report *report)
{
    const struct config_price *prices = report->config->prices;
    struct config_price moving[CONFIG_PRICES_MAX];
    size_t count = report->config->prices_count;
    if (report->pricer_or_null) {
        count = pricer_read(report->pricer_or_null, moving);
        prices = moving;
    }
    asks_emit(out, report, prices, count);
    bids_emit(out, report->config, report->open_or_null, prices, count);
}

void report_emit(const struct report *report, struct buf *to)
{
    struct json_out out;
    json_out_start(&out, to);
    json_object_open(&out, NULL);
    json_put_c(&out, "known", report->known_version);
    json_put_i64(&out, "hold_ms", report->hold_ms);
    json_put_c(&out, "inventory_sha256", report->inventory->sha256);
    if (report->has_inventory)
        json_put_raw(&out, "inventory", buf_str(&report->inventory->json));
    json_put_bool(&out, "is_opted_in", !report->config->is_opted_out);
    prices_emit(&out, report);
    json_array_open(&out, "leases");
    for (size_t i = 0; i < report->roster->leases_count; i++)
        lease_emit_report(&out, report->roster->leases[i]);
    json_array_close(&out);
    json_array_open(&out, "receipts");
    receipts_emit(report->receipts, &out, RECEIPTS_SIZE_MAX);
    json_array_close(&out);
    json_object_close(&out);
}
