/* The happy path is: seven steps, each BEGIN, a locking list, and only if it found something the
 * fence, the plan of each close by lease.h, one batch statement, COMMIT, wakes. An idle second
 * takes no transaction id. Failure modes are: any database error (that step is rolled back and the
 * rest left for the next second), or another epoch in office (nothing is committed).
 */
#include "broker/market/sweep.h"

#include <stdlib.h>
#include <string.h>

#include "auction/adder.h"
#include "broker/base/log.h"
#include "broker/base/must.h"
#include "broker/market/bid.h"
#include "broker/market/lease.h"
#include "gen/broker/market/sweep.sql.h"

struct sweep {
    struct office *office;
    const struct leader_config *config;
    struct sweep_report *report;
};

static void *array_of(size_t count, size_t size)
{
    void *array = calloc(count ? count : 1, size);
    must(array != NULL);
    return array;
}

static enum err_code sweep_silence(struct sweep *sweep, bool *ret_is_busy)
{
    const struct leader_config *config = sweep->config;
    const struct sweep_nodes_in in = {
        .market = str_of(config->market),
        .unknown_ms = config->node_unknown_ms,
        .lost_ms = config->node_lost_ms,
        .freeze_pct = config->node_freeze_pct,
        .nodes_min = FREEZE_NODES_MIN,
        .freeze_max_ms = FREEZE_MAX_MS,
    };
    struct sql_result *result = NULL;
    enum err_code err = sweep_nodes_run(sweep->office->session, &in, &result);
    if (err != ERR_OK)
        return err;
    struct sweep_nodes_out row;
    sweep_nodes_row(result, 0, &row);
    sql_result_release(result);
    sweep->report->is_frozen = row.is_frozen;
    sweep->report->unknown_count = row.unknown_count;
    sweep->report->lost_count = row.lost_count;
    *ret_is_busy = row.unknown_count + row.lost_count > 0;
    if (*ret_is_busy)
        log_event(LOG_WARN, "nodes_silent", "unknown=%d lost=%d", row.unknown_count,
                  row.lost_count);
    return ERR_OK;
}

static enum err_code sweep_degrade(struct sweep *sweep, bool *ret_is_busy)
{
    const struct sweep_degraded_in in = {.market = str_of(sweep->config->market)};
    struct sql_result *result = NULL;
    enum err_code err = sweep_degraded_run(sweep->office->session, &in, &result);
    *ret_is_busy = err == ERR_OK && sql_result_rows(result) > 0;
    sql_result_release(result);
    return err;
}

static enum close_reason reason_of(struct str slug)
{
    enum close_reason reason = close_reason_by_slug(slug);
    must(reason != CLOSE_NONE);
    return reason;
}

/* Rows of lease_cut and lease_close name the same parties. */
static void wake_cut(struct hub *hub, const struct sql_result *result)
{
    for (int i = 0; i < sql_result_rows(result); i++) {
        struct lease_cut_out row;
        lease_cut_row(result, i, &row);
        lease_wake(hub, &(struct lease_parties){.workload_id = row.workload_id,
                                                .account_id = row.account_id,
                                                .operator_account_id = row.operator_account_id,
                                                .node_id = row.node_id});
    }
}

static void wake_closed(struct hub *hub, const struct sql_result *result)
{
    for (int i = 0; i < sql_result_rows(result); i++) {
        struct lease_close_out row;
        lease_close_row(result, i, &row);
        lease_wake(hub, &(struct lease_parties){.workload_id = row.workload_id,
                                                .account_id = row.account_id,
                                                .operator_account_id = row.operator_account_id,
                                                .node_id = row.node_id});
    }
}

/* Closes the transaction of a step: with something done it must still be ours. */
static enum err_code step_end(struct sweep *sweep, enum err_code err, bool is_busy)
{
    if (err == ERR_OK && is_busy)
        err = office_fence(sweep->office);
    if (err == ERR_OK)
        err = office_commit(sweep->office);
    return err;
}

/* The lists of parties of lease_interrupt and lease_cut have the same columns. */
static enum err_code sweep_reclaim(struct sweep *sweep)
{
    struct session *session = sweep->office->session;
    const struct leader_config *config = sweep->config;
    const struct sweep_reclaim_list_in in = {.market = str_of(config->market)};
    struct sql_result *list = NULL, *noticed = NULL;
    enum err_code err = session_begin(session);
    if (err == ERR_OK)
        err = sweep_reclaim_list_run(session, &in, &list);
    int count = err == ERR_OK ? sql_result_rows(list) : 0;
    struct lease_interrupt_in *rows = array_of((size_t)count, sizeof(*rows));
    for (int i = 0; i < count; i++) {
        struct sweep_reclaim_list_out row;
        sweep_reclaim_list_row(list, i, &row);
        rows[i] = lease_notice(&config->tiers, CLOSE_OPERATOR_RECLAIMED,
                               &(struct lease_noticed){.lease_id = row.lease_id,
                                                       .epoch = row.epoch,
                                                       .tier = row.tier,
                                                       .stop_grace_s = row.stop_grace_s});
    }
    if (count > 0)
        err = lease_interrupt_run(session, rows, (size_t)count, &noticed);
    err = step_end(sweep, err, count > 0);
    if (err == ERR_OK && count > 0) {
        wake_cut(config->hub, noticed);
        sweep->report->noticed_count = sql_result_rows(noticed);
    }
    sql_result_release(noticed);
    sql_result_release(list);
    free(rows);
    return err;
}

static enum err_code sweep_cut(struct sweep *sweep)
{
    struct session *session = sweep->office->session;
    const struct sweep_cut_list_in in = {.market = str_of(sweep->config->market)};
    struct sql_result *list = NULL, *cut = NULL;
    enum err_code err = session_begin(session);
    if (err == ERR_OK)
        err = sweep_cut_list_run(session, &in, &list);
    int count = err == ERR_OK ? sql_result_rows(list) : 0;
    struct lease_cut_in *rows = array_of((size_t)count, sizeof(*rows));
    for (int i = 0; i < count; i++) {
        struct sweep_cut_list_out row;
        sweep_cut_list_row(list, i, &row);
        const struct lease_facts facts = {
            .restart = restart_policy_of(row.restart),
            .stops_on_interruption = str_equal_c(row.on_interruption, "stop"),
            .has_run = row.has_run,
            .attempt = 1, /* nothing that cuts a lease counts attempts */
        };
        struct lease_plan plan = lease_close_plan(reason_of(row.reason), &facts);
        rows[i] = (struct lease_cut_in){.lease_id = row.lease_id,
                                        .epoch = row.epoch,
                                        .reason = row.reason,
                                        .pays = str_of(plan.pays),
                                        .next = str_of(plan.next),
                                        .cut_at_us = row.cut_at_us,
                                        .has_cut_at = true};
    }
    if (count > 0)
        err = lease_cut_run(session, rows, (size_t)count, &cut);
    err = step_end(sweep, err, count > 0);
    if (err == ERR_OK && count > 0) {
        wake_cut(sweep->config->hub, cut);
        sweep->report->cut_count = count;
    }
    sql_result_release(cut);
    sql_result_release(list);
    free(rows);
    return err;
}

static struct lease_close_in close_row(const struct sweep_close_list_out *row)
{
    const struct lease_facts facts = {
        .restart = restart_policy_of(row->restart),
        .stops_on_interruption = str_equal_c(row->on_interruption, "stop"),
        .has_run = row->has_run,
        .attempt = row->attempt,
    };
    struct lease_close_in in = {.lease_id = row->lease_id, .epoch = row->epoch};
    enum close_reason reason = reason_of(row->reason);
    struct lease_plan plan = lease_close_plan(reason, &facts);
    lease_plan_apply(&plan, reason, &in);
    return in;
}

static enum err_code suspects_rest(struct sweep *sweep, const struct uuid *nodes, size_t count)
{
    const struct node_suspect_in in = {
        .node_ids = nodes, .node_ids_count = count, .rest_ms = SUSPECT_MS};
    if (count == 0)
        return ERR_OK;
    enum err_code err = office_begin(sweep->office);
    if (err == ERR_OK)
        err = node_suspect_run(sweep->office->session, &in, NULL);
    return err == ERR_OK ? office_commit(sweep->office) : err;
}

static enum err_code sweep_close(struct sweep *sweep)
{
    struct session *session = sweep->office->session;
    const struct leader_config *config = sweep->config;
    const struct sweep_close_list_in in = {
        .market = str_of(config->market),
        .ack_timeout_ms = config->ack_timeout_ms,
        .start_timeout_ms = config->start_timeout_ms,
        .final_receipt_ms = config->final_receipt_ms,
    };
    struct sql_result *list = NULL, *closed = NULL;
    enum err_code err = session_begin(session);
    if (err == ERR_OK)
        err = sweep_close_list_run(session, &in, &list);
    int count = err == ERR_OK ? sql_result_rows(list) : 0;
    struct lease_close_in *rows = array_of((size_t)count, sizeof(*rows));
    struct uuid *suspects = array_of((size_t)count, sizeof(*suspects));
    size_t suspects_count = 0;
    for (int i = 0; i < count; i++) {
        struct sweep_close_list_out row;
        sweep_close_list_row(list, i, &row);
        rows[i] = close_row(&row);
        if (reason_of(row.reason) == CLOSE_NOT_ACKNOWLEDGED)
            suspects[suspects_count++] = row.node_id;
    }
    if (count > 0)
        err = lease_close_run(session, rows, (size_t)count, &closed);
    err = step_end(sweep, err, count > 0);
    if (err == ERR_OK && count > 0) {
        wake_closed(config->hub, closed);
        sweep->report->closed_count = sql_result_rows(closed);
    }
    if (err == ERR_OK)
        err = suspects_rest(sweep, suspects, suspects_count);
    sql_result_release(closed);
    sql_result_release(list);
    free(rows);
    free(suspects);
    return err;
}

static enum err_code sweep_end(struct sweep *sweep)
{
    struct session *session = sweep->office->session;
    const struct sweep_end_list_in in = {.market = str_of(sweep->config->market)};
    struct sql_result *list = NULL, *ended = NULL;
    enum err_code err = session_begin(session);
    if (err == ERR_OK)
        err = sweep_end_list_run(session, &in, &list);
    int count = err == ERR_OK ? sql_result_rows(list) : 0;
    struct replica_end_in *rows = array_of((size_t)count, sizeof(*rows));
    for (int i = 0; i < count; i++) {
        struct sweep_end_list_out row;
        sweep_end_list_row(list, i, &row);
        rows[i] = (struct replica_end_in){.replica_id = row.replica_id, .reason = row.reason};
    }
    if (count > 0)
        err = replica_end_run(session, rows, (size_t)count, &ended);
    err = step_end(sweep, err, count > 0);
    for (int i = 0; err == ERR_OK && count > 0 && i < sql_result_rows(ended); i++) {
        struct replica_end_out row;
        replica_end_row(ended, i, &row);
        lease_wake(sweep->config->hub, &(struct lease_parties){.workload_id = row.workload_id,
                                                               .account_id = row.account_id});
        sweep->report->ended_count++;
    }
    sql_result_release(ended);
    sql_result_release(list);
    free(rows);
    return err;
}

static enum err_code sweep_simple(struct sweep *sweep,
                                  enum err_code (*step)(struct sweep *sweep, bool *ret_is_busy))
{
    bool is_busy = false;
    enum err_code err = session_begin(sweep->office->session);
    if (err == ERR_OK)
        err = step(sweep, &is_busy);
    return step_end(sweep, err, is_busy);
}

enum err_code sweep_run(struct office *office, const struct leader_config *config,
                        struct sweep_report *ret_report)
{
    struct sweep sweep = {.office = office, .config = config, .report = ret_report};
    enum err_code err = sweep_simple(&sweep, sweep_silence);
    if (err == ERR_OK)
        err = sweep_simple(&sweep, sweep_degrade);
    if (err == ERR_OK)
        err = sweep_reclaim(&sweep);
    if (err == ERR_OK)
        err = sweep_cut(&sweep);
    if (err == ERR_OK)
        err = sweep_close(&sweep);
    if (err == ERR_OK)
        err = sweep_end(&sweep);
    return err == ERR_OK ? bids_release(office, config->hub) : err;
}

enum err_code sweep_histories(struct office *office)
{
    const struct node_outcome_take_in in = {.market = str_of(office->name)};
    struct sql_result *result = NULL;
    enum err_code err = office_begin(office);
    if (err != ERR_OK)
        return err;
    err = node_outcome_take_run(office->session, &in, &result);
    size_t count = err == ERR_OK ? (size_t)sql_result_rows(result) : 0;
    struct node_history_store_in *rows = array_of(count, sizeof(*rows));
    for (size_t i = 0; i < count; i++) {
        struct node_outcome_take_out row;
        node_outcome_take_row(result, (int)i, &row);
        struct failure_history history = {.failures_milli = row.failures_milli,
                                          .observed_ms = row.observed_ms,
                                          .day = row.history_day};
        failure_history_forget(&history, row.today);
        rows[i] = (struct node_history_store_in){
            .node_id = row.node_id,
            .failures_milli = history.failures_milli + row.more_milli,
            .observed_ms = history.observed_ms + row.more_ms,
            .day = row.today,
        };
    }
    if (count > 0)
        err = node_history_store_run(office->session, rows, count, NULL);
    sql_result_release(result);
    free(rows);
    return err == ERR_OK ? office_commit(office) : err;
}
