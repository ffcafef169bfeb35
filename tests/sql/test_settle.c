/* Settlement on a real database: exactly once, whatever the interval; top-ups; seals. */
#include "broker/market/settle.h"

#include <pthread.h>

#include "broker/market/lease.h"
#include "broker/market/ledger_seal.h"
#include "gen/broker/market/settle.sql.h"
#include "tests/lib/prop.h"
#include "tests/sql/market_fixture.h"

static struct market_world world;

static int setup(void **state)
{
    (void)state;
    world_open(&world);
    world_do(&world, "select fx.make_account(1, 10000000), fx.make_account(2, 0)");
    world_do(&world, "select fx.make_node(1, 2, 'eu-west', 'cpu-1c2g', 8, 300000)");
    world_do(&world, "select fx.make_workload(1, 1, 2, 600000)");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_is_sound(&world);
    world_close(&world);
    return 0;
}

/* A lease that has been ready for `ms`, with a receipt for all of it. */
static void run_lease(int workload, int replica, int64_t price, int64_t ms, char text[ID_TEXT_SIZE])
{
    str_format(
        text, ID_TEXT_SIZE, "%s",
        world_ask(&world, "select fx.award(%d, %d, 1, %lld)", workload, replica, (long long)price));
    struct lease_mark_running_in in = {.lease_id = world_uuid(text),
                                       .node_id =
                                           world_uuid(world_ask(&world, "select fx.node(1)")),
                                       .epoch = 1};
    assert_int_equal(lease_mark_running_run(world.session, &in, 1, NULL), ERR_OK);
    world_do(&world,
             "select fx.age('%s', %lld); update leases set receipt_ms = %lld, receipt_seq = "
             "receipt_seq + 1 where lease_id = '%s'",
             text, (long long)ms, (long long)ms, text);
}

static void close_lease(const char *lease)
{
    struct lease_facts facts = {.restart = RESTART_NEVER, .has_run = true, .attempt = 1};
    struct lease_plan plan = lease_close_plan(CLOSE_COMPLETED, &facts);
    struct lease_close_in in = {.lease_id = world_uuid(lease), .epoch = 1};
    lease_plan_apply(&plan, CLOSE_COMPLETED, &in);
    assert_int_equal(lease_close_run(world.session, &in, 1, NULL), ERR_OK);
}

/* Opens and settles a tick as a settler does; says whether it was ours. */
static bool tick(struct session *session, int64_t number)
{
    struct sql_result *opened = NULL;
    const struct tick_open_in open = {.market = STR("main"), .tick = number, .epoch = 1};
    const struct tick_settle_in settle = {.market = STR("main"), .tick = number, .epoch = 1};
    must(session_begin(session) == ERR_OK);
    must(tick_open_run(session, &open, &opened) == ERR_OK);
    bool is_ours = sql_result_rows(opened) > 0;
    sql_result_release(opened);
    if (is_ours)
        must(tick_settle_run(session, &settle, NULL) == ERR_OK);
    must(session_commit(session) == ERR_OK);
    return is_ours;
}

static void *race(void *data)
{
    char why[256];
    int64_t *won = data;
    struct session *session = session_open(world.conninfo, "racer", why, sizeof(why));
    must(session != NULL);
    for (int64_t number = 1; number <= 50; number++)
        *won += tick(session, number);
    session_close(session);
    return NULL;
}

static void racing_settlers_settle_each_interval_once(void **unused)
{
    (void)unused;
    char lease[ID_TEXT_SIZE];
    int64_t won[2] = {0, 0};
    pthread_t threads[2];
    run_lease(1, 0, 300000, 60000, lease);
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, race, &won[i]);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(won[0] + won[1], 50);
    assert_string_equal(
        world_ask(&world, "select count(*) || ' ' || sum(gross_uusd) from settlements"), "1 5500");
    assert_string_equal(
        world_ask(&world, "select count(*) from journals where kind = 'settlement'"), "1");
}

static void a_settler_settles_once_per_interval(void **unused)
{
    (void)unused;
    char lease[ID_TEXT_SIZE];
    run_lease(1, 0, 300000, 60000, lease);
    struct settle_config config = {.conninfo = world.conninfo,
                                   .market = "main",
                                   .holder = "one",
                                   .address = "",
                                   .interval_ms = 3600000000,
                                   .seal_ms = 60000};
    struct settle *one = settle_create(&config);
    config.holder = "two";
    struct settle *two = settle_create(&config);
    settle_turn(one);
    settle_turn(two);
    world_do(&world, "update leadership set renewed_at = '-infinity' where market = 'main/settle'");
    settle_turn(two);
    settle_turn(one);
    struct settle_figures first, second;
    settle_metrics(one, &first);
    settle_metrics(two, &second);
    assert_int_equal(first.ticks_count, 1);
    assert_int_equal(first.gross_uusd, 5500);
    assert_int_equal(second.ticks_count, 0);
    assert_true(second.is_in_office);
    assert_false(first.is_in_office);
    assert_int_equal(first.failed_count + second.failed_count, 0);
    assert_string_equal(world_ask(&world, "select leases_count || ' ' || gross_uusd from ticks"),
                        "1 5500");
    assert_string_equal(world_ask(&world, "select count(*) > 7 from pg_inherits where inhparent = "
                                          "'settlements'::regclass"),
                        "t");
    settle_destroy(one);
    settle_destroy(two);
}

/* Two equal leases: one settled at fifty odd moments, the other only when it closes. */
static void often_or_seldom_gives_the_same_total(void **unused)
{
    (void)unused;
    char often[ID_TEXT_SIZE], seldom[ID_TEXT_SIZE];
    int64_t healthy_ms = 0;
    struct prop prop = prop_start(1);
    run_lease(1, 0, 349999, 600000, often);
    run_lease(1, 1, 349999, 600000, seldom);
    world_do(&world, "update leases set receipt_ms = 0");
    for (int64_t number = 1; number <= 50; number++) {
        healthy_ms += prop_range(&prop, 0, 11000);
        world_do(&world, "update leases set receipt_ms = %lld where lease_id = '%s'",
                 (long long)healthy_ms, often);
        assert_true(tick(world.session, number));
    }
    world_do(&world, "update leases set receipt_ms = %lld", (long long)healthy_ms);
    close_lease(often);
    close_lease(seldom);
    assert_string_equal(world_ask(&world,
                                  "select count(distinct (net_uusd, fee_uusd, billed_ms)) || ' ' ||"
                                  " count(*) from leases where state = 'closed'"),
                        "1 2");
}

static void one_lease_without_money_does_not_stop_the_batch(void **unused)
{
    (void)unused;
    char rich[ID_TEXT_SIZE], poor[ID_TEXT_SIZE];
    run_lease(1, 0, 300000, 60000, rich);
    run_lease(1, 1, 300000, 60000, poor);
    /* What no statement of ours does: the bound lies beyond what escrow holds. */
    world_do(&world, "update leases set price_uusd_per_hour = 900000000 where lease_id = '%s'",
             poor);
    assert_true(tick(world.session, 1));
    assert_string_equal(
        world_ask(&world, "select net_uusd from leases where lease_id = '%s'", rich), "5000");
    assert_string_equal(
        world_ask(&world, "select net_uusd from leases where lease_id = '%s'", poor), "0");
}

static void top_up(int64_t ahead_ms)
{
    const struct tick_top_up_in in = {.market = STR("main"), .ahead_ms = ahead_ms, .epoch = 1};
    if (tick_top_up_run(world.session, &in, NULL) != ERR_OK)
        fail_msg("%s", session_why(world.session));
}

static const char *escrow(void)
{
    return world_ask(&world,
                     "select string_agg(escrow_uusd::text, ' ' order by replica_id) from replicas");
}

/* Reserve 600000: 100000 for ten minutes. At price 300000 and 10 % a lease needs 55000 for them. */
static void a_top_up_reaches_ten_minutes_ahead_and_gives_back_the_rest(void **unused)
{
    (void)unused;
    char lease[ID_TEXT_SIZE];
    run_lease(1, 0, 300000, 0, lease);
    assert_string_equal(escrow(), "100000 100000");
    top_up(600000);
    assert_in_range(
        world_number(&world,
                     "select escrow_uusd from replicas where replica_id = fx.replica(1, 0)"),
        55000, 55100); /* and what the test took */
    assert_string_equal(
        world_ask(&world, "select kind from journals order by journal_id desc limit 1"), "release");
    assert_string_equal(
        world_ask(&world, "select billable_ms_max between 600000 and 601000 from leases"), "t");
    world_do(&world, "select fx.age('%s', 300000); update leases set receipt_ms = 300000", lease);
    assert_true(tick(world.session, 1));
    top_up(600000);
    assert_in_range(
        world_number(&world,
                     "select escrow_uusd from replicas where replica_id = fx.replica(1, 0)"),
        55000, 55100);
    assert_string_equal(
        world_ask(&world, "select kind from journals order by journal_id desc limit 1"), "top_up");
}

static void a_short_wallet_is_shared_in_order_and_never_overdrawn(void **unused)
{
    (void)unused;
    world_do(&world, "select fx.make_account(3, 250000)");
    world_do(&world, "select fx.make_workload(2, 3, 2, 600000)");
    world_do(&world, "update workloads set reserve_uusd_per_hour = 840000 where name = 'w2'");
    top_up(600000); /* 140000 each wanted, 50000 left */
    assert_string_equal(
        world_ask(&world, "select string_agg(escrow_uusd::text, ' ' order by replica_id) from "
                          "replicas where workload_id = fx.workload(2)"),
        "140000 110000");
    assert_string_equal(world_ask(&world,
                                  "select balance_uusd from ledger_accounts where account_id = "
                                  "fx.account(3) and kind = 'tenant_wallet'"),
                        "0");
}

static void a_budget_bounds_what_is_set_aside(void **unused)
{
    (void)unused;
    world_do(&world, "update workloads set budget_uusd = 230000, reserve_uusd_per_hour = 1200000");
    top_up(600000);
    assert_string_equal(escrow(), "130000 100000");
}

/* What a lease that is closing holds may all be charged yet, so that nobody else may have it. */
static void a_budget_counts_what_closing_leases_hold(void **unused)
{
    (void)unused;
    char lease[ID_TEXT_SIZE];
    run_lease(1, 0, 300000, 60000, lease);
    world_do(&world, "update leases set state = 'closing', cut_at = now(), close_reason = "
                     "'max_duration_reached', close_pays = 'usage', close_next = 'end'");
    world_do(&world, "update workloads set budget_uusd = 230000, reserve_uusd_per_hour = 1200000");
    top_up(600000);
    assert_string_equal(escrow(), "100000 130000");
}

/* Five minutes at 330000 an hour are owed: 27500. The rest goes back, and the meter ends there. */
static void a_lowered_budget_gives_back_all_that_is_not_owed(void **unused)
{
    (void)unused;
    char lease[ID_TEXT_SIZE];
    run_lease(1, 0, 300000, 300000, lease);
    world_do(&world, "update workloads set budget_uusd = 60000");
    top_up(600000);
    assert_in_range(world_number(&world,
                                 "select sum(escrow_uusd) from replicas where workload_id = "
                                 "fx.workload(1)"),
                    60000, 60000);
    world_do(&world, "update workloads set budget_uusd = 1");
    top_up(600000);
    assert_in_range(world_number(&world, "select sum(escrow_uusd) from replicas"), 27500, 27600);
    assert_string_equal(
        world_ask(&world, "select billable_ms_max between 300000 and 302000 from leases"), "t");
}

static void seals_find_a_changed_journal(void **unused)
{
    (void)unused;
    struct office office = {
        .conninfo = world.conninfo, .name = "main/settle", .holder = "one", .address = ""};
    int32_t count = 0;
    int64_t bad = -1;
    world_do(&world,
             "set local session_replication_role = replica; update entries set parts ="
             " array[ref], parts_uusd = array[amount_uusd], ref = null where ref is not null");
    assert_true(office_hold(&office));
    assert_int_equal(ledger_seal_all(&office, &count), ERR_OK);
    assert_int_equal(count, 1);
    top_up(300000);
    assert_int_equal(ledger_seal_all(&office, &count), ERR_OK);
    assert_int_equal(count, 1);
    assert_int_equal(ledger_seal_all(&office, &count), ERR_OK);
    assert_int_equal(count, 0);
    assert_int_equal(ledger_seal_check(world.session, &bad), ERR_OK);
    assert_int_equal(bad, 0);
    world_do(
        &world,
        "set local session_replication_role = replica; update journals set memo = 'gift' where "
        "journal_id = (select max(journal_id) from journals)");
    assert_int_equal(ledger_seal_check(world.session, &bad), ERR_OK);
    assert_int_equal(bad, 2);
    world_do(&world, "set local session_replication_role = replica; update entries set parts ="
                     " array[gen_random_uuid()] where parts is not null");
    assert_int_equal(ledger_seal_check(world.session, &bad), ERR_OK);
    assert_int_equal(bad, 1);
    office_leave(&office);
}

int main(void)
{
    hash_start();
    pg_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(racing_settlers_settle_each_interval_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_settler_settles_once_per_interval, setup, teardown),
        cmocka_unit_test_setup_teardown(often_or_seldom_gives_the_same_total, setup, teardown),
        cmocka_unit_test_setup_teardown(one_lease_without_money_does_not_stop_the_batch, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_top_up_reaches_ten_minutes_ahead_and_gives_back_the_rest,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_short_wallet_is_shared_in_order_and_never_overdrawn,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_budget_bounds_what_is_set_aside, setup, teardown),
        cmocka_unit_test_setup_teardown(a_budget_counts_what_closing_leases_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lowered_budget_gives_back_all_that_is_not_owed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(seals_find_a_changed_journal, setup, teardown),
    };
    return cmocka_run_group_tests_name("settle", tests, NULL, NULL);
}
