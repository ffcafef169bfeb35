/* The happy path is: hold office, renew it each second, freeze what arrived, complete the round,
 * commit, wake the parties, sweep; or, woken in between, the same for what wants an award now in a
 * single transaction.
 * Failure modes are: another epoch in office (standby, poll), a lost database (reconnect, hold
 * office on), a round that fails between freeze and commit (rolled back; the next turn voids it), a
 * commit whose answer is lost (the round is either committed or still frozen, and the next turn
 * finds out).
 */
#include "broker/market/leader.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/clock.h"
#include "broker/base/log.h"
#include "broker/io/hub.h"
#include "broker/io/thread.h"
#include "broker/market/commit.h"
#include "broker/market/node.h"
#include "broker/market/stock.h"
#include "broker/market/sweep.h"
#include "broker/market/taking.h"
#include "broker/market/transcript.h"
#include "gen/broker/market/leader.sql.h"

#define HISTORIES_EVERY_MS 60000

struct leader {
    struct leader_config config;
    struct office office;
    struct seed_chain chain; /* loaded for the epoch in chain_epoch, as is the transcript */
    struct transcript transcript;
    struct lot_indexes indexes;
    struct lot_benchmarks benchmarks;
    struct turnout turnout; /* of the last round of all lots */
    struct stock stock;
    int64_t chain_epoch;
    int64_t histories_mono_ms; /* when they are folded next */
    atomic_bool is_now_wanted;
    struct taking taking;
    struct worker *worker;
    pthread_mutex_t mutex; /* figures */
    struct leader_figures figures;
};

static void figures_office(struct leader *leader)
{
    pthread_mutex_lock(&leader->mutex);
    leader->figures.is_in_office = leader->office.epoch != 0;
    leader->figures.epoch = leader->office.epoch;
    pthread_mutex_unlock(&leader->mutex);
}

static enum err_code indexes_load(struct leader *leader)
{
    const struct lot_index_load_in in = {.market = str_of(leader->config.market)};
    struct sql_result *result = NULL;
    enum err_code err = lot_index_load_run(leader->office.session, &in, &result);
    leader->indexes.count = 0;
    for (int i = 0; err == ERR_OK && i < sql_result_rows(result); i++) {
        struct lot_index_load_out row;
        char key[LOT_KEY_SIZE];
        lot_index_load_row(result, i, &row);
        const struct supply_pool pool = {
            .region = row.region, .class = row.class, .trust = row.trust};
        lot_key_format(&pool, (uint32_t)row.block_size, row.tier, key);
        lot_index_set(&leader->indexes, key, row.index_uusd_per_hour);
    }
    sql_result_release(result);
    return err;
}

/* What a new epoch needs in memory; also when the chain is used up. */
static bool leader_prepare(struct leader *leader)
{
    struct office *office = &leader->office;
    bool is_ready = leader->chain_epoch == office->epoch && leader->chain.chain_id != 0 &&
                    leader->chain.next_index <= leader->chain.length;
    if (is_ready)
        return true;
    seed_chain_finish(&leader->chain);
    turnout_finish(&leader->turnout);
    stock_forget(&leader->stock);
    const struct market_set_key_in key_in = {
        .market = str_of(leader->config.market),
        .signing_public_key = {(const char *)&leader->config.signing_key,
                               sizeof(struct ed25519_public)}};
    enum err_code err = office_begin(office);
    if (err == ERR_OK)
        err = market_set_key_run(office->session, &key_in, NULL);
    if (err == ERR_OK)
        err = seed_chain_open(office->session, leader->config.market, &leader->config.seal_key,
                              &leader->chain);
    if (err == ERR_OK)
        err = transcript_load(office->session, leader->config.market, &leader->transcript);
    if (err == ERR_OK)
        err = transcript_announce(office, &leader->chain);
    if (err == ERR_OK)
        err = office_commit(office);
    if (err == ERR_OK)
        err = indexes_load(leader);
    if (err == ERR_OK)
        err = benchmarks_load(office->session, leader->config.market, &leader->benchmarks);
    if (err == ERR_OK) {
        leader->chain_epoch = office->epoch;
        return true;
    }
    seed_chain_finish(&leader->chain);
    office_fail(office, "leader_prepare", err);
    return false;
}

static bool leader_in_office(struct leader *leader)
{
    bool is_held = office_hold(&leader->office) && leader_prepare(leader);
    figures_office(leader);
    return is_held;
}

/* After a failure nobody knows which link was spent or what was sold: both are read again. */
static void round_failed(struct leader *leader, const char *what, enum err_code err)
{
    office_fail(&leader->office, what, err);
    leader->chain_epoch = 0;
    stock_forget(&leader->stock);
    pthread_mutex_lock(&leader->mutex);
    leader->figures.failed_count++;
    pthread_mutex_unlock(&leader->mutex);
}

static void figures_round(struct leader *leader, const struct frozen_round *round,
                          const struct round_report *report, const int64_t at_us[3])
{
    pthread_mutex_lock(&leader->mutex);
    struct leader_figures *figures = &leader->figures;
    figures->rounds_count += round->kind == RECORD_ROUND;
    figures->now_rounds_count += round->kind == RECORD_NOW;
    figures->last_round = round->round;
    figures->awards_count += report->awards_count;
    figures->refused_count += report->refused_count;
    figures->demands_count = report->demands_count;
    figures->lots_count = report->lots_count;
    figures->freeze_us = at_us[1] - at_us[0];
    figures->load_us = report->load_us;
    figures->clear_us = report->clear_us;
    figures->store_us = report->store_us;
    figures->commit_us = clock_mono_us() - at_us[2];
    pthread_mutex_unlock(&leader->mutex);
}

static void round_publish(struct leader *leader, const struct frozen_round *round,
                          struct round_report *report)
{
    if (round->kind == RECORD_ROUND) {
        turnout_finish(&leader->turnout);
        leader->turnout = report->turnout;
        report->turnout = (struct turnout){.count = 0};
    }
    for (size_t i = 0; i < report->sold_count; i++)
        report->sold[i]->is_sold = true;
    for (size_t i = 0; i < report->parties_count; i++)
        lease_wake(leader->config.hub, &report->parties[i]);
    for (size_t i = 0; i < report->callers.count && leader->config.hub != NULL; i++) {
        char topic[HUB_TOPIC_SIZE];
        hub_wake(leader->config.hub, node_topic(report->callers.at[i], topic, sizeof(topic)));
    }
    for (size_t i = 0; i < report->fresh.count; i++)
        lot_index_set(&leader->indexes, report->fresh.at[i].key,
                      report->fresh.at[i].index_uusd_per_hour);
    if (report->awards_count > 0 || report->refused_count > 0)
        log_event(LOG_INFO, "round_committed",
                  "market=%s round=%lld kind=%s demands=%u lots=%u awards=%u refused=%u noticed=%u",
                  leader->config.market, (long long)round->round,
                  round->kind == RECORD_NOW ? "now" : "auction", report->demands_count,
                  report->lots_count, report->awards_count, report->refused_count,
                  report->noticed_count);
}

/* From a frozen round to its end; the transaction is open and fenced. `ret_end` says what became of
 * all that is in it. */
static enum err_code round_settle_on(struct leader *leader, const struct frozen_round *round,
                                     int64_t at_us[3], enum errand_end *ret_end)
{
    const struct round_world world = {
        .office = &leader->office,
        .indexes = &leader->indexes,
        .benchmarks = &leader->benchmarks,
        .last = &leader->turnout,
        .tiers = &leader->config.tiers,
        .fee_bp = leader->config.fee_bp,
        .direct_window_rounds = leader->config.direct_window_rounds,
        .stock = &leader->stock,
    };
    struct round_report report;
    at_us[1] = clock_mono_us();
    enum err_code err = round_complete(&world, round, &report);
    at_us[2] = clock_mono_us();
    *ret_end = ERRAND_NOT_DONE;
    if (err == ERR_OK) {
        err = office_commit(&leader->office);
        *ret_end = err == ERR_OK ? ERRAND_DONE : ERRAND_UNKNOWN;
    }
    if (err == ERR_OK) {
        round_publish(leader, round, &report);
        figures_round(leader, round, &report, at_us);
    }
    round_report_finish(&report);
    return err;
}

static enum err_code round_freeze_alone(struct leader *leader, struct frozen_round *ret_round)
{
    enum err_code err = round_begin(&leader->office, &leader->chain, RECORD_ROUND, NULL, ret_round);
    if (err == ERR_OK)
        err = office_commit(&leader->office);
    leader->chain.next_index += err == ERR_OK;
    return err;
}

static void leader_round(struct leader *leader)
{
    struct frozen_round round;
    enum errand_end end;
    int64_t at_us[3] = {clock_mono_us()};
    enum err_code err = round_freeze_alone(leader, &round);
    if (err == ERR_OK)
        err = office_begin(&leader->office);
    if (err == ERR_OK)
        err = round_settle_on(leader, &round, at_us, &end);
    if (err != ERR_OK)
        round_failed(leader, "leader_round", err);
}

/* Freeze and commit in one: a failure leaves no trace, and the workloads stand in the next round;
 * nor does a round that nobody wants, as when the last one served two wake-ups. */
static enum errand_end leader_round_now(struct leader *leader, struct frozen_round *round)
{
    enum errand_end end = ERRAND_NOT_DONE;
    int64_t at_us[3] = {clock_mono_us()};
    if (sql_result_rows(round->wishes) == 0) {
        sql_result_release(round->wishes);
        session_rollback(leader->office.session);
        return end;
    }
    enum err_code err = round_settle_on(leader, round, at_us, &end);
    leader->chain.next_index += err == ERR_OK;
    if (err != ERR_OK)
        round_failed(leader, "leader_round_now", err);
    return end;
}

/* What cannot be stored here is stored by the lane it came from. */
static void leader_serve_now(struct leader *leader, struct db_errand *postings)
{
    struct frozen_round round;
    enum errand_end end = ERRAND_NOT_DONE;
    enum err_code err = round_begin(&leader->office, &leader->chain, RECORD_NOW, postings, &round);
    if (err == ERR_OK)
        end = leader_round_now(leader, &round);
    else
        round_failed(leader, "leader_serve_now", err);
    db_errands_return(postings, end, round.stored);
    sql_result_release(round.stored);
}

static void leader_void(struct leader *leader)
{
    int32_t count = 0;
    enum err_code err =
        rounds_void(&leader->office, &leader->config.seal_key, leader->config.fee_bp, &count);
    if (err != ERR_OK) {
        round_failed(leader, "rounds_void", err);
        return;
    }
    pthread_mutex_lock(&leader->mutex);
    leader->figures.void_count += count;
    pthread_mutex_unlock(&leader->mutex);
}

static bool work_look(struct leader *leader, struct round_work_out *ret_work)
{
    const struct round_work_in in = {.market = str_of(leader->config.market)};
    struct sql_result *result = NULL;
    enum err_code err = round_work_run(leader->office.session, &in, &result);
    if (err != ERR_OK) {
        office_fail(&leader->office, "round_work", err);
        return false;
    }
    round_work_row(result, 0, ret_work);
    sql_result_release(result);
    return true;
}

static void leader_sweep(struct leader *leader)
{
    struct sweep_report report = {.is_frozen = false};
    int64_t started_us = clock_mono_us();
    enum err_code err = sweep_run(&leader->office, &leader->config, &report);
    if (err == ERR_OK && clock_mono_ms() >= leader->histories_mono_ms) {
        leader->histories_mono_ms = clock_mono_ms() + HISTORIES_EVERY_MS;
        err = sweep_histories(&leader->office);
        if (err == ERR_OK)
            err =
                benchmarks_load(leader->office.session, leader->config.market, &leader->benchmarks);
    }
    if (err != ERR_OK)
        office_fail(&leader->office, "sweep", err);
    pthread_mutex_lock(&leader->mutex);
    leader->figures.closed_count += report.closed_count;
    leader->figures.is_frozen = report.is_frozen;
    leader->figures.sweep_us = clock_mono_us() - started_us;
    pthread_mutex_unlock(&leader->mutex);
}

/* Read by every turn, so that whoever takes now waits for no reading, and while nobody demands
 * anything, since changes are kept for a minute only. */
static void leader_keep_stock(struct leader *leader)
{
    enum err_code err = stock_refresh(&leader->stock, &leader->office);
    if (err == ERR_OK)
        err = stock_tidy(&leader->stock, &leader->office);
    if (err != ERR_OK)
        office_fail(&leader->office, "stock", err);
}

/* After a failure, chain and log in memory may be ahead of the database until the next turn. */
static bool is_prepared(const struct leader *leader)
{
    return leader->office.epoch != 0 && leader->chain_epoch == leader->office.epoch;
}

/* Everything committed so far is under the head from here on; a failure leaves the last head. */
static void leader_sign(struct leader *leader)
{
    enum err_code err = transcript_sign(&leader->office, &leader->config.signing_secret);
    if (err != ERR_OK)
        round_failed(leader, "transcript_sign", err);
}

void leader_turn(struct leader *leader)
{
    struct round_work_out work;
    if (!leader_in_office(leader))
        return;
    if (!office_renew(&leader->office) || !work_look(leader, &work)) {
        figures_office(leader);
        return;
    }
    atomic_store(&leader->is_now_wanted, false);
    if (work.has_frozen)
        leader_void(leader);
    if (is_prepared(leader) && (work.has_arrivals || work.has_demand))
        leader_round(leader);
    else
        turnout_finish(&leader->turnout);
    if (is_prepared(leader))
        leader_sign(leader);
    if (leader->office.epoch != 0 && !session_is_broken(leader->office.session))
        leader_keep_stock(leader);
    if (leader->office.epoch != 0 && !session_is_broken(leader->office.session))
        leader_sweep(leader);
    figures_office(leader);
}

static bool leader_can_take(const struct leader *leader)
{
    const struct session *session = leader->office.session;
    return is_prepared(leader) && session != NULL && !session_is_broken(session);
}

void leader_turn_now(struct leader *leader)
{
    struct db_errand *postings = taking_take(&leader->taking);
    bool is_ready = postings != NULL ? leader_can_take(leader) : leader->office.epoch != 0;
    if (is_ready && leader_in_office(leader))
        leader_serve_now(leader, postings);
    else
        db_errands_return(postings, ERRAND_NOT_DONE, NULL);
    figures_office(leader);
}

/* Whatever was handed over is done first: a turn may take long. */
static void leader_turn_closed(struct leader *leader)
{
    taking_set_open(&leader->taking, false);
    if (taking_has_some(&leader->taking))
        leader_turn_now(leader);
    leader_turn(leader);
    taking_set_open(&leader->taking, leader_can_take(leader));
}

bool leader_freeze_only(struct leader *leader)
{
    struct frozen_round round;
    if (!leader_in_office(leader))
        return false;
    enum err_code err = round_freeze_alone(leader, &round);
    if (err != ERR_OK)
        round_failed(leader, "leader_freeze_only", err);
    return err == ERR_OK;
}

static void leader_run(struct worker *worker, void *data)
{
    struct leader *leader = data;
    int64_t next_mono_ms = clock_mono_ms();
    for (;;) {
        int64_t now_mono_ms = clock_mono_ms();
        if (now_mono_ms >= next_mono_ms) {
            leader_turn_closed(leader);
            int64_t every_ms = leader->office.epoch != 0 ? leader->config.round_ms : OFFICE_POLL_MS;
            next_mono_ms += every_ms;
            if (next_mono_ms < clock_mono_ms())
                next_mono_ms = clock_mono_ms() + every_ms;
        } else if (atomic_exchange(&leader->is_now_wanted, false) ||
                   taking_has_some(&leader->taking)) {
            leader_turn_now(leader);
        }
        bool is_due = atomic_load(&leader->is_now_wanted) || taking_has_some(&leader->taking);
        if (!worker_wait(worker, is_due ? clock_mono_ms() : next_mono_ms))
            break;
    }
    taking_set_open(&leader->taking, false);
    db_errands_return(taking_take(&leader->taking), ERRAND_NOT_DONE, NULL);
    office_leave(&leader->office);
}

bool leader_take(void *data, struct db_errand *postings)
{
    struct leader *leader = data;
    bool is_taken = taking_put(&leader->taking, postings);
    if (is_taken)
        worker_wake(leader->worker);
    return is_taken;
}

static void leader_woken(void *data, const char *topic)
{
    struct leader *leader = data;
    if (strncmp(topic, "market:now:", strlen("market:now:")) != 0)
        return;
    atomic_store(&leader->is_now_wanted, true);
    if (leader->worker != NULL)
        worker_wake(leader->worker);
}

struct leader *leader_create(const struct leader_config *config)
{
    struct leader *leader = calloc(1, sizeof(*leader));
    must(leader != NULL);
    leader->config = *config;
    leader->office = (struct office){.conninfo = config->conninfo,
                                     .name = config->market,
                                     .holder = config->holder,
                                     .address = config->address,
                                     .transcript = &leader->transcript};
    pthread_mutex_init(&leader->mutex, NULL);
    taking_init(&leader->taking);
    return leader;
}

void leader_destroy(struct leader *leader)
{
    if (leader == NULL)
        return;
    office_leave(&leader->office);
    seed_chain_finish(&leader->chain);
    benchmarks_finish(&leader->benchmarks);
    free(leader->indexes.at);
    turnout_finish(&leader->turnout);
    stock_finish(&leader->stock);
    taking_destroy(&leader->taking);
    pthread_mutex_destroy(&leader->mutex);
    free(leader);
}

struct leader *leader_start(const struct leader_config *config)
{
    struct leader *leader = leader_create(config);
    leader->worker = worker_start("leader", leader_run, leader);
    if (config->hub != NULL)
        hub_listen(config->hub, "market:", leader_woken, leader);
    return leader;
}

void leader_stop(struct leader *leader)
{
    if (leader == NULL)
        return;
    worker_stop(leader->worker);
    leader_destroy(leader);
}

void leader_metrics(const struct leader *leader, struct leader_figures *ret_figures)
{
    struct leader *locked = (struct leader *)leader;
    pthread_mutex_lock(&locked->mutex);
    *ret_figures = locked->figures;
    pthread_mutex_unlock(&locked->mutex);
}
