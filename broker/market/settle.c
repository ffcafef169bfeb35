/* The happy path is: hold office, see which interval it is, and if it is not settled yet: open its
 * tick, settle every lease in one statement, commit; then top up in a second transaction; then
 * seal. Failure modes are: a tick that somebody else opened (nothing to do), another epoch in
 * office (standby), a database error (rolled back; the tick is tried again the next second, and
 * what a lease owes has not been lost by it).
 */
#include "broker/market/settle.h"

#include <pthread.h>
#include <stdlib.h>

#include "broker/base/clock.h"
#include "broker/base/log.h"
#include "broker/base/must.h"
#include "broker/io/thread.h"
#include "broker/market/benchmark.h"
#include "broker/market/ledger_seal.h"
#include "broker/market/office.h"
#include "gen/broker/market/settle.sql.h"

#define TURN_MS             1000
#define NAME_SIZE           96
#define DAYS_AHEAD          7
#define TOP_UP_EVERY_MS     60000 /* at least, however long the interval is */
#define PARTITIONS_EVERY_MS 3600000
#define BENCHMARKS_EVERY_MS 60000

struct settle {
    struct settle_config config;
    char office_name[NAME_SIZE];
    struct office office;
    int64_t tick_mono_ms, top_up_mono_ms, seal_mono_ms, partitions_mono_ms,
        benchmarks_mono_ms; /* when each is due */
    struct worker *worker;
    pthread_mutex_t mutex; /* figures */
    struct settle_figures figures;
};

static enum err_code tick_look(struct settle *settle, struct tick_look_out *ret_look)
{
    const struct tick_look_in in = {.market = str_of(settle->config.market),
                                    .interval_ms = settle->config.interval_ms};
    struct sql_result *result = NULL;
    enum err_code err = tick_look_run(settle->office.session, &in, &result);
    if (err == ERR_OK)
        tick_look_row(result, 0, ret_look);
    sql_result_release(result);
    return err;
}

/* Inside the fence. ret_is_ours: this interval is ours to settle. */
static enum err_code tick_take(struct settle *settle, int64_t tick, bool *ret_is_ours)
{
    const struct tick_open_in in = {
        .market = str_of(settle->config.market), .tick = tick, .epoch = settle->office.epoch};
    struct sql_result *result = NULL;
    enum err_code err = tick_open_run(settle->office.session, &in, &result);
    *ret_is_ours = err == ERR_OK && sql_result_rows(result) > 0;
    sql_result_release(result);
    return err;
}

static void figures_tick(struct settle *settle, const struct tick_settle_out *out, int64_t tick_us)
{
    pthread_mutex_lock(&settle->mutex);
    settle->figures.ticks_count++;
    settle->figures.leases_count += out->leases_count;
    settle->figures.gross_uusd += out->gross_uusd;
    settle->figures.refused_count += out->refused_count;
    settle->figures.tick_us = tick_us;
    pthread_mutex_unlock(&settle->mutex);
    if (out->refused_count > 0)
        log_event(LOG_ERROR, "settlement_refused", "leases=%d", out->refused_count);
}

static enum err_code tick_post(struct settle *settle, int64_t tick, struct tick_settle_out *ret_out)
{
    struct session *session = settle->office.session;
    const struct tick_settle_in in = {
        .market = str_of(settle->config.market), .tick = tick, .epoch = settle->office.epoch};
    struct sql_result *result = NULL;
    enum err_code err = tick_settle_run(session, &in, &result);
    if (err != ERR_OK)
        return err;
    tick_settle_row(result, 0, ret_out);
    sql_result_release(result);
    const struct tick_note_in note = {.market = in.market,
                                      .tick = tick,
                                      .leases_count = ret_out->leases_count,
                                      .gross_uusd = ret_out->gross_uusd};
    return tick_note_run(session, &note, NULL);
}

static enum err_code settle_tick(struct settle *settle, int64_t tick)
{
    int64_t started_us = clock_mono_us();
    struct tick_settle_out out = {.leases_count = 0};
    bool is_ours = false;
    enum err_code err = office_begin(&settle->office);
    if (err == ERR_OK)
        err = tick_take(settle, tick, &is_ours);
    if (err == ERR_OK && is_ours)
        err = tick_post(settle, tick, &out);
    if (err == ERR_OK)
        err = office_commit(&settle->office);
    if (err == ERR_OK && is_ours)
        figures_tick(settle, &out, clock_mono_us() - started_us);
    return err;
}

static enum err_code settle_top_up(struct settle *settle)
{
    const struct tick_top_up_in in = {.market = str_of(settle->config.market),
                                      .ahead_ms = SETTLE_AHEAD_MS,
                                      .epoch = settle->office.epoch};
    struct sql_result *result = NULL;
    enum err_code err = office_begin(&settle->office);
    if (err == ERR_OK)
        err = tick_top_up_run(settle->office.session, &in, &result);
    if (err == ERR_OK) {
        struct tick_top_up_out out;
        tick_top_up_row(result, 0, &out);
        pthread_mutex_lock(&settle->mutex);
        settle->figures.short_count = out.short_count;
        pthread_mutex_unlock(&settle->mutex);
        err = office_commit(&settle->office);
    }
    sql_result_release(result);
    return err;
}

static enum err_code settle_partitions(struct settle *settle)
{
    const struct settle_make_partitions_in in = {.days_ahead = DAYS_AHEAD};
    enum err_code err = office_begin(&settle->office);
    if (err == ERR_OK)
        err = settle_make_partitions_run(settle->office.session, &in, NULL);
    return err == ERR_OK ? office_commit(&settle->office) : err;
}

static enum err_code settle_benchmarks(struct settle *settle)
{
    enum err_code err = office_begin(&settle->office);
    if (err == ERR_OK)
        err = benchmarks_store(settle->office.session, settle->config.market);
    return err == ERR_OK ? office_commit(&settle->office) : err;
}

static enum err_code settle_seal(struct settle *settle)
{
    int32_t seals_count = 0;
    enum err_code err = ledger_seal_all(&settle->office, &seals_count);
    pthread_mutex_lock(&settle->mutex);
    settle->figures.seals_count += seals_count;
    pthread_mutex_unlock(&settle->mutex);
    return err;
}

/* The interval that is due, and then when the next one is. */
static enum err_code settle_interval(struct settle *settle)
{
    struct tick_look_out look;
    enum err_code err = tick_look(settle, &look);
    if (err != ERR_OK)
        return err;
    if (!look.is_settled) {
        err = settle_tick(settle, look.tick);
        settle->top_up_mono_ms = 0;
    }
    if (err == ERR_OK)
        settle->tick_mono_ms = clock_mono_ms() + look.left_ms;
    return err;
}

static enum err_code settle_due(struct settle *settle)
{
    int64_t now_mono_ms = clock_mono_ms();
    enum err_code err = ERR_OK;
    if (now_mono_ms >= settle->partitions_mono_ms) {
        err = settle_partitions(settle);
        settle->partitions_mono_ms = now_mono_ms + PARTITIONS_EVERY_MS;
    }
    if (err == ERR_OK && now_mono_ms >= settle->benchmarks_mono_ms) {
        err = settle_benchmarks(settle);
        settle->benchmarks_mono_ms = now_mono_ms + BENCHMARKS_EVERY_MS;
    }
    if (err == ERR_OK && now_mono_ms >= settle->tick_mono_ms)
        err = settle_interval(settle);
    if (err == ERR_OK && now_mono_ms >= settle->top_up_mono_ms) {
        err = settle_top_up(settle);
        settle->top_up_mono_ms = now_mono_ms + TOP_UP_EVERY_MS;
    }
    if (err == ERR_OK && now_mono_ms >= settle->seal_mono_ms) {
        err = settle_seal(settle);
        settle->seal_mono_ms = now_mono_ms + settle->config.seal_ms;
    }
    return err;
}

void settle_turn(struct settle *settle)
{
    bool is_held = office_hold(&settle->office) && office_renew(&settle->office);
    enum err_code err = is_held ? settle_due(settle) : ERR_OK;
    if (err != ERR_OK)
        office_fail(&settle->office, "settle", err);
    pthread_mutex_lock(&settle->mutex);
    settle->figures.is_in_office = settle->office.epoch != 0;
    settle->figures.failed_count += err != ERR_OK;
    pthread_mutex_unlock(&settle->mutex);
}

/* Each second, and when an interval shorter than that is over. */
static int64_t next_turn_mono_ms(const struct settle *settle)
{
    int64_t now_mono_ms = clock_mono_ms();
    bool is_sooner = settle->office.epoch != 0 && settle->tick_mono_ms > now_mono_ms &&
                     settle->tick_mono_ms < now_mono_ms + TURN_MS;
    return is_sooner ? settle->tick_mono_ms : now_mono_ms + TURN_MS;
}

static void settle_run(struct worker *worker, void *data)
{
    struct settle *settle = data;
    do
        settle_turn(settle);
    while (worker_wait(worker, next_turn_mono_ms(settle)));
    office_leave(&settle->office);
}

struct settle *settle_create(const struct settle_config *config)
{
    struct settle *settle = calloc(1, sizeof(*settle));
    must(settle != NULL);
    settle->config = *config;
    must(str_format(settle->office_name, NAME_SIZE, "%s/settle", config->market));
    settle->office = (struct office){.conninfo = config->conninfo,
                                     .name = settle->office_name,
                                     .plans_anew = true,
                                     .holder = config->holder,
                                     .address = config->address};
    pthread_mutex_init(&settle->mutex, NULL);
    return settle;
}

void settle_destroy(struct settle *settle)
{
    if (settle == NULL)
        return;
    office_leave(&settle->office);
    pthread_mutex_destroy(&settle->mutex);
    free(settle);
}

struct settle *settle_start(const struct settle_config *config)
{
    struct settle *settle = settle_create(config);
    settle->worker = worker_start("settle", settle_run, settle);
    return settle;
}

void settle_stop(struct settle *settle)
{
    if (settle == NULL)
        return;
    worker_stop(settle->worker);
    settle_destroy(settle);
}

void settle_metrics(const struct settle *settle, struct settle_figures *ret_figures)
{
    struct settle *locked = (struct settle *)settle;
    pthread_mutex_lock(&locked->mutex);
    *ret_figures = locked->figures;
    pthread_mutex_unlock(&locked->mutex);
}
