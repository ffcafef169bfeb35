/* The rules that move a price, and the program that may be asked: tables for the pure half, real
 * programs with their deadlines for the other. */
#include "tests/lib/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/base/clock.h"
#include "nodeagent/pricer.h"
#include "tests/agent/lib_process.h"

static struct pricing parse(const char *json)
{
    struct pricing pricing;
    char why[256] = "";
    if (!pricing_parse(str_of(json), &pricing, why))
        fail_msg("%s: %s", json, why);
    return pricing;
}

static int64_t price_at(const struct pricing *pricing, int weekday, int minute, int busy)
{
    const struct price_moment moment = {
        .weekday = weekday, .minute = minute, .utilisation_percent = busy};
    return pricing_price(pricing, 300000, &moment);
}

static void a_night_tariff_begins_and_ends_to_the_minute(void **state)
{
    (void)state;
    struct pricing night = parse("{\"schedule\":[{\"from\":\"22:00\",\"to\":\"06:00\","
                                 "\"percent\":70}]}");
    assert_int_equal(price_at(&night, 0, 22 * 60 - 1, 0), 300000);
    assert_int_equal(price_at(&night, 0, 22 * 60, 0), 210000);
    assert_int_equal(price_at(&night, 3, 0, 0), 210000);
    assert_int_equal(price_at(&night, 3, 6 * 60 - 1, 0), 210000);
    assert_int_equal(price_at(&night, 3, 6 * 60, 0), 300000);
}

static void a_window_past_midnight_belongs_to_its_first_day(void **state)
{
    (void)state;
    struct pricing friday = parse("{\"schedule\":[{\"days\":\"fri\",\"from\":\"20:00\","
                                  "\"to\":\"02:00\",\"percent\":50}]}");
    assert_int_equal(price_at(&friday, 4, 20 * 60, 0), 150000);
    assert_int_equal(price_at(&friday, 5, 60, 0), 150000);
    assert_int_equal(price_at(&friday, 4, 60, 0), 300000); /* the night of Thursday */
    assert_int_equal(price_at(&friday, 5, 20 * 60, 0), 300000);
}

static void days_are_lists_and_ranges_around_the_week(void **state)
{
    (void)state;
    struct pricing days = parse("{\"schedule\":[{\"days\":\"sat-mon,wed\",\"from\":\"00:00\","
                                "\"to\":\"24:00\",\"percent\":200}]}");
    static const bool is_dear[7] = {true, false, true, false, false, true, true};
    for (int day = 0; day < 7; day++)
        assert_int_equal(price_at(&days, day, 1439, 0), is_dear[day] ? 600000 : 300000);
}

static void the_first_open_window_counts(void **state)
{
    (void)state;
    struct pricing two = parse("{\"schedule\":[{\"days\":\"sun\",\"from\":\"00:00\",\"to\":"
                               "\"00:00\",\"percent\":10},{\"from\":\"00:00\",\"to\":\"12:00\","
                               "\"percent\":20}]}");
    assert_int_equal(price_at(&two, 6, 60, 0), 30000);
    assert_int_equal(price_at(&two, 0, 60, 0), 60000);
    assert_int_equal(price_at(&two, 0, 720, 0), 300000);
}

static void energy_is_a_bottom_with_its_own_tariff(void **state)
{
    (void)state;
    struct pricing energy = parse("{\"schedule\":[{\"from\":\"22:00\",\"to\":\"06:00\",\"percent\":"
                                  "10}],\"energy\":{\"watts\":450,\"uusd_per_kwh\":280000,"
                                  "\"margin_percent\":20,\"tariff\":[{\"from\":\"00:00\",\"to\":"
                                  "\"05:00\",\"uusd_per_kwh\":100000}]}}");
    const struct price_moment day = {.weekday = 0, .minute = 720};
    assert_int_equal(price_at(&energy, 0, 720, 0), 300000);
    assert_int_equal(price_at(&energy, 0, 23 * 60, 0), 151200); /* 450 W x 0.28 x 1.2 */
    assert_int_equal(price_at(&energy, 0, 60, 0), 54000);
    assert_int_equal(pricing_price(&energy, 0, &day), 151200);
    struct pricing odd = parse("{\"energy\":{\"watts\":1,\"uusd_per_kwh\":1}}");
    assert_int_equal(pricing_price(&odd, 0, &day), 1); /* rounded up, never to nothing */
}

static void the_busier_the_dearer_by_the_highest_step_reached(void **state)
{
    (void)state;
    struct pricing steps = parse("{\"utilisation\":[{\"at_least_percent\":90,\"percent\":150},"
                                 "{\"at_least_percent\":50,\"percent\":110}]}");
    assert_int_equal(price_at(&steps, 0, 0, 49), 300000);
    assert_int_equal(price_at(&steps, 0, 0, 50), 330000);
    assert_int_equal(price_at(&steps, 0, 0, 89), 330000);
    assert_int_equal(price_at(&steps, 0, 0, 100), 450000);
}

static void a_price_stays_within_its_bounds(void **state)
{
    (void)state;
    struct pricing dear = parse("{\"schedule\":[{\"from\":\"00:00\",\"to\":\"00:00\",\"percent\":"
                                "1000}]}");
    const struct price_moment now = {.weekday = 0};
    assert_int_equal(pricing_price(&dear, PRICING_UUSD_MAX, &now), PRICING_UUSD_MAX);
    assert_int_equal(pricing_price(&dear, 0, &now), 0);
}

static void what_is_wrong_is_named_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *json, *why;
    } cases[] = {
        {"{\"shedule\":[]}", "/shedule is not known here"},
        {"[]", " must be an object"},
        {"{\"schedule\":{}}", "/schedule must be a list of at most 16 windows"},
        {"{\"schedule\":[{\"from\":\"25:00\",\"to\":\"06:00\",\"percent\":1}]}",
         "/schedule/0 needs `from` and `to` like 22:00"},
        {"{\"schedule\":[{\"from\":\"2:00\",\"to\":\"06:00\",\"percent\":1}]}",
         "/schedule/0 needs `from` and `to` like 22:00"},
        {"{\"schedule\":[{\"from\":\"02:00\",\"to\":\"06:60\",\"percent\":1}]}",
         "/schedule/0 needs `from` and `to` like 22:00"},
        {"{\"schedule\":[{\"days\":\"monday\",\"from\":\"02:00\",\"to\":\"06:00\",\"percent\":1}]}",
         "/schedule/0 has `days` that are not like mon-fri or sat,sun"},
        {"{\"schedule\":[{\"from\":\"02:00\",\"to\":\"06:00\",\"percent\":0}]}",
         "/schedule/0 needs `percent`, a whole number from 1 to 1000"},
        {"{\"schedule\":[{\"from\":\"02:00\",\"to\":\"06:00\",\"percent\":1.5}]}",
         "/schedule/0 needs `percent`, a whole number from 1 to 1000"},
        {"{\"energy\":{\"uusd_per_kwh\":1}}",
         "/energy needs `watts`, a whole number from 1 to 100000"},
        {"{\"energy\":{\"watts\":1}}",
         "/energy needs `uusd_per_kwh`, a whole number from 0 to 100000000"},
        {"{\"utilisation\":[{\"at_least_percent\":101,\"percent\":1}]}",
         "/utilisation/0 needs `at_least_percent`, a whole number from 1 to 100"},
        {"{\"utilisation\":7}", "/utilisation must be a list of at most 8 steps"},
        {"{\"program\":{\"path\":\"price.sh\"}}",
         "/program needs `path`, absolute and of at most 255 bytes"},
        {"{\"program\":{\"path\":\"/x\",\"timeout_ms\":60000}}",
         "/program needs `timeout_ms`, a whole number from 10 to 10000"},
        {"{\"every_s\":0}", "/ needs `every_s`, a whole number from 1 to 3600"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct pricing pricing;
        char why[256] = "";
        assert_false(pricing_parse(str_of(cases[i].json), &pricing, why));
        assert_string_equal(why, cases[i].why);
    }
    struct pricing pricing;
    char why[256] = "";
    assert_false(pricing_parse(STR("{"), &pricing, why));
    assert_true(why[0] != '\0');
}

struct rig {
    char folder[64];
    char program[96];
};

static int rig_up(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    folder_make_temporary(rig->folder);
    must(str_format(rig->program, sizeof(rig->program), "%s/price", rig->folder));
    *state = rig;
    return 0;
}

static int rig_down(void **state)
{
    struct rig *rig = *state;
    folder_remove(rig->folder);
    free(rig);
    return 0;
}

static void program_put(const struct rig *rig, const char *script)
{
    char text[1024];
    must(str_format(text, sizeof(text), "#!/bin/sh\n%s\n", script));
    file_put(rig->program, text);
    must(chmod(rig->program, 0700) == 0);
}

static bool ask(const struct rig *rig, int64_t deadline_ms, struct buf *answer, char why[256])
{
    return program_ask(rig->program, STR("{\"v\":1}"), deadline_ms, answer, why);
}

static void a_program_reads_the_question_and_answers(void **state)
{
    struct rig *rig = *state;
    struct buf answer = {0};
    char why[256] = "";
    program_put(rig, "read -r line; printf 'got %s' \"$line\"");
    assert_true(ask(rig, 5000, &answer, why));
    assert_true(str_equal_c(buf_str(&answer), "got {\"v\":1}"));
    buf_finish(&answer);
}

static void a_late_program_is_killed_with_its_children(void **state)
{
    struct rig *rig = *state;
    struct buf answer = {0};
    char why[256] = "";
    program_put(rig, "sleep 60 & echo $! > \"$0.child\"; wait");
    int64_t before_mono_ms = clock_mono_ms();
    assert_false(ask(rig, 300, &answer, why));
    assert_in_range(clock_mono_ms() - before_mono_ms, 300, 5000);
    assert_non_null(strstr(why, "gave no answer in 300 ms and was killed"));
    char path[128], pid[16] = "";
    must(str_format(path, sizeof(path), "%s.child", rig->program));
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(pid, sizeof(pid), file));
    fclose(file);
    int64_t until_mono_ms = clock_mono_ms() + 5000;
    char stat_path[64], text[128] = "";
    must(str_format(stat_path, sizeof(stat_path), "/proc/%ld/stat", strtol(pid, NULL, 10)));
    bool is_gone = false; /* or a zombie that its new parent has yet to reap */
    while (!is_gone && clock_mono_ms() < until_mono_ms) {
        FILE *stat_file = fopen(stat_path, "r");
        is_gone = !stat_file || !fgets(text, sizeof(text), stat_file) || strstr(text, ") Z");
        if (stat_file)
            fclose(stat_file);
    }
    assert_true(is_gone);
    buf_finish(&answer);
}

static void a_program_that_fails_or_is_not_there_is_told(void **state)
{
    struct rig *rig = *state;
    struct buf answer = {0};
    char why[256] = "";
    assert_false(ask(rig, 1000, &answer, why));
    assert_non_null(strstr(why, "cannot be started: No such file"));
    program_put(rig, "echo 1; exit 3");
    assert_false(ask(rig, 5000, &answer, why));
    assert_non_null(strstr(why, "ended with exit code 3"));
    program_put(rig, "kill -TERM $$");
    assert_false(ask(rig, 5000, &answer, why));
    assert_non_null(strstr(why, "ended with signal 15"));
    buf_finish(&answer);
}

struct wakes {
    _Atomic int count;
};

static void note_wake(void *arg)
{
    struct wakes *wakes = arg;
    wakes->count++;
}

static bool price_becomes(struct pricer *pricer, const char *name, int64_t uusd)
{
    int64_t until_mono_ms = clock_mono_ms() + 10000;
    while (clock_mono_ms() < until_mono_ms) {
        struct config_price prices[CONFIG_PRICES_MAX];
        size_t count = pricer_read(pricer, prices);
        for (size_t i = 0; i < count; i++)
            if (strcmp(prices[i].device_class, name) == 0 &&
                prices[i].price_uusd_per_device_hour == uusd)
                return true;
        usleep(20000);
    }
    return false;
}

static void a_program_overrules_the_rules_until_it_fails(void **state)
{
    struct rig *rig = *state;
    struct wakes wakes = {0};
    char json[300];
    program_put(rig, "test -e \"$0.broken\" && { echo nonsense; exit 0; }\n"
                     "echo '{\"prices\":[{\"class\":\"*\",\"price_uusd_per_device_hour\":77},"
                     "{\"class\":\"rtx-4090\",\"price_uusd_per_device_hour\":88}]}'");
    must(str_format(json, sizeof(json),
                    "{\"every_s\":1,\"utilisation\":[{\"at_least_percent\":50,\"percent\":200}],"
                    "\"program\":{\"path\":\"%s\",\"timeout_ms\":5000}}",
                    rig->program));
    struct pricing pricing = parse(json);
    const struct config config = {
        .prices = {{.device_class = "*", .price_uusd_per_device_hour = 300000}}, .prices_count = 1};
    struct pricer *pricer = pricer_start(&(struct pricer_setup){.config = &config,
                                                                .pricing = &pricing,
                                                                .node_id = "node_x",
                                                                .region = "eu-west",
                                                                .wake = note_wake,
                                                                .wake_arg = &wakes});
    assert_true(price_becomes(pricer, "*", 77));
    assert_true(price_becomes(pricer, "rtx-4090", 88));
    char broken[128];
    must(str_format(broken, sizeof(broken), "%s.broken", rig->program));
    pricer_observe(pricer, 1, 2);
    file_put(broken, "");
    assert_true(price_becomes(pricer, "*", 600000)); /* the rule: busy, so twice the base */
    assert_true(wakes.count >= 2);
    pricer_stop(pricer);
}

int main(void)
{
#define RIGGED(test) cmocka_unit_test_setup_teardown(test, rig_up, rig_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_night_tariff_begins_and_ends_to_the_minute),
        cmocka_unit_test(a_window_past_midnight_belongs_to_its_first_day),
        cmocka_unit_test(days_are_lists_and_ranges_around_the_week),
        cmocka_unit_test(the_first_open_window_counts),
        cmocka_unit_test(energy_is_a_bottom_with_its_own_tariff),
        cmocka_unit_test(the_busier_the_dearer_by_the_highest_step_reached),
        cmocka_unit_test(a_price_stays_within_its_bounds),
        cmocka_unit_test(what_is_wrong_is_named_with_its_place),
        RIGGED(a_program_reads_the_question_and_answers),
        RIGGED(a_late_program_is_killed_with_its_children),
        RIGGED(a_program_that_fails_or_is_not_there_is_told),
        RIGGED(a_program_overrules_the_rules_until_it_fails),
    };
    signal(SIGPIPE, SIG_IGN); /* as the agent does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
