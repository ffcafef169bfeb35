/* The whole market at once: two leaders, two settlers, agents and tenants on one PostgreSQL that is
 * killed under them. At the end every workload has ended, no lease was doubled, and the books are
 * right to the micro-dollar.
 *
 * The happy path is: tenants post and sometimes stop, leaders award, agents acknowledge, run, sign
 * and end, a tenth of the awards is never acknowledged; there is less room than is wanted, so spot
 * leaves for flexible, and owners take machines back. Failure modes are what this test makes:
 * PostgreSQL dies twice, the leader leaves once.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "auction/recompute.h"
#include "broker/base/clock.h"
#include "broker/io/hub.h"
#include "broker/market/leader.h"
#include "broker/market/lease.h"
#include "broker/market/settle.h"
#include "tests/lib/prop.h"
#include "tests/sql/market_fixture.h"

#define NODES_COUNT     40
#define WORKLOADS_COUNT 90
#define MORE_MAX        600 /* it goes on for as long as something it is for did not happen */
#define PATIENCE_MS     90000

static struct market_world world;
static atomic_bool is_over;

struct actor {
    PGconn *conn;
    struct session *session;
};

static bool actor_connect(struct actor *actor)
{
    char why[256];
    if (actor->session != NULL && !session_is_broken(actor->session) &&
        PQstatus(actor->conn) == CONNECTION_OK)
        return true;
    PQfinish(actor->conn);
    session_close(actor->session);
    actor->conn = PQconnectdb(world.conninfo);
    actor->session = session_open(world.conninfo, "agent", why, sizeof(why));
    return actor->session != NULL && PQstatus(actor->conn) == CONNECTION_OK;
}

static void actor_leave(struct actor *actor)
{
    PQfinish(actor->conn);
    session_close(actor->session);
}

static bool actor_do(struct actor *actor, const char *sql)
{
    PGresult *result = actor_connect(actor) ? PQexec(actor->conn, sql) : NULL;
    ExecStatusType status = PQresultStatus(result);
    PQclear(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

struct sight { /* of one live lease */
    struct uuid lease_id, node_id;
    int32_t epoch;
    enum lease_state state;
    int64_t ran_ms;
    bool is_waiting; /* for the devices that it has won */
    uint32_t fate;   /* the same for ever for one lease */
};

static void report_receipt(struct actor *actor, const struct sight *sight)
{
    const struct lease_receipt_in in = {.lease_id = sight->lease_id,
                                        .node_id = sight->node_id,
                                        .epoch = sight->epoch,
                                        .healthy_ms = sight->ran_ms,
                                        .seq = clock_mono_us()};
    (void)lease_receipt_run(actor->session, &in, 1, NULL);
}

static void report_end(struct actor *actor, const struct sight *sight, enum close_reason reason)
{
    const struct lease_facts facts = {
        .restart = RESTART_NEVER, .has_run = sight->state >= LEASE_RUNNING, .attempt = 1};
    struct lease_close_in in = {.lease_id = sight->lease_id, .epoch = sight->epoch};
    struct lease_plan plan = lease_close_plan(reason, &facts);
    lease_plan_apply(&plan, reason, &in);
    report_receipt(actor, sight);
    (void)lease_close_run(actor->session, &in, 1, NULL);
}

static void agent_step(struct actor *actor, const struct sight *sight)
{
    const struct lease_ack_in ack = {
        .lease_id = sight->lease_id, .node_id = sight->node_id, .epoch = sight->epoch};
    const struct lease_mark_running_in ready = {
        .lease_id = sight->lease_id, .node_id = sight->node_id, .epoch = sight->epoch};
    if (sight->state == LEASE_AWARDED && sight->fate % 10 != 0)
        (void)lease_ack_run(actor->session, &ack, 1, NULL);
    else if (sight->state == LEASE_STARTING && sight->is_waiting)
        return;
    else if (sight->state == LEASE_STARTING && sight->fate % 17 == 0)
        report_end(actor, sight, CLOSE_CONTAINER_CREATE_FAILED);
    else if (sight->state == LEASE_STARTING)
        (void)lease_mark_running_run(actor->session, &ready, 1, NULL);
    else if (sight->state == LEASE_CLOSING)
        report_end(actor, sight, CLOSE_STOPPED_BY_OWNER);
    else if (sight->state == LEASE_RUNNING && sight->ran_ms > 200 + sight->fate % 900)
        report_end(actor, sight, sight->fate % 13 == 0 ? CLOSE_COMMAND_FAILED : CLOSE_COMPLETED);
    else if (sight->state == LEASE_RUNNING)
        report_receipt(actor, sight);
}

static enum lease_state state_of(const char *name)
{
    int state = LEASE_AWARDED;
    while (strcmp(lease_state_name(state), name) != 0)
        state++;
    return (enum lease_state)state;
}

static void *agents_run(void *data)
{
    struct actor actor = {.conn = NULL};
    (void)data;
    while (!atomic_load(&is_over)) {
        actor_do(&actor,
                 "update nodes set last_seen_at = now(), state = 'live', unknown_at = null, "
                 "suspect_until = case when suspect_until > now() + interval '28 s' "
                 "then suspect_until end"); /* 2 s of rest instead of 30 */
        PGresult *rows =
            actor_connect(&actor)
                ? PQexec(actor.conn, "select lease_id, node_id, epoch, state, coalesce(ms_between("
                                     "running_at, least(now(), cut_at)), 0), "
                                     "abs(hashtext(lease_id::text)), exists (select from devices d "
                                     "where d.next_lease_id = leases.lease_id) from leases "
                                     "where state <> 'closed'")
                : NULL;
        for (int i = 0; i < PQntuples(rows); i++) {
            const struct sight sight = {
                .lease_id = world_uuid(PQgetvalue(rows, i, 0)),
                .node_id = world_uuid(PQgetvalue(rows, i, 1)),
                .epoch = (int32_t)strtol(PQgetvalue(rows, i, 2), NULL, 10),
                .state = state_of(PQgetvalue(rows, i, 3)),
                .ran_ms = strtoll(PQgetvalue(rows, i, 4), NULL, 10),
                .fate = (uint32_t)strtoul(PQgetvalue(rows, i, 5), NULL, 10),
                .is_waiting = PQgetvalue(rows, i, 6)[0] == 't',
            };
            if (actor_connect(&actor))
                agent_step(&actor, &sight);
        }
        PQclear(rows);
        usleep(20000);
    }
    actor_leave(&actor);
    return NULL;
}

static struct leader *start_leader(const char *holder, struct hub *hub)
{
    const struct leader_config config = {
        .conninfo = world.conninfo,
        .market = "main",
        .holder = holder,
        .address = "",
        .hub = hub,
        .seal_key = seal_key_of(STR("storm"), "seed"),
        .round_ms = 100,
        .ack_timeout_ms = 500,
        .node_unknown_ms = 10000,
        .node_lost_ms = 60000,
        .node_freeze_pct = 30,
        .start_timeout_ms = 900000,
        .final_receipt_ms = 15000,
        .tiers = {.spot_notice_ms = 400, .flexible_notice_ms = 700, .tenure_ms = 300},
        .fee_bp = 1000};
    return leader_start(&config);
}

static struct settle *start_settle(const char *holder)
{
    const struct settle_config config = {.conninfo = world.conninfo,
                                         .market = "main",
                                         .holder = holder,
                                         .address = "",
                                         .interval_ms = 500,
                                         .seal_ms = 1000};
    return settle_start(&config);
}

/* A post that may meet a dead database is repeated, as a client with an idempotency key would. */
static void post(struct actor *actor, struct hub *hub, int who, struct prop *prop)
{
    char sql[512];
    bool is_now = prop_chance(prop, 30);
    str_format(
        sql, sizeof(sql),
        "select fx.make_workload(%d, %d, %d, 600000, '{\"award\": \"%s\", \"tier\": \"%s\", "
        "\"restart\": \"never\", \"regions\": [\"eu-west\", \"us-east\"], \"stop_grace_s\": 0}') "
        "where not exists (select 1 from workloads where workload_id = fx.workload(%d))",
        who, 1 + who % 3, 1 + who % 4, is_now ? "now" : "auction",
        prop_chance(prop, 50) ? "spot" : "flexible", who);
    while (!actor_do(actor, sql))
        usleep(10000);
    if (is_now)
        hub_wake(hub, "market:now:somebody");
    if (prop_chance(prop, 10)) {
        str_format(sql, sizeof(sql),
                   "update workloads set desired = 'stop' where workload_id = "
                   "fx.workload(%d) and ended_at is null",
                   1 + (int)prop_range(prop, 0, who - 1));
        actor_do(actor, sql);
    }
}

/* The owner of what began last takes it back; whoever did so a while ago sells again. */
static void reclaim(struct actor *actor)
{
    actor_do(actor, "update nodes set reclaimed_at = null where reclaimed_at < now() - interval "
                    "'1 s'");
    actor_do(actor, "update nodes set reclaimed_at = now() where reclaimed_at is null and node_id "
                    "= (select node_id from leases where state = 'running' order by running_at "
                    "desc limit 1)");
}

static void kill_database(void)
{
    pg_kill9();
    pg_restart();
}

static int64_t still_live(void)
{
    return world_number(&world, "select count(*) from workloads where ended_at is null");
}

/* Of each kind of end that the storm is for, one at least. */
static bool has_seen_all(void)
{
    return world_number(&world, "select count(distinct close_reason) from leases where "
                                "close_reason in ('not_acknowledged', 'preempted', "
                                "'operator_reclaimed')") == 3;
}

static void records_hold(void)
{
    PGconn *conn = PQconnectdb(world.conninfo);
    PGresult *rows = PQexecParams(conn, "select record from rounds where record is not null", 0,
                                  NULL, NULL, NULL, NULL, 1);
    assert_true(PQntuples(rows) > 10);
    for (int i = 0; i < PQntuples(rows); i++) {
        struct str record = {PQgetvalue(rows, i, 0), (size_t)PQgetlength(rows, i, 0)};
        assert_int_equal(record_recompute(record), RECORD_HOLDS);
    }
    PQclear(rows);
    PQfinish(conn);
}

static void what_came_of_it(void)
{
    world_is_sound(&world);
    records_hold();
    /* Nobody is left behind, and whoever ended did so for a reason of its own or its owner's. */
    assert_string_equal(
        world_ask(&world, "select count(*) from replicas r join workloads w using (workload_id) "
                          "where r.state <> 'ended' or (w.desired = 'run' and r.reason not in "
                          "('completed', 'command_failed'))"),
        "0");
    /* At no instant did a replica run twice. */
    assert_string_equal(
        world_ask(
            &world,
            "select count(*) from leases a join leases b on a.replica_id = "
            "b.replica_id and a.lease_id < b.lease_id and tstzrange(a.awarded_at, a.closed_at) && "
            "tstzrange(b.awarded_at, b.closed_at)"),
        "0");
    /* Nor did a device run two leases. */
    assert_string_equal(
        world_ask(&world, "select count(*) from leases a join leases b on a.lease_id < b.lease_id "
                          "and a.device_ids && b.device_ids and tstzrange(a.running_at, "
                          "a.closed_at) && tstzrange(b.running_at, b.closed_at) "
                          "where a.running_at is not null and b.running_at is not null"),
        "0");
    /* Nobody left before the notice was over, unless by itself. */
    assert_string_equal(world_ask(&world,
                                  "select count(*) from leases where close_reason in ('preempted', "
                                  "'operator_reclaimed') and closed_at < stop_at"),
                        "0");
    assert_string_equal(world_ask(&world,
                                  "select sum(balance_uusd) from ledger_accounts where kind = "
                                  "'lease_escrow'"),
                        "0");
    assert_string_equal(
        world_ask(&world, "select sum(net_uusd + fee_uusd) = (select -sum(amount_uusd) from "
                          "entries e join journals j using (journal_id) join ledger_accounts a "
                          "using (ledger_account_id) "
                          "where j.kind in ('settlement', 'lease_close') and a.kind in "
                          "('lease_escrow', 'tenant_wallet')) "
                          "from leases"),
        "t");
    assert_true(world_number(&world, "select count(*) from ticks") > 0);
    assert_true(has_seen_all());
}

static void a_storm_leaves_the_books_right(void **unused)
{
    (void)unused;
    struct prop prop = prop_start(1);
    struct actor tenant = {.conn = NULL};
    struct hub *hubs[2] = {hub_create(), hub_create()}; /* as two processes have */
    pthread_t agents;
    world_open(&world);
    world_do(&world, "select fx.make_account(i, 1000000000) from generate_series(1, 3) i");
    world_do(&world,
             "select fx.make_account(10 + i, 0), fx.make_node(i, 10 + i, case i %% 2 when 0 then "
             "'eu-west' else 'us-east' end, 'cpu-1c2g', 1, 10000 + 137 * i) from "
             "generate_series(1, %d) i",
             NODES_COUNT);
    session_close(world.session);
    world.session = NULL;
    struct leader *leaders[2] = {start_leader("one", hubs[0]), start_leader("two", hubs[1])};
    struct settle *settlers[2] = {start_settle("one"), start_settle("two")};
    pthread_create(&agents, NULL, agents_run, NULL);
    for (int i = 1; i <= WORKLOADS_COUNT; i++) {
        post(&tenant, hubs[i > WORKLOADS_COUNT / 2], i, &prop);
        if (i % 5 == 0)
            reclaim(&tenant);
        usleep(30000);
        if (i == WORKLOADS_COUNT / 3 || i == WORKLOADS_COUNT * 2 / 3)
            kill_database();
        if (i == WORKLOADS_COUNT / 2) {
            leader_stop(leaders[0]);
            settle_stop(settlers[0]);
        }
    }
    for (int i = WORKLOADS_COUNT + 1; i <= MORE_MAX && !has_seen_all(); i++) {
        post(&tenant, hubs[1], i, &prop);
        if (i % 5 == 0)
            reclaim(&tenant);
        usleep(30000);
    }
    while (!actor_do(&tenant, "update nodes set reclaimed_at = null"))
        usleep(10000);
    for (int64_t until = clock_mono_ms() + PATIENCE_MS; still_live() > 0; usleep(100000))
        if (clock_mono_ms() > until)
            fail_msg("SEED=%llu: %lld workloads did not end", (unsigned long long)prop.seed,
                     (long long)still_live());
    atomic_store(&is_over, true);
    pthread_join(agents, NULL);
    leader_stop(leaders[1]);
    settle_stop(settlers[1]);
    hub_destroy(hubs[0]);
    hub_destroy(hubs[1]);
    actor_leave(&tenant);
    what_came_of_it();
}

int main(void)
{
    hash_start();
    pg_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_storm_leaves_the_books_right),
    };
    return cmocka_run_group_tests_name("market_storm", tests, NULL, NULL);
}
