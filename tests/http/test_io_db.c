/* The two database lanes, against a real PostgreSQL. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/clock.h"
#include "broker/io/db.h"
#include "broker/io/loop.h"
#include "broker/io/sql_wire.h"
#include "gen/tests/lib/io_probe.sql.h"
#include "tests/lib/pg.h"
#include "tests/lib/until.h"

static const char probe_table[] =
    "create table probe (id uuid primary key, amount int8 not null check (amount <> 13),"
    " note text, is_big bool not null default false, made_at timestamptz, doc jsonb);"
    "create function refuse_late() returns trigger language plpgsql as $$ begin"
    " if new.note = 'late' then raise exception 'too late' using errcode = '23514',"
    " constraint = 'probe_late'; end if; return null; end $$;"
    "create constraint trigger probe_late after update on probe deferrable initially deferred"
    " for each row execute function refuse_late();";

struct fixture {
    struct loop *loop;
    struct db *db;
    const char *conninfo;
    int done_count;
    char last_trouble[512];
};

static void note_trouble(void *data, const struct sql_statement *statement,
                         const struct sql_trouble *trouble)
{
    struct fixture *f = data;
    snprintf(f->last_trouble, sizeof(f->last_trouble), "%s %s %s", statement->name,
             trouble->sqlstate, trouble->message);
}

static bool is_db_up(void *data)
{
    return db_is_up(((struct fixture *)data)->db);
}

static bool is_db_down(void *data)
{
    return !is_db_up(data);
}

static int open_db(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->conninfo = pg_fresh();
    pg_execute(f->conninfo, probe_table);
    f->loop = loop_create();
    f->db = db_create(f->loop, f->conninfo, "test");
    db_on_trouble(f->db, note_trouble, f);
    *state = f;
    return until(f->loop, is_db_up, f, 5000) ? 0 : -1;
}

static int close_db(void **state)
{
    struct fixture *f = *state;
    db_destroy(f->db);
    loop_destroy(f->loop);
    free(f);
    return 0;
}

static struct uuid id_of(int number)
{
    struct uuid id = {{0}};
    memcpy(id.bytes, &number, sizeof(number));
    return id;
}

static void count_done(struct db_call *call)
{
    ((struct fixture *)call->data)->done_count++;
}

static struct db_call call_of(struct fixture *f)
{
    return (struct db_call){.done = count_done, .data = f};
}

struct expectation {
    struct fixture *f;
    int count;
};

static bool are_done(void *data)
{
    struct expectation *expectation = data;
    return expectation->f->done_count >= expectation->count;
}

static void wait_done(struct fixture *f, int count)
{
    struct expectation expectation = {f, count};
    assert_true(until(f->loop, are_done, &expectation, 15000));
    assert_int_equal(f->done_count, count);
    f->done_count = 0;
}

static void stop_loop(void *data)
{
    loop_stop(data);
}

static void turn_once(struct fixture *f)
{
    loop_post(f->loop, stop_loop, f->loop);
    loop_run(f->loop);
}

static void add_rows(struct fixture *f, struct db_call *calls, int count, int poison_at)
{
    for (int i = 0; i < count; i++) {
        calls[i] = call_of(f);
        struct probe_add_in in = {.id = id_of(i + 1),
                                  .amount = i == poison_at ? 13 : 1000 + i,
                                  .note = i % 3 == 0 ? STR_NONE : STR("hello"),
                                  .has_made_at = i % 2 == 0,
                                  .made_at_us = 1234567890123456};
        probe_add_submit(f->db, &calls[i], &in);
    }
}

static void every_type_survives_the_round_trip(void **state)
{
    struct fixture *f = *state;
    struct db_call add = call_of(f), get = call_of(f);
    struct probe_add_in in = {.id = id_of(7),
                              .amount = -5000000123,
                              .note = STR(""),
                              .is_big = true,
                              .has_made_at = true,
                              .made_at_us = -1};
    probe_add_submit(f->db, &add, &in);
    wait_done(f, 1);
    assert_int_equal(add.err, ERR_OK);
    assert_int_equal(add.row_count, 1);
    probe_get_submit(f->db, &get, &(struct probe_get_in){.id = in.id});
    wait_done(f, 1);
    struct probe_get_out out;
    assert_int_equal(get.row_count, 1);
    probe_get_get(&get, 0, &out);
    assert_true(uuid_equal(out.id, in.id));
    assert_int_equal(out.amount, in.amount);
    assert_int_equal(out.rest, -123);
    assert_true(out.note.at != NULL && out.note.len == 0);
    assert_true(out.is_big && out.has_made_at);
    assert_int_equal(out.made_at_us, -1);
    assert_int_equal(out.raw.len, 3);
    assert_memory_equal(out.raw.at, "\x00\xff\x10", 3);
    assert_true(str_equal_c(out.doc, "{\"a\": -5000000123}"));
    db_call_finish(&add);
    db_call_finish(&get);
}

static void a_null_comes_back_as_a_null(void **state)
{
    struct fixture *f = *state;
    struct db_call add = call_of(f), get = call_of(f);
    probe_add_submit(f->db, &add, &(struct probe_add_in){.id = id_of(1), .note = STR_NONE});
    wait_done(f, 1);
    probe_get_submit(f->db, &get, &(struct probe_get_in){.id = id_of(1)});
    wait_done(f, 1);
    struct probe_get_out out;
    probe_get_get(&get, 0, &out);
    assert_null(out.note.at);
    assert_false(out.has_made_at);
    db_call_finish(&add);
    db_call_finish(&get);
}

static void arrays_are_plain_parameters_too(void **state)
{
    struct fixture *f = *state;
    struct db_call calls[3], call = call_of(f);
    add_rows(f, calls, 3, -1);
    wait_done(f, 3);
    struct uuid ids[] = {id_of(3), id_of(1), id_of(99)};
    struct str notes[] = {STR("a"), STR_NONE}, docs[] = {STR("{}")};
    probe_of_ids_submit(f->db, &call,
                        &(struct probe_of_ids_in){.ids = ids,
                                                  .ids_count = 3,
                                                  .notes = notes,
                                                  .notes_count = 2,
                                                  .amounts = (int64_t[]){1, 2, 3},
                                                  .amounts_count = 3,
                                                  .flags = (bool[]){true},
                                                  .flags_count = 1,
                                                  .small_count = 0,
                                                  .docs = docs,
                                                  .docs_count = 1});
    wait_done(f, 1);
    assert_int_equal(call.err, ERR_OK);
    assert_int_equal(call.row_count, 2);
    struct probe_of_ids_out out;
    probe_of_ids_get(&call, 1, &out);
    assert_true(uuid_equal(out.id, id_of(3)));
    assert_int_equal(out.widths, 23101);
    db_call_finish(&call);
    for (int i = 0; i < 3; i++)
        db_call_finish(&calls[i]);
}

static void each_member_of_a_batch_gets_its_own_rows(void **state)
{
    enum { COUNT = 700 };
    struct fixture *f = *state;
    struct db_call *calls = calloc(COUNT, sizeof(*calls));
    struct db_call twin = call_of(f);
    add_rows(f, calls, COUNT, -1);
    wait_done(f, COUNT);
    for (int i = 0; i < COUNT; i++) {
        struct probe_add_out out;
        assert_int_equal(calls[i].err, ERR_OK);
        assert_int_equal(calls[i].row_count, 1);
        probe_add_get(&calls[i], 0, &out);
        assert_true(uuid_equal(out.id, id_of(i + 1)));
        assert_int_equal(out.amount, 1000 + i);
        db_call_finish(&calls[i]);
    }
    /* A member whose row is there already gets none, and that is no error. */
    probe_add_submit(f->db, &twin, &(struct probe_add_in){.id = id_of(5), .amount = 1});
    wait_done(f, 1);
    assert_int_equal(twin.err, ERR_OK);
    assert_int_equal(twin.row_count, 0);
    db_call_finish(&twin);
    assert_string_equal(pg_query_one(f->conninfo, "select count(*) from probe"), "700");
    /* 700 inserts in at most 4 + 1 transactions: the first goes alone, the rest collects. */
    assert_string_equal(
        pg_query_one(f->conninfo, "select count(distinct xmin::text) <= 5 from probe"), "t");
    free(calls);
}

static void reads_gather_behind_two_flights(void **state)
{
    enum { FLIGHTS = 2, COUNT = 5 };
    struct fixture *f = *state;
    struct db_call sleeps[FLIGHTS], calls[COUNT];
    struct probe_when_out first, out;
    sleeps[0] = calls[0] = call_of(f);
    probe_sleep_submit(f->db, &sleeps[0], &(struct probe_sleep_in){.ms = 0});
    probe_when_submit(f->db, &calls[0], &(struct probe_when_in){.id = id_of(0)});
    wait_done(f, 2); /* both are prepared now */
    db_call_finish(&sleeps[0]);
    db_call_finish(&calls[0]);
    for (int i = 0; i < FLIGHTS; i++) {
        sleeps[i] = call_of(f);
        probe_sleep_submit(f->db, &sleeps[i], &(struct probe_sleep_in){.ms = 100});
        turn_once(f);
    }
    for (int i = 0; i < COUNT; i++) {
        calls[i] = call_of(f);
        probe_when_submit(f->db, &calls[i], &(struct probe_when_in){.id = id_of(i)});
        turn_once(f);
    }
    wait_done(f, FLIGHTS + COUNT);
    probe_when_get(&calls[0], 0, &first);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(calls[i].row_count, 1);
        probe_when_get(&calls[i], 0, &out);
        assert_int_equal(out.at_us, first.at_us);
        db_call_finish(&calls[i]);
    }
    for (int i = 0; i < FLIGHTS; i++)
        db_call_finish(&sleeps[i]);
}

static void a_poisonous_member_fails_alone(void **state)
{
    enum { COUNT = 100, POISON = 42 };
    struct fixture *f = *state;
    struct db_call calls[COUNT];
    add_rows(f, calls, COUNT, POISON);
    wait_done(f, COUNT);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(calls[i].err, i == POISON ? ERR_INTERNAL : ERR_OK);
        assert_int_equal(calls[i].row_count, i == POISON ? 0 : 1);
        assert_string_equal(calls[i].constraint, i == POISON ? "probe_amount_check" : "");
        assert_false(calls[i].is_unknown);
        db_call_finish(&calls[i]);
    }
    assert_string_equal(pg_query_one(f->conninfo, "select count(*) from probe"), "99");
    assert_non_null(strstr(f->last_trouble, "probe_add 23514"));
}

static void a_commit_that_fails_is_a_failure(void **state)
{
    struct fixture *f = *state;
    struct db_call add, late = call_of(f), well = call_of(f);
    add_rows(f, &add, 1, -1);
    wait_done(f, 1);
    struct probe_set_note_in in = {.id = id_of(1), .note = STR("late"), .doc = STR("{\"b\":1}")};
    probe_set_note_submit(f->db, &late, &in);
    in.note = STR("early");
    probe_set_note_submit(f->db, &well, &in);
    wait_done(f, 2);
    assert_int_equal(late.err, ERR_INTERNAL);
    assert_string_equal(late.constraint, "probe_late");
    assert_null(late.result);
    assert_int_equal(well.err, ERR_OK);
    assert_int_equal(well.row_count, 1);
    assert_string_equal(pg_query_one(f->conninfo, "select note || doc::text from probe"),
                        "early{\"b\": 1}");
    db_call_finish(&add);
    db_call_finish(&late);
    db_call_finish(&well);
}

static void a_failing_read_takes_no_neighbour_along(void **state)
{
    enum { COUNT = 9 };
    struct fixture *f = *state;
    struct db_call calls[COUNT];
    for (int i = 0; i < COUNT; i++) {
        calls[i] = call_of(f);
        probe_divide_submit(f->db, &calls[i], &(struct probe_divide_in){.divisor = i % 4});
    }
    wait_done(f, COUNT);
    for (int i = 0; i < COUNT; i++) {
        struct probe_divide_out out;
        assert_int_equal(calls[i].err, i % 4 == 0 ? ERR_INTERNAL : ERR_OK);
        if (i % 4 == 0) {
            assert_string_equal(calls[i].sqlstate, "22012");
        } else {
            probe_divide_get(&calls[i], 0, &out);
            assert_int_equal(out.quotient, 100 / (i % 4));
        }
        db_call_finish(&calls[i]);
    }
}

static void the_read_lane_cannot_write(void **state)
{
    static const struct sql_statement sneaky = {
        .name = "sneaky", .text = "delete from probe", .params_count = 0};
    struct fixture *f = *state;
    struct db_call call = call_of(f);
    db_read(f->db, &call, &sneaky, &(struct sql_params){.count = 0});
    wait_done(f, 1);
    assert_string_equal(call.sqlstate, "25006");
    db_call_finish(&call);
}

static void a_statement_that_does_not_prepare_fails_alone(void **state)
{
    static const struct sql_statement broken = {
        .name = "broken", .text = "select nothing from nowhere", .params_count = 0};
    struct fixture *f = *state;
    struct db_call calls[3] = {call_of(f), call_of(f), call_of(f)};
    probe_count_submit(f->db, &calls[0]);
    db_read(f->db, &calls[1], &broken, &(struct sql_params){.count = 0});
    probe_count_submit(f->db, &calls[2]);
    wait_done(f, 3);
    assert_int_equal(calls[0].err, ERR_OK);
    assert_int_equal(calls[1].err, ERR_INTERNAL);
    assert_int_equal(calls[2].err, ERR_OK);
    for (int i = 0; i < 3; i++)
        db_call_finish(&calls[i]);
}

static void an_owner_that_gives_up_is_not_called(void **state)
{
    struct fixture *f = *state;
    struct db_call *gone = calloc(2, sizeof(*gone)), stays = call_of(f);
    gone[0] = gone[1] = call_of(f);
    probe_divide_submit(f->db, &gone[0], &(struct probe_divide_in){.divisor = 1});
    probe_add_submit(f->db, &gone[1], &(struct probe_add_in){.id = id_of(1)});
    turn_once(f); /* both are sent */
    db_call_finish(&gone[0]);
    db_call_finish(&gone[1]);
    free(gone);
    probe_count_submit(f->db, &stays);
    wait_done(f, 1);
    db_call_finish(&stays);
}

/* ---- losses ---- */

static void drizzle(struct db_call *call);

struct drizzle { /* calls that submit themselves again until told to stop */
    struct fixture *f;
    struct db_call calls[64];
    int next_id, running_count, ok_count, writes_ok_count, busy_count, unknown_count;
    bool is_over;
};

static void drizzle_submit(struct drizzle *d, struct db_call *call)
{
    db_call_finish(call);
    *call = (struct db_call){.done = drizzle, .data = d};
    if ((call - d->calls) % 2 == 0)
        probe_count_submit(d->f->db, call);
    else
        probe_add_submit(d->f->db, call,
                         &(struct probe_add_in){.id = id_of(++d->next_id), .amount = 1});
}

static void drizzle(struct db_call *call)
{
    struct drizzle *d = call->data;
    d->ok_count += call->err == ERR_OK;
    d->writes_ok_count += call->err == ERR_OK && (call - d->calls) % 2 == 1;
    d->busy_count += call->err == ERR_DATABASE_BUSY;
    d->unknown_count += call->is_unknown;
    assert_int_not_equal(call->err, ERR_INTERNAL);
    if (d->is_over)
        d->running_count--;
    else
        drizzle_submit(d, call);
}

static void drizzle_start(struct drizzle *d)
{
    d->running_count = (int)(sizeof(d->calls) / sizeof(d->calls[0]));
    for (int i = 0; i < d->running_count; i++)
        drizzle_submit(d, &d->calls[i]);
}

static bool has_dried(void *data)
{
    return ((struct drizzle *)data)->running_count == 0;
}

static void drizzle_stop(struct drizzle *d)
{
    d->is_over = true;
    assert_true(until(d->f->loop, has_dried, d, 15000));
    for (size_t i = 0; i < sizeof(d->calls) / sizeof(d->calls[0]); i++)
        db_call_finish(&d->calls[i]);
}

/* Every insert that was acknowledged is there; of those without answer, some may be. */
static void check_acknowledged(struct drizzle *d)
{
    int64_t rows = -1;
    assert_true(
        str_to_i64(str_of(pg_query_one(d->f->conninfo, "select count(*) from probe")), &rows));
    assert_in_range(rows, d->writes_ok_count, d->writes_ok_count + d->unknown_count);
}

static void terminated_backends_come_back_under_load(void **state)
{
    struct fixture *f = *state;
    struct drizzle *d = calloc(1, sizeof(*d));
    d->f = f;
    drizzle_start(d);
    for (int i = 0; i < 5; i++) {
        turn_for(f->loop, 60);
        pg_query_one(f->conninfo, "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                                  " where application_name = 'test'");
    }
    int ok_before = d->ok_count;
    turn_for(f->loop, 300);
    assert_true(d->ok_count > ok_before + 100);
    assert_true(d->busy_count > 0);
    drizzle_stop(d);
    check_acknowledged(d);
    assert_true(db_is_up(f->db));
    free(d);
}

static void a_killed_server_fails_fast_and_is_found_again(void **state)
{
    struct fixture *f = *state;
    struct drizzle *d = calloc(1, sizeof(*d));
    struct db_call call = call_of(f);
    d->f = f;
    drizzle_start(d);
    turn_for(f->loop, 100);
    d->is_over = true;
    pg_kill9();
    assert_true(until(f->loop, has_dried, d, 5000));
    assert_true(until(f->loop, is_db_down, f, 5000));
    turn_for(f->loop, 2500);
    int64_t before_ms = clock_mono_ms();
    probe_count_submit(f->db, &call); /* down for so long that it is refused at once */
    assert_int_equal(f->done_count, 0);
    wait_done(f, 1);
    assert_int_equal(call.err, ERR_DATABASE_BUSY);
    assert_false(call.is_unknown);
    assert_true(clock_mono_ms() - before_ms < 100);
    pg_restart();
    assert_true(until(f->loop, is_db_up, f, 5000));
    probe_count_submit(f->db, &call);
    wait_done(f, 1);
    assert_int_equal(call.err, ERR_OK);
    db_call_finish(&call);
    drizzle_stop(d);
    check_acknowledged(d);
    free(d);
}

static void a_stuck_connection_is_given_up(void **state)
{
    struct fixture *f = *state;
    struct db_call stuck = call_of(f), next = call_of(f);
    int64_t before_ms = clock_mono_ms();
    probe_sleep_submit(f->db, &stuck, &(struct probe_sleep_in){.ms = 60000});
    wait_done(f, 1);
    assert_int_equal(stuck.err, ERR_DATABASE_BUSY);
    assert_in_range(clock_mono_ms() - before_ms, 4000, 6000);
    probe_count_submit(f->db, &next);
    wait_done(f, 1);
    assert_int_equal(next.err, ERR_OK);
    db_call_finish(&stuck);
    db_call_finish(&next);
}

static void a_full_queue_refuses(void **state)
{
    enum { COUNT = DB_QUEUE_MAX + 10 };
    struct fixture *f = *state;
    struct db_call *calls = calloc(COUNT, sizeof(*calls));
    int refused_count = 0;
    for (int i = 0; i < COUNT; i++) {
        calls[i] = call_of(f);
        probe_count_submit(f->db, &calls[i]);
    }
    wait_done(f, COUNT);
    for (int i = 0; i < COUNT; i++) {
        refused_count += calls[i].err == ERR_DATABASE_BUSY;
        db_call_finish(&calls[i]);
    }
    assert_int_equal(refused_count, 10);
    free(calls);
}

#define ON_DB(test) cmocka_unit_test_setup_teardown(test, open_db, close_db)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_DB(every_type_survives_the_round_trip),
        ON_DB(a_null_comes_back_as_a_null),
        ON_DB(arrays_are_plain_parameters_too),
        ON_DB(each_member_of_a_batch_gets_its_own_rows),
        ON_DB(reads_gather_behind_two_flights),
        ON_DB(a_poisonous_member_fails_alone),
        ON_DB(a_commit_that_fails_is_a_failure),
        ON_DB(a_failing_read_takes_no_neighbour_along),
        ON_DB(the_read_lane_cannot_write),
        ON_DB(a_statement_that_does_not_prepare_fails_alone),
        ON_DB(an_owner_that_gives_up_is_not_called),
        ON_DB(terminated_backends_come_back_under_load),
        ON_DB(a_killed_server_fails_fast_and_is_found_again),
        ON_DB(a_stuck_connection_is_given_up),
        ON_DB(a_full_queue_refuses),
    };
    return cmocka_run_group_tests_name("io_db", tests, NULL, NULL);
}
