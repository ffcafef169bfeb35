#include "api/problem.h"

#include "broker/base/json.h"

static void write_field_errors(const struct problem *problem, struct json_out *out)
{
    json_array_open(out, "errors");
    for (int i = 0; i < problem->errors_count; i++) {
        json_object_open(out, NULL);
        json_put_c(out, "pointer", problem->errors[i].pointer);
        json_put_c(out, "code", problem->errors[i].code);
        json_put_c(out, "detail", problem->errors[i].detail);
        json_object_close(out);
    }
    json_array_close(out);
}

void problem_write(const struct problem *problem, struct buf *to)
{
    const struct err_info *info = err_info(problem->err);
    char type[128];
    struct json_out out;
    str_format(type, sizeof(type), "%s%s", PROBLEM_TYPE_PREFIX, info->slug);
    json_out_start(&out, to);
    json_object_open(&out, NULL);
    json_put_c(&out, "type", type);
    json_put_c(&out, "title", info->title);
    json_put_i64(&out, "status", info->http_status);
    if (problem->detail != NULL && problem->detail[0] != '\0')
        json_put_c(&out, "detail", problem->detail);
    json_put_c(&out, "code", info->slug);
    if (problem->errors_count > 0)
        write_field_errors(problem, &out);
    json_put_c(&out, "suggestion", info->suggestion);
    json_put_bool(&out, "retryable", info->is_retryable);
    json_put_c(&out, "request_id", problem->request_id != NULL ? problem->request_id : "");
    json_object_close(&out);
}

int64_t problem_retry_after_s(enum err_code err, int64_t retry_after_ms)
{
    const struct err_info *info = err_info(err);
    if (retry_after_ms > 0)
        return (retry_after_ms + 999) / 1000;
    return info->http_status == 503 || info->http_status == 429 ? 1 : 0;
}
