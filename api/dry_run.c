#include "api/dry_run.h"

#include <string.h>

#include "api/explain.h"
#include "api/posting.h"
#include "auction/policy.h"
#include "broker/market/money.h"
#include "broker/market/roundview.h"

static const char charges[] =
    "Billed per second from ready to stop, at the price of the award plus the fee, never above the "
    "reserve; pulling the image is free for 120 seconds; an order that its owner stops before it "
    "runs costs 60 seconds once it was awarded; what is left of the hold returns at the end.";

enum flow_next dry_run_start(struct flow *flow, const char *change)
{
    struct workload_order *order = flow->state;
    order->change = change;
    return flow_goto(flow, "dry_run");
}

/* The trust classes that are at least what the workload asks for. */
static size_t trusts_of(struct str trust_min, struct str ret[2])
{
    ret[0] = STR("unverified");
    ret[1] = STR("simulated");
    return str_equal_c(trust_min, "simulated") ? 2 : 1;
}

enum flow_next dry_run_load(struct flow *flow)
{
    struct db *db = api_call_of(flow)->thread->db;
    struct workload_order *order = flow->state;
    const struct workload_store_in *in = &order->posting.in;
    struct str trusts[2];
    size_t trusts_count = trusts_of(in->trust_min, trusts);
    order->outlook = outlook_of_terms(flow, order->posting.manifest, &order->posting.terms);
    order->stored.flow = order->twin.flow = flow;
    balance_get_submit(db, &order->stored, &(struct balance_get_in){.account_id = in->account_id});
    price_of_lots_submit(
        db, &order->twin,
        &(struct price_of_lots_in){
            .market = in->market,
            .sealed_age_ms = api_call_of(flow)->thread->world->settings.sealed_age_ms,
            .regions = order->posting.terms.regions,
            .regions_count = (size_t)order->posting.terms.regions_count,
            .classes = order->posting.terms.classes,
            .classes_count = (size_t)order->posting.terms.classes_count,
            .block_size = in->block_size,
            .tier = in->tier,
            .trusts = trusts,
            .trusts_count = trusts_count,
        });
    outlook_load(flow, order->outlook);
    return FLOW_WAIT;
}

enum flow_next dry_run_judge(struct flow *flow)
{
    struct workload_order *order = flow->state;
    return outlook_ask(flow, order->outlook);
}

static void put_names(struct json_out *out, const char *key, const struct str *names, int count)
{
    json_array_open(out, key);
    for (int i = 0; i < count; i++)
        json_put_str(out, NULL, names[i]);
    json_array_close(out);
}

static void put_lots(struct json_out *out, const struct db_call *prices)
{
    json_array_open(out, "lots");
    for (int i = 0; i < prices->row_count; i++) {
        struct price_list_out row;
        price_list_row(prices->result, prices->row_first + i, &row); /* same columns */
        price_put(out, &row);
    }
    json_array_close(out);
}

static void put_distances(struct json_out *out, const struct workload_terms *terms)
{
    json_array_open(out, "distances");
    for (int i = 0; i < terms->regions_count; i++) {
        json_object_open(out, NULL);
        json_put_str(out, "region", terms->regions[i]);
        json_put_i64(out, "estimated_rtt_ms", terms->rtt_ms[i]);
        json_put_i64(out, "latency_uusd_per_hour", terms->latency_uusd_per_hour[i]);
        json_object_close(out);
    }
    json_array_close(out);
}

static void put_order(struct json_out *out, const struct workload_order *order, int64_t wallet_uusd)
{
    const struct workload_terms *terms = &order->posting.terms;
    int64_t hold_uusd = strcmp(order->change, "none") == 0 ? 0 : terms->hold_uusd;
    json_put_c(out, "change", order->change);
    json_put_i64(out, "devices_count", terms->devices_count);
    json_put_i64(out, "block_size", terms->block_size);
    put_names(out, "device_class_candidates", terms->classes, terms->classes_count);
    put_names(out, "regions", terms->regions, terms->regions_count);
    json_put_i64(out, "replicas", terms->replicas);
    json_put_i64(out, "min_replicas", terms->min_replicas);
    json_put_i64(out, "reserve_uusd_per_hour", terms->reserve_uusd_per_hour);
    json_put_i64(out, "net_reserve_uusd_per_hour",
                 reserve_net(terms->reserve_uusd_per_hour, order->posting.in.fee_bp));
    json_put_i64(out, "hold_uusd", hold_uusd);
    json_put_i64(out, "wallet_uusd", wallet_uusd);
    json_put_bool(out, "is_affordable", hold_uusd <= wallet_uusd);
    json_put_c(out, "charges", charges);
    put_lots(out, &order->twin);
    json_object_open(out, "explain");
    outlook_read_put(out, order->outlook);
    json_object_close(out);
    json_put_bool(out, "is_direct", terms->is_direct);
    if (terms->has_near)
        put_distances(out, terms);
}

static void put_current(struct json_out *out, const struct workload_order *order)
{
    if (uuid_is_nil(order->watch.row.workload_id)) {
        json_put_null(out, "workload");
        return;
    }
    json_object_open(out, "workload");
    workload_put(out, &order->watch.row);
    json_object_close(out);
}

enum flow_next dry_run_reply(struct flow *flow)
{
    struct workload_order *order = flow->state;
    bool is_apply = api_call_of(flow)->op->op == OP_WORKLOAD_APPLY;
    struct balance_get_out balance;
    if (db_call_check(flow, &order->stored) != ERR_OK ||
        db_call_check(flow, &order->twin) != ERR_OK)
        return FLOW_END;
    balance_get_get(&order->stored, 0, &balance);
    if (outlook_answered(flow, order->outlook) != ERR_OK)
        return FLOW_END;
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    if (is_apply) {
        api_set_header(flow, "ETag", flow_printf(flow, "\"%d\"", (int)order->watch.row.version));
        json_put_c(out, "change", order->change);
        put_current(out, order);
        json_object_open(out, "dry_run");
    }
    put_order(out, order, balance.wallet_uusd);
    if (is_apply)
        json_object_close(out);
    json_object_close(out);
    return api_reply_json(flow, 200);
}
