/* What was, rolled up: every round and every lease exactly once, and the old is forgotten. */
#include "broker/market/history.h"

#include "broker/base/seal.h"
#include "broker/market/leader.h"
#include "tests/sql/market_fixture.h"

#define DAY_MS 86400000LL

static struct market_world world;
static struct leader *leader;
static struct history *history;

static struct history_config history_config_of(const char *holder)
{
    return (struct history_config){.conninfo = world.conninfo,
                                   .market = "main",
                                   .holder = holder,
                                   .address = "here",
                                   .every_ms = 1000,
                                   .seconds_ms = 20 * 365 * DAY_MS,
                                   .minutes_ms = 20 * 365 * DAY_MS,
                                   .sample_ms = 10000,
                                   .sealed_age_ms = 60000};
}

static int setup(void **state)
{
    (void)state;
    world_open(&world);
    leader = leader_create(&(struct leader_config){
        .conninfo = world.conninfo,
        .market = "main",
        .holder = "first",
        .address = "here",
        .seal_key = seal_key_of(STR("secret of the tests"), "seed"),
        .round_ms = 1000,
        .ack_timeout_ms = 3000,
        .node_unknown_ms = 10000,
        .node_lost_ms = 60000,
        .node_freeze_pct = 30,
        .start_timeout_ms = 900000,
        .final_receipt_ms = 15000,
        .fee_bp = 1000,
    });
    struct history_config config = history_config_of("first");
    history = history_create(&config);
    world_do(&world, "select fx.make_account(i, 100000000) from generate_series(1, 6) i");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_is_sound(&world);
    history_destroy(history);
    leader_destroy(leader);
    world_close(&world);
    return 0;
}

/* A row of a lot-round as the leader would have stored it. */
static void lot_round(int round, const char *at, int sold, const char *index)
{
    world_do(&world,
             "insert into lot_rounds (market, round, region, class, block_size, tier, trust,"
             " supply_count, demand_count, accounts_count, sold_count, index_uusd_per_hour,"
             " unmet_count, cleared_at) values ('main', %d, 'eu-west', 'rtx-4090', 1, 'flexible',"
             " 'unverified', 5, 2, 4, %d, %s, %d, %s)",
             round, sold, index, 2 - sold, at);
}

static void rounds_become_candles_once(void **unused)
{
    (void)unused;
    lot_round(1, "'2026-03-01 10:00:00.2Z'", 1, "300");
    lot_round(2, "'2026-03-01 10:00:00.9Z'", 1, "500");
    history_turn(history);
    history_turn(history);
    lot_round(3, "'2026-03-01 10:00:59Z'", 2, "200");
    lot_round(4, "'2026-03-01 10:01:00Z'", 0, "null");
    history_turn(history);
    static const char *const steps[][2] = {
        {"1", "300/500/300/500 n2 a2 u1, 200/200/200/200 n1 a2 u0, /// n1 a0 u2"},
        {"60", "300/500/200/200 n3 a4 u0, /// n1 a0 u2"},
        {"3600", "300/500/200/200 n4 a4 u2"},
        {"86400", "300/500/200/200 n4 a4 u2"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(steps); i++)
        assert_string_equal(
            world_ask(&world,
                      "select string_agg(concat(open_uusd, '/', high_uusd, '/', low_uusd, '/',"
                      " close_uusd, ' n', rounds_count, ' a', awards_count, ' u', unmet_count),"
                      " ', ' order by at) from candles where step_s = %s",
                      steps[i][0]),
            steps[i][1]);
    assert_string_equal(
        world_ask(&world, "select concat_ws(' ', index_uusd_per_hour, index_round) from lots"),
        "200 3");
    assert_string_equal(world_ask(&world, "select round from history_marks"), "4");
}

/* More rounds than one transaction folds. */
static void catching_up_takes_several_goes(void **unused)
{
    (void)unused;
    world_do(&world,
             "insert into lot_rounds (market, round, region, class, block_size, tier, trust,"
             " supply_count, demand_count, accounts_count, sold_count, index_uusd_per_hour,"
             " cleared_at) select 'main', r, 'eu-west', 'rtx-4090', 1, 'flexible', 'unverified',"
             " 1, 1, 3, 1, r, timestamptz '2026-03-01 10:00:00Z' + r * interval '1 s'"
             " from generate_series(1, 6000) r");
    history_turn(history);
    assert_string_equal(world_ask(&world, "select string_agg(concat(awards_count, ' ', open_uusd,"
                                          " ' ', close_uusd), ', ' order by at) from candles"
                                          " where step_s = 86400"),
                        "6000 1 6000");
    assert_string_equal(world_ask(&world, "select sum(awards_count) from candles"
                                          " where step_s = 1"),
                        "6000");
    assert_string_equal(world_ask(&world, "select round from history_marks"), "6000");
}

static void an_overtaken_thread_folds_nothing(void **unused)
{
    (void)unused;
    history_turn(history);
    world_do(&world, "update leadership set epoch = epoch + 1, holder = 'other',"
                     " renewed_at = now() where market = 'main/history'");
    lot_round(1, "now()", 1, "300");
    history_turn(history);
    assert_string_equal(world_ask(&world, "select count(*) from candles"), "0");
}

static void a_real_round_has_unmet_wishes_and_a_ladder(void **unused)
{
    (void)unused;
    for (int i = 1; i <= 4; i++)
        world_do(&world, "select fx.make_node(%d, %d, 'eu-west', 'cpu-1c2g', 1, %d)", i, i + 1,
                 10000 + 1000 * i);
    world_do(&world, "select fx.make_workload(1, 1, 6, 33000)");
    leader_turn(leader);
    history_turn(history);
    assert_string_equal(world_ask(&world, "select concat_ws(' ', sold_count, unmet_count,"
                                          " accounts_count) from lot_rounds"),
                        "4 2 4");
    assert_string_equal(world_ask(&world, "select concat_ws(' ', accounts_count, edges_bp,"
                                          " blocks_counts, accounts_counts,"
                                          " cardinality(asks_uusd), cardinality(reserves_uusd))"
                                          " from lot_depths"),
                        "4 {0} {4} {4} 5 0");
}

static void leases_become_times_ends_and_volume(void **unused)
{
    (void)unused;
    world_do(&world, "select fx.make_node(1, 2, 'eu-west', 'cpu-1c2g', 1, 10000)");
    world_do(&world, "select fx.make_workload(1, 1, 1, 33000)");
    world_do(&world, "update workloads set created_at = now() - interval '3 s'");
    leader_turn(leader);
    world_do(&world, "update leases set state = 'starting', acked_at = now();"
                     "update leases set state = 'running', running_at = now()");
    history_turn(history);
    assert_string_equal(world_ask(&world, "select string_agg(concat_ws(' ', kind, times_count,"
                                          " time_bucket_end_ms(bucket) between 3000 and 5793),"
                                          " ', ' order by kind) from lot_times"),
                        "fill 1 t, start 1 t");
    world_do(&world, "begin; set constraints all deferred; update leases set billed_ms = 7200000,"
                     " net_uusd = 20000; commit");
    history_turn(history);
    assert_string_equal(world_ask(&world, "select string_agg(concat_ws(' ', step_s, volume_ms,"
                                          " value_uusd), ', ' order by step_s) from candles"
                                          " where volume_ms > 0"),
                        "60 7200000 20000, 3600 7200000 20000, 86400 7200000 20000");
    world_do(&world, "update leases set billed_ms = 0, net_uusd = 0");
    world_do(&world, "update leases set state = 'closed', close_reason = 'node_lost',"
                     " closed_at = now()");
    history_turn(history);
    assert_string_equal(world_ask(&world, "select concat_ws(' ', reason, ends_count, ran_count)"
                                          " from lot_ends"),
                        "node_lost 1 1");
    assert_string_equal(world_ask(&world, "select count(*) from lot_facts"), "0");
    world_do(&world, "update devices set lease_id = null;"
                     "update replicas set state = 'auctioning'");
}

static void what_is_old_is_forgotten(void **unused)
{
    (void)unused;
    lot_round(1, "now() - interval '2 days'", 1, "300");
    lot_round(2, "now() - interval '2 days' + interval '1 min'", 0, "null");
    lot_round(3, "now()", 0, "null");
    history_destroy(history);
    struct history_config config = history_config_of("forgetful");
    config.seconds_ms = config.minutes_ms = DAY_MS;
    history = history_create(&config);
    history_turn(history);
    assert_string_equal(world_ask(&world, "select string_agg(step_s::text, ' ' order by step_s,"
                                          " at) from candles"),
                        "1 60 3600 3600 86400 86400");
    assert_string_equal(world_ask(&world, "select string_agg(round::text, ' ' order by round)"
                                          " from lot_rounds"),
                        "1 3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rounds_become_candles_once, setup, teardown),
        cmocka_unit_test_setup_teardown(catching_up_takes_several_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(an_overtaken_thread_folds_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_real_round_has_unmet_wishes_and_a_ladder, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(leases_become_times_ends_and_volume, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_old_is_forgotten, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
