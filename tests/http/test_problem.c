/* Problem documents: every error of err.def, and the parts that are sometimes there. */
#include "tests/lib/test.h"

#include <string.h>

#include "api/problem.h"
#include "broker/base/json.h"

static json_t *written(const struct problem *problem)
{
    struct buf text = {0};
    problem_write(problem, &text);
    json_t *json = json_loadb(text.at, text.len, JSON_REJECT_DUPLICATES, NULL);
    buf_finish(&text);
    assert_non_null(json);
    return json;
}

static void every_error_is_a_whole_problem(void **state)
{
    (void)state;
    for (int err = ERR_OK + 1; err < ERR_COUNT; err++) {
        const struct err_info *info = err_info((enum err_code)err);
        json_t *json = written(&(struct problem){.err = (enum err_code)err, .request_id = "req_x"});
        char type[128];
        str_format(type, sizeof(type), "%s%s", PROBLEM_TYPE_PREFIX, info->slug);
        assert_true(str_equal_c(json_str(json, "type"), type));
        assert_true(str_equal_c(json_str(json, "code"), info->slug));
        assert_true(str_equal_c(json_str(json, "request_id"), "req_x"));
        assert_true(json_str(json, "title").len > 0 && json_str(json, "suggestion").len > 0);
        assert_int_equal(json_i64(json, "status", 0), info->http_status);
        assert_int_equal(json_bool(json, "retryable", !info->is_retryable), info->is_retryable);
        assert_null(json_object_get(json, "detail"));
        assert_null(json_object_get(json, "errors"));
        json_decref(json);
    }
}

static void details_and_field_errors_are_escaped(void **state)
{
    (void)state;
    const struct flow_field_error errors[] = {
        {.pointer = "/env/\"A\"", .code = "type", .detail = "must be\na string"},
        {.pointer = "", .code = "required", .detail = "x"},
    };
    json_t *json = written(&(struct problem){.err = ERR_INVALID_FIELD,
                                             .detail = "say \"please\"\t",
                                             .errors = errors,
                                             .errors_count = 2});
    const json_t *list = json_object_get(json, "errors");
    assert_true(str_equal_c(json_str(json, "detail"), "say \"please\"\t"));
    assert_int_equal(json_array_size(list), 2);
    assert_true(str_equal_c(json_str(json_array_get(list, 0), "pointer"), "/env/\"A\""));
    assert_true(str_equal_c(json_str(json_array_get(list, 0), "detail"), "must be\na string"));
    json_decref(json);
}

static void retry_after_is_said_where_waiting_helps(void **state)
{
    (void)state;
    assert_int_equal(problem_retry_after_s(ERR_DATABASE_BUSY, 0), 1);
    assert_int_equal(problem_retry_after_s(ERR_RATE_LIMITED, 41001), 42);
    assert_int_equal(problem_retry_after_s(ERR_NOT_FOUND, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_is_a_whole_problem),
        cmocka_unit_test(details_and_field_errors_are_escaped),
        cmocka_unit_test(retry_after_is_said_where_waiting_helps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
