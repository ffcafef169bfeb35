/* What a round's awards tell and count: many share rows in the database, and nobody can tell.
 *
 * The expectation is one event for each workload that starts and two for each lease, as they read
 * when every one of them had a row of its own.
 */
#include "auction/tier.h"
#include "broker/market/event.h"
#include "gen/broker/market/award.sql.h"
#include "tests/sql/market_fixture.h"

#define SINGLES   120 /* workloads of one replica, more than two rows' worth */
#define GANG      (SINGLES + 1)
#define OF_GUEST  (SINGLES + 2)
#define AWARDS    (SINGLES + 3) /* two of the gang's four replicas, one of the guest's */
#define TENANT    1             /* has node 2 too: on it, it is its own operator */
#define GUEST     2
#define OPERATOR  9
#define ROW_WORTH 50

static struct market_world world;

static int setup(void **state)
{
    (void)state;
    world_open(&world);
    world_do(&world,
             "select fx.make_account(%d, 1000000000), fx.make_account(%d, 1000000),"
             " fx.make_account(%d, 0)",
             TENANT, GUEST, OPERATOR);
    world_do(&world,
             "select fx.make_node(1, %d, 'eu-west', 'cpu-1c2g', 100, 100000),"
             " fx.make_node(2, %d, 'eu-west', 'cpu-1c2g', 100, 100000)",
             OPERATOR, TENANT);
    world_do(&world, "select fx.make_workload(w, %d, 1, 600000) from generate_series(1, %d) w",
             TENANT, SINGLES);
    world_do(&world,
             "select fx.make_workload(%d, %d, 4, 600000, '{\"min_replicas\": 2}'),"
             " fx.make_workload(%d, %d, 1, 600000)",
             GANG, TENANT, OF_GUEST, GUEST);
    world_do(&world, "update workloads set version = 7 where workload_id = fx.workload(60)");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_is_sound(&world);
    assert_string_equal(/* the quick way of counting and the thorough one agree */
                        world_ask(
                            &world,
                            "select count(*) from workloads w where state <> workload_derive_state("
                            "desired, state, min_replicas, replicas_auctioning, replicas_starting,"
                            " replicas_running, replicas_ended, false)"),
                        "0");
    world_close(&world);
    return 0;
}

struct one { /* a lease to be: of which replica, on which device */
    int workload, replica, device;
};

/* Device 0 is node 1's first, 1 node 2's first, 2 node 1's second... */
static void award(const struct one *ones, size_t count)
{
    struct uuid leases[AWARDS], replicas[AWARDS], operators[AWARDS], nodes[AWARDS], devices[AWARDS];
    int32_t first[AWARDS], units[AWARDS], tiers[AWARDS], fees[AWARDS], durations[AWARDS];
    int64_t prices[AWARDS], zeros[AWARDS] = {0};
    bool no[AWARDS] = {false};
    for (size_t i = 0; i < count; i++) {
        int node = 1 + ones[i].device % 2;
        leases[i] = uuid_v7();
        replicas[i] = world_uuid(
            world_ask(&world, "select fx.replica(%d, %d)", ones[i].workload, ones[i].replica));
        nodes[i] = world_uuid(world_ask(&world, "select fx.node(%d)", node));
        operators[i] =
            world_uuid(world_ask(&world, "select fx.account(%d)", node == 1 ? OPERATOR : TENANT));
        devices[i] =
            world_uuid(world_ask(&world,
                                 "select device_id from devices where node_id = fx.node(%d)"
                                 " and device_index = %d",
                                 node, ones[i].device / 2));
        first[i] = (int32_t)i + 1;
        units[i] = 1;
        tiers[i] = TIER_FLEXIBLE;
        fees[i] = 1000;
        durations[i] = 86400;
        prices[i] = 100000 + ones[i].device;
    }
#define LIST(name, array) .name = (array), .name##_count = count
    const struct str tier_words[] = {STR("guaranteed"), STR("flexible"), STR("spot")};
    const struct award_store_in in = {
        .market = STR("main"),
        .round = 1,
        LIST(lease_ids, leases),
        LIST(replica_ids, replicas),
        LIST(operator_account_ids, operators),
        LIST(node_ids, nodes),
        LIST(pools, units),
        LIST(tiers, tiers),
        LIST(prices_uusd_per_hour, prices),
        LIST(fees_bp, fees),
        LIST(thetas_uusd_per_hour, prices),
        LIST(adders_uusd_per_hour, zeros),
        LIST(max_durations_s, durations),
        LIST(waits_ms, zeros),
        LIST(are_simulated, no),
        LIST(are_set_by_ask, no),
        LIST(device_firsts, first),
        LIST(block_sizes, units),
        LIST(device_ids, devices),
        LIST(device_lease_ids, leases),
        .tier_words = tier_words,
        .tier_words_count = ARRAY_COUNT(tier_words),
        .regions = &STR("eu-west"),
        .regions_count = 1,
        .classes = &STR("cpu-1c2g"),
        .classes_count = 1,
        .trusts = &STR("unverified"),
        .trusts_count = 1,
    };
    struct sql_result *result = NULL;
    struct award_store_out row;
    if (award_store_run(world.session, &in, &result) != ERR_OK)
        fail_msg("%s", session_why(world.session));
    award_store_row(result, 0, &row);
    assert_int_equal(row.leases_count, (int)count);
    sql_result_release(result);
}

/* One round: every single, two of the gang, the guest's; devices of both nodes in turns. */
static void award_round(void)
{
    struct one ones[AWARDS];
    for (int i = 0; i < SINGLES; i++)
        ones[i] = (struct one){SINGLES - i, 0, i}; /* leases in another order than workloads */
    ones[SINGLES] = (struct one){GANG, 0, SINGLES};
    ones[SINGLES + 1] = (struct one){GANG, 1, SINGLES + 1};
    ones[SINGLES + 2] = (struct one){OF_GUEST, 0, SINGLES + 2};
    award(ones, AWARDS);
}

/* Keeps what the round has to tell, a line each, as it follows from what stands now. */
static void expect_round(void)
{
    world_do(
        &world,
        "create table expected as"
        " select row_number() over (partition by account_id order by part, id, place) as nth, *"
        " from (select account_id, 1 as part, workload_id as id, 0 as place, workload_id,"
        "   'workload.starting' || workload_id || jsonb_build_object('name', name, 'state',"
        "   state, 'status_reason', status_reason, 'version', version,"
        "   'replicas_auctioning', replicas_auctioning, 'replicas_starting',"
        "   replicas_starting, 'replicas_running', replicas_running, 'replicas_ended',"
        "   replicas_ended) as line from workloads"
        "  union all"
        "  select case p when 1 then account_id else operator_account_id end, 2, lease_id, p,"
        "   case p when 1 then workload_id end, concat('lease.awarded',"
        "   case p when 1 then workload_id end, lease_id, node_id, jsonb_build_object('state',"
        "   'awarded', 'replica_index', replica_index, 'epoch', epoch, 'region', region,"
        "   'class', class, 'is_simulated', is_simulated, 'price_uusd_per_hour',"
        "   price_uusd_per_hour, 'round', round))"
        "  from leases, generate_series(1, 2) p) e");
}

static void put_line(struct buf *to, const struct event_read_out *row)
{
    char id[ID_TEXT_SIZE];
    buf_add_str(to, row->kind);
    buf_add_c(to, row->has_workload_id ? uuid_text(row->workload_id, id) : "");
    buf_add_c(to, row->has_lease_id ? uuid_text(row->lease_id, id) : "");
    buf_add_c(to, row->has_node_id ? uuid_text(row->node_id, id) : "");
    buf_add_str(to, row->data);
    buf_add_c(to, "\n");
}

/* What the round tells an account, read `limit` at a time; `only` a workload, or 0. */
static int told(int who, int limit, int only, struct buf *to)
{
    struct event_read_in in = {
        .account_id = world_uuid(world_ask(&world, "select fx.account(%d)", who)),
        .limit_count = limit,
        .has_only_workload_id = only > 0,
    };
    if (only > 0)
        in.only_workload_id = world_uuid(world_ask(&world, "select fx.workload(%d)", only));
    int count = 0;
    bool is_more = true;
    while (is_more) {
        struct sql_result *result = NULL;
        struct event_read_out row;
        must(event_read_run(world.session, &in, &result) == ERR_OK);
        assert_true(sql_result_rows(result) <= limit);
        for (int i = 0; i < sql_result_rows(result); i++) {
            event_read_row(result, i, &row);
            is_more = row.has_xact;
            if (!is_more)
                break;
            assert_true(row.xact > in.after_xact || row.event_id > in.after_event_id);
            in.after_xact = row.xact;
            in.after_event_id = row.event_id;
            put_line(to, &row);
            count++;
        }
        sql_result_release(result);
    }
    return count;
}

/* Says the first line that differs, not all of them. */
static void assert_lines_equal(const char *got, const char *expected)
{
    while (*got != '\0' || *expected != '\0') {
        size_t got_len = strcspn(got, "\n"), len = strcspn(expected, "\n");
        if (got_len != len || memcmp(got, expected, len) != 0)
            fail_msg("got      %.*s\nexpected %.*s", (int)got_len, got, (int)len, expected);
        got += got_len + (got[got_len] == '\n');
        expected += len + (expected[len] == '\n');
    }
}

static void assert_told(int who, int limit, int only)
{
    struct buf got = {.at = NULL};
    PGresult *expected = NULL;
    char sql[256];
    must(str_format(sql, sizeof(sql),
                    "select coalesce(string_agg(line || E'\\n', '' order by nth), ''), count(*)"
                    " from expected where account_id = fx.account(%d)"
                    " and (%d = 0 or workload_id = fx.workload(%d))",
                    who, only, only));
    expected = PQexec(world.conn, sql);
    must(PQresultStatus(expected) == PGRES_TUPLES_OK);
    int count = told(who, limit, only, &got);
    assert_int_equal(count, strtol(PQgetvalue(expected, 0, 1), NULL, 10));
    assert_true(count > 0);
    buf_add(&got, "", 1);
    assert_lines_equal(got.at, PQgetvalue(expected, 0, 0));
    PQclear(expected);
    buf_finish(&got);
}

static void assert_all_told(void)
{
    const int whos[] = {TENANT, GUEST, OPERATOR}, limits[] = {1, 16, 49, 50, 51, 1000};
    for (size_t i = 0; i < ARRAY_COUNT(whos); i++)
        for (size_t j = 0; j < ARRAY_COUNT(limits); j++)
            assert_told(whos[i], limits[j], 0);
    for (int only = 1; only <= GANG; only += 12) {
        assert_told(TENANT, 1, only);
        assert_told(TENANT, 16, only);
    }
    assert_told(GUEST, 1, OF_GUEST);
}

/* Every reader, from every place: tenant, operator, one who is both, and whoever asks for one
 * workload; and again when all of it has moved on. */
static void a_round_tells_each_what_a_row_of_its_own_would(void **state)
{
    (void)state;
    award_round();
    expect_round();
    assert_int_equal(world_number(&world, "select count(*) from expected"),
                     SINGLES + 2 + 2 * AWARDS);
    assert_all_told();
    world_do(&world, "create table before as select max(event_id) as event_id from events");
    world_do(&world, "update leases set state = 'running', running_at = now(), stage = null,"
                     " max_duration_s = 5, image_digest = 'x'");
    world_do(&world, "update replicas set state = 'running' where state = 'starting'");
    world_do(&world, "update workloads set labels = '{}', version = version + 1");
    world_do(&world, "delete from events where event_id > (select event_id from before)");
    assert_all_told();
}

/* ...and costs rows by accounts, not by leases. */
static void what_a_round_tells_shares_rows(void **state)
{
    (void)state;
    award_round();
    assert_int_equal(world_number(&world, "select count(*) from events where kind ="
                                          " 'workload.starting'"),
                     (SINGLES + 1 + ROW_WORTH - 1) / ROW_WORTH + 1);
    assert_int_equal(world_number(&world, "select max(cardinality(lease_ids)) from events"),
                     ROW_WORTH);
    assert_string_equal(
        world_ask(&world, "select bool_and(next - event_id >= cardinality(workload_ids)) from"
                          " (select *, lead(event_id) over (order by event_id) as next"
                          " from events) e where next is not null"),
        "t");
}

static void a_workload_that_starts_already_is_counted_and_not_told_again(void **state)
{
    (void)state;
    static const char counts[] =
        "select concat_ws(' ', state, version, replicas_auctioning, replicas_starting,"
        " replicas_running, has_been_awarded) from workloads where workload_id = fx.workload(%d)";
    award(&(struct one){GANG, 0, 0}, 1);
    assert_string_equal(world_ask(&world, counts, GANG), "starting 2 3 1 0 t");
    award(&(struct one){GANG, 2, 1}, 1);
    assert_string_equal(world_ask(&world, counts, GANG), "starting 3 2 2 0 t");
    world_do(&world, "update leases set state = 'running', running_at = now()");
    world_do(&world, "update replicas set state = 'running' where state = 'starting'");
    assert_string_equal(world_ask(&world, counts, GANG), "running 4 2 0 2 t");
    award(&(struct one){GANG, 3, 2}, 1);
    assert_string_equal(world_ask(&world, counts, GANG), "running 5 1 1 2 t");
    assert_string_equal(world_ask(&world,
                                  "select string_agg(kind, ' ' order by event_id) from events"
                                  " where account_id = fx.account(%d) and kind like 'workload.%%'",
                                  TENANT),
                        "workload.starting workload.running");
}

/* Money for what starts is no award. */
static void escrow_of_a_starting_replica_moves_no_count(void **state)
{
    (void)state;
    award(&(struct one){GANG, 0, 0}, 1);
    world_do(&world, "begin; update replicas set escrow_uusd = escrow_uusd + 1"
                     " where state = 'starting'");
    assert_string_equal(
        world_ask(&world,
                  "select concat_ws(' ', state, version, replicas_starting) from workloads"
                  " where workload_id = fx.workload(%d)",
                  GANG),
        "starting 2 1");
    world_do(&world, "rollback");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_round_tells_each_what_a_row_of_its_own_would),
        CASE(what_a_round_tells_shares_rows),
        CASE(a_workload_that_starts_already_is_counted_and_not_told_again),
        CASE(escrow_of_a_starting_replica_moves_no_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
