/* The happy path is: one batch statement stores a workload (workload_store), one read shows it, one
 * statement stops it. Failure modes are: a posting that stored nothing (workload_twin tells why), a
 * stop that an award crossed (it says that it is incomplete, and is asked again), and a broker that
 * dies in between (workload_finish_stops takes it up).
 */
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
    json_put_i64(out, "version", workload->version);
    json_put_time(out, "created_at", workload->created_at_us);
    json_put_time(out, "ended_at", workload->has_ended_at ? workload->ended_at_us : 0);
    json_put_raw(out, "labels", workload->labels);
    json_put_raw(out, "manifest", workload->manifest);
}

void workload_wake(struct hub *hub, struct account_id account_id, struct workload_id workload_id)
{
    lease_wake(hub,
               &(struct lease_parties){.workload_id = workload_id.u, .account_id = account_id.u});
}

/* ---- stopping, for the sweep */

static void stop_wake(struct hub *hub, const struct workload_stop_in *order,
                      const struct sql_result *rows)
{
    for (int i = 0; i < sql_result_rows(rows); i++) {
        struct workload_stop_out row;
        workload_stop_row(rows, i, &row);
        struct lease_parties parties = {.workload_id = row.workload_id,
                                        .account_id = order->account_id};
        if (row.has_node_id)
            parties.node_id = row.node_id;
        lease_wake(hub, &parties);
    }
}

static enum err_code stop_run(struct session *session, struct hub *hub,
                              const struct workload_stop_in *order)
{
    bool is_complete = false;
    for (int pass = 0; pass < WORKLOAD_PASSES_MAX && !is_complete; pass++) {
        struct sql_result *rows = NULL;
        enum err_code err = workload_stop_run(session, order, &rows);
        if (err != ERR_OK)
            return err;
        struct workload_stop_out first = {.is_complete = true};
        if (sql_result_rows(rows) > 0)
            workload_stop_row(rows, 0, &first);
        is_complete = first.is_complete;
        stop_wake(hub, order, rows);
        sql_result_release(rows);
    }
    return ERR_OK;
}

enum err_code workload_finish_stops(struct session *session, struct hub *hub, int *ret_count)
{
    struct sql_result *rows = NULL;
    struct workload_stop_unfinished_in in = {.limit_count = 100};
    enum err_code err = workload_stop_unfinished_run(session, &in, &rows);
    if (err != ERR_OK)
        return err;
    int count = sql_result_rows(rows);
    for (int i = 0; i < count && err == ERR_OK; i++) {
        struct workload_stop_unfinished_out row;
        workload_stop_unfinished_row(rows, i, &row);
        char id[ID_TEXT_SIZE];
        struct sha256 message =
            workload_cancel_message(str_of(uuid_prefixed(row.workload_id, "wl", id)));
        struct workload_stop_in order = {
            .account_id = row.account_id,
            .has_workload_id = true,
            .workload_id = row.workload_id,
            .reason = row.reason,
            .message_sha256 = {.at = (const char *)message.bytes, .len = sizeof(message.bytes)},
        };
        err = stop_run(session, hub, &order);
    }
    sql_result_release(rows);
    if (err == ERR_OK)
        *ret_count = count;
    return err;
}
