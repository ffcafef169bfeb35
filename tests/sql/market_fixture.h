/* market_fixture.h - a small market in a database: accounts with money, nodes, workloads, leases.
 *
 * Tests only. The functions live in the schema `fx` of the test's database. Everything is booked as
 * the product does it, so that invariant_violations() is empty from the start.
 */
#ifndef UNDERCUT_TESTS_SQL_MARKET_FIXTURE_H
#define UNDERCUT_TESTS_SQL_MARKET_FIXTURE_H

#include <libpq-fe.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "broker/base/hash.h"
#include "broker/base/id.h"
#include "broker/base/must.h"
#include "broker/io/sql.h"
#include "tests/lib/pg.h"

static const char fixture_sql[] =
    "create schema fx;"
    "create function fx.account(who int) returns uuid language sql immutable as"
    " $$ select ('00000000-0000-7000-8000-' || lpad(who::text, 12, '0'))::uuid $$;"
    "create function fx.node(who int) returns uuid language sql immutable as"
    " $$ select ('00000000-0000-7000-9000-' || lpad(who::text, 12, '0'))::uuid $$;"
    "create function fx.workload(who int) returns uuid language sql immutable as"
    " $$ select ('00000000-0000-7000-a000-' || lpad(who::text, 12, '0'))::uuid $$;"
    "create function fx.replica(w int, i int) returns uuid language sql immutable as"
    " $$ select ('00000000-0000-7000-b' || lpad(i::text, 3, '0') || '-' || lpad(w::text, 12,"
    " '0'))::uuid $$;"
    /* An account with money from nowhere, i.e. from promo. */
    "create function fx.make_account(who int, money int8) returns void language plpgsql as $$"
    " declare j int8; begin"
    "  insert into accounts values (fx.account(who), 'account ' || who, null, 'test');"
    "  if money > 0 then"
    "   insert into journals (kind, actor) values ('credit', 'test') returning journal_id into j;"
    "   insert into entries select j, row_number() over (), ledger_account_id,"
    "     case kind when 'promo' then -money else money end, null from ledger_accounts"
    "    where (account_id = fx.account(who) and kind = 'tenant_wallet') or kind = 'promo';"
    "  end if; end $$;"
    /* A node with `n` devices of a class, and its account's ask if there is none yet. */
    "create function fx.make_node(who int, owner int, place text, c text, n int, ask int8)"
    " returns void language plpgsql as $$ begin"
    "  insert into nodes (node_id, account_id, name, region, public_key) values (fx.node(who),"
    "    fx.account(owner), 'node-' || who, place, sha256(('node' || who)::bytea));"
    "  insert into devices (device_id, node_id, hardware_id, device_index, class, vendor, model,"
    "    vram_mib, is_simulated)"
    "   select ('00000000-0000-7000-c' || lpad(i::text, 3, '0') || '-' || lpad(who::text, 12,"
    " '0'))::uuid,"
    "    fx.node(who), 'hw-' || i, i, c, d.vendor, d.models[1], d.vram_mib, false"
    "   from generate_series(0, n - 1) i, device_classes d where d.class = c;"
    "  insert into asks (account_id, class, region, price_uusd_per_device_hour, arrived_round,"
    "    message_sha256) values (fx.account(owner), c, place, ask,"
    "    (select round from markets where market = 'main'), sha256(('ask' || who)::bytea))"
    "   on conflict do nothing;"
    "  insert into arrivals (market, round, kind, account_id, message_sha256)"
    "   select 'main', round, 'ask', fx.account(owner), sha256(('ask' || who)::bytea)"
    "   from markets where market = 'main'; end $$;"
    /* A workload with its hold, as POST does it; `more` overrides columns of workloads, as JSON. */
    "create function fx.make_workload(who int, owner int, n int, reserve int8, more jsonb"
    " default '{}')"
    " returns void language plpgsql as $$"
    " declare j int8; w workloads; hold int8; begin"
    "  perform pg_advisory_xact_lock_shared(hashtext('undercut/arrivals/main'));"
    "  select * into w from jsonb_populate_record(null::workloads, jsonb_build_object("
    "   'workload_id', fx.workload(who), 'account_id', fx.account(owner), 'name', 'w' || who,"
    "   'market', 'main', 'manifest', '{}', 'image', 'busybox', 'block_size', 1,"
    " 'devices_count', 1,"
    "   'classes', '{cpu-1c2g}'::text[], 'regions', '{eu-west}'::text[], 'tier', 'flexible',"
    "   'trust_min', 'unverified', 'award', 'auction', 'price_policy', 'limit',"
    "   'reserve_uusd_per_hour', reserve, 'fee_bp', 1000, 'vcpu_milli', 1000, 'memory_mib', 2048,"
    "   'disk_mib', 1024, 'replicas', n, 'min_replicas', 1, 'restart', 'on_failure',"
    "   'on_interruption', 'rebid', 'on_degraded', 'continue', 'max_duration_s', 86400,"
    "   'stop_grace_s', 10, 'labels', '{}'::jsonb, 'desired', 'run', 'state', 'auctioning',"
    "   'replicas_auctioning', n, 'replicas_starting', 0, 'replicas_running', 0,"
    "   'replicas_ended', 0, 'has_been_awarded', false, 'spent_uusd', 0, 'version', 1,"
    "   'created_at', now(), 'arrived_round', (select round from markets where market = 'main'),"
    "   'message_sha256', '\\x' || encode(sha256(('w' || who)::bytea), 'hex')) || more);"
    "  insert into workloads select w.*;"
    "  hold := meter_net(w.reserve_uusd_per_hour, 1000 * least(600, w.max_duration_s)::int8);"
    "  insert into replicas (replica_id, workload_id, account_id, replica_index, escrow_uusd)"
    "   select fx.replica(who, i), fx.workload(who), fx.account(owner), i, hold"
    "   from generate_series(0, n - 1) i;"
    "  insert into journals (kind, actor) values ('hold', 'test') returning journal_id into j;"
    "  insert into entries select j, row_number() over (), ledger_account_id,"
    "    case kind when 'tenant_wallet' then -hold * n else hold * n end, fx.workload(who)"
    "   from ledger_accounts where account_id = fx.account(owner)"
    "    and kind in ('tenant_wallet', 'lease_escrow');"
    "  insert into arrivals (market, round, kind, account_id, message_sha256)"
    "   select 'main', w.arrived_round, 'workload', fx.account(owner), w.message_sha256; end $$;"
    /* An award without a round: replica `i` of workload `w` on the first free device of a node,
     * else on one whose holder has its notice; it waits for that. */
    "create function fx.award(w int, i int, who int, price int8) returns uuid language plpgsql"
    " as $$"
    " declare d uuid; l uuid := gen_random_uuid(); r replicas; v workloads; n nodes; begin"
    "  select * into v from workloads where workload_id = fx.workload(w) for update;"
    "  select device_id into d from devices g where node_id = fx.node(who) and next_lease_id is"
    "    null and (lease_id is null or exists (select from leases h where h.lease_id = g.lease_id"
    "     and h.notice_at is not null))"
    "   order by lease_id is not null, device_index limit 1 for update;"
    "  if d is null then return null; end if;"
    "  update replicas set state = 'starting', epoch = epoch + 1 where replica_id ="
    " fx.replica(w, i)"
    "   and state = 'auctioning' returning * into r;"
    "  if r.replica_id is null then return null; end if;"
    "  select * into n from nodes where node_id = fx.node(who);"
    "  insert into leases (lease_id, replica_id, workload_id, account_id, operator_account_id,"
    " node_id,"
    "    market, round, region, class, block_size, tier, trust, replica_index, epoch,"
    "    price_uusd_per_hour, fee_bp, theta_uusd_per_hour, adder_uusd_per_hour, max_duration_s,"
    "    earlier_ms, device_ids, is_simulated, billable_ms_max)"
    "   values (l, r.replica_id, v.workload_id, v.account_id, n.account_id, n.node_id, 'main', 1,"
    "    n.region, v.classes[1], 1, v.tier, n.trust, i, r.epoch, price, v.fee_bp, price, 0,"
    "    v.max_duration_s, r.ran_ms, array[d], false,"
    "    lease_ms_max(price, v.fee_bp, r.escrow_uusd, 0,"
    "     duration_left_ms(v.max_duration_s, r.ran_ms)));"
    "  update devices set lease_id = coalesce(lease_id, l),"
    "    next_lease_id = case when lease_id is not null then l end where device_id = d;"
    "  return l; end $$;"
    /* Lets time pass for one lease. */
    "create function fx.age(l uuid, ms int8) returns void language sql as $$"
    " update leases set awarded_at = awarded_at - ms * interval '1 ms',"
    "  acked_at = acked_at - ms * interval '1 ms',"
    "  starts_at = starts_at - ms * interval '1 ms',"
    "  notice_at = notice_at - ms * interval '1 ms',"
    "  stop_at = stop_at - ms * interval '1 ms',"
    "  interrupt_at = interrupt_at - ms * interval '1 ms',"
    "  cut_seen_at = cut_seen_at - ms * interval '1 ms',"
    "  running_at = running_at - ms * interval '1 ms',"
    "  cut_at = cut_at - ms * interval '1 ms' where lease_id = l $$;"
    /* Healthy for as long as the broker's clock says. */
    "create function fx.receipt(l uuid) returns void language sql as $$"
    " update leases set receipt_ms = ms_between(running_at, clock_timestamp()),"
    "  receipt_seq = receipt_seq + 1 where lease_id = l and running_at is not null $$;";

struct market_world {
    const char *conninfo;
    struct session *session;
    PGconn *conn;
};

static inline void world_open(struct market_world *world)
{
    char why[256];
    world->conninfo = pg_fresh();
    pg_execute(world->conninfo, fixture_sql);
    world->conn = PQconnectdb(world->conninfo);
    world->session = session_open(world->conninfo, "test", why, sizeof(why));
    must(world->session != NULL && PQstatus(world->conn) == CONNECTION_OK);
}

static inline void world_close(struct market_world *world)
{
    session_close(world->session);
    PQfinish(world->conn);
}

/* The connection of a world is one thread's; it comes back after the database was killed. */
static inline PGresult *world_query(const struct market_world *world, const char *format,
                                    va_list args)
{
    char sql[2048];
    must(vsnprintf(sql, sizeof(sql), format, args) < (int)sizeof(sql));
    if (PQstatus(world->conn) != CONNECTION_OK)
        PQreset(world->conn);
    PGresult *result = PQexec(world->conn, sql);
    if (PQstatus(world->conn) != CONNECTION_OK) {
        PQclear(result);
        PQreset(world->conn);
        result = PQexec(world->conn, sql);
    }
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(world->conn));
    return result;
}

static inline void world_do(const struct market_world *world, const char *format, ...)
    PRINTF_LIKE(2, 3);
static inline void world_do(const struct market_world *world, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    PQclear(world_query(world, format, args));
    va_end(args);
}

/* First column of the first row as text, "" for none; static buffer. */
static inline const char *world_ask(const struct market_world *world, const char *format, ...)
    PRINTF_LIKE(2, 3);
static inline const char *world_ask(const struct market_world *world, const char *format, ...)
{
    static char answer[512];
    va_list args;
    va_start(args, format);
    PGresult *result = world_query(world, format, args);
    va_end(args);
    const char *value = PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "";
    (void)str_format(answer, sizeof(answer), "%s", value);
    PQclear(result);
    return answer;
}

static inline int64_t world_number(const struct market_world *world, const char *sql)
{
    return strtoll(world_ask(world, "%s", sql), NULL, 10);
}

static inline struct uuid world_uuid(const char *text)
{
    struct uuid id = {{0}};
    must(uuid_parse(str_of(text), &id));
    return id;
}

static inline void world_is_sound(const struct market_world *world)
{
    assert_string_equal(world_ask(world,
                                  "select coalesce(string_agg(rule || ': ' || subject || ' ' || "
                                  "detail, '; '), 'sound') from invariant_violations()"),
                        "sound");
}

#endif
