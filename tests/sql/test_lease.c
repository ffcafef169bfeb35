/* The statements of lease.sql on a real database: the state machine, the arithmetic, every way to
 * close. */
#include "broker/market/lease.h"

#include "billing/meter.h"
#include "broker/base/money.h"
#include "tests/lib/prop.h"
#include "tests/sql/market_fixture.h"

static struct market_world world;

static struct uuid award(int workload, int replica, int node, int64_t price)
{
    return world_uuid(world_ask(&world, "select fx.award(%d, %d, %d, %lld)", workload, replica,
                                node, (long long)price));
}

static int run_of(enum err_code err, struct sql_result *result)
{
    must(err == ERR_OK);
    int rows = sql_result_rows(result);
    sql_result_release(result);
    return rows;
}

static int ack(struct uuid lease, struct uuid node, int epoch)
{
    struct lease_ack_in in = {.lease_id = lease, .node_id = node, .epoch = epoch};
    struct sql_result *result = NULL;
    enum err_code err = lease_ack_run(world.session, &in, 1, &result);
    return run_of(err, result);
}

static int mark_running(struct uuid lease, struct uuid node, int epoch)
{
    struct lease_mark_running_in in = {
        .lease_id = lease, .node_id = node, .epoch = epoch, .image_digest = STR("sha256:1")};
    struct sql_result *result = NULL;
    enum err_code err = lease_mark_running_run(world.session, &in, 1, &result);
    return run_of(err, result);
}

static int receipt(struct uuid lease, struct uuid node, int64_t healthy_ms, int64_t seq)
{
    struct lease_receipt_in in = {
        .lease_id = lease, .node_id = node, .epoch = 1, .healthy_ms = healthy_ms, .seq = seq};
    struct sql_result *result = NULL;
    enum err_code err = lease_receipt_run(world.session, &in, 1, &result);
    return run_of(err, result);
}

static int cut(struct uuid lease, enum close_reason reason)
{
    struct lease_facts facts = {.restart = RESTART_ON_FAILURE, .attempt = 1};
    struct lease_plan plan = lease_close_plan(reason, &facts);
    struct lease_cut_in in = {.lease_id = lease,
                              .epoch = 1,
                              .reason = str_of(close_info(reason)->slug),
                              .pays = str_of(plan.pays),
                              .next = str_of(plan.next)};
    struct sql_result *result = NULL;
    enum err_code err = lease_cut_run(world.session, &in, 1, &result);
    return run_of(err, result);
}

static int close_as(struct uuid lease, int epoch, enum close_reason reason,
                    struct lease_close_out *ret_out)
{
    struct lease_facts facts = {.restart = RESTART_ON_FAILURE, .attempt = 1};
    struct lease_plan plan = lease_close_plan(reason, &facts);
    struct lease_close_in in = {.lease_id = lease, .epoch = epoch};
    lease_plan_apply(&plan, reason, &in);
    struct sql_result *result = NULL;
    if (lease_close_run(world.session, &in, 1, &result) != ERR_OK)
        fail_msg("%s", session_why(world.session));
    int rows = sql_result_rows(result);
    if (rows > 0)
        lease_close_row(result, 0, ret_out);
    sql_result_release(result);
    return rows;
}

static struct uuid node_id(int who)
{
    return world_uuid(world_ask(&world, "select fx.node(%d)", who));
}

static int setup(void **state)
{
    (void)state;
    world_open(&world);
    world_do(&world, "select fx.make_account(1, 100000000), fx.make_account(2, 0)");
    world_do(&world, "select fx.make_node(1, 2, 'eu-west', 'cpu-1c2g', 3, 300000)");
    world_do(&world, "select fx.make_workload(1, 1, 3, 600000)");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_is_sound(&world);
    world_close(&world);
    return 0;
}

static const char *state_of(struct uuid lease)
{
    char text[ID_TEXT_SIZE];
    return world_ask(&world, "select state from leases where lease_id = '%s'",
                     uuid_text(lease, text));
}

static int apply_event(int event, struct uuid lease, struct uuid node)
{
    struct lease_close_out closed;
    switch (event) {
    case LEASE_ACK:
        return ack(lease, node, 1);
    case LEASE_READY:
        return mark_running(lease, node, 1);
    case LEASE_CUT:
        return cut(lease, CLOSE_STOPPED_BY_OWNER);
    default:
        return close_as(lease, 1, CLOSE_COMPLETED, &closed);
    }
}

/* Brings a fresh lease into `state` along the machine's own roads. */
static void bring_to(int state, struct uuid lease, struct uuid node)
{
    if (state >= LEASE_STARTING)
        assert_int_equal(ack(lease, node, 1), 1);
    if (state >= LEASE_RUNNING)
        assert_int_equal(mark_running(lease, node, 1), 1);
    if (state == LEASE_CLOSING)
        assert_int_equal(cut(lease, CLOSE_STOPPED_BY_OWNER), 1);
    if (state == LEASE_CLOSED)
        apply_event(LEASE_CLOSE, lease, node);
}

static void the_statements_are_the_state_machine(void **unused)
{
    (void)unused;
    int workload = 10;
    struct uuid node = node_id(1);
    for (int state = LEASE_AWARDED; state < LEASE_STATE_COUNT; state++) {
        for (int event = LEASE_ACK; event < LEASE_EVENT_COUNT; event++, workload++) {
            world_do(&world, "select fx.make_workload(%d, 1, 1, 600000)", workload);
            struct uuid lease = award(workload, 0, 1, 300000);
            bring_to(state, lease, node);
            assert_string_equal(state_of(lease), lease_state_name(state));
            const struct fsm_row *row = fsm_find(&lease_machine, state, event);
            assert_int_equal(apply_event(event, lease, node), row != NULL);
            assert_string_equal(state_of(lease), lease_state_name(row ? row->to : state));
            struct lease_close_out closed;
            close_as(lease, 1, CLOSE_COMPLETED, &closed);
        }
    }
}

static void another_node_or_epoch_changes_nothing(void **unused)
{
    (void)unused;
    struct uuid lease = award(1, 0, 1, 300000);
    struct lease_close_out closed;
    assert_int_equal(ack(lease, node_id(2), 1), 0);
    assert_int_equal(ack(lease, node_id(1), 2), 0);
    assert_int_equal(mark_running(lease, node_id(1), 0), 0);
    assert_int_equal(close_as(lease, 2, CLOSE_COMPLETED, &closed), 0);
    assert_string_equal(state_of(lease), "awarded");
}

static void a_receipt_only_rises(void **unused)
{
    (void)unused;
    char text[ID_TEXT_SIZE];
    struct uuid lease = award(1, 0, 1, 300000), node = node_id(1);
    mark_running(lease, node, 1);
    assert_int_equal(receipt(lease, node, 5000, 3), 1);
    assert_int_equal(receipt(lease, node, 9000, 3), 0);
    assert_int_equal(receipt(lease, node, 4000, 2), 0);
    assert_int_equal(receipt(lease, node, 4000, 4), 1);
    assert_string_equal(world_ask(&world, "select receipt_ms from leases where lease_id = '%s'",
                                  uuid_text(lease, text)),
                        "5000");
}

/* One hour healthy at 300000: the operator gets 300000, the platform 30000, the rest goes back. */
static void a_close_pays_usage_and_refunds_the_rest(void **unused)
{
    (void)unused;
    char text[ID_TEXT_SIZE];
    world_do(&world, "select fx.make_workload(2, 1, 1, 600000)");
    struct uuid lease = award(2, 0, 1, 300000), node = node_id(1);
    mark_running(lease, node, 1);
    world_do(&world, "select fx.age('%s', 180000)", uuid_text(lease, text));
    receipt(lease, node, 120000, 1);
    struct lease_close_out closed;
    assert_int_equal(close_as(lease, 1, CLOSE_COMPLETED, &closed), 1);
    assert_true(closed.has_ended);
    assert_int_equal(closed.gross_uusd, 11000);
    assert_int_equal(closed.refund_uusd, 100000 - 11000);
    assert_int_equal(close_as(lease, 1, CLOSE_COMPLETED, &closed), 0);
    assert_string_equal(world_ask(&world,
                                  "select state || status_reason || spent_uusd from workloads "
                                  "where workload_id = fx.workload(2)"),
                        "stoppedcompleted11000");
}

static void no_receipt_no_charge(void **unused)
{
    (void)unused;
    char text[ID_TEXT_SIZE];
    struct uuid lease = award(1, 0, 1, 300000);
    mark_running(lease, node_id(1), 1);
    world_do(&world, "select fx.age('%s', 3000000)", uuid_text(lease, text));
    struct lease_close_out closed;
    close_as(lease, 1, CLOSE_NODE_LOST, &closed);
    assert_int_equal(closed.gross_uusd, 0);
    assert_false(closed.has_ended);
}

static void the_brokers_clock_caps_a_boastful_receipt(void **unused)
{
    (void)unused;
    char text[ID_TEXT_SIZE];
    struct uuid lease = award(1, 0, 1, 300000), node = node_id(1);
    mark_running(lease, node, 1);
    world_do(&world, "select fx.age('%s', 60000)", uuid_text(lease, text));
    receipt(lease, node, 500000, 1);
    cut(lease, CLOSE_STOPPED_BY_OWNER);
    world_do(&world,
             "update leases set cut_at = running_at + interval '36 s' where lease_id = '%s'", text);
    struct lease_close_out closed;
    close_as(lease, 1, CLOSE_COMPLETED, &closed);
    assert_int_equal(closed.gross_uusd, 3300);
    assert_string_equal(
        world_ask(&world, "select close_reason from leases where lease_id = '%s'", text),
        "stopped_by_owner");
}

static void an_owner_who_stops_before_it_ran_pays_a_minute(void **unused)
{
    (void)unused;
    struct uuid lease = award(1, 0, 1, 300000);
    ack(lease, node_id(1), 1);
    struct lease_close_out closed;
    close_as(lease, 1, CLOSE_STOPPED_BY_OWNER, &closed);
    assert_int_equal(closed.gross_uusd, 5500);
    assert_true(closed.has_ended);
}

static void a_long_pull_is_charged_beyond_two_minutes(void **unused)
{
    (void)unused;
    char text[ID_TEXT_SIZE];
    struct uuid lease = award(1, 0, 1, 300000), node = node_id(1);
    ack(lease, node, 1);
    world_do(&world, "select fx.age('%s', 180000)", uuid_text(lease, text));
    mark_running(lease, node, 1);
    struct lease_close_out closed;
    close_as(lease, 1, CLOSE_COMPLETED, &closed);
    assert_in_range(closed.gross_uusd, 5500, 5700); /* 60 s and what the test took */
}

/* A node's record forgives failures by observed time, so that its own word for it is not enough. */
static void a_claim_beyond_the_clock_earns_no_record(void **unused)
{
    (void)unused;
    char text[ID_TEXT_SIZE];
    struct uuid ran = award(1, 0, 1, 300000), never_ran = award(1, 1, 1, 300000);
    struct lease_close_out closed;
    ack(never_ran, node_id(1), 1);
    mark_running(ran, node_id(1), 1);
    world_do(&world, "select fx.age('%s', 30000)", uuid_text(ran, text));
    receipt(ran, node_id(1), INT64_C(9007199254740992), 1);
    receipt(never_ran, node_id(1), INT64_C(9007199254740992), 2);
    close_as(ran, 1, CLOSE_COMPLETED, &closed);
    close_as(never_ran, 1, CLOSE_COMPLETED, &closed);
    assert_int_equal(closed.gross_uusd, 0);
    assert_string_equal(
        world_ask(&world, "select count(*) || ' ' || (max(observed_ms) between 30000 and 31000) "
                          "from node_outcomes"),
        "1 true");
}

static void an_operators_failure_goes_back_into_the_auction(void **unused)
{
    (void)unused;
    struct uuid lease = award(1, 0, 1, 300000);
    struct lease_close_out closed;
    close_as(lease, 1, CLOSE_CONTAINER_CREATE_FAILED, &closed);
    assert_false(closed.has_ended);
    assert_string_equal(world_ask(&world, "select state || attempt || epoch || escrow_uusd || "
                                          "(excluded_node_ids = array[fx.node(1)]) from replicas "
                                          "where replica_id = fx.replica(1, 0)"),
                        "auctioning21100000true");
    assert_string_equal(world_ask(&world, "select sum(is_failure::int) from node_outcomes"), "1");
    struct uuid again = award(1, 0, 1, 300000);
    assert_int_equal(ack(again, node_id(1), 1), 0);
    assert_int_equal(ack(again, node_id(1), 2), 1);
}

static void a_workload_that_shall_stop_never_retries(void **unused)
{
    (void)unused;
    struct uuid lease = award(1, 0, 1, 300000);
    world_do(&world, "update workloads set desired = 'stop' where workload_id = fx.workload(1)");
    struct lease_close_out closed;
    close_as(lease, 1, CLOSE_NODE_LOST, &closed);
    assert_true(closed.has_ended);
}

static void what_pays_nothing_takes_back_what_was_posted(void **unused)
{
    (void)unused;
    char text[ID_TEXT_SIZE];
    struct uuid lease = award(1, 0, 1, 300000);
    mark_running(lease, node_id(1), 1);
    world_do(
        &world,
        "with v as (update workloads set spent_uusd = 330), l as (update leases set billed_ms = "
        "3600, receipt_ms = 3600, net_uusd = 300,"
        " fee_uusd = 30 where lease_id = '%s' returning *), r as (update replicas set escrow_uusd"
        " = escrow_uusd - 330 where replica_id = fx.replica(1, 0)), j as (insert into journals"
        " (kind, actor) values ('settlement', 'test') returning journal_id), s as (insert into"
        " settlements (lease_id, journal_id, healthy_ms, gross_uusd, net_uusd, fee_uusd) select"
        " lease_id, journal_id, 3600, 330, 300, 30 from l, j) insert into entries select"
        " journal_id, row_number() over (), ledger_account_id, case kind when 'lease_escrow' then"
        " -330 when 'operator_payable' then 300 else 30 end, null from j, ledger_accounts where"
        " (account_id = fx.account(1) and kind = 'lease_escrow') or (account_id = fx.account(2) and"
        " kind = 'operator_payable') or (kind = 'platform_fee' and currency = 'USD')",
        uuid_text(lease, text));
    world_is_sound(&world);
    struct lease_close_out closed;
    close_as(lease, 1, CLOSE_BROKER_VOID, &closed);
    assert_int_equal(closed.gross_uusd, -330);
    assert_string_equal(world_ask(&world, "select escrow_uusd from replicas where replica_id ="
                                          " fx.replica(1, 0)"),
                        "100000");
}

static void replicas_that_wait_end_with_all_their_escrow(void **unused)
{
    (void)unused;
    award(1, 0, 1, 300000);
    struct replica_end_in in[3];
    for (int i = 0; i < 3; i++)
        in[i] = (struct replica_end_in){
            .replica_id = world_uuid(world_ask(&world, "select fx.replica(1, %d)", i)),
            .reason = STR("stopped_by_owner")};
    struct sql_result *result = NULL;
    assert_int_equal(replica_end_run(world.session, in, 3, &result), ERR_OK);
    assert_int_equal(sql_result_rows(result), 2); /* one has a lease */
    struct replica_end_out out;
    replica_end_row(result, 1, &out);
    assert_int_equal(out.ord, 3);
    assert_int_equal(out.refund_uusd, 100000);
    sql_result_release(result);
    assert_string_equal(world_ask(&world,
                                  "select balance_uusd from ledger_accounts where account_id ="
                                  " fx.account(1) and kind = 'tenant_wallet'"),
                        "99900000");
}

static void sql_reckons_like_the_meter(void **unused)
{
    (void)unused;
    PROP_FOR(prop, 300)
    {
        int64_t price = prop_range(&prop, 0, prop_chance(&prop, 50) ? 5000000 : 1000000000000);
        int64_t ms = prop_range(&prop, 0, prop_chance(&prop, 50) ? 90000000 : 2592000000);
        int64_t fee_bp = prop_range(&prop, 0, 10000);
        int64_t money = prop_range(&prop, 0, prop_chance(&prop, 50) ? 3600000000 : MONEY_MAX);
        if (prop_chance(&prop, 10))
            money = 900000000000 + prop_range(&prop, 0, 1); /* from here on in numeric */
        struct meter_terms terms = {.price_uusd_per_hour = price, .fee_bp = fee_bp};
        struct meter_bill bill = bill_for(&terms, ms);
        char expected[128];
        str_format(expected, sizeof(expected), "%lld %lld %lld %lld", (long long)bill.net_uusd,
                   (long long)bill.fee_uusd, (long long)bill.gross_uusd,
                   (long long)billable_ms_max(&terms, money));
        const char *got = world_ask(
            &world,
            "select concat_ws(' ', n, meter_fee(n, %lld::int4), "
            "meter_gross(%lld::int8, %lld::int4, %lld::int8), meter_ms_max(%lld::int8, %lld::int4, "
            "%lld::int8)) from meter_net(%lld::int8, %lld::int8) n",
            (long long)fee_bp, (long long)price, (long long)fee_bp, (long long)ms, (long long)price,
            (long long)fee_bp, (long long)money, (long long)price, (long long)ms);
        prop_check(&prop, strcmp(got, expected) == 0);
    }
}

int main(void)
{
    pg_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_statements_are_the_state_machine, setup, teardown),
        cmocka_unit_test_setup_teardown(another_node_or_epoch_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_receipt_only_rises, setup, teardown),
        cmocka_unit_test_setup_teardown(a_close_pays_usage_and_refunds_the_rest, setup, teardown),
        cmocka_unit_test_setup_teardown(no_receipt_no_charge, setup, teardown),
        cmocka_unit_test_setup_teardown(the_brokers_clock_caps_a_boastful_receipt, setup, teardown),
        cmocka_unit_test_setup_teardown(an_owner_who_stops_before_it_ran_pays_a_minute, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_long_pull_is_charged_beyond_two_minutes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_claim_beyond_the_clock_earns_no_record, setup, teardown),
        cmocka_unit_test_setup_teardown(an_operators_failure_goes_back_into_the_auction, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_workload_that_shall_stop_never_retries, setup, teardown),
        cmocka_unit_test_setup_teardown(what_pays_nothing_takes_back_what_was_posted, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(replicas_that_wait_end_with_all_their_escrow, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(sql_reckons_like_the_meter, setup, teardown),
    };
    return cmocka_run_group_tests_name("lease", tests, NULL, NULL);
}
