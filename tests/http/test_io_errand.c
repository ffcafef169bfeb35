/* Calls that are lent to another session, against a real PostgreSQL. */
#include "tests/lib/test.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "broker/io/db.h"
#include "broker/io/db_errand.h"
#include "broker/io/loop.h"
#include "gen/tests/lib/io_probe.sql.h"
#include "tests/lib/pg.h"
#include "tests/lib/until.h"

static const char probe_table[] =
    "create table probe (id uuid primary key, amount int8 not null check (amount <> 13),"
    " note text, is_big bool not null default false, made_at timestamptz, doc jsonb)";

struct fixture {
    struct loop *loop;
    struct db *db;
    struct session *session;
    const char *conninfo;
    bool is_open;              /* the taker's door */
    struct db_errand *errands; /* taken */
    enum errand_end end;       /* how serve() ends */
    int done_count;
};

static bool take(void *taker, struct db_errand *errands)
{
    struct fixture *f = taker;
    if (f->is_open)
        f->errands = errands;
    return f->is_open;
}

static bool is_db_up(void *data)
{
    return db_is_up(((struct fixture *)data)->db);
}

static bool is_taken(void *data)
{
    return ((struct fixture *)data)->errands != NULL;
}

static bool are_three_done(void *data)
{
    return ((struct fixture *)data)->done_count == 3;
}

static int open_db(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    char why[128];
    f->conninfo = pg_fresh();
    pg_execute(f->conninfo, probe_table);
    f->loop = loop_create();
    f->db = db_create(f->loop, f->conninfo, "test");
    f->session = session_open(f->conninfo, "taker", why, sizeof(why));
    f->is_open = true;
    db_lend(f->db, take, f);
    *state = f;
    return until(f->loop, is_db_up, f, 5000) ? 0 : -1;
}

static int close_db(void **state)
{
    struct fixture *f = *state;
    db_destroy(f->db);
    loop_destroy(f->loop);
    session_close(f->session);
    free(f);
    return 0;
}

static void count_done(struct db_call *call)
{
    ((struct fixture *)call->data)->done_count++;
}

static struct uuid id_of(int number)
{
    struct uuid id = {{0}};
    memcpy(id.bytes, &number, sizeof(number));
    return id;
}

/* Three calls in one turn. */
static void submit_three(struct fixture *f, struct db_call calls[3])
{
    for (int i = 0; i < 3; i++) {
        calls[i] = (struct db_call){.done = count_done, .data = f, .may_be_lent = true};
        const struct probe_add_in in = {.id = id_of(i + 1), .amount = 100 + i};
        probe_add_submit(f->db, &calls[i], &in);
    }
}

/* What a taker's thread does: one execution in a transaction of its own. */
static void *serve(void *data)
{
    struct fixture *f = data;
    struct sql_result *result = NULL;
    must(session_begin(f->session) == ERR_OK);
    must(db_errands_run(f->session, f->errands, &result) == ERR_OK);
    if (f->end == ERRAND_NOT_DONE)
        session_rollback(f->session);
    else
        must(session_commit(f->session) == ERR_OK);
    db_errands_return(f->errands, f->end, result);
    sql_result_release(result);
    return NULL;
}

static void serve_on_a_thread(struct fixture *f, enum errand_end end)
{
    pthread_t thread;
    f->end = end;
    assert_true(until(f->loop, is_taken, f, 5000));
    assert_int_equal(pthread_create(&thread, NULL, serve, f), 0);
    pthread_join(thread, NULL);
}

static const char *rows_count(const struct fixture *f)
{
    return pg_query_one(f->conninfo, "select count(*) from probe");
}

static void each_call_gets_its_rows_from_elsewhere(void **state)
{
    struct fixture *f = *state;
    struct db_call calls[3];
    submit_three(f, calls);
    serve_on_a_thread(f, ERRAND_DONE);
    assert_true(until(f->loop, are_three_done, f, 5000));
    for (int i = 0; i < 3; i++) {
        struct probe_add_out out;
        assert_int_equal(calls[i].err, ERR_OK);
        assert_true(calls[i].was_lent);
        assert_int_equal(calls[i].row_count, 1);
        probe_add_get(&calls[i], 0, &out);
        assert_int_equal(out.ord, i + 1);
        db_call_finish(&calls[i]);
    }
    assert_string_equal(rows_count(f), "3");
}

static void what_was_not_done_goes_into_the_lane(void **state)
{
    struct fixture *f = *state;
    struct db_call calls[3];
    submit_three(f, calls);
    serve_on_a_thread(f, ERRAND_NOT_DONE);
    assert_true(until(f->loop, are_three_done, f, 5000));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(calls[i].err, ERR_OK);
        assert_false(calls[i].was_lent);
        assert_int_equal(calls[i].row_count, 1);
        db_call_finish(&calls[i]);
    }
    assert_string_equal(rows_count(f), "3");
}

static void a_closed_door_is_no_way(void **state)
{
    struct fixture *f = *state;
    struct db_call calls[3];
    f->is_open = false;
    submit_three(f, calls);
    assert_true(until(f->loop, are_three_done, f, 5000));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(calls[i].err, ERR_OK);
        assert_false(calls[i].was_lent);
        db_call_finish(&calls[i]);
    }
    assert_null(f->errands);
    assert_string_equal(rows_count(f), "3");
}

static void a_lost_commit_is_unknown(void **state)
{
    struct fixture *f = *state;
    struct db_call calls[3];
    submit_three(f, calls);
    serve_on_a_thread(f, ERRAND_UNKNOWN);
    assert_true(until(f->loop, are_three_done, f, 5000));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(calls[i].err, ERR_DATABASE_BUSY);
        assert_true(calls[i].is_unknown);
        db_call_finish(&calls[i]);
    }
}

static bool is_done_once(void *data)
{
    return ((struct fixture *)data)->done_count == 1;
}

static void an_owner_that_gives_up_is_not_called(void **state)
{
    struct fixture *f = *state;
    struct db_call calls[3];
    submit_three(f, calls);
    assert_true(until(f->loop, is_taken, f, 5000));
    db_call_finish(&calls[0]);
    db_call_finish(&calls[1]);
    serve_on_a_thread(f, ERRAND_NOT_DONE);
    assert_true(until(f->loop, is_done_once, f, 5000));
    assert_int_equal(calls[2].err, ERR_OK);
    db_call_finish(&calls[2]);
    assert_string_equal(rows_count(f), "1"); /* what nobody waited for was not sent again */
}

#define ON_DB(test) cmocka_unit_test_setup_teardown(test, open_db, close_db)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_DB(each_call_gets_its_rows_from_elsewhere),
        ON_DB(what_was_not_done_goes_into_the_lane),
        ON_DB(a_closed_door_is_no_way),
        ON_DB(a_lost_commit_is_unknown),
        ON_DB(an_owner_that_gives_up_is_not_called),
    };
    return cmocka_run_group_tests_name("io_errand", tests, NULL, NULL);
}
