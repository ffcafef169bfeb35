#include "nodeagent/bids.h"

/* Of a device of this class; 0: the operator named none. */
static int64_t floor_of(struct str device_class, const struct config_price *prices, size_t count)
{
    int64_t floor = 0;
    for (size_t i = 0; i < count; i++) {
        struct str named = str_of(prices[i].device_class);
        if (str_equal(named, device_class))
            return prices[i].price_uusd_per_device_hour;
        if (str_equal_c(named, "*"))
            floor = prices[i].price_uusd_per_device_hour;
    }
    return floor;
}

void bids_emit(struct json_out *out, const struct config *config, const json_t *open_or_null,
               const struct config_price *prices, size_t prices_count)
{
    size_t i;
    json_t *workload;
    int64_t count = 0;
    if (config->direct_bids != DIRECT_BIDS_FLOOR || config->is_opted_out)
        return;
    json_put_bool(out, "takes_bids", true);
    json_array_open(out, "bids");
    json_array_foreach (open_or_null, i, workload) {
        int64_t floor = floor_of(json_str(workload, "device_class"), prices, prices_count);
        int64_t devices = json_i64(workload, "block_size", 0);
        if (floor <= 0 || devices < 1 || devices > 8 || count == BIDS_MAX)
            continue;
        json_object_open(out, NULL);
        json_put_str(out, "workload_id", json_str(workload, "workload_id"));
        json_put_i64(out, "price_uusd_per_hour", floor * devices);
        json_object_close(out);
        count++;
    }
    json_array_close(out);
}
