/* The market's log on a real database: every round a leaf, every head signed, nothing ever changed,
 * whoever leads and whatever fails in between.
 */
#include "broker/market/transcript.h"

#include "broker/base/seal.h"
#include "broker/market/leader.h"
#include "tests/sql/market_fixture.h"

#define LEAVES_MAX 64

static struct market_world world;
static struct ed25519_public market_key;
static struct ed25519_secret market_secret;

static struct leader *leader_of(const char *holder, const char *secret)
{
    const struct leader_config config = {
        .conninfo = world.conninfo,
        .market = "main",
        .holder = holder,
        .address = "here",
        .seal_key = seal_key_of(str_of(secret), "seed"),
        .signing_key = market_key,
        .signing_secret = market_secret,
        .round_ms = 1000,
        .ack_timeout_ms = 3000,
        .node_unknown_ms = 10000,
        .node_lost_ms = 60000,
        .node_freeze_pct = 30,
        .start_timeout_ms = 900000,
        .final_receipt_ms = 15000,
        .fee_bp = 1000,
    };
    return leader_create(&config);
}

static int setup(void **state)
{
    (void)state;
    world_open(&world);
    ed25519_from_seed((const uint8_t *)"the market's key of these tests.", &market_key,
                      &market_secret);
    world_do(&world, "select fx.make_account(i, 100000000) from generate_series(1, 5) i");
    world_do(&world, "select fx.make_node(1, 2, 'eu-west', 'cpu-1c2g', 8, 10000),"
                     " fx.make_node(2, 3, 'eu-west', 'cpu-1c2g', 8, 14000)");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_close(&world);
    return 0;
}

static PGresult *rows_of(PGconn *conn, const char *sql)
{
    PGresult *rows = PQexecParams(conn, sql, 0, NULL, NULL, NULL, NULL, 1);
    assert_int_equal(PQresultStatus(rows), PGRES_TUPLES_OK);
    return rows;
}

static struct str cell(const PGresult *rows, int row, int column)
{
    return (struct str){PQgetvalue(rows, row, column), (size_t)PQgetlength(rows, row, column)};
}

static struct sha256 cell_hash(const PGresult *rows, int row, int column)
{
    struct sha256 hash;
    assert_int_equal(PQgetlength(rows, row, column), sizeof(hash));
    memcpy(&hash, PQgetvalue(rows, row, column), sizeof(hash));
    return hash;
}

/* Leaves hash to the roots stored beside them, and each round's body commits to its record. */
static int leaves_check(PGconn *conn)
{
    PGresult *rows = rows_of(conn, "select l.body, l.root_sha256, r.record, r.opening_secret from "
                                   "log_leaves l left join rounds r using (market, round) "
                                   "order by l.size");
    struct sha256 leaves[LEAVES_MAX], scratch[LEAVES_MAX];
    int count = PQntuples(rows);
    assert_true(count <= LEAVES_MAX);
    for (int i = 0; i < count; i++) {
        struct str body = cell(rows, i, 0);
        leaves[i] = merkle_leaf(body.at, body.len);
        memcpy(scratch, leaves, sizeof(leaves));
        struct sha256 root = merkle_root(scratch, (size_t)i + 1), stored = cell_hash(rows, i, 1);
        assert_true(sha256_equal(&root, &stored));
        if (PQgetisnull(rows, i, 2))
            continue;
        struct sealed_rows sealed;
        struct sha256 secret = cell_hash(rows, i, 3);
        struct buf again = {0};
        assert_true(sealed_rows_make(cell(rows, i, 2), &secret, &sealed));
        root = sealed_rows_root(&sealed);
        sealed_put_public(&again, &root, sealed.head);
        assert_true(str_equal(buf_str(&again), body));
        sealed_rows_finish(&sealed);
        buf_finish(&again);
    }
    PQclear(rows);
    return count;
}

static void heads_check(PGconn *conn)
{
    PGresult *rows = rows_of(conn, "select size, root_sha256, signed_at_us, signature from "
                                   "log_heads order by size");
    assert_true(PQntuples(rows) > 0);
    for (int i = 0; i < PQntuples(rows); i++) {
        uint64_t numbers[2];
        struct ed25519_signature signature;
        memcpy(&numbers[0], PQgetvalue(rows, i, 0), 8);
        memcpy(&numbers[1], PQgetvalue(rows, i, 2), 8);
        memcpy(&signature, PQgetvalue(rows, i, 3), sizeof(signature));
        struct log_head head = {.market = STR("main"),
                                .size = (int64_t)__builtin_bswap64(numbers[0]),
                                .root = cell_hash(rows, i, 1),
                                .signed_at_us = (int64_t)__builtin_bswap64(numbers[1])};
        assert_true(log_head_holds(&head, &market_key, &signature));
        head.size++;
        assert_false(log_head_holds(&head, &market_key, &signature));
    }
    PQclear(rows);
}

/* How many leaves there are, all of them sound, every finished round among them. */
static int log_check(void)
{
    PGconn *conn = PQconnectdb(world.conninfo);
    int count = leaves_check(conn);
    heads_check(conn);
    PQfinish(conn);
    assert_string_equal(world_ask(&world, "select count(*) from rounds r where state <> 'frozen' "
                                          "and not exists (select from log_leaves l where "
                                          "l.round = r.round and l.size = r.log_size)"),
                        "0");
    return count;
}

static void round_make(struct leader *leader, int number)
{
    char sql[64];
    (void)str_format(sql, sizeof(sql), "select fx.make_workload(%d, 1, 1, 33000)", number);
    world_do(&world, "%s", sql);
    leader_turn(leader);
}

static void every_round_is_a_leaf_behind_the_anchor_of_its_chain(void **unused)
{
    (void)unused;
    struct leader *leader = leader_of("first", "secret");
    for (int i = 1; i <= 5; i++)
        round_make(leader, i);
    assert_int_equal(log_check(), 6);
    assert_string_equal(world_ask(&world, "select string_agg(kind || coalesce(round::text, ''), ' '"
                                          " order by size) from log_leaves"),
                        "anchor round1 round2 round3 round4 round5");
    assert_string_equal(world_ask(&world, "select max(size) from log_heads"), "6");
    leader_turn(leader); /* nothing to do: the head is signed again, the log stays */
    assert_int_equal(log_check(), 6);
    leader_destroy(leader);
}

static void a_restart_and_a_crash_leave_no_gap(void **unused)
{
    (void)unused;
    struct leader *first = leader_of("first", "secret");
    round_make(first, 1);
    world_do(&world, "select fx.make_workload(2, 1, 1, 33000)");
    assert_true(leader_freeze_only(first)); /* and here it dies */
    world_do(&world, "update leadership set renewed_at = '-infinity'");
    struct leader *second = leader_of("second", "secret");
    round_make(second, 3);
    round_make(first, 4); /* overtaken: it may not append */
    round_make(second, 5);
    leader_destroy(first);
    leader_destroy(second);
    struct leader *third = leader_of("third", "secret");
    round_make(third, 6);
    leader_destroy(third);
    int count = log_check();
    int64_t rounds_count = 0;
    assert_true(
        str_to_i64(str_of(world_ask(&world, "select count(*) from rounds")), &rounds_count));
    assert_int_equal(count, 1 + rounds_count);
    assert_string_equal(world_ask(&world, "select count(*) from rounds where state = 'void'"), "1");
}

/* The next leader has another secret: the round is void all the same, its link stays unknown, and
 * the new chain is announced before it is used. */
static void a_chain_that_cannot_be_opened_is_replaced_in_the_open(void **unused)
{
    (void)unused;
    struct leader *first = leader_of("first", "secret");
    round_make(first, 1);
    world_do(&world, "select fx.make_workload(2, 1, 1, 33000)");
    assert_true(leader_freeze_only(first));
    leader_destroy(first);
    struct leader *second = leader_of("second", "another secret");
    round_make(second, 3);
    leader_destroy(second);
    assert_string_equal(world_ask(&world, "select string_agg(kind || coalesce(round::text, ''), ' '"
                                          " order by size) from log_leaves"),
                        "anchor round1 anchor round2 round3");
    (void)log_check();
}

/* What `sql` does is refused with this state. */
static void assert_refused(const char *sql, const char *sqlstate)
{
    PGconn *conn = PQconnectdb(world.conninfo);
    PGresult *result = PQexec(conn, sql);
    assert_string_equal(PQresultErrorField(result, PG_DIAG_SQLSTATE), sqlstate);
    PQclear(result);
    PQfinish(conn);
}

static void the_log_takes_nothing_back_and_has_one_head_per_size(void **unused)
{
    (void)unused;
    struct leader *leader = leader_of("first", "secret");
    for (int i = 1; i <= 4; i++)
        round_make(leader, i);
    leader_destroy(leader);
    assert_refused("update log_leaves set body = 'x' where size = 2", "23514");
    assert_refused("delete from log_leaves where size = 5", "23514");
    assert_refused("update log_nodes set hash = sha256('')", "23514");
    assert_refused("insert into log_leaves select market, 7, kind, 99, body, leaf_sha256, "
                   "root_sha256 from log_leaves where size = 5",
                   "23514");
    assert_refused("insert into log_leaves select market, 5, kind, 99, body, leaf_sha256, "
                   "root_sha256 from log_leaves where size = 4",
                   "23514");
    assert_refused("insert into log_heads values ('main', 3, sha256('another past'), 1, "
                   "(select signature from log_heads limit 1))",
                   "23505");
    assert_refused("delete from log_heads where size = 3; "
                   "insert into log_heads values ('main', 3, sha256('another past'), 1, "
                   "(select signature from log_heads limit 1))",
                   "23503");
    assert_refused("update log_heads set root_sha256 = sha256('another past')", "23503");
}

/* Proofs are made from stored nodes alone. */
static void stored_nodes_prove_every_leaf_and_every_past(void **unused)
{
    (void)unused;
    struct leader *leader = leader_of("first", "secret");
    for (int i = 1; i <= 10; i++)
        round_make(leader, i);
    leader_destroy(leader);
    char why[200];
    struct session *session = session_open(world.conninfo, "test", why, sizeof(why));
    struct transcript loaded;
    assert_int_equal(transcript_load(session, "main", &loaded), ERR_OK);
    assert_int_equal(loaded.edge.size, 11);
    session_close(session);
    struct sha256 root = merkle_edge_root(&loaded.edge);
    char hex[65];
    hex_encode(root.bytes, sizeof(root.bytes), hex);
    assert_string_equal(world_ask(&world, "select encode(root_sha256, 'hex') from log_leaves "
                                          "where size = 11"),
                        hex);
    assert_string_equal(world_ask(&world, "select string_agg(level || ':' || node_index, ' ' order "
                                          "by level, node_index) from log_nodes"),
                        "1:0 1:1 1:2 1:3 1:4 2:0 2:1 3:0");
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_round_is_a_leaf_behind_the_anchor_of_its_chain, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_restart_and_a_crash_leave_no_gap, setup, teardown),
        cmocka_unit_test_setup_teardown(a_chain_that_cannot_be_opened_is_replaced_in_the_open,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(the_log_takes_nothing_back_and_has_one_head_per_size, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(stored_nodes_prove_every_leaf_and_every_past, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
