/* Spot on a real database: who is evicted when, what the winner has to wait for, and that whatever
 * happens in between leaves every device with one holder and one winner at most. */
#include "broker/market/leader.h"

#include <pthread.h>

#include "broker/base/seal.h"
#include "broker/market/lease.h"
#include "broker/market/node.h"
#include "tests/sql/market_fixture.h"

static struct market_world world;
static struct leader *leader;

static struct leader *leader_of(const char *holder)
{
    return leader_create(&(struct leader_config){
        .conninfo = world.conninfo,
        .market = "main",
        .holder = holder,
        .address = "here",
        .seal_key = seal_key_of(STR("secret of the tests"), "seed"),
        .round_ms = 1000,
        .ack_timeout_ms = 3000,
        .node_unknown_ms = 10000,
        .node_lost_ms = 60000,
        .node_freeze_pct = 30,
        .start_timeout_ms = 900000,
        .final_receipt_ms = 15000,
        .tiers = {.spot_notice_ms = 30000, .flexible_notice_ms = 600000, .tenure_ms = 60000},
        .fee_bp = 1000});
}

/* A machine of one device, and a spot lease that has run on it for `ran_ms`. */
static int setup(void **state)
{
    (void)state;
    world_open(&world);
    leader = leader_of("first");
    world_do(&world, "select fx.make_account(i, 100000000) from generate_series(1, 5) i");
    world_do(&world, "select fx.make_node(1, 2, 'eu-west', 'cpu-1c2g', 1, 10000)");
    world_do(&world, "select fx.make_workload(1, 1, 1, 33000, '{\"tier\": \"spot\"}')");
    leader_turn(leader);
    world_do(&world,
             "update leases set state = 'running', running_at = now() - interval '2 min', "
             "acked_at = now(), awarded_at = now() - interval '3 min', receipt_ms = 120000; update "
             "replicas set state = 'running'; update leadership set started_at = '-infinity'");
    world_do(&world, "select fx.make_workload(2, 3, 1, 44000)");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_is_sound(&world);
    leader_destroy(leader);
    world_close(&world);
    return 0;
}

/* "tier state reason notice" of every lease, and whose the device is. */
static const char *leases(void)
{
    return world_ask(
        &world, "select string_agg(concat_ws(' ', l.tier, l.state, l.close_reason, case when "
                "notice_at is not null then 'noticed' end), ', ' order by l.tier desc) || ' / '"
                " || (select concat_ws(' ', (select tier from leases h where h.lease_id = "
                "d.lease_id), (select tier from leases h where h.lease_id = "
                "d.next_lease_id)) from devices d where d.node_id = fx.node(1)) from leases l");
}

static void lease_is_acked(void)
{
    world_do(&world, "update leases set state = 'starting', acked_at = now() where tier = "
                     "'flexible' and state = 'awarded'");
}

static void notice_is_over(void)
{
    world_do(&world,
             "update leases set notice_at = notice_at - interval '30 s', stop_at = stop_at - "
             "interval '30 s', interrupt_at = interrupt_at - interval '30 s' where tier = 'spot'");
}

static void the_winner_has_the_device_when_the_notice_is_over(void **unused)
{
    (void)unused;
    leader_turn(leader);
    assert_string_equal(leases(), "spot running noticed, flexible awarded / spot flexible");
    assert_string_equal(
        world_ask(&world, "select concat_ws(' ', ms_between(notice_at, stop_at), ms_between("
                          "stop_at, interrupt_at), interrupt_reason) from leases where tier = "
                          "'spot'"),
        "20000 10000 preempted");
    assert_string_equal(world_ask(&world, "select ms_between(awarded_at, starts_at) from leases "
                                          "where tier = 'flexible'"),
                        "30000");
    lease_is_acked();
    leader_turn(leader);
    assert_string_equal(leases(), "spot running noticed, flexible starting / spot flexible");

    /* An agent that says it runs is early: nobody pays twice for one device. */
    struct lease_mark_running_in ready = {.epoch = 1};
    ready.lease_id =
        world_uuid(world_ask(&world, "select lease_id from leases where tier = 'flexible'"));
    ready.node_id = world_uuid(world_ask(&world, "select fx.node(1)"));
    assert_int_equal(lease_mark_running_run(world.session, &ready, 1, NULL), ERR_OK);
    assert_string_equal(leases(), "spot running noticed, flexible starting / spot flexible");

    notice_is_over();
    leader_turn(leader);
    assert_string_equal(leases(),
                        "spot closing preempted noticed, flexible starting / spot flexible");
    world_do(&world, "update leases set cut_seen_at = now() - interval '26 s' where tier = 'spot'");
    leader_turn(leader); /* the agent said nothing more: its last receipt counts */
    assert_string_equal(leases(), "spot closed preempted noticed, flexible starting / flexible");
    assert_string_equal(
        world_ask(&world, "select concat_ws(' ', state, attempt, reason, cardinality("
                          "excluded_node_ids)) from replicas where workload_id = fx.workload(1)"),
        "auctioning 2 preempted 0");
    assert_int_equal(lease_mark_running_run(world.session, &ready, 1, NULL), ERR_OK);
    assert_string_equal(leases(), "spot closed preempted noticed, flexible running / flexible");
    assert_string_equal(world_ask(&world, "select base_ms from leases where tier = 'flexible'"),
                        "0");
}

static void a_node_that_is_lost_frees_both(void **unused)
{
    (void)unused;
    leader_turn(leader);
    lease_is_acked();
    world_do(&world, "update nodes set last_seen_at = now() - interval '5 min'");
    leader_turn(leader);
    assert_string_equal(leases(), "spot closed node_lost noticed, flexible closed node_lost / ");
}

static void a_winner_that_is_gone_leaves_the_notice_and_no_claim(void **unused)
{
    (void)unused;
    leader_turn(leader);
    world_do(&world, "update workloads set desired = 'stop' where workload_id = fx.workload(2)");
    leader_turn(leader);
    world_do(&world,
             "update leases set cut_seen_at = now() - interval '26 s' where tier <> 'spot'");
    leader_turn(leader);
    assert_string_equal(leases(), "spot running noticed, flexible closed stopped_by_owner / spot");
    notice_is_over();
    leader_turn(leader);
    world_do(&world, "update leases set cut_seen_at = now() - interval '26 s' where tier = 'spot'");
    leader_turn(leader);
    assert_string_equal(world_ask(&world, "select count(*) from leases where tier = 'spot' and "
                                          "notice_at is null"),
                        "0");
    leader_turn(leader); /* and the spot replica has its place again */
    assert_string_equal(world_ask(&world, "select count(*) from leases where tier = 'spot' and "
                                          "state = 'awarded'"),
                        "1");
}

static void a_crash_gives_no_notice(void **unused)
{
    (void)unused;
    assert_true(leader_freeze_only(leader));
    leader_destroy(leader);
    assert_string_equal(leases(), "spot running / spot");
    leader = leader_of("second");
    leader_turn(leader);
    assert_string_equal(leases(), "spot running noticed, flexible awarded / spot flexible");
    assert_string_equal(world_ask(&world, "select count(*) from events where kind = "
                                          "'lease.interruption_notice'"),
                        "2"); /* its tenant's and its operator's */
}

static void *stop_slowly(void *data)
{
    (void)data;
    pg_execute(world.conninfo,
               "begin; update leases set state = 'closing', cut_at = now(), close_reason = "
               "'stopped_by_owner', close_pays = 'usage', close_next = 'end'; "
               "select pg_advisory_lock(77); select pg_sleep(0.5); commit");
    return NULL;
}

static void a_lease_that_ends_during_the_round_is_not_evicted(void **unused)
{
    (void)unused;
    pthread_t thread;
    pthread_create(&thread, NULL, stop_slowly, NULL);
    while (strcmp(pg_query_one(world.conninfo, "select count(*) from pg_locks where locktype = "
                                               "'advisory' and objid = 77"),
                  "1") != 0)
        continue;
    leader_turn(leader);
    pthread_join(thread, NULL);
    struct leader_figures figures;
    leader_metrics(leader, &figures);
    assert_int_equal(figures.refused_count, 1);
    assert_string_equal(leases(), "spot closing stopped_by_owner / spot");
}

static void the_young_the_starting_and_the_reclaimed_stay(void **unused)
{
    (void)unused;
    world_do(&world, "update leases set running_at = now() - interval '59 s'");
    leader_turn(leader);
    assert_string_equal(leases(), "spot running / spot");
    world_do(&world, "update leases set state = 'starting', running_at = null");
    world_do(&world, "update replicas set state = 'starting' where state = 'running'");
    leader_turn(leader);
    assert_string_equal(leases(), "spot starting / spot");
    world_do(&world, "update leases set state = 'running', running_at = now() - interval '61 s'");
    world_do(&world, "update replicas set state = 'running' where state = 'starting'");
    world_do(&world, "update nodes set reclaimed_at = now()");
    leader_turn(leader);
    assert_string_equal(leases(), "spot running noticed / spot");
    world_do(&world, "update nodes set reclaimed_at = null");
    leader_turn(leader); /* its notice is the owner's: who wins now would wait for nobody's word */
    assert_string_equal(leases(), "spot running noticed / spot");
    assert_string_equal(world_ask(&world, "select interrupt_reason from leases"),
                        "operator_reclaimed");
}

/* The owner takes the machine, or what its one lease holds of it. */
static void owner_reclaims(bool has_lease)
{
    struct node_reclaim_in in = {.account_id =
                                     world_uuid(world_ask(&world, "select fx.account(2)")),
                                 .node_id = world_uuid(world_ask(&world, "select fx.node(1)")),
                                 .has_lease_id = has_lease};
    if (has_lease)
        in.lease_id = world_uuid(world_ask(&world, "select lease_id from leases"));
    assert_int_equal(node_reclaim_run(world.session, &in, NULL), ERR_OK);
}

/* "leaving staying" as the owner is told who sells it again. */
static const char *owner_resumes(void)
{
    static char told[40];
    struct sql_result *result = NULL;
    struct node_resume_out row;
    const struct node_resume_in in = {
        .account_id = world_uuid(world_ask(&world, "select fx.account(2)")),
        .node_id = world_uuid(world_ask(&world, "select fx.node(1)"))};
    assert_int_equal(node_resume_run(world.session, &in, &result), ERR_OK);
    node_resume_row(result, 0, &row);
    sql_result_release(result);
    (void)snprintf(told, sizeof(told), "%d %d", row.leaving_count, row.staying_count);
    return told;
}

static void who_comes_back_before_the_sweep_is_told_what_stays(void **unused)
{
    (void)unused;
    for (int has_lease = 0; has_lease < 2; has_lease++) {
        owner_reclaims(has_lease);
        assert_string_equal(owner_resumes(), "0 1");
        assert_string_equal(owner_resumes(), "0 0"); /* nothing was taken back any more */
    }
    assert_string_equal(leases(), "spot running / spot");
    owner_reclaims(false);
    leader_turn(leader);
    assert_string_equal(owner_resumes(), "1 0");
    assert_string_equal(owner_resumes(), "1 0"); /* it still leaves */
    assert_string_equal(leases(), "spot running noticed / spot");
    assert_string_equal(world_ask(&world,
                                  "select string_agg(concat_ws(' ', data->'leases_leaving', "
                                  "data->'leases_staying'), ', ' order by event_id) from events "
                                  "where kind = 'node.resumed'"),
                        "0 1, 0 1, 1 0");
}

static void a_free_block_at_the_same_price_goes_first(void **unused)
{
    (void)unused;
    world_do(&world, "select fx.make_node(2, 4, 'eu-west', 'cpu-1c2g', 1, 10000)");
    leader_turn(leader);
    assert_string_equal(world_ask(&world, "select n.name from leases l join nodes n using (node_id)"
                                          " where l.tier = 'flexible'"),
                        "node-2");
    assert_string_equal(
        world_ask(&world, "select count(*) from leases where notice_at is not null"), "0");
}

static void lots_clear_from_the_highest_tier_down(void **unused)
{
    (void)unused;
    world_do(&world, "select fx.make_node(2, 4, 'eu-west', 'cpu-1c2g', 1, 10000)");
    world_do(&world, "select fx.make_workload(3, 5, 1, 900000, '{\"tier\": \"spot\"}')");
    leader_turn(
        leader); /* a far higher reserve does not help spot to a block that flexible wants */
    assert_string_equal(
        world_ask(&world, "select string_agg(tier || ' ' || state, ', ' order by tier desc, state)"
                          " from workloads"),
        "spot auctioning, spot running, flexible starting");
    assert_string_equal(world_ask(&world, "select string_agg(concat_ws(' ', tier, supply_count, "
                                          "sold_count), ', ' order by tier) from lot_rounds where "
                                          "round = (select max(round) from lot_rounds)"),
                        "flexible 2 1, spot 0 0");
}

/* One lease holds what two have won: it is told once, and both wait for it. */
static void two_winners_share_one_who_leaves(void **unused)
{
    (void)unused;
    world_do(&world, "update workloads set desired = 'stop'"); /* of the usual world */
    leader_turn(leader);
    world_do(&world, "select fx.make_node(3, 4, 'us-east', 'rtx-4090', 2, 100000)");
    world_do(&world, "select fx.make_workload(4, 1, 1, 600000, '{\"tier\": \"spot\", \"classes\": "
                     "[\"rtx-4090\"], \"regions\": [\"us-east\"], \"block_size\": 2, "
                     "\"devices_count\": 2}')");
    leader_turn(leader);
    world_do(&world,
             "update leases set state = 'running', running_at = now() - interval '2 min', acked_at "
             "= now() where workload_id = fx.workload(4); update replicas set state = 'running' "
             "where workload_id = fx.workload(4)");
    world_do(&world, "select fx.make_workload(5, 3, 2, 600000, '{\"classes\": [\"rtx-4090\"], "
                     "\"regions\": [\"us-east\"], \"min_replicas\": 2}')");
    leader_turn(leader);
    assert_string_equal(
        world_ask(&world, "select count(*) || ' ' || count(distinct next_lease_id) || ' ' || "
                          "count(distinct lease_id) from devices where node_id = fx.node(3)"),
        "2 2 1");
    assert_string_equal(world_ask(&world, "select count(*) from events where kind = "
                                          "'lease.interruption_notice' and workload_id = "
                                          "fx.workload(4)"),
                        "1");
    world_do(&world, "update nodes set state = 'retired' where node_id = fx.node(3)");
    leader_turn(leader); /* all three close in one statement */
    assert_string_equal(world_ask(&world, "select count(*) from devices where node_id = fx.node(3) "
                                          "and lease_id is null and next_lease_id is null"),
                        "2");
}

int main(void)
{
    hash_start();
    pg_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_winner_has_the_device_when_the_notice_is_over, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_node_that_is_lost_frees_both, setup, teardown),
        cmocka_unit_test_setup_teardown(a_winner_that_is_gone_leaves_the_notice_and_no_claim, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_crash_gives_no_notice, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lease_that_ends_during_the_round_is_not_evicted, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_young_the_starting_and_the_reclaimed_stay, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(who_comes_back_before_the_sweep_is_told_what_stays, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_free_block_at_the_same_price_goes_first, setup, teardown),
        cmocka_unit_test_setup_teardown(lots_clear_from_the_highest_tier_down, setup, teardown),
        cmocka_unit_test_setup_teardown(two_winners_share_one_who_leaves, setup, teardown),
    };
    return cmocka_run_group_tests_name("tiers", tests, NULL, NULL);
}
