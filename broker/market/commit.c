/* The happy path is: load demand, take the stock it can use, route, clear, lock what won and look
 * again, give notice to whoever has to leave, store leases, lot figures and the record.
 * Failure modes are: a guard that no longer holds (its workload or block is taken out and the round
 * is cleared again, GUARD_TRIES_MAX times at most), and any database error, which the caller
 * answers with a rollback; then the frozen round is void.
 */
#include "broker/market/commit.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/clock.h"
#include "broker/base/log.h"
#include "broker/base/must.h"
#include "broker/market/award.h"
#include "broker/market/guard.h"
#include "broker/market/stock.h"
#include "gen/broker/market/commit.sql.h"

#define GUARD_TRIES_MAX 8
#define PLACES_MAX      256 /* regions, or classes, in one query */

struct commit {
    const struct round_world *world;
    const struct frozen_round *round;
    struct demands demands;
    struct supply supply;
    struct direct_fact_list facts; /* where somebody asks for them */
    struct round_clearing clearing;
    struct guard guard;
    struct round_report *report;
    bool is_from_memory; /* supply was read a moment ago, not in this round */
};

static void *array_of(size_t count, size_t size)
{
    void *array = calloc(count ? count : 1, size);
    must(array != NULL);
    return array;
}

static enum err_code commit_load_facts(struct commit *commit, const struct supply_query *query)
{
    const struct direct_place where = {.regions = query->regions,
                                       .regions_count = query->regions_count,
                                       .classes = query->classes,
                                       .classes_count = query->classes_count};
    direct_facts_finish(&commit->facts);
    return direct_facts_load(commit->world->office->session, &where, &commit->facts);
}

/* Taking now sells from what was read a moment ago, unless an ask has come since. */
static enum err_code commit_refresh(struct commit *commit)
{
    const struct round_world *world = commit->world;
    bool may_be_older = commit->round->kind == RECORD_NOW && !commit->round->has_asks;
    commit->is_from_memory = may_be_older && stock_is_recent(world->stock, world->office);
    return commit->is_from_memory ? ERR_OK : stock_refresh(world->stock, world->office);
}

static enum err_code commit_take_supply(struct commit *commit)
{
    const struct round_world *world = commit->world;
    struct str regions[PLACES_MAX], classes[PLACES_MAX];
    const struct supply_query query = {
        .stock = world->stock,
        .regions = regions,
        .classes = classes,
        .regions_count = demand_regions(&commit->demands, regions, PLACES_MAX),
        .classes_count = demand_classes(&commit->demands, classes, PLACES_MAX),
        .round = commit->round->round,
        .wants_spot = demand_has(&commit->demands, true),
        .wants_higher = demand_has(&commit->demands, false),
        .tiers = commit->round->kind == RECORD_NOW ? NULL : world->tiers,
        .at_us = commit->demands.at[0].at_us,
        .cutting = {.last = world->last,
                    .seed = commit->round->seed,
                    .is_now = commit->round->kind == RECORD_NOW},
    };
    supply_make(&query, &commit->supply);
    enum err_code err =
        demand_has_fine(&commit->demands) ? commit_load_facts(commit, &query) : ERR_OK;
    const struct demand_world where = {.supply = &commit->supply,
                                       .indexes = world->indexes,
                                       .benchmarks = world->benchmarks,
                                       .facts = &commit->facts,
                                       .round = commit->round->round,
                                       .window_rounds = world->direct_window_rounds,
                                       .callers = &commit->report->callers};
    if (err == ERR_OK)
        demand_route(&commit->demands, &where);
    return err;
}

static enum err_code commit_load(struct commit *commit)
{
    const struct demand_query query = {.market = commit->world->office->name,
                                       .round = commit->round->round};
    struct sql_result *rows = commit->round->wishes;
    enum err_code err = ERR_OK;
    if (rows == NULL)
        err = demand_read(commit->world->office->session, &query, &rows);
    if (err != ERR_OK)
        return err;
    commit->demands = demands_of(rows, commit->round->kind == RECORD_NOW);
    if (commit->demands.count == 0)
        return ERR_OK;
    err = commit_refresh(commit);
    return err == ERR_OK ? commit_take_supply(commit) : err;
}

/* Somebody goes unserved from memory: what came free meanwhile may serve him. */
static bool must_look_again(const struct commit *commit)
{
    uint32_t wanted_count = 0;
    for (uint32_t i = 0; i < commit->demands.count; i++)
        wanted_count += commit->demands.at[i].k;
    return commit->is_from_memory && commit->clearing.awards_count < wanted_count;
}

static enum err_code commit_look_again(struct commit *commit)
{
    round_clearing_finish(&commit->clearing);
    supply_finish(&commit->supply);
    commit->is_from_memory = false;
    enum err_code err = stock_refresh(commit->world->stock, commit->world->office);
    return err == ERR_OK ? commit_take_supply(commit) : err;
}

static enum err_code commit_clear(struct commit *commit)
{
    const struct round_input input = {.supply = &commit->supply,
                                      .demands = &commit->demands,
                                      .benchmarks = commit->world->benchmarks,
                                      .tiers = commit->world->tiers,
                                      .facts = &commit->facts,
                                      .seed = commit->round->seed};
    round_clearing_finish(&commit->clearing);
    if (round_clear(&input, &commit->clearing))
        return ERR_OK;
    log_event(LOG_ERROR, "round_unclearable", "round=%lld", (long long)commit->round->round);
    return ERR_INTERNAL;
}

/* Clears until every guard holds. */
static enum err_code commit_decide(struct commit *commit)
{
    for (int tries = 0; tries < GUARD_TRIES_MAX; tries++) {
        uint32_t refused_count = 0;
        enum err_code err = commit_clear(commit);
        if (err == ERR_OK && must_look_again(commit)) {
            err = commit_look_again(commit);
            if (err != ERR_OK)
                return err;
            continue;
        }
        if (err == ERR_OK && commit->clearing.awards_count > 0)
            err = guard_awards(&commit->guard, &refused_count);
        if (err != ERR_OK || refused_count == 0)
            return err;
        commit->report->refused_count += refused_count;
    }
    log_event(LOG_ERROR, "round_unsettled", "round=%lld", (long long)commit->round->round);
    return ERR_INTERNAL;
}

static void party_add(struct round_report *report, const struct lease_parties *parties)
{
    report->parties[report->parties_count++] = *parties;
}

/* Whoever holds what was won has to leave: it is told so in the transaction that sells it. */
static void notices_store(struct commit *commit, struct sql_result **ret_noticed)
{
    uint32_t count = (uint32_t)sql_result_rows(commit->guard.holders);
    struct lease_interrupt_in *rows = array_of(count, sizeof(*rows));
    for (uint32_t i = 0; i < count; i++) {
        struct award_lock_holders_out row;
        award_lock_holders_row(commit->guard.holders, (int)i, &row);
        rows[i] = lease_notice(commit->world->tiers, CLOSE_PREEMPTED,
                               &(struct lease_noticed){.lease_id = row.lease_id,
                                                       .epoch = row.epoch,
                                                       .tier = row.tier,
                                                       .stop_grace_s = row.stop_grace_s});
    }
    lease_interrupt_run(commit->world->office->session, rows, count, ret_noticed);
    free(rows);
}

static void notices_report(struct commit *commit, const struct sql_result *noticed)
{
    for (int i = 0; noticed != NULL && i < sql_result_rows(noticed); i++) {
        struct lease_interrupt_out row;
        lease_interrupt_row(noticed, i, &row);
        party_add(commit->report, &(struct lease_parties){row.workload_id, row.account_id,
                                                          row.operator_account_id, row.node_id});
        commit->report->noticed_count++;
    }
}

static void sold_note(struct round_report *report, const struct supply_block *block)
{
    for (uint32_t i = 0; i < block->devices_count; i++)
        report->sold[report->sold_count++] = block->devices[i].of;
}

static void awards_store(struct commit *commit, struct sql_result **ret_awarded)
{
    const struct award_round round = {.session = commit->world->office->session,
                                      .market = commit->world->office->name,
                                      .round = commit->round->round,
                                      .supply = &commit->supply,
                                      .guard = &commit->guard,
                                      .spot_notice_ms = commit->world->tiers->spot_notice_ms};
    struct round_report *report = commit->report;
    report->awards_count = commit->clearing.awards_count;
    report->sold =
        array_of((size_t)report->awards_count * BLOCK_DEVICES_MAX, sizeof(*report->sold));
    (void)awards_write(&round, &commit->clearing, ret_awarded); /* the flush knows what failed */
    for (uint32_t i = 0; i < report->awards_count; i++) {
        const struct round_award *award = &commit->clearing.awards[i];
        sold_note(report, award->block);
        party_add(report, &(struct lease_parties){
                              .workload_id = award->demand->workload_id,
                              .account_id = award->demand->account_id,
                              .operator_account_id = award->block->node->account_id,
                              .node_id = award->block->node->node_id,
                          });
    }
}

static int uuid_order(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct uuid));
}

static int32_t accounts_count(const struct round_lot *lot)
{
    struct uuid *ids = array_of(lot->blocks_count, sizeof(*ids));
    int32_t count = 0;
    for (uint32_t i = 0; i < lot->blocks_count; i++)
        ids[i] = lot->blocks[i].owner;
    qsort(ids, lot->blocks_count, sizeof(*ids), uuid_order);
    for (uint32_t i = 0; i < lot->blocks_count; i++)
        count += i == 0 || !uuid_equal(ids[i], ids[i - 1]);
    free(ids);
    return count;
}

static int32_t unmet_count(const struct round_lot *lot)
{
    int32_t wanted = 0;
    for (uint32_t i = 0; i < lot->demands_count; i++)
        wanted += (int32_t)lot->demands[i].k;
    return wanted - (int32_t)lot->outcome.awards_count;
}

static struct lot_round_store_in lot_row(const struct commit *commit, const struct round_lot *lot)
{
    bool has_index = lot->outcome.index_uusd_per_hour != LOT_INDEX_NONE;
    if (has_index)
        lot_index_set(&commit->report->fresh, lot->key, lot->outcome.index_uusd_per_hour);
    return (struct lot_round_store_in){
        .market = str_of(commit->world->office->name),
        .round = commit->round->round,
        .region = lot->pool->region,
        .class = lot->pool->class,
        .block_size = (int32_t)lot->devices_count,
        .tier = lot->tier,
        .trust = lot->pool->trust,
        .supply_count = (int32_t)lot->blocks_count,
        .accounts_count = accounts_count(lot),
        .demand_count = (int32_t)lot->demands_count,
        .sold_count = (int32_t)lot->outcome.awards_count,
        .unmet_count = unmet_count(lot),
        .index_uusd_per_hour = lot->outcome.index_uusd_per_hour,
        .has_index_uusd_per_hour = has_index,
    };
}

static void lots_store(struct commit *commit)
{
    const struct round_clearing *clearing = &commit->clearing;
    struct lot_round_store_in *rows = array_of(clearing->lots_count, sizeof(*rows));
    size_t count = 0;
    for (; count < clearing->lots_count; count++) {
        const struct round_lot *lot = &clearing->lots[count];
        rows[count] = lot_row(commit, lot);
        commit->report->blocks_count += lot->blocks_count;
    }
    commit->report->lots_count = clearing->lots_count;
    lot_round_store_run(commit->world->office->session, rows, count, NULL);
    free(rows);
}

static void record_store(struct commit *commit)
{
    const struct frozen_round *round = commit->round;
    const char *market = commit->world->office->name;
    struct buf record = {0};
    round_record(&commit->clearing, frozen_round_head(round, market, commit->world->fee_bp),
                 &record);
    round_end(commit->world->office, round, buf_str(&record),
              (int32_t)commit->clearing.awards_count);
    buf_finish(&record);
}

/* In one trip; the server makes the leases while the record is written here. */
static enum err_code commit_store(struct commit *commit)
{
    struct session *session = commit->world->office->session;
    struct sql_result *noticed = NULL, *awarded = NULL;
    uint32_t count = commit->clearing.awards_count;
    uint32_t held_max =
        commit->guard.holders != NULL ? (uint32_t)sql_result_rows(commit->guard.holders) : 0;
    commit->report->parties = array_of(count + held_max, sizeof(struct lease_parties));
    session_pipe_open(session);
    if (held_max > 0)
        notices_store(commit, &noticed);
    if (count > 0)
        awards_store(commit, &awarded);
    session_pipe_push(session);
    if (commit->clearing.lots_count > 0)
        lots_store(commit);
    record_store(commit);
    enum err_code err = session_pipe_flush(session); /* knows what failed */
    struct award_store_out stored = {.leases_count = 0};
    if (err == ERR_OK && count > 0)
        award_store_row(awarded, 0, &stored);
    must(err != ERR_OK || (uint32_t)stored.leases_count == count);
    notices_report(commit, noticed);
    sql_result_release(noticed);
    sql_result_release(awarded);
    return err;
}

enum err_code round_complete(const struct round_world *world, const struct frozen_round *round,
                             struct round_report *ret_report)
{
    struct commit commit = {.world = world, .round = round, .report = ret_report};
    commit.guard = (struct guard){.session = world->office->session,
                                  .clearing = &commit.clearing,
                                  .demands = &commit.demands,
                                  .round = round->round};
    *ret_report = (struct round_report){.demands_count = 0};
    int64_t started_us = clock_mono_us();
    enum err_code err = commit_load(&commit);
    int64_t loaded_us = clock_mono_us();
    if (err == ERR_OK)
        err = commit_decide(&commit);
    int64_t cleared_us = clock_mono_us();
    if (err == ERR_OK)
        err = commit_store(&commit);
    turnout_take(&commit.supply, &commit.demands, &commit.clearing, &ret_report->turnout);
    ret_report->demands_count = commit.demands.count;
    ret_report->load_us = loaded_us - started_us;
    ret_report->clear_us = cleared_us - loaded_us;
    ret_report->store_us = clock_mono_us() - cleared_us;
    round_clearing_finish(&commit.clearing);
    supply_finish(&commit.supply);
    direct_facts_finish(&commit.facts);
    demand_finish(&commit.demands);
    guard_finish(&commit.guard);
    return err;
}

void round_report_finish(struct round_report *report)
{
    free(report->parties);
    free(report->fresh.at);
    turnout_finish(&report->turnout);
    free(report->sold);
    free(report->callers.at);
    *report = (struct round_report){.demands_count = 0};
}
