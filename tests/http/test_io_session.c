/* The blocking session, alone and in pipes, against a real PostgreSQL. */
#include "tests/lib/test.h"

#include <string.h>

#include "broker/io/sql_wire.h"
#include "gen/tests/lib/io_probe.sql.h"
#include "tests/lib/pg.h"

static const char probe_table[] =
    "create table probe (id uuid primary key, amount int8 not null check (amount <> 13),"
    " note text, is_big bool not null default false, made_at timestamptz, doc jsonb)";

static const char *conninfo;

static int open_db(void **unused)
{
    (void)unused;
    conninfo = pg_fresh();
    pg_execute(conninfo, probe_table);
    return 0;
}

static struct uuid id_of(int number)
{
    struct uuid id = {{0}};
    memcpy(id.bytes, &number, sizeof(number));
    return id;
}

static void a_session_runs_commits_and_rolls_back(void **unused)
{
    (void)unused;
    char why[128];
    struct session *session = session_open(conninfo, "session", why, sizeof(why));
    struct probe_add_in in[3] = {{.id = id_of(1), .amount = 1},
                                 {.id = id_of(2), .amount = 2},
                                 {.id = id_of(3), .amount = 13}};
    struct sql_result *result = NULL;
    assert_non_null(session);
    assert_int_equal(session_begin(session), ERR_OK);
    assert_int_equal(probe_add_run(session, in, 2, &result), ERR_OK);
    assert_int_equal(sql_result_rows(result), 2);
    struct probe_add_out out;
    probe_add_row(result, 1, &out);
    assert_int_equal(out.ord, 2);
    sql_result_release(result);
    assert_int_equal(session_commit(session), ERR_OK);
    assert_int_equal(session_begin(session), ERR_OK);
    assert_int_equal(probe_add_run(session, in, 3, NULL), ERR_INTERNAL);
    assert_string_equal(session_constraint(session), "probe_amount_check");
    assert_int_equal(probe_count_run(session, NULL), ERR_INTERNAL); /* the transaction is lost */
    assert_string_equal(session_constraint(session), "probe_amount_check");
    assert_int_equal(session_commit(session), ERR_INTERNAL);
    assert_false(session_is_broken(session));
    assert_int_equal(probe_add_run(session, in, 0, &result), ERR_OK); /* an empty batch */
    assert_int_equal(sql_result_rows(result), 0);
    sql_result_release(result);
    assert_string_equal(pg_query_one(conninfo, "select count(*) from probe"), "2");
    session_close(session);
}

static void a_session_whose_backend_dies_is_broken(void **unused)
{
    (void)unused;
    char why[128];
    struct session *session = session_open(conninfo, "session", why, sizeof(why));
    assert_non_null(session);
    assert_int_equal(session_begin(session), ERR_OK);
    pg_query_one(conninfo, "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                           " where application_name = 'session'");
    assert_int_equal(session_commit(session), ERR_DATABASE_BUSY);
    assert_true(session_is_broken(session));
    assert_int_equal(probe_count_run(session, NULL), ERR_DATABASE_BUSY);
    session_close(session);
    assert_null(session_open("host=/nowhere", "session", why, sizeof(why)));
    assert_true(why[0] != '\0');
}

static void a_pipe_answers_all_at_once(void **unused)
{
    (void)unused;
    char why[128];
    struct session *session = session_open(conninfo, "session", why, sizeof(why));
    const struct probe_add_in in[2] = {{.id = id_of(1), .amount = 1},
                                       {.id = id_of(2), .amount = 2}};
    struct sql_result *added = NULL, *counted = NULL;
    assert_non_null(session);
    for (int round = 0; round < 2; round++) { /* first with statements to prepare on the way */
        session_pipe_open(session);
        assert_int_equal(session_begin(session), ERR_OK);
        assert_int_equal(probe_add_run(session, in, 2, &added), ERR_OK);
        assert_int_equal(probe_count_run(session, &counted), ERR_OK);
        assert_int_equal(session_pipe_flush(session), ERR_OK);
        assert_int_equal(sql_result_rows(added), 2);
        assert_int_equal(sql_result_rows(counted), 1);
        sql_result_release(added);
        sql_result_release(counted);
        session_rollback(session);
    }
    session_pipe_open(session);
    assert_int_equal(session_pipe_flush(session), ERR_OK); /* an empty one */
    assert_false(session_is_broken(session));
    assert_string_equal(pg_query_one(conninfo, "select count(*) from probe"), "0");
    session_close(session);
}

static void a_pipe_that_fails_in_the_middle_loses_its_transaction(void **unused)
{
    (void)unused;
    char why[128];
    struct session *session = session_open(conninfo, "session", why, sizeof(why));
    const struct probe_add_in good = {.id = id_of(1), .amount = 1},
                              bad = {.id = id_of(2), .amount = 13};
    struct sql_result *results[3] = {NULL};
    assert_non_null(session);
    assert_int_equal(probe_count_run(session, NULL), ERR_OK);
    for (int round = 0; round < 2; round++) { /* probe_add is prepared in the first one's way */
        session_pipe_open(session);
        assert_int_equal(session_begin(session), ERR_OK);
        assert_int_equal(probe_add_run(session, &good, 1, &results[0]), ERR_OK);
        assert_int_equal(probe_add_run(session, &bad, 1, &results[1]), ERR_OK);
        assert_int_equal(probe_count_run(session, &results[2]), ERR_OK);
        assert_int_equal(session_pipe_flush(session), ERR_INTERNAL);
        assert_string_equal(session_constraint(session), "probe_amount_check");
        assert_non_null(results[0]);
        assert_null(results[1]);
        assert_null(results[2]);
        sql_result_release(results[0]);
        assert_int_equal(session_commit(session), ERR_INTERNAL);
        session_rollback(session);
        assert_false(session_is_broken(session));
    }
    assert_string_equal(pg_query_one(conninfo, "select count(*) from probe"), "0");
    session_pipe_open(session);
    assert_int_equal(session_begin(session), ERR_OK);
    assert_int_equal(probe_add_run(session, &good, 1, NULL), ERR_OK);
    session_rollback(session); /* given up before its flush */
    assert_int_equal(probe_add_run(session, &good, 1, NULL), ERR_OK);
    assert_string_equal(pg_query_one(conninfo, "select count(*) from probe"), "1");
    session_close(session);
}

static void a_pipe_whose_backend_dies_is_broken(void **unused)
{
    (void)unused;
    char why[128];
    struct session *session = session_open(conninfo, "session", why, sizeof(why));
    struct sql_result *result = NULL;
    assert_non_null(session);
    assert_int_equal(probe_count_run(session, NULL), ERR_OK);
    session_pipe_open(session);
    assert_int_equal(session_begin(session), ERR_OK);
    assert_int_equal(session_pipe_flush(session), ERR_OK);
    pg_query_one(conninfo, "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                           " where application_name = 'session'");
    session_pipe_open(session);
    (void)probe_count_run(session, &result); /* the socket may or may not have told yet */
    (void)probe_count_run(session, NULL);
    assert_int_equal(session_pipe_flush(session), ERR_DATABASE_BUSY);
    assert_null(result);
    assert_true(session_is_broken(session));
    session_pipe_open(session);
    assert_int_equal(probe_count_run(session, &result), ERR_DATABASE_BUSY);
    assert_int_equal(session_pipe_flush(session), ERR_DATABASE_BUSY);
    session_close(session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_session_runs_commits_and_rolls_back, open_db),
        cmocka_unit_test_setup(a_session_whose_backend_dies_is_broken, open_db),
        cmocka_unit_test_setup(a_pipe_answers_all_at_once, open_db),
        cmocka_unit_test_setup(a_pipe_that_fails_in_the_middle_loses_its_transaction, open_db),
        cmocka_unit_test_setup(a_pipe_whose_backend_dies_is_broken, open_db),
    };
    return cmocka_run_group_tests_name("io_session", tests, NULL, NULL);
}
