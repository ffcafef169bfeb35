#include "broker/market/bid.h"

#include "broker/io/hub.h"
#include "broker/market/node.h"
#include "broker/market/office.h"

enum direct_fit direct_open_judge(const struct direct_open_list_out *row)
{
    char why[128];
    uint32_t blocks_max;
    json_t *constraints = json_parse(row->constraints, why, sizeof(why));
    struct direct_wish wish = direct_wish_of(constraints);
    wish.vcpu_milli = row->vcpu_milli;
    wish.memory_mib = row->memory_mib;
    wish.disk_mib = row->disk_mib;
    const struct direct_facts facts = {
        .driver = row->driver,
        .compute = row->compute,
        .isolation = row->isolation,
        .vcpu_spare_milli = row->vcpu_spare_milli,
        .memory_spare_mib = row->memory_spare_mib,
        .disk_spare_mib = row->disk_spare_mib,
        .vcpu_min = row->vcpu_min,
        .memory_mib_min = row->memory_mib_min,
        .disk_mib_min = row->disk_mib_min,
    };
    enum direct_fit fit = direct_judge(&wish, &facts, (uint32_t)row->block_size, &blocks_max);
    json_decref(constraints);
    return fit;
}

bool direct_open_is_offered(const struct direct_open_list_out *row)
{
    return row->has_ask && (row->has_bid_uusd_per_hour || row->free_count >= row->block_size) &&
           direct_open_judge(row) == DIRECT_FITS;
}

void direct_open_put(struct json_out *out, const struct direct_open_list_out *row)
{
    char id[ID_TEXT_SIZE];
    json_object_open(out, NULL);
    json_put_c(out, "workload_id", uuid_prefixed(row->workload_id, "wl", id));
    json_put_str(out, "device_class", row->class);
    json_put_str(out, "region", row->region);
    json_put_str(out, "tier", row->tier);
    json_put_i64(out, "block_size", row->block_size);
    json_put_i64(out, "wanted", row->wanted);
    json_put_i64(out, "vcpu_milli", row->vcpu_milli);
    json_put_i64(out, "memory_mib", row->memory_mib);
    json_put_i64(out, "disk_mib", row->disk_mib);
    json_put_i64(out, "max_duration_s", row->max_duration_s);
    json_put_i64(out, "arrived_round", row->arrived_round);
    if (row->has_bid_uusd_per_hour)
        json_put_i64(out, "bid_uusd_per_hour", row->bid_uusd_per_hour);
    else
        json_put_null(out, "bid_uusd_per_hour");
    json_put_time(out, "bid_expires_at", row->has_bid_expires_at ? row->bid_expires_at_us : 0);
    json_object_close(out);
}

enum err_code bids_release(struct office *office, struct hub *hub)
{
    const struct bid_release_in in = {.market = str_of(office->name)};
    struct sql_result *result = NULL;
    enum err_code err = office_begin(office);
    if (err != ERR_OK)
        return err;
    err = bid_release_run(office->session, &in, &result);
    int count = err == ERR_OK ? sql_result_rows(result) : 0;
    if (err == ERR_OK)
        err = office_commit(office);
    for (int i = 0; err == ERR_OK && hub != NULL && i < count; i++) {
        struct bid_release_out row;
        char topic[HUB_TOPIC_SIZE];
        bid_release_row(result, i, &row);
        hub_wake(hub, node_topic(row.node_id, topic, sizeof(topic)));
    }
    sql_result_release(result);
    return err;
}
