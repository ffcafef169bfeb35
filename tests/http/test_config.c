/* Settings: bounds, sources and their order, and a documented example that is what the program
 * prints. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/config.h"

static void defaults_are_inside_their_own_bounds(void **state)
{
    (void)state;
    struct config config;
    config_defaults(&config); /* aborts otherwise */
    assert_int_equal(config.fee_bp, 1000);
    assert_string_equal(config.roles, "api,market,settle");
    assert_true(config_has_role(&config, "settle"));
    assert_false(config_has_role(&config, "sett"));
}

static void bad_values_are_refused_and_leave_the_setting_alone(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value;
    } rows[] = {
        {"port", "65536"},  {"port", "-1"},     {"port", "80x"}, {"port", ""},
        {"prot", "80"},     {"roles", "api,x"}, {"roles", ""},   {"log_level", "loud"},
        {"fee_bp", "5001"}, {"PORT", "80"},     {"market", ""},  {"round_ms", "1e3"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct config config;
        char why[200] = "";
        config_defaults(&config);
        if (config_set(&config, str_of(rows[i].name), str_of(rows[i].value), why, sizeof(why)))
            fail_msg("%s = %s was accepted", rows[i].name, rows[i].value);
        assert_true(why[0] != '\0');
        assert_int_equal(config.port, 8080);
    }
}

static void a_file_is_lines_of_name_and_value(void **state)
{
    (void)state;
    struct config config;
    char why[200] = "";
    config_defaults(&config);
    assert_true(config_parse(&config,
                             STR("# a comment\n\n port = 9000 \nredis_url=unix:/r=s\nmarket =m"),
                             why, sizeof(why)));
    assert_int_equal(config.port, 9000);
    assert_string_equal(config.redis_url, "unix:/r=s");
    assert_string_equal(config.market, "m");
    assert_false(config_parse(&config, STR("port = 1\nport\n"), why, sizeof(why)));
    assert_string_equal(why, "line 2: expected name = value");
    assert_false(config_parse(&config, STR("colour = red"), why, sizeof(why)));
    assert_string_equal(why, "line 1: there is no setting 'colour'");
}

static void later_sources_win(void **state)
{
    (void)state;
    struct config config;
    char path[] = "/tmp/undercut-config-XXXXXX";
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "w");
    fputs("port = 1001\nfee_bp = 1\nround_ms = 100\n", file);
    fclose(file);
    setenv("UNDERCUT_PORT", "1002", 1);
    setenv("UNDERCUT_FEE_BP", "2", 1);
    char *argv[] = {"undercutd", "--config", path, "--set", "port=1003", "--port-file", "/p", NULL};
    assert_int_equal(config_start(7, argv, &config), CONFIG_RUN);
    assert_int_equal(config.port, 1003);
    assert_int_equal(config.fee_bp, 2);
    assert_int_equal(config.round_ms, 100);
    assert_string_equal(config.port_file, "/p");
    unsetenv("UNDERCUT_PORT");
    unsetenv("UNDERCUT_FEE_BP");
    remove(path);
}

static void only_what_may_change_is_read_again(void **state)
{
    (void)state;
    struct config config;
    config_defaults(&config);
    char *argv[] = {"undercutd", "--set", "log_level=debug", "--set", "port=1", NULL};
    assert_true(config_reload(5, argv, &config));
    assert_string_equal(config.log_level, "debug");
    assert_int_equal(config.port, 8080);
}

static void secrets_are_masked(void **state)
{
    (void)state;
    struct config config;
    struct buf text = {0};
    char why[200];
    config_defaults(&config);
    assert_true(config_set(&config, STR("database_url"), STR("postgres://u:hunter2@h/d"), why,
                           sizeof(why)));
    config_write_masked(&config, &text);
    buf_add(&text, "", 1);
    assert_null(strstr(text.at, "hunter2"));
    assert_non_null(strstr(text.at, "database_url=***"));
    assert_non_null(strstr(text.at, "fee_bp=1000"));
    buf_finish(&text);
}

static void the_example_file_is_what_the_program_prints(void **state)
{
    (void)state;
    struct buf text = {0};
    char file_text[32768];
    FILE *file = fopen("deploy/undercutd.conf.example", "re");
    assert_non_null(file);
    size_t len = fread(file_text, 1, sizeof(file_text), file);
    fclose(file);
    config_write_example(&text);
    assert_true(str_equal(buf_str(&text), (struct str){.at = file_text, .len = len}));
    buf_finish(&text);
}

static void the_example_can_be_read(void **state)
{
    (void)state;
    struct config config, defaults;
    struct buf text = {0};
    char why[200] = "";
    config_defaults(&config);
    config_defaults(&defaults);
    config_write_example(&text);
    for (size_t i = 0; i + 1 < text.len; i++) { /* every setting commented in */
        bool is_setting = text.at[i] == '#' && text.at[i + 1] != ' ';
        text.at[i] = is_setting ? ' ' : text.at[i];
    }
    assert_true(config_parse(&config, buf_str(&text), why, sizeof(why)));
    assert_memory_equal(&config, &defaults, sizeof(config));
    buf_finish(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_inside_their_own_bounds),
        cmocka_unit_test(bad_values_are_refused_and_leave_the_setting_alone),
        cmocka_unit_test(a_file_is_lines_of_name_and_value),
        cmocka_unit_test(later_sources_win),
        cmocka_unit_test(only_what_may_change_is_read_again),
        cmocka_unit_test(secrets_are_masked),
        cmocka_unit_test(the_example_file_is_what_the_program_prints),
        cmocka_unit_test(the_example_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
