/* The happy path is: hold office; fold rounds behind the mark into candles until none are left; of
 * the lots among them whose depth is old, decode the record and store their ladder coarsely; fold
 * what became of leases; once a minute forget what is old enough.
 * Failure modes are: another epoch in office (standby), a database error (that transaction is
 * rolled back and tried again at the next turn), a record that cannot be decoded (said once, and
 * its depths are left out).
 */
#include "broker/market/history.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "auction/depth.h"
#include "broker/base/clock.h"
#include "broker/base/log.h"
#include "broker/io/thread.h"
#include "broker/market/office.h"
#include "gen/broker/market/history.sql.h"

#define NAME_SIZE       96
#define LOT_ROUNDS_MAX  5000 /* in one transaction */
#define FACTS_MAX       5000
#define FOLDS_MAX       50    /* transactions in one turn */
#define SUPPLY_SPARE_MS 60000 /* that counts of supply are kept beyond their use */
#define PRUNE_EVERY_MS  60000

struct history {
    struct history_config config;
    char office_name[NAME_SIZE];
    struct office office;
    int64_t prune_mono_ms, supply_mono_ms; /* when each is due */
    struct worker *worker;
    pthread_mutex_t mutex; /* figures */
    struct history_figures figures;
};

static void figure_add(struct history *history, int64_t *figure, int64_t more)
{
    pthread_mutex_lock(&history->mutex);
    *figure += more;
    pthread_mutex_unlock(&history->mutex);
}

/* ---- rounds */

static enum err_code rounds_roll_once(struct history *history, struct history_roll_out *ret_roll)
{
    struct session *session = history->office.session;
    const struct history_lots_in lots_in = {.market = str_of(history->config.market),
                                            .lot_rounds_max = LOT_ROUNDS_MAX};
    const struct history_roll_in roll_in = {.market = lots_in.market,
                                            .lot_rounds_max = LOT_ROUNDS_MAX,
                                            .seconds_ms = history->config.seconds_ms};
    struct sql_result *result = NULL;
    enum err_code err = office_begin(&history->office);
    if (err == ERR_OK)
        err = history_lots_run(session, &lots_in, NULL);
    if (err == ERR_OK)
        err = history_roll_run(session, &roll_in, &result);
    if (err == ERR_OK)
        history_roll_row(result, 0, ret_roll);
    sql_result_release(result);
    return err == ERR_OK ? office_commit(&history->office) : err;
}

/* ---- depth */

struct depth_wish { /* a lot whose depth shall be taken from a round's record */
    int64_t round;
    int32_t lot_id;
    struct str key;
};

static int by_round(const void *a, const void *b)
{
    const struct depth_wish *left = a, *right = b;
    return left->round < right->round ? -1 : left->round > right->round;
}

static enum err_code depth_store(struct history *history, const struct depth_wish *wish,
                                 int64_t at_us, const struct record_lot *lot)
{
    struct depth depth;
    int32_t edges[DEPTH_BUCKETS_MAX], blocks[DEPTH_BUCKETS_MAX], accounts[DEPTH_BUCKETS_MAX];
    depth_of(lot, &depth);
    for (uint32_t i = 0; i < depth.buckets_count; i++) {
        edges[i] = depth.buckets[i].edge_bp;
        blocks[i] = (int32_t)depth.buckets[i].blocks_count;
        accounts[i] = (int32_t)depth.buckets[i].accounts_count;
    }
    const struct history_depth_store_in in = {
        .lot_id = wish->lot_id,
        .at_us = at_us,
        .round = wish->round,
        .has_index_uusd_per_hour = lot->outcome.index_uusd_per_hour != LOT_INDEX_NONE,
        .index_uusd_per_hour = lot->outcome.index_uusd_per_hour,
        .accounts_count = (int32_t)depth.accounts_count,
        .edges_bp = edges,
        .edges_bp_count = depth.buckets_count,
        .blocks_counts = blocks,
        .blocks_counts_count = depth.buckets_count,
        .accounts_counts = accounts,
        .accounts_counts_count = depth.buckets_count,
        .asks_uusd = depth.asks_uusd,
        .asks_uusd_count = depth.has_asks ? DEPTH_PERCENTILES : 0,
        .reserves_uusd = depth.reserves_uusd,
        .reserves_uusd_count = depth.has_reserves ? DEPTH_PERCENTILES : 0,
    };
    return history_depth_store_run(history->office.session, &in, NULL);
}

static enum err_code depths_of_record(struct history *history, struct str record, int64_t at_us,
                                      const struct depth_wish *wishes, size_t count)
{
    struct record_reader reader;
    struct record_head head;
    struct record_lot lot;
    struct record_direct direct;
    enum err_code err = ERR_OK;
    bool is_open = record_open(&reader, record, &head);
    while (is_open && err == ERR_OK && record_next_lot(&reader, &lot))
        for (size_t i = 0; i < count && err == ERR_OK; i++)
            if (str_equal(wishes[i].key, lot.key))
                err = depth_store(history, &wishes[i], at_us, &lot);
    while (is_open && err == ERR_OK && record_next_direct(&reader, &direct))
        continue; /* nothing of it is public but its price */
    if (!record_close(&reader) && err == ERR_OK)
        log_event(LOG_ERROR, "record_unreadable", "round=%lld", (long long)wishes[0].round);
    return err;
}

/* All wishes of one round. */
static enum err_code depths_of_round(struct history *history, const struct depth_wish *wishes,
                                     size_t count)
{
    const struct history_record_in in = {.market = str_of(history->config.market),
                                         .round = wishes[0].round};
    struct sql_result *result = NULL;
    enum err_code err = history_record_run(history->office.session, &in, &result);
    if (err == ERR_OK && sql_result_rows(result) == 1) {
        struct history_record_out row;
        history_record_row(result, 0, &row);
        err = office_begin(&history->office);
        if (err == ERR_OK)
            err = depths_of_record(history, row.record, row.committed_at_us, wishes, count);
        if (err == ERR_OK)
            err = office_commit(&history->office);
    }
    sql_result_release(result);
    return err;
}

static enum err_code depths_take(struct history *history, const struct history_roll_out *roll)
{
    const struct history_depth_due_in in = {
        .market = str_of(history->config.market),
        .first_round = roll->first_round,
        .last_round = roll->last_round,
        .every_ms = history->config.sample_ms,
    };
    struct sql_result *result = NULL;
    enum err_code err = history_depth_due_run(history->office.session, &in, &result);
    size_t count = err == ERR_OK ? (size_t)sql_result_rows(result) : 0;
    struct depth_wish *wishes = calloc(count + 1, sizeof(*wishes));
    must(wishes != NULL);
    for (size_t i = 0; i < count; i++) {
        struct history_depth_due_out row;
        history_depth_due_row(result, (int)i, &row);
        wishes[i] = (struct depth_wish){.round = row.round, .lot_id = row.lot_id, .key = row.key};
    }
    qsort(wishes, count, sizeof(*wishes), by_round);
    for (size_t i = 0, next; i < count && err == ERR_OK; i = next) {
        for (next = i + 1; next < count && wishes[next].round == wishes[i].round;)
            next++;
        err = depths_of_round(history, &wishes[i], next - i);
    }
    figure_add(history, &history->figures.depths_count, (int64_t)count);
    free(wishes);
    sql_result_release(result);
    return err;
}

static enum err_code rounds_roll(struct history *history)
{
    struct history_roll_out roll = {.lot_rounds_count = LOT_ROUNDS_MAX};
    enum err_code err = ERR_OK;
    for (int i = 0; err == ERR_OK && i < FOLDS_MAX && roll.lot_rounds_count >= LOT_ROUNDS_MAX;
         i++) {
        err = rounds_roll_once(history, &roll);
        if (err == ERR_OK && roll.lot_rounds_count > 0)
            err = depths_take(history, &roll);
        if (err != ERR_OK)
            break;
        figure_add(history, &history->figures.last_round,
                   roll.last_round - history->figures.last_round);
        figure_add(history, &history->figures.lot_rounds_count, roll.lot_rounds_count);
    }
    return err;
}

/* ---- leases, and forgetting */

static enum err_code facts_fold_once(struct history *history, int32_t *ret_count)
{
    const struct history_fold_in in = {.market = str_of(history->config.market),
                                       .facts_max = FACTS_MAX};
    struct sql_result *result = NULL;
    enum err_code err = office_begin(&history->office);
    if (err == ERR_OK)
        err = history_fold_run(history->office.session, &in, &result);
    if (err == ERR_OK) {
        struct history_fold_out row;
        history_fold_row(result, 0, &row);
        *ret_count = row.facts_count;
    }
    sql_result_release(result);
    return err == ERR_OK ? office_commit(&history->office) : err;
}

static enum err_code facts_fold(struct history *history)
{
    int32_t count = FACTS_MAX;
    enum err_code err = ERR_OK;
    for (int i = 0; err == ERR_OK && i < FOLDS_MAX && count >= FACTS_MAX; i++) {
        err = facts_fold_once(history, &count);
        figure_add(history, &history->figures.facts_count, err == ERR_OK ? count : 0);
    }
    return err;
}

static enum err_code history_forget(struct history *history)
{
    const struct history_prune_in in = {.market = str_of(history->config.market),
                                        .seconds_ms = history->config.seconds_ms,
                                        .minutes_ms = history->config.minutes_ms};
    struct sql_result *result = NULL;
    enum err_code err = office_begin(&history->office);
    if (err == ERR_OK)
        err = history_prune_run(history->office.session, &in, &result);
    if (err == ERR_OK) {
        struct history_prune_out row;
        history_prune_row(result, 0, &row);
        figure_add(history, &history->figures.pruned_count, row.pruned_count);
        history->prune_mono_ms = clock_mono_ms() + PRUNE_EVERY_MS;
    }
    sql_result_release(result);
    return err == ERR_OK ? office_commit(&history->office) : err;
}

static enum err_code supply_count(struct history *history)
{
    const struct history_supply_in in = {.market = str_of(history->config.market),
                                         .keep_ms =
                                             history->config.sealed_age_ms + SUPPLY_SPARE_MS};
    enum err_code err = office_begin(&history->office);
    if (err == ERR_OK)
        err = history_supply_run(history->office.session, &in, NULL);
    history->supply_mono_ms = clock_mono_ms() + history->config.sample_ms;
    return err == ERR_OK ? office_commit(&history->office) : err;
}

static enum err_code work_look(struct history *history, struct history_work_out *ret_work)
{
    const struct history_work_in in = {.market = str_of(history->config.market)};
    struct sql_result *result = NULL;
    enum err_code err = history_work_run(history->office.session, &in, &result);
    if (err == ERR_OK)
        history_work_row(result, 0, ret_work);
    sql_result_release(result);
    return err;
}

static enum err_code history_due(struct history *history)
{
    struct history_work_out work;
    enum err_code err = work_look(history, &work);
    if (err == ERR_OK && work.has_rounds)
        err = rounds_roll(history);
    if (err == ERR_OK && work.has_facts)
        err = facts_fold(history);
    if (err == ERR_OK && clock_mono_ms() >= history->supply_mono_ms)
        err = supply_count(history);
    if (err == ERR_OK && clock_mono_ms() >= history->prune_mono_ms)
        err = history_forget(history);
    return err;
}

void history_turn(struct history *history)
{
    int64_t started_us = clock_mono_us();
    bool is_held = office_hold(&history->office) && office_renew(&history->office);
    enum err_code err = is_held ? history_due(history) : ERR_OK;
    if (err != ERR_OK)
        office_fail(&history->office, "history", err);
    pthread_mutex_lock(&history->mutex);
    history->figures.is_in_office = history->office.epoch != 0;
    history->figures.failed_count += err != ERR_OK;
    history->figures.turn_us = clock_mono_us() - started_us;
    pthread_mutex_unlock(&history->mutex);
}

static void history_run(struct worker *worker, void *data)
{
    struct history *history = data;
    do
        history_turn(history);
    while (worker_wait(worker, clock_mono_ms() + history->config.every_ms));
    office_leave(&history->office);
}

struct history *history_create(const struct history_config *config)
{
    struct history *history = calloc(1, sizeof(*history));
    must(history != NULL);
    history->config = *config;
    must(str_format(history->office_name, NAME_SIZE, "%s/history", config->market));
    history->office = (struct office){.conninfo = config->conninfo,
                                      .name = history->office_name,
                                      .holder = config->holder,
                                      .address = config->address};
    pthread_mutex_init(&history->mutex, NULL);
    return history;
}

void history_destroy(struct history *history)
{
    if (history == NULL)
        return;
    office_leave(&history->office);
    pthread_mutex_destroy(&history->mutex);
    free(history);
}

struct history *history_start(const struct history_config *config)
{
    struct history *history = history_create(config);
    history->worker = worker_start("history", history_run, history);
    return history;
}

void history_stop(struct history *history)
{
    if (history == NULL)
        return;
    worker_stop(history->worker);
    history_destroy(history);
}

void history_metrics(const struct history *history, struct history_figures *ret_figures)
{
    struct history *locked = (struct history *)history;
    pthread_mutex_lock(&locked->mutex);
    *ret_figures = locked->figures;
    pthread_mutex_unlock(&locked->mutex);
}
