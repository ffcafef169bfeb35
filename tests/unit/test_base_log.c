/* Log lines, clocks, state machines, errors and the assertion itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "broker/base/clock.h"
#include "broker/base/err.h"
#include "broker/base/fsm.h"
#include "broker/base/log.h"
#include "broker/base/must.h"

static int stderr_saved;
static FILE *stderr_file;

static void stderr_catch(void)
{
    stderr_file = tmpfile();
    assert_non_null(stderr_file);
    stderr_saved = dup(STDERR_FILENO);
    dup2(fileno(stderr_file), STDERR_FILENO);
}

static void stderr_give_back(char *ret_text, size_t size)
{
    dup2(stderr_saved, STDERR_FILENO);
    close(stderr_saved);
    rewind(stderr_file);
    ret_text[fread(ret_text, 1, size - 1, stderr_file)] = '\0';
    fclose(stderr_file);
}

static void an_event_is_one_line_of_pairs(void **state)
{
    (void)state;
    char text[9000], quoted[64], long_value[6000];
    memset(long_value, 'x', sizeof(long_value));
    long_value[sizeof(long_value) - 1] = '\0';
    clock_fake(1795225339123456, 0);
    stderr_catch();
    log_event(LOG_DEBUG, "too_quiet", "a=1");
    log_event(LOG_INFO, "lease_closed", "lease=%s ms=%d",
              log_quote(STR("a b\nlevel=error"), quoted, sizeof(quoted)), 7);
    log_event(LOG_WARN, "value_unquoted", "v=%s", "x\nts=fake");
    log_event(LOG_ERROR, "line_long", "v=%s", long_value);
    stderr_give_back(text, sizeof(text));
    clock_fake(-1, -1);
    static const char wanted[] =
        "ts=2026-11-21T01:42:19.123Z level=info event=lease_closed "
        "lease=\"a b\\x0alevel=error\" ms=7\n"
        "ts=2026-11-21T01:42:19.123Z level=warn event=value_unquoted v=x?ts=fake\n"
        "ts=2026-11-21T01:42:19.123Z level=error event=line_long v=xxx";
    assert_memory_equal(text, wanted, sizeof(wanted) - 1);
    size_t lines_count = 0;
    for (const char *c = text; *c; c++)
        lines_count += *c == '\n';
    assert_int_equal(lines_count, 3);
    assert_int_equal(text[strlen(text) - 1], '\n');
}

struct quote_case {
    struct str value;
    size_t size;
    const char *wanted;
};

static void values_are_quoted_when_they_need_it(void **state)
{
    (void)state;
    static const struct quote_case cases[] = {
        {STR("plain-1.2"), 64, "plain-1.2"},
        {STR(""), 64, "\"\""},
        {STR_NONE, 64, "\"\""},
        {STR("a=b"), 64, "\"a=b\""},
        {STR("\"\\"), 64, "\"\\\"\\\\\""},
        {STR("\xc3\xa4"), 64, "\"\\xc3\\xa4\""},
        {STR("abcdefgh"), 8, "\"abcde\""},
        {STR("ab\x01zzzz"), 8, "\"ab\""},
        {STR("ab\x01"), 9, "\"ab\\x01\""},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char buf[64];
        assert_string_equal(log_quote(cases[i].value, buf, cases[i].size), cases[i].wanted);
        assert_true(strlen(buf) < cases[i].size);
    }
    assert_int_equal(log_level_of(STR("debug")), LOG_DEBUG);
    assert_int_equal(log_level_of(STR("error")), LOG_ERROR);
    assert_int_equal(log_level_of(STR("loud")), LOG_INFO);
}

static void instants_are_written_in_utc(void **state)
{
    (void)state;
    char text[32];
    assert_string_equal(clock_format(0, text), "1970-01-01T00:00:00.000Z");
    assert_string_equal(clock_format(-1, text), "1969-12-31T23:59:59.999Z");
    assert_string_equal(clock_format(951782400999999, text), "2000-02-29T00:00:00.999Z");
    clock_fake(5000000, 7000);
    assert_int_equal(clock_now_us(), 5000000);
    assert_int_equal(clock_mono_us(), 7000);
    assert_int_equal(clock_mono_ms(), 7);
    clock_fake(-1, -1);
    assert_true(clock_now_us() > 1700000000000000);
    int64_t before_us = clock_mono_us();
    assert_true(clock_mono_us() >= before_us);
}

enum light { RED = 1, GREEN };
enum push { PUSH = 1, BREAK };

static const char *light_name(int light)
{
    return light == RED ? "red" : "green";
}

static const char *push_name(int push)
{
    return push == PUSH ? "push" : "break";
}

static void a_machine_has_only_the_roads_in_its_table(void **state)
{
    (void)state;
    static const struct fsm_row rows[] = {{RED, PUSH, GREEN, "somebody waits; let them go"},
                                          {GREEN, PUSH, RED, "enough"}};
    const struct fsm machine = {.name = "light",
                                .rows = rows,
                                .rows_count = ARRAY_COUNT(rows),
                                .state_name = light_name,
                                .event_name = push_name};
    assert_ptr_equal(fsm_find(&machine, RED, PUSH), &rows[0]);
    assert_ptr_equal(fsm_find(&machine, GREEN, PUSH), &rows[1]);
    assert_null(fsm_find(&machine, RED, BREAK));
    assert_null(fsm_find(&machine, 0, PUSH));
    struct buf to = {0};
    fsm_mermaid(&machine, &to);
    assert_true(str_equal_c(buf_str(&to), "stateDiagram-v2\n"
                                          "    red --> green: push, somebody waits, let them go\n"
                                          "    green --> red: push, enough\n"));
    buf_finish(&to);
}

static void every_error_is_whole(void **state)
{
    (void)state;
    for (enum err_code code = ERR_OK + 1; code < ERR_COUNT; code++) {
        const struct err_info *info = err_info(code);
        assert_in_range(info->http_status, 400, 599);
        assert_int_equal(err_by_slug(str_of(info->slug)), code);
        assert_true(strlen(info->title) > 10 && strlen(info->suggestion) > 10);
        assert_int_equal(info->suggestion[strlen(info->suggestion) - 1], '.');
    }
    assert_int_equal(err_by_slug(STR("no_such")), ERR_COUNT);
    assert_int_equal(err_by_slug(STR_NONE), ERR_COUNT);
}

static void a_broken_must_stops_the_process(void **state)
{
    (void)state;
    char text[300];
    stderr_catch();
    pid_t child = fork();
    if (child == 0) {
        must(1 + 1 == 3);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    stderr_give_back(text, sizeof(text));
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "must(1 + 1 == 3)"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_is_one_line_of_pairs),
        cmocka_unit_test(values_are_quoted_when_they_need_it),
        cmocka_unit_test(instants_are_written_in_utc),
        cmocka_unit_test(a_machine_has_only_the_roads_in_its_table),
        cmocka_unit_test(every_error_is_whole),
        cmocka_unit_test(a_broken_must_stops_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
