/* What time does to the market, on a real database; and a random market that must stay sound. */
#include "broker/market/sweep.h"

#include "broker/market/lease.h"
#include "gen/broker/market/settle.sql.h"
#include "tests/lib/prop.h"
#include "tests/sql/market_fixture.h"

static struct market_world world;
static struct office office;
static struct leader_config config;
static struct sweep_report report;

static int setup(void **state)
{
    (void)state;
    world_open(&world);
    config = (struct leader_config){
        .market = "main",
        .ack_timeout_ms = 3000,
        .node_unknown_ms = 10000,
        .node_lost_ms = 60000,
        .node_freeze_pct = 30,
        .start_timeout_ms = 900000,
        .final_receipt_ms = 15000,
        .tiers = {.spot_notice_ms = 30000, .flexible_notice_ms = 600000, .tenure_ms = 60000}};
    office =
        (struct office){.conninfo = world.conninfo, .name = "main", .holder = "one", .address = ""};
    must(office_hold(&office));
    world_do(&world,
             "update leadership set started_at = now() - interval '1 day' where market = 'main'");
    world_do(&world, "select fx.make_account(1, 4000000), fx.make_account(2, 0)");
    world_do(&world, "select fx.make_node(1, 2, 'eu-west', 'cpu-1c2g', 4, 300000)");
    world_do(&world, "select fx.make_workload(1, 1, 2, 600000)");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_is_sound(&world);
    office_leave(&office);
    world_close(&world);
    return 0;
}

static void sweep(void)
{
    report = (struct sweep_report){.is_frozen = false};
    if (sweep_run(&office, &config, &report) != ERR_OK)
        fail_msg("%s", session_why(office.session));
}

static const char *award(int workload, int replica, int node)
{
    static char text[ID_TEXT_SIZE];
    str_format(text, sizeof(text), "%s",
               world_ask(&world, "select fx.award(%d, %d, %d, 300000)", workload, replica, node));
    return text;
}

static void make_running(const char *lease, int64_t ms)
{
    world_do(&world,
             "with l as (update leases set state = 'running', running_at = now(), acked_at = now() "
             "where lease_id = '%s' returning replica_id) update replicas r set state = 'running' "
             "from l where r.replica_id = l.replica_id",
             lease);
    world_do(&world,
             "select fx.age('%s', %lld); update leases set receipt_ms = %lld, receipt_seq = 1 "
             "where lease_id = '%s'",
             lease, (long long)ms, (long long)ms, lease);
}

static const char *lease_says(const char *lease)
{
    return world_ask(&world,
                     "select concat_ws(' ', state, close_reason) from leases where lease_id = '%s'",
                     lease);
}

static void close_refused(const char *lease, int32_t epoch)
{
    struct lease_close_in in = {.lease_id = world_uuid(lease), .epoch = epoch};
    const struct lease_facts facts = {.restart = RESTART_NEVER, .has_run = true, .attempt = 1};
    struct lease_plan plan = lease_close_plan(CLOSE_AGENT_REFUSED, &facts);
    lease_plan_apply(&plan, CLOSE_AGENT_REFUSED, &in);
    assert_int_equal(lease_close_run(world.session, &in, 1, NULL), ERR_OK);
}

static void top_up(void)
{
    const struct tick_top_up_in in = {.market = STR("main"), .ahead_ms = 600000, .epoch = 1};
    assert_int_equal(tick_top_up_run(world.session, &in, NULL), ERR_OK);
}

static void what_is_in_order_stays(void **unused)
{
    (void)unused;
    const char *lease = award(1, 0, 1);
    sweep();
    assert_string_equal(lease_says(lease), "awarded");
    make_running(lease, 10000);
    sweep();
    assert_string_equal(lease_says(lease), "running");
    assert_int_equal(report.cut_count + report.closed_count + report.ended_count, 0);
}

static void an_award_that_nobody_acknowledges_goes_to_another(void **unused)
{
    (void)unused;
    const char *lease = award(1, 0, 1);
    world_do(&world, "select fx.age('%s', 3100)", lease);
    sweep();
    assert_string_equal(lease_says(lease), "closed not_acknowledged");
    assert_string_equal(
        world_ask(&world, "select state || escrow_uusd || cardinality(excluded_node_ids) from "
                          "replicas where replica_id = fx.replica(1, 0)"),
        "auctioning1000000");
    assert_string_equal(
        world_ask(&world, "select suspect_until > now() + interval '29 s' from nodes"), "t");
    assert_int_equal(sweep_histories(&office), ERR_OK);
    assert_string_equal(world_ask(&world, "select failures_milli from node_histories"), "1000");
}

static const char *close_after(const char *stage, int64_t starting_ms)
{
    const char *lease = award(1, 0, 1);
    world_do(&world,
             "update leases set state = 'starting', acked_at = now(), stage = '%s' where state = "
             "'awarded'; select fx.age('%s', %lld); update leadership set started_at = "
             "now() - interval '1 day'",
             stage, lease, (long long)starting_ms);
    sweep();
    return lease_says(lease);
}

/* A tenant's probe that never answers must not spoil the record of every node that it meets. */
static void whose_fault_a_start_without_end_is(void **unused)
{
    (void)unused;
    assert_string_equal(close_after("pulling", 899000), "starting");
    world_do(&world, "select fx.age(lease_id, 2000) from leases");
    sweep();
    assert_string_equal(world_ask(&world, "select close_reason from leases"), "start_timeout");
    world_do(&world, "update replicas set excluded_node_ids = '{}'");
    assert_string_equal(close_after("probing", 901000), "closed readiness_failed");
    assert_string_equal(world_ask(&world, "select billed_ms between 781000 and 790000 from leases "
                                          "where close_reason = 'readiness_failed'"),
                        "t"); /* all but the first two minutes */
    assert_int_equal(sweep_histories(&office), ERR_OK);
    assert_string_equal(world_ask(&world, "select failures_milli from node_histories"), "1000");
}

static void a_new_leader_gives_awards_their_time_again(void **unused)
{
    (void)unused;
    const char *lease = award(1, 0, 1);
    world_do(&world, "select fx.age('%s', 9000); update leadership set started_at = now()", lease);
    sweep();
    assert_string_equal(lease_says(lease), "awarded");
}

static void silence_pauses_then_loses_a_node(void **unused)
{
    (void)unused;
    const char *lease = award(1, 0, 1);
    make_running(lease, 30000);
    world_do(&world, "update nodes set last_seen_at = now() - interval '11 s'");
    sweep();
    assert_string_equal(world_ask(&world,
                                  "select state || (unknown_at = last_seen_at + interval '10 s') "
                                  "from nodes"),
                        "unknowntrue");
    assert_string_equal(lease_says(lease), "running");
    world_do(&world,
             "update nodes set last_seen_at = now() - interval '61 s', unknown_at = now() - "
             "interval '51 s'; select fx.age('%s', 50000)",
             lease);
    sweep();
    assert_string_equal(lease_says(lease), "closed node_lost");
    /* 80 s ago it was ready; from 51 s ago on nobody knew; receipts say 30 s. */
    assert_in_range(world_number(&world, "select billed_ms from leases"), 28900, 29200);
    assert_string_equal(world_ask(&world,
                                  "select state || (excluded_node_ids = array[fx.node(1)]) from "
                                  "replicas where replica_id = fx.replica(1, 0)"),
                        "auctioningtrue");
}

static void when_many_fall_silent_at_once_none_is_judged(void **unused)
{
    (void)unused;
    world_do(
        &world,
        "select fx.make_node(i, 2, 'eu-west', 'cpu-1c2g', 1, 300000) from generate_series(2, 6) i");
    world_do(&world, "update nodes set last_seen_at = now() - interval '12 s' where node_id in "
                     "(fx.node(1), fx.node(2))");
    sweep();
    assert_true(report.is_frozen);
    assert_string_equal(world_ask(&world, "select count(*) from nodes where state <> 'live'"), "0");
    world_do(&world, "update nodes set last_seen_at = now() where node_id = fx.node(2)");
    sweep();
    assert_false(report.is_frozen);
    assert_int_equal(report.unknown_count, 1);
    world_do(
        &world,
        "update nodes set last_seen_at = now() - interval '400 s' where node_id <> fx.node(2)");
    sweep();
    assert_int_equal(report.lost_count, 5);
}

/* 100000 of escrow at 330000 an hour: 1090919 ms, to the millisecond, whenever the sweep comes by.
 */
static void money_ends_at_the_computed_millisecond(void **unused)
{
    (void)unused;
    const char *lease = award(1, 0, 1);
    make_running(lease, 1200000);
    sweep();
    assert_string_equal(lease_says(lease), "closing funds_exhausted");
    assert_string_equal(world_ask(&world, "select ms_between(running_at, cut_at) from leases"),
                        "1090919");
    world_do(&world, "update leases set cut_seen_at = cut_seen_at - interval '30 s'");
    sweep();
    assert_string_equal(lease_says(lease), "closed funds_exhausted");
    assert_string_equal(
        world_ask(&world, "select billed_ms || ' ' || net_uusd + fee_uusd from leases"),
        "1090919 99999");
    assert_string_equal(world_ask(&world,
                                  "select state || escrow_uusd from replicas where replica_id = "
                                  "fx.replica(1, 0)"),
                        "ended0");
}

static void max_duration_and_budget_have_their_own_reasons(void **unused)
{
    (void)unused;
    world_do(&world, "select fx.make_workload(2, 1, 1, 600000, '{\"max_duration_s\": 60}'),"
                     " fx.make_workload(3, 1, 1, 600000, '{\"budget_uusd\": 100000}')");
    char first[ID_TEXT_SIZE], second[ID_TEXT_SIZE];
    str_format(first, sizeof(first), "%s", award(2, 0, 1));
    str_format(second, sizeof(second), "%s", award(3, 0, 1));
    world_do(&world, "update leases set billable_ms_max = 100 where lease_id = '%s'", second);
    make_running(first, 70000);
    make_running(second, 70000);
    sweep();
    assert_string_equal(lease_says(first), "closing max_duration_reached");
    assert_string_equal(lease_says(second), "closing budget_reached");
}

/* Of a minute 40 s ran on a node that was lost: the next lease has 20 s, and one that used up the
 * last of it leaves nothing to try again for. */
static void max_duration_counts_what_earlier_leases_ran(void **unused)
{
    (void)unused;
    world_do(&world, "select fx.make_workload(2, 1, 1, 600000, '{\"max_duration_s\": 60}')");
    char lease[ID_TEXT_SIZE];
    str_format(lease, sizeof(lease), "%s", award(2, 0, 1));
    make_running(lease, 40000);
    close_refused(lease, 1);
    assert_string_equal(world_ask(&world, "select ran_ms from replicas where ran_ms > 0"), "40000");
    top_up();
    assert_string_equal(world_ask(&world, "select escrow_uusd from replicas where ran_ms > 0"),
                        "3333"); /* 20 s at the reserve */
    str_format(lease, sizeof(lease), "%s", award(2, 0, 1));
    make_running(lease, 19000);
    top_up();
    sweep();
    assert_string_equal(lease_says(lease), "running");
    assert_string_equal(
        world_ask(&world, "select billable_ms_max from leases where lease_id = '%s'", lease),
        "20000");
    make_running(lease, 21000);
    close_refused(lease, 2);
    assert_string_equal(
        world_ask(&world, "select concat_ws(' ', state, reason, ran_ms) from replicas where "
                          "workload_id = fx.workload(2)"),
        "ended max_duration_reached 60000");
}

static void max_duration_of_a_second_lease_is_a_reason_too(void **unused)
{
    (void)unused;
    world_do(&world, "select fx.make_workload(2, 1, 1, 600000, '{\"max_duration_s\": 60}')");
    char lease[ID_TEXT_SIZE];
    str_format(lease, sizeof(lease), "%s", award(2, 0, 1));
    make_running(lease, 40000);
    close_refused(lease, 1);
    str_format(lease, sizeof(lease), "%s", award(2, 0, 1));
    const struct lease_mark_running_in in = {.lease_id = world_uuid(lease),
                                             .node_id =
                                                 world_uuid(world_ask(&world, "select fx.node(1)")),
                                             .epoch = 2};
    assert_int_equal(lease_mark_running_run(world.session, &in, 1, NULL), ERR_OK);
    world_do(&world, "select fx.age('%s', 21000)", lease);
    sweep();
    assert_string_equal(lease_says(lease), "closing max_duration_reached");
}

static void a_deadline_ends_what_runs_and_what_waits(void **unused)
{
    (void)unused;
    const char *lease = award(1, 0, 1);
    make_running(lease, 1000);
    world_do(&world, "select fx.make_workload(2, 1, 1, 600000)");
    world_do(&world, "update workloads set deadline_at = now() - interval '1 ms'");
    sweep();
    assert_string_equal(lease_says(lease), "closing deadline_passed");
    assert_string_equal(world_ask(&world,
                                  "select string_agg(concat_ws(':', state, reason), ' ' order by "
                                  "replica_id) from replicas"),
                        "running ended:no_capacity_at_price ended:deadline_passed");
}

static void an_owner_stop_is_finished_without_the_agent(void **unused)
{
    (void)unused;
    const char *lease = award(1, 0, 1);
    make_running(lease, 5000);
    world_do(&world, "update workloads set desired = 'stop', state = 'stopping'");
    sweep();
    assert_string_equal(lease_says(lease), "closing stopped_by_owner");
    assert_string_equal(world_ask(&world, "select state || reason from replicas where replica_id = "
                                          "fx.replica(1, 1)"),
                        "endedstopped_by_owner");
    world_do(&world, "select fx.age('%s', 24000)", lease);
    sweep();
    assert_string_equal(lease_says(lease), "closing stopped_by_owner"); /* 10 s grace and 15 s */
    world_do(&world, "select fx.age('%s', 2000)", lease);
    sweep();
    assert_string_equal(lease_says(lease), "closed stopped_by_owner");
    assert_string_equal(world_ask(&world, "select state || status_reason from workloads"),
                        "stoppedstopped_by_owner");
}

static void a_workload_may_rather_stop_than_be_degraded(void **unused)
{
    (void)unused;
    world_do(&world, "update workloads set on_degraded = 'stop', min_replicas = 2");
    char first[ID_TEXT_SIZE], second[ID_TEXT_SIZE];
    str_format(first, sizeof(first), "%s", award(1, 0, 1));
    str_format(second, sizeof(second), "%s", award(1, 1, 1));
    make_running(first, 1000);
    sweep();
    assert_string_equal(lease_says(first), "running"); /* it is still starting */
    make_running(second, 1000);
    close_refused(second, 1);
    assert_string_equal(world_ask(&world, "select state from workloads"), "degraded");
    sweep();
    assert_string_equal(lease_says(first), "closing stopped_by_owner");
    assert_string_equal(
        world_ask(&world, "select reason from replicas where replica_id = fx.replica(1, 1)"),
        "agent_refused");
}

static void an_old_epoch_sweeps_nothing(void **unused)
{
    (void)unused;
    const char *lease = award(1, 0, 1);
    world_do(&world, "select fx.age('%s', 9000); update leadership set epoch = epoch + 1", lease);
    assert_int_equal(sweep_run(&office, &config, &report), ERR_NO_LEADER);
    session_rollback(office.session);
    assert_string_equal(lease_says(lease), "awarded");
}

/* --- a random market: whatever happens, in whatever order, the books are right --- */

static void any_lease(const char *states, struct uuid *ret_lease, int32_t *ret_epoch,
                      struct prop *prop)
{
    char text[128];
    str_format(text, sizeof(text), "%s",
               world_ask(&world,
                         "select lease_id || ' ' || epoch from leases where"
                         " state in (%s) order by md5(lease_id || '%llu') limit 1",
                         states, (unsigned long long)prop_u64(prop)));
    struct str rest = str_of(text), id = str_cut(&rest, ' ');
    *ret_epoch = 0;
    if (id.len > 0) {
        must(uuid_parse(id, ret_lease));
        *ret_epoch = (int32_t)strtol(rest.at, NULL, 10);
    }
}

static void random_close(struct prop *prop)
{
    struct lease_close_in in = {.exit_code = 1, .has_exit_code = true};
    enum close_reason reason = (enum close_reason)prop_range(prop, 1, CLOSE_REASON_COUNT - 1);
    const struct lease_facts facts = {.restart = RESTART_ALWAYS,
                                      .has_run = prop_chance(prop, 50),
                                      .stops_on_interruption = prop_chance(prop, 20),
                                      .attempt = 2};
    struct lease_plan plan = lease_close_plan(reason, &facts);
    any_lease("'awarded', 'starting', 'running', 'closing'", &in.lease_id, &in.epoch, prop);
    lease_plan_apply(&plan, reason, &in);
    if (in.epoch > 0 && lease_close_run(world.session, &in, 1, NULL) != ERR_OK)
        fail_msg("SEED=%llu close %s: %s", (unsigned long long)prop->seed, close_info(reason)->slug,
                 session_why(world.session));
}

static void random_settle(struct prop *prop, int step)
{
    const struct tick_settle_in settle = {.market = STR("main"), .tick = step, .epoch = 1};
    const struct tick_top_up_in more = {
        .market = STR("main"), .ahead_ms = prop_range(prop, 1000, 900000), .epoch = 1};
    struct sql_result *result = NULL;
    struct tick_settle_out out;
    if (tick_settle_run(world.session, &settle, &result) != ERR_OK)
        fail_msg("SEED=%llu settle: %s", (unsigned long long)prop->seed,
                 session_why(world.session));
    tick_settle_row(result, 0, &out);
    prop_check(prop, out.refused_count == 0);
    sql_result_release(result);
    if (prop_chance(prop, 60) && tick_top_up_run(world.session, &more, NULL) != ERR_OK)
        fail_msg("SEED=%llu top-up: %s", (unsigned long long)prop->seed,
                 session_why(world.session));
}

static void random_progress(struct prop *prop)
{
    struct lease_mark_running_in in = {.epoch = 0};
    any_lease("'awarded', 'starting'", &in.lease_id, &in.epoch, prop);
    in.node_id = world_uuid(world_ask(&world, "select fx.node(1)"));
    if (in.epoch > 0)
        assert_int_equal(lease_mark_running_run(world.session, &in, 1, NULL), ERR_OK);
    world_do(&world,
             "select fx.age(lease_id, %lld) from leases where state <> 'closed'; update leases set "
             "receipt_ms = receipt_ms + %lld, receipt_seq = receipt_seq + 1 where state in "
             "('running', 'closing')",
             (long long)prop_range(prop, 0, 400000), (long long)prop_range(prop, 0, 450000));
}

/* Notice for somebody: whoever is awarded next may have to wait for that device. */
static void random_notice(struct prop *prop)
{
    const struct lease_noticed noticed = {.tier =
                                              prop_chance(prop, 50) ? STR("spot") : STR("flexible"),
                                          .stop_grace_s = (int32_t)prop_range(prop, 0, 300)};
    struct lease_interrupt_in in = lease_notice(&config.tiers, CLOSE_OPERATOR_RECLAIMED, &noticed);
    any_lease("'awarded', 'starting', 'running'", &in.lease_id, &in.epoch, prop);
    if (in.epoch > 0)
        assert_int_equal(lease_interrupt_run(world.session, &in, 1, NULL), ERR_OK);
}

static void random_wish(struct prop *prop, int first)
{
    int workload = first + (int)prop_range(prop, 0, 2);
    int64_t dice = prop_range(prop, 0, 99);
    if (dice < 4)
        world_do(&world,
                 "update workloads set desired = 'stop' where workload_id = fx.workload(%d)",
                 workload);
    else if (dice < 12)
        world_do(&world,
                 "update workloads set budget_uusd = 1 + spent_uusd + %lld where workload_id = "
                 "fx.workload(%d)",
                 (long long)prop_range(prop, 0, 300000), workload);
    else
        world_do(&world, "select fx.award(%d, %d, 1, %lld)", workload, (int)prop_range(prop, 0, 2),
                 (long long)prop_range(prop, 0, 545454));
}

static void random_step(struct prop *prop, int first, int step)
{
    int64_t dice = prop_range(prop, 0, 99);
    if (dice < 35)
        random_wish(prop, first);
    else if (dice < 65)
        random_progress(prop);
    else if (dice < 85)
        random_settle(prop, step);
    else if (dice < 87)
        random_notice(prop);
    else if (dice < 94)
        random_close(prop);
    else
        sweep();
    const char *verdict = world_ask(&world, "select coalesce(string_agg(rule || ' ' || detail, "
                                            "'; '), 'sound') from invariant_violations()");
    if (strcmp(verdict, "sound") != 0)
        fail_msg("SEED=%llu step %d, dice %lld: %s", (unsigned long long)prop->seed, step,
                 (long long)dice, verdict);
}

static void a_random_market_stays_sound(void **unused)
{
    (void)unused;
    int first = 10;
    config.node_unknown_ms = config.node_lost_ms = 1000000000;
    PROP_FOR(prop, 8)
    {
        world_do(&world, "select fx.make_account(%d, %lld)", first,
                 (long long)prop_range(&prop, 900000, 1500000));
        for (int i = 0; i < 3; i++)
            world_do(&world,
                     "select fx.make_workload(%d, %d, 3, 600000, '{\"max_duration_s\": %d}')",
                     first + i, first, (int)prop_range(&prop, 60, 4000));
        for (int step = 1; step <= 60; step++)
            random_step(&prop, first, step);
        world_do(&world, "update workloads set desired = 'stop' where ended_at is null");
        sweep();
        world_do(&world, "update leases set cut_seen_at = now() - interval '1 h'");
        sweep();
        prop_check(&prop, world_number(&world, "select count(*) from workloads where ended_at is "
                                               "null") == 0);
        first += 10;
    }
    assert_true(world_number(&world, "select count(*) from settlements") > 50);
    assert_string_equal(world_ask(&world,
                                  "select sum(balance_uusd) from ledger_accounts where kind "
                                  "= 'lease_escrow'"),
                        "0");
}

int main(void)
{
    hash_start();
    pg_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_in_order_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(an_award_that_nobody_acknowledges_goes_to_another, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(whose_fault_a_start_without_end_is, setup, teardown),
        cmocka_unit_test_setup_teardown(a_new_leader_gives_awards_their_time_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(silence_pauses_then_loses_a_node, setup, teardown),
        cmocka_unit_test_setup_teardown(when_many_fall_silent_at_once_none_is_judged, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(money_ends_at_the_computed_millisecond, setup, teardown),
        cmocka_unit_test_setup_teardown(max_duration_and_budget_have_their_own_reasons, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(max_duration_counts_what_earlier_leases_ran, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(max_duration_of_a_second_lease_is_a_reason_too, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_deadline_ends_what_runs_and_what_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(an_owner_stop_is_finished_without_the_agent, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_workload_may_rather_stop_than_be_degraded, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_old_epoch_sweeps_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_random_market_stays_sound, setup, teardown),
    };
    return cmocka_run_group_tests_name("sweep", tests, NULL, NULL);
}
