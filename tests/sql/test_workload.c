/* Posting workloads on a real database: money behind each, one effect per key and name, many at
 * once, and the round that an arrival belongs to. */
#include "broker/market/money.h"
#include "tests/sql/workload_fixture.h"

static void a_posting_moves_the_hold_and_makes_replicas_and_an_arrival(void **state)
{
    (void)state;
    struct workload_store_in in = posting(account(1), "three", 3);
    struct workload_store_out row;
    in.hold_uusd = 100001; /* does not divide by three */
    assert_int_equal(store(&in, 1, &row), 1);
    assert_int_equal(row.wallet_uusd, 10000000);
    assert_int_equal(row.round, world_number(&world, "select round from markets"));
    const char *id = id_text(in.workload_id);
    assert_string_equal(
        world_ask(&world,
                  "select string_agg(replica_index || ':' || escrow_uusd, ' ' order by"
                  " replica_index) from replicas where workload_id = '%s'",
                  id),
        "0:33334 1:33334 2:33333");
    assert_string_equal(
        world_ask(&world, "select string_agg(kind || ' ' || balance_uusd, ' ' order by kind) from"
                          " ledger_accounts where account_id = fx.account(1)"
                          " and balance_uusd <> 0"),
        "lease_escrow 100001 tenant_wallet 9899999");
    assert_string_equal(
        world_ask(&world,
                  "select a.kind || (a.place = w.place) || (a.round = w.arrived_round)"
                  " from arrivals a join workloads w using (message_sha256)"
                  " where w.workload_id = '%s'",
                  id),
        "workloadtruetrue");
    assert_string_equal(world_ask(&world,
                                  "select string_agg(kind || ' ' || cardinality(workload_ids), ' ')"
                                  " from events where '%s' = any (workload_ids)",
                                  id),
                        "workload.created 1");
    assert_string_equal(world_ask(&world,
                                  "select kind || ' ' || actor || ' ' || (request_id = '%s') from"
                                  " journals order by journal_id desc limit 1",
                                  id_text(in.request_id)),
                        "hold api true");
}

/* A batch is one journal, a pair of entries per account; its owner reads a line per workload. */
static void a_batch_is_booked_per_account_and_listed_per_workload(void **state)
{
    (void)state;
    struct workload_store_in in[4];
    struct workload_store_out rows[4];
    const char *names[] = {"a", "b", "c", "rich"};
    for (int i = 0; i < 4; i++)
        in[i] = posting(account(i == 1 ? 2 : 1), names[i], i + 1);
    in[1].replicas = in[1].min_replicas = 2;
    assert_int_equal(store(in, 4, rows), 4);
    assert_int_equal(world_number(&world, "select count(*) from entries where parts is not null"),
                     4);
    struct ledger_list_in page = {.account_id = account(1), .limit_count = 2};
    int64_t sum = 0, lines = 0, places = 0;
    for (;;) {
        struct sql_result *result = NULL;
        struct ledger_list_out row = {.line = 0};
        must(ledger_list_run(world.session, &page, &result) == ERR_OK);
        int count = sql_result_rows(result);
        for (int i = 0; i < count; i++) {
            ledger_list_row(result, i, &row);
            if (!str_equal_c(row.kind, "hold"))
                continue;
            assert_true(row.has_ref && row.line > page.before_line);
            int of = uuid_equal(row.ref, in[0].workload_id)   ? 0
                     : uuid_equal(row.ref, in[2].workload_id) ? 2
                                                              : 3;
            assert_true(uuid_equal(row.ref, in[of].workload_id));
            assert_int_equal(llabs(row.amount_uusd), in[of].hold_uusd);
            places += 1 << of;
            sum += row.amount_uusd;
            lines++;
            page.before_line = row.line;
        }
        page.has_before_journal_id = page.has_before_line = true;
        page.before_journal_id = row.journal_id;
        page.before_line = row.line;
        sql_result_release(result);
        if (count < 2)
            break;
    }
    assert_true(lines == 6 && sum == 0 && places == 2 * (1 + 4 + 8));
}

static void a_wallet_is_spent_in_order_and_never_beyond(void **state)
{
    (void)state;
    struct workload_store_in in[4];
    struct workload_store_out rows[4];
    const char *names[] = {"a", "b", "c", "rich"};
    for (int i = 0; i < 4; i++)
        in[i] = posting(account(i < 3 ? 2 : 1), names[i], 1);
    assert_int_equal(store(in, 4, rows), 3); /* 250000 pays for two */
    assert_true(rows[0].is_stored && rows[1].is_stored && !rows[2].is_stored && rows[3].is_stored);
    assert_false(rows[2].has_round);
    assert_int_equal(rows[2].wallet_uusd, 250000);
    in[2].account_id = account(3);
    assert_int_equal(store(&in[2], 1, rows), 0);
    assert_int_equal(rows[0].wallet_uusd, 0);
    in[2].account_id = uuid_v7(); /* nobody */
    assert_int_equal(store(&in[2], 1, rows), 0);
    assert_string_equal(
        world_ask(&world, "select balance_uusd::text from ledger_accounts where account_id ="
                          " fx.account(2) and kind = 'tenant_wallet'"),
        "50000");
}

static void a_refusal_owed_to_a_neighbour_is_lifted_alone(void **state)
{
    (void)state;
    struct workload_store_in in[2] = {posting(account(2), "big", 3),
                                      posting(account(2), "small", 1)};
    struct workload_store_out rows[2];
    assert_int_equal(store(in, 2, rows), 0); /* the first cannot be paid, and counts */
    assert_true(rows[1].wallet_uusd >= in[1].hold_uusd);
    assert_int_equal(store(&in[1], 1, rows), 1);
}

static struct workload_twin_out twin_of(const struct workload_store_in *in)
{
    struct workload_twin_in query = {
        .account_id = in->account_id, .idem_key = in->idem_key, .name = in->name};
    struct sql_result *result = NULL;
    struct workload_twin_out row = {.is_twin = false};
    must(workload_twin_run(world.session, &query, &result) == ERR_OK);
    if (sql_result_rows(result) > 0)
        workload_twin_row(result, 0, &row);
    row.idem_body_sha256 = STR_NONE; /* dies with the result */
    sql_result_release(result);
    return row;
}

static void a_taken_name_or_key_changes_nothing_and_is_told_apart(void **state)
{
    (void)state;
    struct sha256 memory;
    struct workload_store_in first = posting(account(1), "same", 1);
    first.idem_key = STR("key-1");
    first.idem_body_sha256 = hash_of(body_text, &memory);
    struct workload_store_in in[4];
    for (int i = 0; i < 4; i++) {
        in[i] = first;
        in[i].workload_id = uuid_v7();
    }
    in[1].idem_key = STR("key-2"); /* the name is taken */
    in[2].name = STR("other");     /* the key is taken */
    in[3].account_id = account(2); /* another account: neither is */
    struct workload_store_out rows[4];
    assert_int_equal(store(&first, 1, rows), 1);
    assert_int_equal(store(in, 4, rows), 1);
    assert_true(rows[3].is_stored);
    assert_true(twin_of(&in[0]).is_twin &&
                uuid_equal(twin_of(&in[0]).workload_id, first.workload_id));
    assert_false(twin_of(&in[1]).is_twin);
    assert_true(uuid_equal(twin_of(&in[1]).workload_id, first.workload_id));
    assert_true(twin_of(&in[2]).is_twin);
    stop(1, first.workload_id); /* an ended workload frees its name, its key stays */
    assert_int_equal(store(&in[0], 1, rows), 0);
    assert_int_equal(store(&in[1], 1, rows), 1);
}

static void members_of_one_batch_with_the_same_key_have_one_effect(void **state)
{
    (void)state;
    struct workload_store_in in[64];
    struct workload_store_out rows[64];
    struct sha256 memory;
    for (int i = 0; i < 64; i++) {
        in[i] = posting(account(1), "batch", 1);
        in[i].idem_key = STR("one");
        in[i].idem_body_sha256 = hash_of(body_text, &memory);
    }
    assert_int_equal(store(in, 64, rows), 1);
    assert_string_equal(
        world_ask(&world, "select balance_uusd::text from ledger_accounts where account_id ="
                          " fx.account(1) and kind = 'lease_escrow'"),
        "100000");
}

/* ---- many at once */

#define THREADS 16
#define ROUNDS  4

struct racer {
    pthread_t thread;
    struct workload_store_in in[ROUNDS];
    struct workload_store_out rows[ROUNDS];
    int stored, failed;
};

static void *racer_run(void *data)
{
    struct racer *racer = data;
    char why[256];
    struct session *session = session_open(world.conninfo, "racer", why, sizeof(why));
    must(session != NULL);
    for (int i = 0; i < ROUNDS; i++) {
        int stored = store_with(session, &racer->in[i], 1, &racer->rows[i]);
        racer->failed += stored < 0;
        racer->stored += stored > 0;
    }
    session_close(session);
    return NULL;
}

static int race(struct racer *racers, int *ret_failed)
{
    int stored = 0;
    *ret_failed = 0;
    for (int i = 0; i < THREADS; i++)
        must(pthread_create(&racers[i].thread, NULL, racer_run, &racers[i]) == 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(racers[i].thread, NULL);
        stored += racers[i].stored;
        *ret_failed += racers[i].failed;
    }
    return stored;
}

static void sixty_four_twins_at_once_have_one_effect(void **state)
{
    (void)state;
    static struct racer racers[THREADS];
    struct sha256 memory;
    int failed;
    memset(racers, 0, sizeof(racers));
    for (int i = 0; i < THREADS * ROUNDS; i++) {
        struct workload_store_in *in = &racers[i / ROUNDS].in[i % ROUNDS];
        *in = posting(account(1), "twin", 1);
        in->idem_key = STR("twin-key");
        in->idem_body_sha256 = hash_of(body_text, &memory);
    }
    assert_int_equal(race(racers, &failed), 1);
    assert_int_equal(failed, 0);
    assert_int_equal(world_number(&world, "select count(*) from workloads"), 1);
    assert_int_equal(world_number(&world, "select count(*) from journals where kind = 'hold'"), 1);
}

static void of_many_racing_for_a_name_one_wins(void **state)
{
    (void)state;
    static struct racer racers[THREADS];
    static char keys[THREADS * ROUNDS][16];
    struct sha256 memory;
    int failed;
    memset(racers, 0, sizeof(racers));
    for (int i = 0; i < THREADS * ROUNDS; i++) {
        struct workload_store_in *in = &racers[i / ROUNDS].in[i % ROUNDS];
        snprintf(keys[i], sizeof(keys[i]), "key-%d", i);
        *in = posting(account(i % 2 + 1), "wanted", 1); /* one per account */
        in->idem_key = str_of(keys[i]);
        in->idem_body_sha256 = hash_of(other_text, &memory);
    }
    assert_int_equal(race(racers, &failed), 2);
    assert_int_equal(failed, 0);
}

static void a_poor_wallet_raced_by_many_is_never_overdrawn(void **state)
{
    (void)state;
    static struct racer racers[THREADS];
    static char names[THREADS * ROUNDS][32];
    int failed;
    memset(racers, 0, sizeof(racers));
    for (int i = 0; i < THREADS * ROUNDS; i++) {
        snprintf(names[i], sizeof(names[i]), "poor-%d", i);
        racers[i / ROUNDS].in[i % ROUNDS] = posting(account(2), names[i], 1);
    }
    assert_int_equal(race(racers, &failed), 2);
    assert_int_equal(failed,
                     0); /* the lock shows everybody the true balance: none meets the constraint */
    assert_string_equal(
        world_ask(&world, "select balance_uusd::text from ledger_accounts where account_id ="
                          " fx.account(2) and kind = 'tenant_wallet'"),
        "50000");
}

/* What is stamped <= t is committed when round t freezes: a posting waits for the leader's lock. */
static void an_arrival_behind_the_freeze_belongs_to_the_next_round(void **state)
{
    (void)state;
    static struct racer racer;
    int64_t round = world_number(&world, "select round from markets");
    PGconn *conn = PQconnectdb(world.conninfo);
    PQclear(PQexec(conn, "begin"));
    PQclear(PQexec(conn, "select pg_advisory_xact_lock(hashtext('undercut/arrivals/' || 'main'))"));
    memset(&racer, 0, sizeof(racer));
    for (int i = 0; i < ROUNDS; i++)
        racer.in[i] = posting(account(1), (const char *[]){"r0", "r1", "r2", "r3"}[i], 1);
    must(pthread_create(&racer.thread, NULL, racer_run, &racer) == 0);
    while (world_number(
               &world,
               "select count(*) from pg_locks where not granted and locktype = 'advisory'") == 0)
        ;
    PQclear(PQexec(conn, "update markets set round = round + 1"));
    PQclear(PQexec(conn, "commit"));
    pthread_join(racer.thread, NULL);
    assert_int_equal(racer.stored, ROUNDS);
    assert_int_equal(racer.rows[0].round, round + 1);
    PQfinish(conn);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_posting_moves_the_hold_and_makes_replicas_and_an_arrival),
        CASE(a_batch_is_booked_per_account_and_listed_per_workload),
        CASE(a_wallet_is_spent_in_order_and_never_beyond),
        CASE(a_refusal_owed_to_a_neighbour_is_lifted_alone),
        CASE(a_taken_name_or_key_changes_nothing_and_is_told_apart),
        CASE(members_of_one_batch_with_the_same_key_have_one_effect),
        CASE(sixty_four_twins_at_once_have_one_effect),
        CASE(of_many_racing_for_a_name_one_wins),
        CASE(a_poor_wallet_raced_by_many_is_never_overdrawn),
        CASE(an_arrival_behind_the_freeze_belongs_to_the_next_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
