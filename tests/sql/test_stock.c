/* Supply in memory against the database: whatever changes, and whoever commits when, what was
 * brought up to date is what is read anew, and is what one query over all tables says. */
#include "broker/market/stock.h"

#include <stdlib.h>

#include "auction/tier.h"
#include "broker/market/office.h"
#include "broker/market/supply.h"
#include "tests/sql/market_fixture.h"

#define ROUNDS      120
#define ROUNDS_MAX  1200
#define TEXT_SIZE   (64 * 1024)
#define ROUND       50
#define OTHERS_OPEN 3

static struct market_world world;
static struct office office;

/* What may be sold in a round, the whole rule in one query: a line per device and kind of pool. */
static const char oracle_sql[] =
    "create function fx.supply(at_round int8) returns table (line text) language sql as $$"
    " select concat_ws(' ', k.kind, n.region, d.class, n.trust, n.node_id, d.device_id,"
    "   a.price_uusd_per_device_hour, a.spot_multiplier_bp, tier_mask(a.tiers),"
    "   coalesce(h.failures_milli, 0), c.catalogue_uusd_per_hour, d.is_simulated,"
    "   coalesce(l.lease_id, '00000000-0000-0000-0000-000000000000'))"
    " from nodes n join devices d using (node_id) join device_classes c on c.class = d.class"
    " join asks a on a.account_id = n.account_id and a.class = d.class and a.region = n.region"
    " cross join (values ('spot', 8), ('higher', 6)) k (kind, mask)"
    " left join node_histories h using (node_id)"
    " left join leases l on k.kind = 'higher' and l.lease_id = d.lease_id and l.state = 'running'"
    "   and l.tier = 'spot' and coalesce(l.interrupt_reason, 'preempted') = 'preempted'"
    " where n.state = 'live' and n.is_opted_in"
    "  and (n.suspect_until is null or n.suspect_until <= now()) and n.reclaimed_at is null"
    "  and d.reclaimed_at is null and d.is_present and d.next_lease_id is null"
    "  and (d.lease_id is null or l.lease_id is not null) and d.bid_id is null"
    "  and tier_mask(a.tiers) & k.mask <> 0 and a.withdrawn_at is null and a.arrived_round <= $1"
    "  and coalesce(floor_of(n.floors, d.class), a.price_uusd_per_device_hour) ="
    "   a.price_uusd_per_device_hour"
    " union all"
    " select concat_ws(' ', 'bid', n.region, d.class, n.trust, n.node_id, d.device_id, b.bid_id,"
    "   b.workload_id, b.price_uusd_per_hour)"
    " from devices d join nodes n using (node_id) join direct_bids b using (bid_id)"
    " join asks a on a.account_id = n.account_id and a.class = d.class and a.region = n.region"
    " where b.state = 'standing' and b.arrived_round <= $1 and b.expires_at > now()"
    "  and n.state = 'live' and n.is_opted_in and n.reclaimed_at is null"
    "  and (n.suspect_until is null or n.suspect_until <= now())"
    "  and d.is_present and d.reclaimed_at is null and d.next_lease_id is null"
    "  and d.lease_id is null and tier_mask(a.tiers) & 6 <> 0 and a.withdrawn_at is null"
    "  and a.arrived_round <= $1"
    "  and coalesce(floor_of(n.floors, d.class), a.price_uusd_per_device_hour) ="
    "   a.price_uusd_per_device_hour $$;";

/* Each changes something at random, or nothing; random() is seeded. */
static const char *const changes[] = {
    "update nodes set state = (array['live','live','unknown','lost'])[1 + floor(random() * 4)]"
    " where node_id = fx.any_node()",
    "update nodes set is_opted_in = not is_opted_in where node_id = fx.any_node()",
    "update nodes set suspect_until = case when random() < .5 then now() + interval '1 hour' end"
    " where node_id = fx.any_node()",
    "update nodes set reclaimed_at = case when random() < .3 then now() end"
    " where node_id = fx.any_node()",
    "update nodes set floors = case when random() < .5 then '{}' else '{\"*\": 20000}'::jsonb end"
    " where node_id = fx.any_node()",
    "update nodes set trust = (array['unverified','verified'])[1 + floor(random() * 2)]"
    " where node_id = fx.any_node()",
    "update nodes set seq = seq + 1, last_seen_at = now()",
    "update devices set is_present = random() < .8 where node_id = fx.any_node()",
    "update devices set reclaimed_at = case when random() < .3 then now() end"
    " where device_id = fx.any_device()",
    "update devices set class = case when random() < .8 then 'cpu-1c2g' end"
    " where device_id = fx.any_device()",
    "update devices set lease_id = case when random() < .5 then (select lease_id from leases l"
    "  where l.node_id = devices.node_id order by random() limit 1)"
    "  when random() < .3 then gen_random_uuid() end"
    " where device_id = fx.any_device()",
    "update devices set next_lease_id = case when random() < .3 then gen_random_uuid() end"
    " where device_id = fx.any_device()",
    "update devices set bid_id = case when random() < .6 then (select bid_id from direct_bids"
    "  b where b.node_id = devices.node_id order by random() limit 1) end"
    " where node_id = fx.any_node()",
    "delete from devices where device_id = fx.any_device() and random() < .2",
    "select fx.make_node((select count(*)::int + 1 from nodes), 1 + floor(random() * 3)::int,"
    " 'eu-west', 'cpu-1c2g', 2, 20000)",
    "update asks set price_uusd_per_device_hour = 20000 + 1000 * floor(random() * 3),"
    " arrived_round = 40 + floor(random() * 20) where account_id = fx.any_owner()",
    "update asks set withdrawn_at = case when random() < .3 then now() end"
    " where account_id = fx.any_owner()",
    "update asks set tiers = case when random() < .5 then '{flexible}'::text[] else"
    " '{flexible,spot}' end where account_id = fx.any_owner()",
    "insert into asks (account_id, class, region, price_uusd_per_device_hour, arrived_round,"
    " message_sha256) values (fx.any_owner(), 'cpu-2c4g', 'us-east', 1, 1, sha256('')) on conflict"
    " do nothing",
    "insert into node_histories (node_id, failures_milli, observed_ms, day) values"
    " (fx.any_node(), 1000 * random(), 1000, 1) on conflict (node_id) do update set"
    " failures_milli = node_histories.failures_milli + 1",
    "update leases set state = (array['starting','running'])[1 + floor(random() * 2)],"
    " running_at = now() - interval '1 hour' where lease_id = fx.any_lease()",
    "update leases set receipt_ms = receipt_ms + 1",
    "update leases set interrupt_reason = 'reclaimed', notice_at = now(), stop_at = now(),"
    " interrupt_at = now() where lease_id = fx.any_lease() and random() < .2",
    "update workloads set reserve_uusd_per_hour = 33000 + floor(random() * 100)",
    "insert into direct_bids (bid_id, market, workload_id, node_id, account_id,"
    " price_uusd_per_hour, arrived_round, message_sha256, expires_at) select gen_random_uuid(),"
    " 'main', gen_random_uuid(), node_id, account_id, 5, 40 + floor(random() * 20), sha256(''),"
    " now() + interval '1 hour' from nodes where node_id = fx.any_node()",
    "update direct_bids set state = (array['standing','standing','withdrawn'])[1 +"
    " floor(random() * 3)], expires_at = now() + (random() - .2) * interval '1 hour'"
    " where random() < .2",
    "update device_classes set catalogue_uusd_per_hour = catalogue_uusd_per_hour + 1"
    " where random() < .1 and class = 'cpu-1c2g'",
};

static int setup(void **state)
{
    (void)state;
    world_open(&world);
    pg_execute(world.conninfo, oracle_sql);
    world_do(&world, "select setseed(0.2);"
                     "create function fx.any_node() returns uuid language sql as"
                     " 'select node_id from nodes order by random() limit 1';"
                     "create function fx.any_device() returns uuid language sql as"
                     " 'select device_id from devices order by random() limit 1';"
                     "create function fx.any_lease() returns uuid language sql as"
                     " 'select lease_id from leases order by random() limit 1';"
                     "create function fx.any_owner() returns uuid language sql as"
                     " 'select fx.account(1 + floor(random() * 3)::int)'");
    world_do(&world, "select fx.make_account(i, 100000000) from generate_series(1, 4) i");
    world_do(&world, "select fx.make_node(i, 1 + i %% 3, case when i %% 2 = 0 then 'eu-west' else"
                     " 'us-east' end, case when i %% 5 = 0 then 'cpu-2c4g' else 'cpu-1c2g' end, 3,"
                     " 20000) from generate_series(1, 12) i");
    for (int i = 1; i <= 6; i++) {
        world_do(&world, "select fx.make_workload(%d, 4, 1, 33000, '{\"tier\": \"spot\"}')", i);
        world_do(&world, "select fx.award(%d, 0, %d, 1)", i, i);
    }
    world_do(&world, "update leases set state = 'running', running_at = now() - interval '1 day'");
    office = (struct office){
        .conninfo = world.conninfo, .name = "main", .holder = "test", .address = "here"};
    assert_true(office_hold(&office));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    office_leave(&office);
    world_close(&world);
    return 0;
}

/* ---- what a stock sells, as lines ---- */

static int line_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void lines_sort(char *text)
{
    static char sorted[TEXT_SIZE];
    char *lines[TEXT_SIZE / 64];
    size_t count = 0, len = 0;
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;)
        if (*line != '\0')
            lines[count++] = line;
    qsort(lines, count, sizeof(*lines), line_order);
    for (size_t i = 0; i < count; i++)
        len += (size_t)snprintf(sorted + len, sizeof(sorted) - len, "%s\n", lines[i]);
    must(len < sizeof(sorted));
    memcpy(text, sorted, len + 1);
    text[len] = '\0';
}

static void add_place(struct buf *text, const char *kind, const struct supply_pool *pool,
                      const struct supply_node *node, const struct supply_device *device)
{
    char node_id[ID_TEXT_SIZE], device_id[ID_TEXT_SIZE];
    buf_add_format(text, "%s %.*s %.*s %.*s %s %s ", kind, STR_ARG(pool->region),
                   STR_ARG(pool->class), STR_ARG(pool->trust), uuid_text(node->node_id, node_id),
                   uuid_text(device->device_id, device_id));
}

static void add_pool(struct buf *text, const struct supply *supply, const struct supply_pool *pool)
{
    char holder_id[ID_TEXT_SIZE];
    for (uint32_t i = 0; i < pool->nodes_count; i++) {
        const struct supply_node *node = &supply->nodes[pool->node_first + i];
        for (uint32_t d = 0; d < node->devices_count; d++) {
            const struct supply_device *device = &supply->devices[node->device_first + d];
            add_place(text, pool->is_spot ? "spot" : "higher", pool, node, device);
            buf_add_format(
                text, "%lld %d %d %lld %lld %c %s\n", (long long)node->ask_uusd_per_device_hour,
                node->spot_multiplier_bp, node->tier_mask, (long long)node->history.failures_milli,
                (long long)pool->catalogue_uusd_per_hour, device->is_simulated ? 't' : 'f',
                uuid_text(device->holder_id, holder_id));
        }
    }
}

static void add_bid(struct buf *text, const struct supply_bid *bid)
{
    char bid_id[ID_TEXT_SIZE], workload_id[ID_TEXT_SIZE];
    for (uint32_t d = 0; !bid->pool->is_spot && d < bid->block.devices_count; d++) {
        add_place(text, "bid", bid->pool, bid->block.node, &bid->devices[d]);
        buf_add_format(text, "%s %s %lld\n", uuid_text(bid->bid_id, bid_id),
                       uuid_text(bid->workload_id, workload_id),
                       (long long)bid->price_uusd_per_hour);
    }
}

static void stock_text(const struct stock *stock, char text[TEXT_SIZE])
{
    const struct str regions[] = {STR("eu-west"), STR("us-east")};
    const struct str classes[] = {STR("cpu-1c2g"), STR("cpu-2c4g")};
    const struct tier_times tiers = {.spot_notice_ms = 1, .flexible_notice_ms = 1, .tenure_ms = 1};
    struct supply supply;
    struct buf lines = {.at = NULL};
    supply_make(
        &(struct supply_query){
            .stock = stock,
            .regions = regions,
            .regions_count = 2,
            .classes = classes,
            .classes_count = 2,
            .round = ROUND,
            .wants_spot = true,
            .wants_higher = true,
            .tiers = &tiers,
            .at_us = 1000 * world_number(&world, "select ms_between('epoch', clock_timestamp())")},
        &supply);
    for (uint32_t i = 0; i < supply.pools_count; i++)
        add_pool(&lines, &supply, &supply.pools[i]);
    for (uint32_t i = 0; i < supply.bids_count; i++)
        add_bid(&lines, &supply.bids[i]);
    must(lines.len < TEXT_SIZE);
    memcpy(text, lines.len > 0 ? lines.at : "", lines.len);
    text[lines.len] = '\0';
    lines_sort(text);
    buf_finish(&lines);
    supply_finish(&supply);
}

static void oracle_text(char text[TEXT_SIZE])
{
    PGresult *rows = PQexec(world.conn, "select line from fx.supply(50)");
    size_t len = 0;
    must(PQresultStatus(rows) == PGRES_TUPLES_OK);
    text[0] = '\0';
    for (int i = 0; i < PQntuples(rows); i++)
        len += (size_t)snprintf(text + len, TEXT_SIZE - len, "%s\n", PQgetvalue(rows, i, 0));
    must(len < TEXT_SIZE);
    PQclear(rows);
    lines_sort(text);
}

static void is_up_to_date(struct stock *stock)
{
    static char kept[TEXT_SIZE], fresh[TEXT_SIZE], expected[TEXT_SIZE];
    struct stock other = {.is_loaded = false};
    must(stock_refresh(stock, &office) == ERR_OK);
    must(stock_refresh(&other, &office) == ERR_OK);
    stock_text(stock, kept);
    stock_text(&other, fresh);
    oracle_text(expected);
    assert_string_equal(fresh, expected);
    assert_string_equal(kept, expected);
    stock_finish(&other);
}

static void random_changes_are_followed(void **state)
{
    (void)state;
    struct stock stock = {.is_loaded = false};
    static char text[TEXT_SIZE];
    bool has_spot = false, has_bid = false;
    is_up_to_date(&stock);
    for (int round = 0; round < ROUNDS_MAX; round++) {
        if (round >= ROUNDS && has_spot && has_bid)
            break; /* chance may leave out what this is for; then it goes on */
        for (int i = 0; i < 4; i++)
            world_do(&world, "%s",
                     changes[world_number(&world, "select floor(random() * 1e6)::int") %
                             (int64_t)ARRAY_COUNT(changes)]);
        is_up_to_date(&stock);
        stock_text(&stock, text);
        has_spot |= strstr(text, "spot ") != NULL;
        has_bid |= strstr(text, "bid ") != NULL;
    }
    assert_true(has_spot && has_bid && stock.nodes_read_count > ROUNDS);
    stock_finish(&stock);
}

/* Transactions that began before a refresh and end after it are read by the next. */
static void a_change_is_seen_when_it_commits_and_not_lost_before(void **state)
{
    (void)state;
    struct stock stock = {.is_loaded = false};
    PGconn *others[OTHERS_OPEN];
    is_up_to_date(&stock);
    for (int i = 0; i < OTHERS_OPEN; i++) {
        char sql[256];
        others[i] = PQconnectdb(world.conninfo);
        PQclear(PQexec(others[i], "begin"));
        (void)snprintf(sql, sizeof(sql),
                       "update nodes set is_opted_in = false where node_id = fx.node(%d)", i + 7);
        PQclear(PQexec(others[i], sql));
        world_do(&world, "update devices set is_present = false where node_id = fx.node(%d)",
                 i + 10);
        is_up_to_date(&stock);
    }
    for (int i = OTHERS_OPEN - 1; i >= 0; i--) { /* not in the order in which they began */
        PQclear(PQexec(others[i], i == 1 ? "rollback" : "commit"));
        is_up_to_date(&stock);
        PQfinish(others[i]);
    }
    stock_finish(&stock);
}

/* Whatever may change what can be sold, or whom it would cost its place. */
static void every_change_that_counts_is_written(void **state)
{
    (void)state;
    static const char *const counting[] = {
        "update nodes set region = 'us-west' where node_id = fx.node(1)",
        "update nodes set trust = 'verified' where node_id = fx.node(1)",
        "insert into devices (device_id, node_id, hardware_id, device_index, class, vendor, model,"
        " vram_mib, is_simulated) select gen_random_uuid(), node_id, 'more', 9, class, vendor,"
        " model, vram_mib, false from devices where node_id = fx.node(2) limit 1",
        "update devices set is_present = false where node_id = fx.node(1)",
        "delete from devices where node_id = fx.node(1)",
        "insert into node_histories values (fx.node(1), 1, 1, 1)",
        "update node_histories set failures_milli = 2",
        "insert into asks (account_id, class, region, price_uusd_per_device_hour, arrived_round,"
        " message_sha256) values (fx.account(1), 'a100-80g', 'us-west', 1, 1, sha256(''))",
        "update asks set price_uusd_per_device_hour = 2",
        "update leases set state = 'starting' where workload_id = fx.workload(1)",
        "update leases set notice_at = now(), stop_at = now(), interrupt_at = now(),"
        " interrupt_reason = 'preempted' where workload_id = fx.workload(1)",
        "update workloads set reserve_uusd_per_hour = 1 where workload_id = fx.workload(1)",
        "update direct_bids set state = 'withdrawn'",
        "update device_classes set catalogue_uusd_per_hour = 1 where class = 'cpu-1c2g'",
        "update regions set title = 'here'",
        "delete from asks where class = 'a100-80g'",
        "truncate devices",
        "delete from nodes where node_id = fx.node(99)",
    };
    static const char *const idle[] = {
        "update nodes set seq = seq + 1, last_seen_at = now()",
        "update leases set receipt_ms = receipt_ms + 1, log_bytes = 1",
        "update workloads set version = version + 1",
        "update replicas set ran_ms = ran_ms + 1",
    };
    world_do(&world, "insert into direct_bids (bid_id, market, workload_id, node_id, account_id,"
                     " price_uusd_per_hour, arrived_round, message_sha256, expires_at) values"
                     " (gen_random_uuid(), 'main', gen_random_uuid(), fx.node(2), fx.account(3), 5,"
                     " 1, sha256(''), now())");
    for (size_t i = 0; i < ARRAY_COUNT(idle) + ARRAY_COUNT(counting); i++) {
        bool counts = i >= ARRAY_COUNT(idle);
        const char *sql = counts ? counting[i - ARRAY_COUNT(idle)] : idle[i];
        world_do(&world, "truncate supply_changes");
        world_do(&world, "%s", sql);
        if ((world_number(&world, "select count(*) from supply_changes") > 0) != counts)
            fail_msg("%s: %s", counts ? "not written" : "written", sql);
    }
}

static void what_did_not_change_is_not_read(void **state)
{
    (void)state;
    struct stock stock = {.is_loaded = false};
    is_up_to_date(&stock);
    world_do(&world, "update nodes set seq = seq + 1, last_seen_at = now()");
    world_do(&world, "update leases set receipt_ms = receipt_ms + 1, acked_at = now()");
    is_up_to_date(&stock);
    assert_int_equal(stock.nodes_read_count, 0);
    world_do(&world, "update nodes set is_opted_in = false where node_id = fx.node(3)");
    is_up_to_date(&stock);
    assert_int_equal(stock.nodes_read_count, 1);
    assert_int_equal(stock.loads_count, 1);
    stock_finish(&stock);
}

/* The changes are not logged: after a crash of the server everything is read. */
static void a_new_connection_reads_everything(void **state)
{
    (void)state;
    struct stock stock = {.is_loaded = false};
    is_up_to_date(&stock);
    world_do(&world, "update nodes set is_opted_in = false where node_id = fx.node(4);"
                     "truncate supply_changes");
    session_close(office.session);
    office.session = NULL;
    assert_false(stock.is_loaded && office.connection != stock.connection);
    assert_true(office_hold(&office));
    assert_false(stock_is_recent(&stock, &office));
    is_up_to_date(&stock);
    assert_int_equal(stock.loads_count, 2);
    stock_finish(&stock);
}

static void old_changes_are_deleted_only_when_nobody_needs_them(void **state)
{
    (void)state;
    struct stock stock = {.is_loaded = false};
    is_up_to_date(&stock);
    assert_true(world_number(&world, "select count(*) from supply_changes") > 0);
    must(stock_tidy(&stock, &office) == ERR_OK);
    world_do(&world, "update nodes set is_opted_in = false where node_id = fx.node(5)");
    must(stock_tidy(&stock, &office) == ERR_OK); /* too early for anything */
    assert_true(world_number(&world, "select count(*) from supply_changes") > 1);
    stock.past_mono_ms -= 60001;
    must(stock_tidy(&stock, &office) == ERR_OK);
    assert_int_equal(world_number(&world, "select count(*) from supply_changes"), 1);
    is_up_to_date(&stock);
    stock.read_mono_ms -= STOCK_OLD_MS; /* a leader that slept */
    is_up_to_date(&stock);
    assert_int_equal(stock.loads_count, 2);
    stock_finish(&stock);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(random_changes_are_followed),
        CASE(a_change_is_seen_when_it_commits_and_not_lost_before),
        CASE(every_change_that_counts_is_written),
        CASE(what_did_not_change_is_not_read),
        CASE(a_new_connection_reads_everything),
        CASE(old_changes_are_deleted_only_when_nobody_needs_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
