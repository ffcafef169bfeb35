/* Rounds on a real database: freeze, clear, guard, commit, void, office; and the record of each. */
#include "broker/market/leader.h"

#include <pthread.h>

#include "auction/recompute.h"
#include "broker/base/seal.h"
#include "broker/market/office.h"
#include "tests/sql/market_fixture.h"

static struct market_world world;
static struct leader *leader;

static struct leader_config config_of(const char *holder)
{
    struct ed25519_public key;
    struct ed25519_secret secret;
    ed25519_from_seed((const uint8_t *)"the market's key of these tests.", &key, &secret);
    return (struct leader_config){.conninfo = world.conninfo,
                                  .market = "main",
                                  .holder = holder,
                                  .address = "here",
                                  .seal_key = seal_key_of(STR("secret of the tests"), "seed"),
                                  .signing_key = key,
                                  .signing_secret = secret,
                                  .round_ms = 1000,
                                  .ack_timeout_ms = 3000,
                                  .node_unknown_ms = 10000,
                                  .node_lost_ms = 60000,
                                  .node_freeze_pct = 30,
                                  .start_timeout_ms = 900000,
                                  .final_receipt_ms = 15000,
                                  .fee_bp = 1000};
}

static int setup(void **state)
{
    (void)state;
    world_open(&world);
    struct leader_config config = config_of("first");
    leader = leader_create(&config);
    world_do(&world, "select fx.make_account(i, 100000000) from generate_series(1, 5) i");
    return 0;
}

/* Every committed round follows from its own inputs, and its record names the one before it. */
static void records_hold(void)
{
    PGconn *conn = PQconnectdb(world.conninfo);
    PGresult *rows = PQexecParams(conn, "select record from rounds where record is not null", 0,
                                  NULL, NULL, NULL, NULL, 1);
    for (int i = 0; i < PQntuples(rows); i++) {
        struct str record = {PQgetvalue(rows, i, 0), (size_t)PQgetlength(rows, i, 0)};
        assert_int_equal(record_recompute(record), RECORD_HOLDS);
    }
    PQclear(rows);
    PQfinish(conn);
    assert_string_equal(world_ask(&world, "select count(*) from rounds r where (state <> 'frozen' "
                                          "and (select sha256(body) from log_leaves l where "
                                          "l.round = r.round) is distinct from record_sha256) "
                                          "or previous_sha256 is distinct from "
                                          "(select p.record_sha256 from rounds p "
                                          "where p.round < r.round order by p.round desc limit 1)"),
                        "0");
    assert_string_equal(world_ask(&world, "select count(*) from rounds r where r.state <> 'frozen' "
                                          "and not exists (select from log_leaves l where "
                                          "l.round = r.round and l.size = r.log_size)"),
                        "0");
    assert_string_equal(
        world_ask(&world,
                  "select count(*) from rounds r join seed_chains c using "
                  "(chain_id) where r.chain_index = 1 and sha256(r.chain_value) <> c.anchor"),
        "0");
}

static int teardown(void **state)
{
    (void)state;
    records_hold();
    world_is_sound(&world);
    leader_destroy(leader);
    world_close(&world);
    return 0;
}

static const char *awards(void)
{
    return world_ask(&world, "select string_agg(concat_ws(':', w.name, l.replica_index, n.name, "
                             "l.price_uusd_per_hour), ' ' order by w.name, l.replica_index) from "
                             "leases l join workloads w using (workload_id) join nodes n using "
                             "(node_id) where l.state <> 'closed'");
}

/* New nodes carry the prior's adder: half a checkpoint and a restart at one failure in 100 hours.
 */
static void the_cheapest_wins_and_is_paid_what_the_next_one_asks(void **unused)
{
    (void)unused;
    world_do(&world, "select fx.make_node(1, 2, 'eu-west', 'cpu-1c2g', 1, 10000),"
                     " fx.make_node(2, 3, 'eu-west', 'cpu-1c2g', 1, 14000),"
                     " fx.make_node(3, 4, 'eu-west', 'cpu-1c2g', 1, 18000)");
    world_do(&world, "select fx.make_workload(1, 1, 1, 33000)");
    leader_turn(leader);
    assert_string_equal(awards(), "w1:0:node-1:14000");
    assert_string_equal(world_ask(&world, "select concat_ws(' ', state, replicas_starting, "
                                          "has_been_awarded) from workloads"),
                        "starting 1 t");
    assert_string_equal(world_ask(&world, "select index_uusd_per_hour - adder_uusd_per_hour from "
                                          "lot_rounds, leases"),
                        "14000");
    assert_string_equal(world_ask(&world, "select arrivals_count || kind || state || awards_count "
                                          "from rounds"),
                        "4auctioncommitted1");
}

static void an_idle_second_spends_no_round(void **unused)
{
    (void)unused;
    leader_turn(leader);
    leader_turn(leader);
    assert_string_equal(world_ask(&world, "select count(*) from rounds"), "0");
    assert_string_equal(world_ask(&world, "select round from markets"), "1");
}

static void a_gang_gets_all_or_nothing(void **unused)
{
    (void)unused;
    world_do(&world, "select fx.make_node(1, 2, 'eu-west', 'cpu-1c2g', 2, 10000)");
    world_do(&world, "select fx.make_workload(1, 1, 3, 33000, '{\"min_replicas\": 3}')");
    leader_turn(leader);
    assert_string_equal(awards(), "");
    world_do(&world, "select fx.make_node(2, 3, 'eu-west', 'cpu-1c2g', 1, 12000)");
    leader_turn(leader);
    assert_string_equal(world_ask(&world, "select count(*) from leases"), "3");
}

static void nobody_trades_with_itself(void **unused)
{
    (void)unused;
    world_do(&world, "select fx.make_node(1, 1, 'eu-west', 'cpu-1c2g', 1, 10000)");
    world_do(&world, "select fx.make_workload(1, 1, 1, 33000)");
    leader_turn(leader);
    assert_string_equal(awards(), "");
}

static void an_avoided_node_does_not_starve_its_workload(void **unused)
{
    (void)unused;
    world_do(&world, "select fx.make_node(1, 2, 'eu-west', 'cpu-1c2g', 1, 10000),"
                     " fx.make_node(2, 3, 'eu-west', 'cpu-1c2g', 1, 14000)");
    world_do(&world, "select fx.make_workload(1, 1, 1, 33000), fx.make_workload(2, 4, 1, 33000)");
    world_do(&world, "update replicas set excluded_node_ids = array[fx.node(1)] where replica_id = "
                     "fx.replica(1, 0)");
    leader_turn(leader);
    assert_string_equal(world_ask(&world,
                                  "select string_agg(concat_ws(':', w.name, n.name), ' ' order"
                                  " by w.name) from leases join workloads w using (workload_id) "
                                  "join nodes n using (node_id)"),
                        "w1:node-2 w2:node-1");
}

static void other_lots_are_tried_in_turn(void **unused)
{
    (void)unused;
    world_do(&world, "select fx.make_node(1, 2, 'eu-west', 'cpu-1c2g', 1, 90000),"
                     " fx.make_node(2, 3, 'us-east', 'cpu-1c2g', 1, 12000)");
    world_do(
        &world,
        "select fx.make_workload(1, 1, 1, 33000, '{\"regions\": [\"eu-west\", \"us-east\"]}')");
    leader_turn(leader);
    leader_turn(leader);
    assert_string_equal(world_ask(&world, "select n.name from leases join nodes n using (node_id)"),
                        "node-2");
}

static void a_big_node_is_cut_for_small_wishes(void **unused)
{
    (void)unused;
    world_do(&world, "select fx.make_node(1, 2, 'eu-west', 'rtx-4090', 8, 200000)");
    world_do(&world, "select fx.make_workload(1, 1, 3, 900000, '{\"classes\": [\"rtx-4090\"]}'),"
                     " fx.make_workload(2, 3, 1, 900000, '{\"classes\": [\"rtx-4090\"],"
                     " \"block_size\": 4, \"devices_count\": 3}')");
    leader_turn(leader);
    assert_string_equal(world_ask(&world,
                                  "select string_agg(cardinality(device_ids)::text, ' ' order "
                                  "by device_ids) || count(distinct d) filter (where true) from "
                                  "leases, unnest(device_ids) d "
                                  "where block_size = 1"),
                        "1 1 13");
    assert_string_equal(
        world_ask(&world, "select count(*) from devices where lease_id is not null"), "7");
}

/* The first round keeps the eight for who wants it whole; it stood unsold, so the second does not.
 */
static void a_wish_that_cannot_pay_shuts_nobody_out(void **unused)
{
    (void)unused;
    world_do(&world, "select fx.make_node(1, 2, 'eu-west', 'rtx-4090', 8, 200000)");
    world_do(&world, "select fx.make_workload(1, 1, 1, 900000, '{\"classes\": [\"rtx-4090\"]}'),"
                     " fx.make_workload(2, 3, 1, 1000, '{\"classes\": [\"rtx-4090\"],"
                     " \"block_size\": 8, \"devices_count\": 8}')");
    leader_turn(leader);
    assert_string_equal(awards(), "");
    leader_turn(leader);
    assert_string_equal(world_ask(&world, "select string_agg(w.name, ' ') from leases "
                                          "join workloads w using (workload_id)"),
                        "w1");
}

/* 200 000 is less than 200 500, but breaking the eight is 53 of 2000 parts of a device worse than
 * using up the single one: 0.1 x 0.0265 x 390 000 more. */
static void an_idle_eight_is_broken_last(void **unused)
{
    (void)unused;
    world_do(&world, "select fx.make_node(1, 2, 'eu-west', 'rtx-4090', 8, 200000),"
                     " fx.make_node(2, 3, 'eu-west', 'rtx-4090', 1, 200500)");
    world_do(&world, "select fx.make_workload(1, 1, 1, 900000, '{\"classes\": [\"rtx-4090\"]}')");
    leader_turn(leader);
    assert_string_equal(awards(), "w1:0:node-2:201034");
}

static void an_award_now_waits_for_no_round(void **unused)
{
    (void)unused;
    world_do(&world, "select fx.make_node(1, 2, 'eu-west', 'cpu-1c2g', 1, 10000)");
    leader_turn(leader);
    world_do(&world, "select fx.make_workload(1, 1, 1, 90000, '{\"award\": \"now\"}'),"
                     " fx.make_workload(2, 1, 1, 90000)");
    leader_turn_now(leader);
    /* The only seller is paid what the workload offers: B = 20000, fees within. */
    assert_string_equal(
        world_ask(&world, "select w.name || theta_uusd_per_hour from leases join workloads w "
                          "using (workload_id)"),
        "w118181");
    assert_string_equal(
        world_ask(&world, "select kind || state from rounds order by round desc limit 1"),
        "nowcommitted");
    leader_turn_now(leader);
    assert_string_equal(world_ask(&world, "select count(*) from rounds"), "2");
}

/* Two regions alike: one order is served at once, the other by a round. */
static void taking_now_gives_what_a_round_of_one_workload_gives(void **unused)
{
    (void)unused;
    world_do(&world, "select fx.make_node(i, 1 + i, 'eu-west', 'cpu-1c2g', 1, 6000 + 4000 * i),"
                     " fx.make_node(3 + i, 1 + i, 'us-east', 'cpu-1c2g', 1, 6000 + 4000 * i)"
                     " from generate_series(1, 3) i");
    leader_turn(leader);
    world_do(&world, "select fx.make_workload(1, 1, 2, 20000, '{\"award\": \"now\"}'),"
                     " fx.make_workload(2, 1, 2, 20000, '{\"regions\": [\"us-east\"]}')");
    leader_turn_now(leader);
    leader_turn(leader);
    assert_string_equal(
        world_ask(&world, "select string_agg(kind, ' ' order by round) from rounds"),
        "auction now auction");
    assert_string_equal(awards(), "w1:0:node-1:18000 w1:1:node-2:18000 "
                                  "w2:0:node-4:18000 w2:1:node-5:18000");
}

static void a_crash_after_the_freeze_voids_the_round(void **unused)
{
    (void)unused;
    world_do(&world, "select fx.make_node(1, 2, 'eu-west', 'cpu-1c2g', 1, 10000)");
    world_do(&world, "select fx.make_workload(1, 1, 1, 33000)");
    assert_true(leader_freeze_only(leader));
    leader_destroy(leader);
    struct leader_config config = config_of("second");
    leader = leader_create(&config);
    leader_turn(leader);
    assert_string_equal(world_ask(&world,
                                  "select string_agg(state || chain_index, ' ' order by round)"
                                  " from rounds"),
                        "void1 committed2");
    assert_string_equal(awards(), "w1:0:node-1:29880");
}

/* What is sent behind a failing statement must not happen, nor what was sent before it. */
static void a_statement_that_fails_among_many_undoes_the_round(void **unused)
{
    (void)unused;
    world_do(&world, "select fx.make_node(1, 2, 'eu-west', 'cpu-1c2g', 2, 10000)");
    leader_turn(leader);
    world_do(&world, "create function refuse() returns trigger language plpgsql as $$ begin"
                     " raise exception 'not now'; end $$");
    world_do(&world, "create trigger refuse before insert on leases execute function refuse()");
    world_do(&world, "select fx.make_workload(1, 1, 1, 90000, '{\"award\": \"now\"}'),"
                     " fx.make_workload(2, 1, 1, 90000)");
    leader_turn_now(leader); /* leaves no trace */
    assert_string_equal(world_ask(&world, "select count(*) from rounds"), "1");
    leader_turn(leader); /* stays frozen */
    assert_string_equal(awards(), "");
    assert_string_equal(
        world_ask(&world, "select string_agg(state, ' ' order by round) from rounds"),
        "committed frozen");
    world_do(&world, "drop trigger refuse on leases");
    leader_turn(leader);
    assert_string_equal(
        world_ask(&world, "select string_agg(state, ' ' order by round) from rounds"),
        "committed void committed");
    assert_string_equal(world_ask(&world, "select count(*) from leases"), "2");
    assert_string_equal(world_ask(&world, "select count(*) from log_leaves where kind = 'round'"),
                        "3");
    assert_string_equal(world_ask(&world, "select count(*) from invariant_violations()"), "0");
}

static void a_leader_that_was_overtaken_cannot_commit(void **unused)
{
    (void)unused;
    world_do(&world, "select fx.make_node(1, 2, 'eu-west', 'cpu-1c2g', 1, 10000)");
    world_do(&world, "select fx.make_workload(1, 1, 1, 33000)");
    assert_true(leader_freeze_only(leader));
    struct leader_config config = config_of("second");
    struct leader *other = leader_create(&config);
    leader_turn(other); /* in office is another, and alive */
    assert_string_equal(
        world_ask(&world, "select epoch || holder from leadership where market = 'main'"),
        "1first");
    world_do(&world,
             "update leadership set renewed_at = now() - interval '4 s' where market = 'main'");
    struct office paused = {.conninfo = world.conninfo,
                            .name = "main",
                            .holder = "first",
                            .address = "",
                            .session = world.session,
                            .epoch = 1};
    leader_turn(other);
    assert_int_equal(office_begin(&paused), ERR_NO_LEADER);
    leader_turn(leader);
    leader_turn_now(leader);
    struct leader_figures figures;
    leader_metrics(leader, &figures);
    assert_false(figures.is_in_office);
    assert_int_equal(figures.rounds_count, 0);
    assert_string_equal(world_ask(&world,
                                  "select string_agg(state || epoch, ' ' order by round) from "
                                  "rounds"),
                        "void1 committed2");
    leader_destroy(other);
}

static void *opt_out_slowly(void *data)
{
    (void)data;
    pg_execute(world.conninfo,
               "begin; update nodes set is_opted_in = false where node_id = fx.node(1); "
               "select pg_advisory_lock(77); select pg_sleep(0.5); commit");
    return NULL;
}

static void a_node_that_leaves_during_the_round_is_left_out(void **unused)
{
    (void)unused;
    pthread_t thread;
    world_do(&world, "select fx.make_node(1, 2, 'eu-west', 'cpu-1c2g', 1, 10000),"
                     " fx.make_node(2, 3, 'eu-west', 'cpu-1c2g', 1, 14000)");
    world_do(&world, "select fx.make_workload(1, 1, 1, 33000)");
    pthread_create(&thread, NULL, opt_out_slowly, NULL);
    while (strcmp(pg_query_one(world.conninfo, "select count(*) from pg_locks where locktype = "
                                               "'advisory' and objid = 77"),
                  "1") != 0)
        continue;
    leader_turn(leader);
    pthread_join(thread, NULL);
    struct leader_figures figures;
    leader_metrics(leader, &figures);
    assert_int_equal(figures.refused_count, 1);
    assert_string_equal(world_ask(&world, "select n.name from leases join nodes n using (node_id)"),
                        "node-2");
}

int main(void)
{
    hash_start();
    pg_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_cheapest_wins_and_is_paid_what_the_next_one_asks, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_idle_second_spends_no_round, setup, teardown),
        cmocka_unit_test_setup_teardown(a_gang_gets_all_or_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_trades_with_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(an_avoided_node_does_not_starve_its_workload, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(other_lots_are_tried_in_turn, setup, teardown),
        cmocka_unit_test_setup_teardown(a_big_node_is_cut_for_small_wishes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_wish_that_cannot_pay_shuts_nobody_out, setup, teardown),
        cmocka_unit_test_setup_teardown(an_idle_eight_is_broken_last, setup, teardown),
        cmocka_unit_test_setup_teardown(an_award_now_waits_for_no_round, setup, teardown),
        cmocka_unit_test_setup_teardown(a_statement_that_fails_among_many_undoes_the_round, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(taking_now_gives_what_a_round_of_one_workload_gives, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_crash_after_the_freeze_voids_the_round, setup, teardown),
        cmocka_unit_test_setup_teardown(a_leader_that_was_overtaken_cannot_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(a_node_that_leaves_during_the_round_is_left_out, setup,
                                        teardown),
    };
    return cmocka_run_group_tests_name("round", tests, NULL, NULL);
}
