/* Events and logs on a real database: in order, without gaps behind a cursor, and only one's own.
 */
#include "broker/market/event.h"

#include "broker/market/log.h"
#include "tests/sql/workload_fixture.h"

/* Reads up to `limit` events behind the cursor and moves it; writes their kinds, one letter each.
 */
static int read_events(int who, struct event_cursor *cursor, int limit, bool *ret_is_held_back)
{
    struct event_read_in in = {
        .account_id = account(who),
        .after_xact = cursor->xact,
        .after_event_id = cursor->event_id,
        .limit_count = limit,
    };
    struct sql_result *result = NULL;
    struct event_read_out row;
    int count = 0;
    must(event_read_run(world.session, &in, &result) == ERR_OK);
    for (int i = 0; i < sql_result_rows(result); i++) {
        event_read_row(result, i, &row);
        count += row.has_xact;
    }
    if (count > 0 || row.horizon_xact > cursor->xact)
        *cursor = event_cursor_behind(&row);
    *ret_is_held_back = row.is_held_back;
    sql_result_release(result);
    return count;
}

static void events_come_in_order_by_pages_and_only_to_their_account(void **state)
{
    (void)state;
    struct event_cursor mine = {.xact = 0}, theirs = {.xact = 0};
    bool is_held_back;
    struct uuid id = post(1, "one", 1);
    post(2, "two", 1);
    stop(1, id);
    assert_int_equal(read_events(1, &mine, 1, &is_held_back), 1); /* created */
    assert_int_equal(read_events(1, &mine, 9, &is_held_back), 1); /* stopped */
    assert_int_equal(read_events(1, &mine, 9, &is_held_back), 0);
    assert_int_equal(read_events(2, &theirs, 9, &is_held_back), 1);
    post(1, "three", 1);
    assert_int_equal(read_events(1, &mine, 9, &is_held_back), 1); /* behind the horizon */
}

/* What commits late has a lower number than what committed before: it must not slip behind a
 * cursor. */
static void an_event_behind_a_running_transaction_is_held_back_and_not_lost(void **state)
{
    (void)state;
    struct event_cursor cursor = {.xact = 0};
    bool is_held_back;
    PGconn *slow = PQconnectdb(world.conninfo);
    PQclear(PQexec(slow, "begin"));
    PQclear(PQexec(slow, "insert into events (account_id, kind) values (fx.account(1), 'slow')"));
    post(1, "quick", 1); /* commits first, with the higher number */
    assert_int_equal(read_events(1, &cursor, 9, &is_held_back), 0);
    assert_true(is_held_back);
    PQclear(PQexec(slow, "commit"));
    PQfinish(slow);
    assert_int_equal(read_events(1, &cursor, 9, &is_held_back), 2);
    assert_false(is_held_back);
}

/* What one statement stores is one row; a reader whose page ends within it misses and repeats
 * nothing, and each workload is told as an event of its own. */
static void a_batch_is_told_one_by_one_across_pages(void **state)
{
    (void)state;
    struct workload_store_in in[5];
    struct workload_store_out rows[5];
    const char *names[] = {"b0", "b1", "b2", "b3", "b4"};
    struct event_cursor cursor = {.xact = 0};
    for (int i = 0; i < 5; i++)
        in[i] = posting(account(i == 3 ? 2 : 1), names[i], 1);
    must(store(in, 5, rows) == 5);
    assert_int_equal(world_number(&world, "select count(*) from events"), 2);
    stop(1, in[1].workload_id);
    for (int i = 0; i < 4; i++) {
        struct event_read_in page = {.account_id = account(1),
                                     .after_xact = cursor.xact,
                                     .after_event_id = cursor.event_id,
                                     .limit_count = 1};
        const struct workload_store_in *stored = &in[i < 3 ? i : 4];
        struct sql_result *result = NULL;
        struct event_read_out row;
        char told[128];
        must(event_read_run(world.session, &page, &result) == ERR_OK);
        assert_int_equal(sql_result_rows(result), 1);
        event_read_row(result, 0, &row);
        assert_true(row.has_xact && uuid_equal(row.workload_id, stored->workload_id));
        must(str_format(told, sizeof(told),
                        "{\"name\": \"%.*s\", \"state\": \"auctioning\", \"version\": 1, "
                        "\"replicas_auctioning\": 1}",
                        STR_ARG(stored->name)));
        assert_true(str_equal_c(row.data, told));
        cursor = event_cursor_behind(&row);
        sql_result_release(result);
    }
    struct event_read_in only = {.account_id = account(1),
                                 .has_only_workload_id = true,
                                 .only_workload_id = in[1].workload_id,
                                 .limit_count = 9};
    struct sql_result *result = NULL;
    struct event_read_out row;
    must(event_read_run(world.session, &only, &result) == ERR_OK);
    assert_int_equal(sql_result_rows(result), 2); /* created, stopped */
    event_read_row(result, 0, &row);
    assert_true(uuid_equal(row.workload_id, in[1].workload_id));
    sql_result_release(result);
}

static void cursors_are_read_back_as_written(void **state)
{
    (void)state;
    char text[EVENT_CURSOR_SIZE], log_text[LOG_CURSOR_SIZE];
    struct event_cursor cursor = {.xact = 12, .event_id = 345}, again;
    assert_true(event_cursor_parse(str_of(event_cursor_text(cursor, text)), &again));
    assert_int_equal(again.xact, 12);
    assert_int_equal(again.event_id, 345);
    assert_true(event_cursor_parse(STR("0"), &again));
    static const char *const bad[] = {"", "-", "1-", "-1", "1-2-3", "x", "1-x", " 1", "1 "};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_false(event_cursor_parse(str_of(bad[i]), &again));
    struct log_cursor log = {.xact = 7, .lease_id = lease_id_new(), .offset = 99}, log_again;
    assert_true(log_cursor_parse(str_of(log_cursor_text(&log, log_text)), &log_again));
    assert_int_equal(log_again.offset, 99);
    assert_true(uuid_equal(log.lease_id.u, log_again.lease_id.u));
    static const char *const bad_log[] = {"", "1", "1.x.2", "1.lse_.2", ".."};
    for (size_t i = 0; i < ARRAY_COUNT(bad_log); i++)
        assert_false(log_cursor_parse(str_of(bad_log[i]), &log_again));
}

/* ---- logs */

struct page {
    int chunks;
    bool has_workload;
    int64_t ended_ms;
};

static struct page read_log(int who, struct uuid workload, struct log_cursor *cursor,
                            struct log_text *text, struct buf *to)
{
    struct log_read_in in = {
        .account_id = account(who),
        .workload_id = workload,
        .after_xact = cursor->xact,
        .after_lease_id = cursor->lease_id.u,
        .after_offset = cursor->offset,
        .limit_count = 2,
    };
    struct sql_result *result = NULL;
    struct page page = {.chunks = 0};
    must(log_read_run(world.session, &in, &result) == ERR_OK);
    page.has_workload = sql_result_rows(result) > 0;
    for (int i = 0; i < sql_result_rows(result); i++) {
        struct log_read_out row;
        log_read_row(result, i, &row);
        page.ended_ms = row.ended_ms;
        *cursor = log_cursor_behind(&row);
        if (!row.has_xact)
            break;
        page.chunks++;
        log_text_add(text, &row, to);
    }
    sql_result_release(result);
    return page;
}

static void write_chunk(struct uuid lease, int offset, const char *stream, const char *text)
{
    world_do(&world,
             "insert into log_chunks (lease_id, log_offset, stream, at, bytes)"
             " values ('%s', %d, '%s', now(), convert_to(E'%s', 'UTF8'))",
             id_text(lease), offset, stream, text);
}

static struct uuid lease_of(int replica)
{
    return world_uuid(world_ask(&world, "select fx.award(1, %d, 1, 100000)", replica));
}

static void lines_of_two_replicas_never_mix_and_pages_join_without_a_seam(void **state)
{
    (void)state;
    world_do(&world, "select fx.make_account(9, 0),"
                     " fx.make_node(1, 9, 'eu-west', 'cpu-1c2g', 4, 100000),"
                     " fx.make_workload(1, 1, 2, 600000)");
    struct uuid workload = world_uuid(world_ask(&world, "select fx.workload(1)"));
    struct uuid first = lease_of(0), second = lease_of(1);
    struct log_cursor cursor = {.xact = 0};
    struct log_text text = {.is_prefixed = true};
    struct buf out = {.at = NULL};
    write_chunk(first, 0, "out", "half a ");
    write_chunk(second, 0, "err", "other\\n");
    write_chunk(first, 7, "out", "line\\nnext\\n\\n");
    assert_int_equal(read_log(1, workload, &cursor, &text, &out).chunks, 2);
    assert_int_equal(read_log(1, workload, &cursor, &text, &out).chunks, 1);
    write_chunk(second, 6, "gap", "12 bytes are missing");
    write_chunk(first, 19, "out", "no newline");
    assert_int_equal(read_log(1, workload, &cursor, &text, &out).chunks, 2);
    assert_int_equal(read_log(1, workload, &cursor, &text, &out).chunks, 0);
    log_text_end(&text, &out);
    buf_add(&out, "", 1);
    assert_string_equal(out.at, "[1] other\n[0] half a line\n[0] next\n[0] \n"
                                "[1] [...: 12 bytes are missing]\n[0] no newline\n");
    buf_finish(&out);
    assert_false(read_log(2, workload, &cursor, &text, &out).has_workload);
    assert_int_equal(read_log(1, workload, &cursor, &text, &out).ended_ms, -1);
}

static void a_line_of_json_says_where_it_comes_from_whatever_the_bytes(void **state)
{
    (void)state;
    struct log_read_out chunk = {
        .has_xact = true,
        .xact = 5,
        .lease_id = uuid_v7(),
        .log_offset = 3,
        .replica_index = 2,
        .stream = STR("out"),
        .at_us = 1000000,
        .bytes = STR("caf\xc3\xa9\n"),
    };
    struct buf out = {.at = NULL};
    char why[128];
    log_put_line(&out, &chunk);
    json_t *line = json_parse((struct str){.at = out.at, .len = out.len - 1}, why, sizeof(why));
    assert_true(str_equal_c(json_str(line, "data"), "caf\xc3\xa9\n"));
    assert_int_equal(json_i64(line, "replica", -1), 2);
    json_decref(line);
    out.len = 0;
    chunk.bytes = STR("\xff\xfe");
    log_put_line(&out, &chunk);
    line = json_parse((struct str){.at = out.at, .len = out.len - 1}, why, sizeof(why));
    assert_true(str_equal_c(json_str(line, "data_base64"), "//4="));
    assert_null(json_str(line, "data").at);
    json_decref(line);
    buf_finish(&out);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(events_come_in_order_by_pages_and_only_to_their_account),
        CASE(an_event_behind_a_running_transaction_is_held_back_and_not_lost),
        CASE(a_batch_is_told_one_by_one_across_pages),
        CASE(cursors_are_read_back_as_written),
        CASE(lines_of_two_replicas_never_mix_and_pages_join_without_a_seam),
        CASE(a_line_of_json_says_where_it_comes_from_whatever_the_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
