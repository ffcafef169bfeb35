/* Reading, changing, replacing and stopping workloads on a real database; stops and awards that
 * cross. */
#include "tests/sql/workload_fixture.h"

/* ---- reading */

static void a_workload_is_read_by_id_and_by_name_only_by_its_account(void **state)
{
    (void)state;
    struct workload_get_out row;
    struct sql_result *result = NULL;
    struct uuid old = post(1, "job", 1);
    stop(1, old);
    assert_true(get(account(1), NULL, "job", &result, &row)); /* ended workloads stay readable */
    assert_true(uuid_equal(row.workload_id, old) && row.has_ended_at && row.escrow_uusd == 0);
    assert_true(str_equal_c(row.state, "stopped") &&
                str_equal_c(row.status_reason, "stopped_by_owner"));
    sql_result_release(result);
    struct uuid live = post(1, "job", 2);
    struct uuid later = post(1, "zzz", 1);
    assert_true(get(account(1), NULL, "job", &result, &row)); /* the live one comes first */
    assert_true(uuid_equal(row.workload_id, live));
    assert_int_equal(row.escrow_uusd, 200000);
    assert_true(str_equal_c(row.classes, "cpu-1c2g,cpu-2c4g"));
    sql_result_release(result);
    assert_true(get(account(1), &old, NULL, &result, &row));
    sql_result_release(result);
    assert_false(get(account(2), &later, NULL, &result, &row));
    sql_result_release(result);
    assert_false(get(account(2), NULL, "job", &result, &row));
    sql_result_release(result);
}

static int list(const struct workload_list_in *in, struct uuid *ret_last)
{
    struct sql_result *result = NULL;
    must(workload_list_run(world.session, in, &result) == ERR_OK);
    int rows = sql_result_rows(result);
    struct workload_get_out row;
    if (rows > 0) {
        workload_get_row(result, rows - 1, &row); /* same columns */
        *ret_last = row.workload_id;
    }
    sql_result_release(result);
    return rows;
}

static void lists_go_newest_first_by_pages_and_filters(void **state)
{
    (void)state;
    struct uuid ids[5], last;
    const char *names[] = {"n0", "n1", "n2", "n3", "n4"};
    for (int i = 0; i < 5; i++)
        ids[i] = post(1, names[i], 1);
    struct workload_list_in in = {.account_id = account(1), .limit_count = 2};
    assert_int_equal(list(&in, &last), 2);
    assert_true(uuid_equal(last, ids[3]));
    in.has_before = true;
    in.before = last;
    assert_int_equal(list(&in, &last), 2);
    assert_true(uuid_equal(last, ids[1]));
    stop(1, ids[0]);
    struct workload_list_in stopped = {
        .account_id = account(1), .state = STR("stopped"), .limit_count = 9};
    assert_int_equal(list(&stopped, &last), 1);
    struct workload_list_in named = {.account_id = account(1), .name = STR("n2"), .limit_count = 9};
    assert_int_equal(list(&named, &last), 1);
    struct workload_list_in labelled = {
        .account_id = account(1), .labels = STR("{\"team\":\"a\"}"), .limit_count = 9};
    assert_int_equal(list(&labelled, &last), 5);
    labelled.labels = STR("{\"team\":\"b\"}");
    assert_int_equal(list(&labelled, &last), 0);
    struct workload_list_in foreign = {.account_id = account(2), .limit_count = 9};
    assert_int_equal(list(&foreign, &last), 0);
}

/* ---- changing */

static int change(struct workload_update_in *in, struct workload_update_out *ret_row)
{
    struct sql_result *result = NULL;
    if (workload_update_run(world.session, in, &result) != ERR_OK)
        fail_msg("%s", session_why(world.session));
    int rows = sql_result_rows(result);
    if (rows > 0)
        workload_update_row(result, 0, ret_row);
    sql_result_release(result);
    return rows;
}

static void a_change_in_place_tops_up_what_waits_and_arrives_anew(void **state)
{
    (void)state;
    static struct sha256 memory;
    struct uuid id = post(2, "grow", 2); /* 200000 of 250000 */
    struct workload_update_in in = {
        .account_id = account(2),
        .workload_id = id,
        .version = 1,
        .manifest = STR("{\"changed\":1}"),
        .reserve_uusd_per_hour = 700000,
        .max_duration_s = 60,
        .labels = STR("{}"),
        .message_sha256 = hash_of(other_text, &memory),
        .hold_uusd = 260000,
        .request_id = uuid_v7(),
    };
    struct workload_update_out row;
    assert_int_equal(change(&in, &row), 1);
    assert_false(row.is_stored);
    assert_int_equal(row.missing_uusd, 10000);
    in.hold_uusd = 250000;
    world_do(&world, "update markets set round = round + 5");
    assert_int_equal(change(&in, &row), 1);
    assert_true(row.is_stored && row.version == 2);
    assert_int_equal(row.round, world_number(&world, "select round from markets"));
    assert_string_equal(world_ask(&world,
                                  "select reserve_uusd_per_hour || ' ' || manifest || ' ' ||"
                                  " (arrived_round = (select round from markets)) from workloads"),
                        "700000 {\"changed\":1} true");
    assert_int_equal(world_number(&world, "select sum(escrow_uusd) from replicas"), 250000);
    assert_int_equal(change(&in, &row), 0); /* the version has moved on */
    in.version = 2;
    in.account_id = account(1);
    assert_int_equal(change(&in, &row), 0); /* not theirs */
}

/* 200000 set aside and 30000 spent leave 20000 of the budget, for the first that waits. */
static void a_change_in_place_sets_aside_no_more_than_the_budget(void **state)
{
    (void)state;
    static struct sha256 memory;
    struct uuid id = post(1, "grow", 2);
    struct workload_update_in in = {
        .account_id = account(1),
        .workload_id = id,
        .version = 1,
        .manifest = STR("{}"),
        .reserve_uusd_per_hour = 1500000,
        .max_duration_s = 600,
        .has_budget_uusd = true,
        .budget_uusd = 250000,
        .labels = STR("{}"),
        .message_sha256 = hash_of(other_text, &memory),
        .hold_uusd = 250000,
        .request_id = uuid_v7(),
    };
    struct workload_update_out row;
    world_do(&world, "update workloads set spent_uusd = 30000");
    assert_int_equal(change(&in, &row), 1);
    world_do(&world, "update workloads set spent_uusd = 0");
    assert_true(row.is_stored);
    assert_string_equal(world_ask(&world, "select string_agg(escrow_uusd::text, ' ' order by "
                                          "replica_index) from replicas"),
                        "120000 100000");
}

static void replacing_stores_the_new_one_and_stops_the_old_one_or_neither(void **state)
{
    (void)state;
    world_do(&world,
             "select fx.make_account(9, 0), fx.make_node(1, 9, 'eu-west', 'cpu-1c2g', 2, 100000)");
    struct uuid old = post(1, "svc", 1);
    struct workload_store_in in = posting(account(1), "svc", 100); /* too dear */
    struct workload_store_out row;
    in.has_replaces = in.has_replaces_version = true;
    in.replaces = old;
    in.replaces_version = 1;
    assert_int_equal(store(&in, 1, &row), 0);
    assert_string_equal(world_ask(&world, "select desired from workloads"), "run");
    in = posting(account(1), "svc", 1);
    in.has_replaces = in.has_replaces_version = true;
    in.replaces = old;
    in.replaces_version = 7; /* has moved on: nothing happens */
    assert_int_equal(store(&in, 1, &row), 0);
    in.replaces_version = 1;
    assert_int_equal(store(&in, 1, &row), 1);
    assert_string_equal(
        world_ask(&world, "select string_agg(desired || ' ' || state, ', ' order by workload_id)"
                          " from workloads"),
        "stop stopping, run auctioning");
    assert_true(stop(1, old).first.is_complete); /* what the API does next, and else the sweep */
    assert_string_equal(world_ask(&world,
                                  "select state || ' ' || status_reason from workloads where"
                                  " workload_id = '%s'",
                                  id_text(old)),
                        "stopped stopped_by_owner");
}

/* ---- stopping */

static void a_stop_before_any_award_refunds_all_and_may_be_repeated(void **state)
{
    (void)state;
    struct uuid id = post(1, "brief", 3);
    assert_int_equal(stop(2, id).rows, 0); /* not theirs */
    struct stopped first = stop(1, id);
    assert_true(first.rows == 1 && !first.first.was_ended && first.first.is_complete);
    assert_string_equal(
        world_ask(&world, "select balance_uusd::text from ledger_accounts where account_id ="
                          " fx.account(1) and kind = 'tenant_wallet'"),
        "10000000");
    struct stopped second = stop(1, id);
    assert_true(second.rows == 1 && second.first.was_ended && second.first.is_complete);
    assert_int_equal(world_number(&world, "select count(*) from arrivals where kind = 'cancel'"),
                     1);
    assert_int_equal(world_number(&world, "select count(*) from journals where kind = 'release'"),
                     1);
    assert_string_equal(world_ask(&world,
                                  "select string_agg(kind, ' ' order by event_id) from events"
                                  " where workload_id is not null or workload_ids is not null"),
                        "workload.created workload.stopped");
}

static struct uuid award(struct uuid workload, int node)
{
    return world_uuid(world_ask(&world, "select wl.award('%s', 0, %d)", id_text(workload), node));
}

/* An award of a posted workload's replica, as the leader's commit does it. */
static void make_nodes(void)
{
    world_do(&world,
             "create schema wl; create function wl.award(w uuid, i int, who int) returns uuid "
             "language plpgsql as $$"
             " declare l uuid := gen_random_uuid(); d uuid; r replicas; v workloads; n nodes; begin"
             " perform pg_advisory_xact_lock(hashtext('undercut/arrivals/main'));"
             " select * into v from workloads where workload_id = w for update;"
             " if v.desired <> 'run' then return null; end if;"
             " update replicas set state = 'starting', epoch = epoch + 1 where workload_id = w and "
             "replica_index = i"
             "  and state = 'auctioning' returning * into r;"
             " if r.replica_id is null then return null; end if;"
             " select * into n from nodes where node_id = fx.node(who);"
             " select device_id into d from devices where node_id = n.node_id and lease_id is null "
             "limit 1;"
             " insert into leases (lease_id, replica_id, workload_id, account_id, "
             "operator_account_id, node_id, market,"
             "  round, region, class, block_size, tier, trust, replica_index, epoch, "
             "price_uusd_per_hour, fee_bp,"
             "  theta_uusd_per_hour, adder_uusd_per_hour, max_duration_s, device_ids, "
             "is_simulated, billable_ms_max)"
             " values (l, r.replica_id, w, v.account_id, n.account_id, n.node_id, 'main', 1, "
             "n.region, 'cpu-1c2g', 1,"
             "  'flexible', 'unverified', i, r.epoch, 300000, 1000, 300000, 0, 3600, array[d], "
             "false, 600000);"
             " update devices set lease_id = l where device_id = d; return l; end $$;"
             " select fx.make_account(9, 0), fx.make_node(1, 9, 'eu-west', 'cpu-1c2g', 4, 100000)");
}

static void a_stop_cuts_live_leases_and_frees_the_name(void **state)
{
    (void)state;
    make_nodes();
    struct uuid id = post(1, "pair", 2);
    struct uuid lease = award(id, 1); /* one runs, one waits */
    struct stopped stopped = stop(1, id);
    assert_true(stopped.rows == 1 && stopped.first.is_complete && stopped.first.has_node_id);
    assert_string_equal(
        world_ask(&world,
                  "select state || ' ' || close_reason || ' ' || close_pays || ' ' ||"
                  " close_next || ' ' || (cut_at is not null) from leases where lease_id"
                  " = '%s'",
                  id_text(lease)),
        "closing stopped_by_owner minimum end true");
    assert_string_equal(world_ask(&world, "select w.state || ' ' || w.replicas_ended || ' ' ||"
                                          " w.replicas_starting from workloads w"),
                        "stopping 1 1");
    assert_true(stop(1, id).first.is_complete);
    assert_int_equal(
        world_number(&world, "select count(*) from events where kind = 'workload.stopping'"), 1);
    struct uuid again = post(1, "pair", 1); /* the old one still closes */
    struct workload_get_out row;
    struct sql_result *result = NULL;
    assert_true(get(account(1), NULL, "pair", &result, &row));
    assert_true(uuid_equal(row.workload_id, again));
    sql_result_release(result);
}

struct stopper {
    pthread_t thread;
    struct uuid account_id, workload_id;
    struct stopped first, last;
};

static void *stopper_run(void *data)
{
    struct stopper *stopper = data;
    char why[256];
    struct session *session = session_open(world.conninfo, "stopper", why, sizeof(why));
    must(session != NULL);
    stopper->first = stop_with(session, stopper->account_id, stopper->workload_id);
    stopper->last = stop_with(session, stopper->account_id, stopper->workload_id);
    session_close(session);
    return NULL;
}

/* The stop reads, the award commits, the stop writes: it must say that it has to be asked again. */
static void a_stop_that_an_award_crosses_is_incomplete_and_then_complete(void **state)
{
    (void)state;
    make_nodes();
    struct uuid id = post(1, "cross", 1);
    PGconn *leader = PQconnectdb(world.conninfo);
    char sql[256];
    snprintf(sql, sizeof(sql), "select wl.award('%s', 0, 1)", id_text(id));
    PQclear(PQexec(leader, "begin"));
    PQclear(PQexec(leader, sql));
    struct stopper stopper = {.account_id = account(1), .workload_id = id};
    must(pthread_create(&stopper.thread, NULL, stopper_run, &stopper) == 0);
    while (world_number(&world, "select count(*) from pg_locks where not granted") == 0)
        ;
    PQclear(PQexec(leader, "commit"));
    pthread_join(stopper.thread, NULL);
    PQfinish(leader);
    assert_true(stopper.first.rows == 1 && !stopper.first.first.is_complete);
    assert_true(stopper.last.rows == 1 && stopper.last.first.is_complete);
    assert_string_equal(
        world_ask(&world, "select l.state || ' ' || w.state || ' ' || w.desired from leases l"
                          " join workloads w using (workload_id)"),
        "closing stopping stop");
}

/* The other way round: an award that comes behind a stop finds nothing to award. */
static void an_award_behind_a_stop_finds_nothing(void **state)
{
    (void)state;
    make_nodes();
    struct uuid id = post(1, "late", 1);
    assert_true(stop(1, id).first.is_complete);
    assert_string_equal(
        world_ask(&world, "select coalesce(wl.award('%s', 0, 1)::text, 'nothing')", id_text(id)),
        "nothing");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_workload_is_read_by_id_and_by_name_only_by_its_account),
        CASE(lists_go_newest_first_by_pages_and_filters),
        CASE(a_change_in_place_tops_up_what_waits_and_arrives_anew),
        CASE(a_change_in_place_sets_aside_no_more_than_the_budget),
        CASE(replacing_stores_the_new_one_and_stops_the_old_one_or_neither),
        CASE(a_stop_before_any_award_refunds_all_and_may_be_repeated),
        CASE(a_stop_cuts_live_leases_and_frees_the_name),
        CASE(a_stop_that_an_award_crosses_is_incomplete_and_then_complete),
        CASE(an_award_behind_a_stop_finds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
