/* Lanes that share their batches: calls of one thread executed by another's, against a real
 * PostgreSQL. */
#include "tests/lib/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "broker/io/db.h"
#include "broker/io/db_lanes.h"
#include "broker/io/loop.h"
#include "gen/tests/lib/io_probe.sql.h"
#include "tests/lib/pg.h"
#include "tests/lib/until.h"

#define LANES  3
#define CALLS  4
#define ROUNDS 200

static const char probe_table[] =
    "create table probe (id uuid primary key, amount int8 not null,"
    " note text, is_big bool not null default false, made_at timestamptz, doc jsonb,"
    " lane text default current_setting('application_name'), xact xid8 default "
    " pg_current_xact_id(), constraint probe_unlucky check (amount <> 13))";

struct side {
    struct fixture *f;
    struct loop *loop;
    struct db *db;
    pthread_t thread;
    struct db_call calls[CALLS];
    int index, done_count;
    atomic_int rounds_left; /* read by every side */
};

struct fixture {
    const char *conninfo;
    struct db_lanes *lanes;
    struct side sides[LANES];
};

static bool is_side_up(void *data)
{
    return db_is_up(((struct side *)data)->db);
}

static bool is_side_done(void *data)
{
    struct side *side = data;
    return side->done_count == CALLS;
}

static int open_lanes(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    must(f != NULL);
    f->conninfo = pg_fresh();
    pg_execute(f->conninfo, probe_table);
    f->lanes = db_lanes_create();
    for (int i = 0; i < LANES; i++) {
        struct side *side = &f->sides[i];
        const char name[] = {'l', 'a', 'n', 'e', (char)('0' + i), '\0'};
        *side = (struct side){.f = f, .index = i, .loop = loop_create()};
        side->db = db_create(side->loop, f->conninfo, name);
        db_lanes_join(f->lanes, side->db);
        if (!until(side->loop, is_side_up, side, 5000))
            return -1;
    }
    *state = f;
    return 0;
}

static int close_lanes(void **state)
{
    struct fixture *f = *state;
    db_lanes_part(f->lanes);
    for (int i = 0; i < LANES; i++) {
        db_destroy(f->sides[i].db);
        loop_destroy(f->sides[i].loop);
    }
    db_lanes_destroy(f->lanes);
    free(f);
    return 0;
}

static void count_done(struct db_call *call)
{
    struct side *side = call->data;
    side->done_count++;
}

static struct uuid id_of(int side, int round, int call)
{
    const int numbers[] = {side + 1, round, call, 0};
    struct uuid id;
    memcpy(id.bytes, numbers, sizeof(id.bytes));
    return id;
}

static void submit(struct side *side, int round, int unlucky)
{
    side->done_count = 0;
    for (int i = 0; i < CALLS; i++) {
        side->calls[i] = (struct db_call){.done = count_done, .data = side};
        const struct probe_add_in in = {.id = id_of(side->index, round, i),
                                        .amount = i == unlucky ? 13 : 100 * side->index + i};
        probe_add_submit(side->db, &side->calls[i], &in);
    }
}

static void finish(struct side *side)
{
    for (int i = 0; i < CALLS; i++)
        db_call_finish(&side->calls[i]);
}

static const char *ask(const struct fixture *f, const char *sql)
{
    return pg_query_one(f->conninfo, sql);
}

/* The loops take turns on this thread. */
static void turn_all(struct fixture *f)
{
    for (int turns = 0; turns < 1000; turns++) {
        int done_count = 0;
        for (int i = 0; i < LANES; i++) {
            turn_for(f->sides[i].loop, 5);
            done_count += is_side_done(&f->sides[i]);
        }
        if (done_count == LANES)
            return;
    }
    fail_msg("%s", "calls were never answered");
}

static void calls_of_all_threads_are_one_execution(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < LANES; i++)
        submit(&f->sides[i], 0, -1);
    turn_all(f);
    for (int i = 0; i < LANES; i++) {
        for (int c = 0; c < CALLS; c++) {
            struct probe_add_out out;
            struct db_call *call = &f->sides[i].calls[c];
            assert_int_equal(call->err, ERR_OK);
            assert_false(call->was_lent);
            assert_int_equal(call->row_count, 1);
            probe_add_get(call, 0, &out);
            assert_int_equal(out.amount, 100 * i + c);
            const struct uuid id = id_of(i, 0, c);
            assert_memory_equal(out.id.bytes, id.bytes, sizeof(id.bytes));
        }
        finish(&f->sides[i]);
    }
    assert_string_equal(ask(f, "select count(*) from probe"), "12");
    assert_string_equal(ask(f, "select count(distinct lane) from probe"), "1");
    /* Two at most: what was there when the first one went, and what came while it was away. */
    assert_string_equal(ask(f, "select count(distinct xact) <= 2 from probe"), "t");
}

static void a_call_that_fails_alone_says_why_at_home(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < LANES; i++)
        submit(&f->sides[i], 0, 2);
    turn_all(f);
    for (int i = 0; i < LANES; i++) {
        for (int c = 0; c < CALLS; c++) {
            const struct db_call *call = &f->sides[i].calls[c];
            assert_int_equal(call->err, c == 2 ? ERR_INTERNAL : ERR_OK);
            assert_string_equal(call->sqlstate, c == 2 ? "23514" : "");
            assert_string_equal(call->constraint, c == 2 ? "probe_unlucky" : "");
            assert_false(call->is_unknown);
        }
        finish(&f->sides[i]);
    }
    assert_string_equal(ask(f, "select count(*) from probe"), "9");
}

static void what_nobody_waits_for_does_not_leave(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < LANES; i++) {
        submit(&f->sides[i], 0, -1);
        db_call_finish(&f->sides[i].calls[0]);
        f->sides[i].done_count++;
    }
    turn_all(f);
    for (int i = 0; i < LANES; i++)
        finish(&f->sides[i]);
    assert_string_equal(ask(f, "select count(*) from probe"), "9");
}

static void an_owner_may_leave_while_its_call_is_away(void **state)
{
    struct fixture *f = *state;
    int answered_count = 0;
    for (int i = 0; i < LANES; i++) {
        submit(&f->sides[i], 0, -1);
        turn_for(f->sides[i].loop, 1);
        answered_count += f->sides[i].done_count; /* at home it may be quick */
        finish(&f->sides[i]);
    }
    assert_true(answered_count <= CALLS);
    for (int i = 0; i < 2 * LANES; i++)
        turn_for(f->sides[i % LANES].loop, 50);
    for (int i = 0; i < LANES; i++)
        answered_count -= f->sides[i].done_count;
    assert_int_equal(answered_count, 0); /* nobody was called after it left */
    assert_string_equal(ask(f, "select count(*) from probe"), "12");
}

static void parting_answers_what_is_under_way(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < LANES; i++) {
        submit(&f->sides[i], 0, -1);
        turn_for(f->sides[i].loop, 1);
    }
    db_lanes_part(f->lanes);
    for (int i = 0; i < LANES; i++) {
        struct side *side = &f->sides[i];
        assert_true(is_side_done(side));
        for (int c = 0; c < CALLS; c++)
            assert_true(side->calls[c].err == ERR_DATABASE_BUSY || side->calls[c].err == ERR_OK);
        finish(side);
        assert_true(until(side->loop, is_side_up, side, 5000));
        submit(side, 1, -1); /* each writes for itself again */
    }
    turn_all(f);
    for (int i = 0; i < LANES; i++) {
        assert_int_equal(f->sides[i].calls[0].err, ERR_OK);
        finish(&f->sides[i]);
    }
}

static void go_on(struct db_call *call)
{
    struct side *side = call->data;
    if (++side->done_count < CALLS)
        return;
    for (int i = 0; i < CALLS; i++) {
        must(side->calls[i].err == ERR_OK && side->calls[i].row_count == 1);
        db_call_finish(&side->calls[i]);
    }
    if (--side->rounds_left == 0)
        return;
    submit(side, side->rounds_left, -1);
    for (int i = 0; i < CALLS; i++)
        side->calls[i].done = go_on;
}

static bool are_all_over(void *data)
{
    const struct side *side = data;
    for (int i = 0; i < LANES; i++) {
        if (side->f->sides[i].rounds_left > 0)
            return false;
    }
    return true;
}

/* A loop whose own calls are done turns on: it may be the home of the others'. */
static void *run_side(void *data)
{
    struct side *side = data;
    must(until(side->loop, are_all_over, side, 60000));
    return NULL;
}

static void threads_write_through_one_lane(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < LANES; i++) {
        f->sides[i].rounds_left = ROUNDS;
        submit(&f->sides[i], ROUNDS, -1);
        for (int c = 0; c < CALLS; c++)
            f->sides[i].calls[c].done = go_on;
    }
    for (int i = 0; i < LANES; i++)
        assert_int_equal(pthread_create(&f->sides[i].thread, NULL, run_side, &f->sides[i]), 0);
    for (int i = 0; i < LANES; i++)
        assert_int_equal(pthread_join(f->sides[i].thread, NULL), 0);
    assert_string_equal(ask(f, "select count(distinct lane) || ' ' || count(*) from probe"),
                        "1 2400");
}

#define ON_LANES(test) cmocka_unit_test_setup_teardown(test, open_lanes, close_lanes)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_LANES(calls_of_all_threads_are_one_execution),
        ON_LANES(a_call_that_fails_alone_says_why_at_home),
        ON_LANES(what_nobody_waits_for_does_not_leave),
        ON_LANES(an_owner_may_leave_while_its_call_is_away),
        ON_LANES(parting_answers_what_is_under_way),
        ON_LANES(threads_write_through_one_lane),
    };
    return cmocka_run_group_tests_name("io_lanes", tests, NULL, NULL);
}
