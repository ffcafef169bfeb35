/* The API over real sockets, with no database at all: what must be answered without one is, and
 * what needs one says so. Each row is a raw request and what its answer must hold.
 */
#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/route.h"
#include "broker/app.h"
#include "broker/base/hash.h"
#include "broker/base/json.h"
#include "broker/base/log.h"

static char folder[] = "/tmp/undercut-router-XXXXXX";
static struct config config;
static struct app *app;

static void set(const char *name, const char *value)
{
    char why[200] = "";
    if (!config_set(&config, str_of(name), str_of(value), why, sizeof(why)))
        fail_msg("%s", why);
}

static int set_up(void **state)
{
    char why[256] = "", path[128];
    (void)state;
    assert_non_null(mkdtemp(folder));
    config_defaults(&config);
    log_set_level(LOG_ERROR);
    set("port", "0");
    set("threads", "1");
    set("roles", "api");
    set("drain_ms", "0");
    set("rate_public_per_minute", "200");
    str_format(path, sizeof(path), "host=%s dbname=none", folder); /* nobody listens there */
    set("database_url", path);
    static const char *const files[] = {"jwt_key_file", "market_key_file", "secret_key_file"};
    for (size_t i = 0; i < ARRAY_COUNT(files); i++) {
        str_format(path, sizeof(path), "%s/%s", folder, files[i]);
        set(files[i], path);
    }
    app = app_open(&config, why, sizeof(why));
    if (app == NULL)
        fail_msg("%s", why);
    app_run(app);
    return 0;
}

static int tear_down(void **state)
{
    char path[128];
    (void)state;
    app_close(app);
    static const char *const files[] = {"jwt_key_file", "market_key_file", "secret_key_file"};
    for (size_t i = 0; i < ARRAY_COUNT(files); i++) {
        str_format(path, sizeof(path), "%s/%s", folder, files[i]);
        unlink(path);
    }
    return rmdir(folder);
}

/* ---- a client that hides nothing */

static void send_all(int fd, struct str text)
{
    while (text.len > 0) {
        ssize_t sent = send(fd, text.at, text.len, MSG_NOSIGNAL);
        if (sent <= 0)
            return; /* refused early: the answer says why */
        text = (struct str){.at = text.at + sent, .len = text.len - (size_t)sent};
    }
}

/* The whole answer of a connection that is closed after it; NUL-terminated. */
static void ask(struct str request, struct buf *ret)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)app_port(app))};
    char bytes[65536];
    ssize_t got;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    send_all(fd, request);
    ret->len = 0;
    while ((got = recv(fd, bytes, sizeof(bytes), 0)) > 0)
        buf_add(ret, bytes, (size_t)got);
    buf_add(ret, "", 1);
    ret->len--;
    close(fd);
}

static void request(const char *method, const char *target, const char *headers, const char *body,
                    struct buf *ret)
{
    struct buf text = {0};
    buf_add_format(&text, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s", method, target,
                   headers);
    if (body != NULL)
        buf_add_format(&text, "Content-Length: %zu\r\n", strlen(body));
    buf_add_format(&text, "\r\n%s", body != NULL ? body : "");
    ask(buf_str(&text), ret);
    buf_finish(&text);
}

static int status_of(const struct buf *answer)
{
    int status = 0;
    return sscanf(answer->at, "HTTP/1.1 %d", &status) == 1 ? status : 0;
}

static const char *body_of(const struct buf *answer)
{
    const char *end = strstr(answer->at, "\r\n\r\n");
    return end != NULL ? end + 4 : "";
}

#define JSON  "Content-Type: application/json\r\n"
#define NAMED "{\"name\":\"x\"}"

static void every_request_gets_its_answer(void **state)
{
    (void)state;
    static const struct {
        const char *method, *target, *headers, *body;
        int status;
        const char *holds; /* somewhere in the answer */
    } rows[] = {
        {"GET", "/healthz", "", NULL, 200, "\"status\":\"ok\""},
        {"GET", "/healthz", "", NULL, 200, "request-id: req_"},
        {"GET", "/healthz", "", NULL, 200, "access-control-allow-origin: *"},
        {"GET", "/healthz?x=1", "", NULL, 422, "\"?x\""},
        {"GET", "/readyz", "", NULL, 503, "\"database\":\"down\""},
        {"GET", "/metrics", "", NULL, 200, "undercut_database_up 0"},
        {"GET", "/metrics", "", NULL, 200,
         "undercut_requests_total{op=\"healthz\",status=\"200\"}"},
        {"GET", "/openapi.json", "", NULL, 200, "\"openapi\":\"3.1.0\""},
        {"GET", "/.well-known/jwks.json", "", NULL, 200, "\"alg\":\"ES256\""},
        {"GET", "/", "", NULL, 404, "not_found"},
        {"GET", "/v1", "", NULL, 404, "not_found"},
        {"GET", "/v1/nothing", "", NULL, 404, "application/problem+json"},
        {"GET", "/healthz/", "", NULL, 404, "not_found"},
        {"GET", "//healthz", "", NULL, 404, "not_found"},
        {"POST", "/healthz", JSON, "{}", 405, "allow: GET, HEAD, OPTIONS"},
        {"PATCH", "/v1/workloads", "", NULL, 405, "allow: GET, POST, HEAD, OPTIONS"},
        {"OPTIONS", "/v1/workloads/x", "", NULL, 204, "allow: GET, PUT, DELETE, HEAD, OPTIONS"},
        {"GET", "/v1/account", "", NULL, 401, "www-authenticate: Bearer"},
        {"GET", "/v1/account", "Authorization: Basic eA==\r\n", NULL, 401, "unauthenticated"},
        {"GET", "/v1/account", "Authorization: Bearer a.b.c\r\n", NULL, 401, "compact JWT"},
        {"GET", "/v1/account", "Authorization: Bearer uc_live_x\r\n", NULL, 503, "database_busy"},
        {"GET", "/v1/account", "Authorization: Bearer uc_live_x\r\n", NULL, 503, "retry-after: 1"},
        {"POST", "/v1/accounts", JSON, NAMED, 503, "database_busy"},
        {"POST", "/v1/accounts", JSON, NAMED, 503, "ratelimit-policy: \"default\";q=200;w=60"},
        {"POST", "/v1/accounts", JSON, "{\"name\":\"x\",\"shoe\":1}", 422, "\"pointer\":\"/shoe\""},
        {"POST", "/v1/accounts", JSON, "{\"name\":\"x\",\"name\":\"y\"}", 400, "duplicate"},
        {"POST", "/v1/accounts", JSON, "{\"name\":", 400, "line 1"},
        {"POST", "/v1/accounts", JSON, "", 400, "needs a body"},
        {"POST", "/v1/accounts", "Content-Type: text/plain\r\n", NAMED, 415,
         "unsupported_media_type"},
        {"POST", "/v1/accounts", "Content-Type: application/yaml\r\n", "name: x", 415,
         "application/json"},
        {"POST", "/v1/accounts", "content-type: Application/JSON; charset=utf-8\r\n", NAMED, 503,
         "busy"},
        {"POST", "/v1/accounts", JSON "Content-Encoding: gzip\r\n", NAMED, 415, "content encoding"},
        {"POST", "/v1/accounts", JSON "Idempotency-Key: \"short\"\r\n", NAMED, 400, "at least 16"},
        {"GET", "/v1/rounds/0", "", NULL, 404, "not_found"},
        {"GET", "/v1/rounds/x", "", NULL, 404, "not_found"},
        {"GET", "/v1/rounds?limit=201", "", NULL, 422, "\"?limit\""},
        {"GET", "/v1/rounds", "Authorization: Bearer a.b.c\r\n", NULL, 401, "unauthenticated"},
        {"DELETE", "/v1/workloads/x", "", "{}", 401, "unauthenticated"},
    };
    struct buf answer = {0};
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        request(rows[i].method, rows[i].target, rows[i].headers, rows[i].body, &answer);
        if (status_of(&answer) != rows[i].status || strcasestr(answer.at, rows[i].holds) == NULL)
            fail_msg("row %zu: %s %s: wanted %d with %s in\n%s", i, rows[i].method, rows[i].target,
                     rows[i].status, rows[i].holds, answer.at);
    }
    buf_finish(&answer);
}

static void head_is_get_without_a_body(void **state)
{
    (void)state;
    struct buf get = {0}, head = {0};
    char length[64];
    request("GET", "/.well-known/jwks.json", "", NULL, &get);
    request("HEAD", "/.well-known/jwks.json", "", NULL, &head);
    str_format(length, sizeof(length), "content-length: %zu", strlen(body_of(&get)));
    assert_int_equal(status_of(&head), 200);
    assert_non_null(strcasestr(get.at, length));
    assert_non_null(strcasestr(head.at, length));
    assert_string_equal(body_of(&head), "");
    buf_finish(&get);
    buf_finish(&head);
}

static void a_body_over_the_limit_is_refused(void **state)
{
    (void)state;
    struct buf text = {0}, answer = {0};
    buf_add_format(&text,
                   "POST /v1/accounts HTTP/1.1\r\nHost: x\r\n" JSON
                   "Content-Length: %d\r\n\r\n{\"name\":\"",
                   300 * 1024);
    for (int i = 0; i < 300 * 1024; i++)
        buf_add_c(&text, "x");
    ask(buf_str(&text), &answer);
    assert_int_equal(status_of(&answer), 413);
    assert_non_null(strcasestr(answer.at, "body_too_large"));
    buf_finish(&text);
    buf_finish(&answer);
}

static void a_request_that_h2o_would_take_is_refused(void **state)
{
    (void)state;
    struct buf answer = {0};
    ask(STR("POST /v1/accounts HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\nTransfer-Encoding: "
            "chunked\r\n"
            "Content-Type: application/json\r\n\r\nc\r\n{\"name\":\"x\"}\r\n0\r\n\r\n"),
        &answer);
    assert_int_equal(status_of(&answer), 400);
    assert_non_null(strcasestr(answer.at, "\"code\":\"malformed_request\""));
    assert_non_null(strcasestr(answer.at, "connection: close"));
    buf_finish(&answer);
}

static void too_many_requests_are_told_when_to_come_back(void **state)
{
    (void)state;
    struct buf answer = {0};
    int status = 0;
    for (int i = 0; i < 450 && status != 429; i++) { /* a window may end in between */
        request("GET", "/v1/regions", "", NULL, &answer);
        status = status_of(&answer);
    }
    assert_int_equal(status, 429);
    assert_non_null(strcasestr(answer.at, "retry-after: "));
    assert_non_null(strcasestr(answer.at, "ratelimit: \"default\";r=0;t="));
    request("GET", "/healthz", "", NULL, &answer); /* never limited */
    assert_int_equal(status_of(&answer), 200);
    request("DELETE", "/v1/workloads/x", "", NULL, &answer);
    assert_int_equal(status_of(&answer), 401);
    buf_finish(&answer);
}

static void every_operation_is_found_by_its_own_path(void **state)
{
    (void)state;
    static const char *const methods[] = {[METHOD_GET] = "GET",
                                          [METHOD_POST] = "POST",
                                          [METHOD_PUT] = "PUT",
                                          [METHOD_DELETE] = "DELETE"};
    for (int op = 1; op < OP_COUNT; op++) {
        const struct op_info *info = &operations[op];
        struct route route = route_find(str_of(methods[info->method]), str_of(info->path_template));
        assert_int_equal(route.op, op); /* "{name}" is as good a parameter as any */
        assert_int_equal(route.params_count,
                         info->path != NULL ? (int)info->path->fields_count : 0);
        assert_non_null(operation_steps[op]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_gets_its_answer),
        cmocka_unit_test(head_is_get_without_a_body),
        cmocka_unit_test(a_body_over_the_limit_is_refused),
        cmocka_unit_test(a_request_that_h2o_would_take_is_refused),
        cmocka_unit_test(too_many_requests_are_told_when_to_come_back),
        cmocka_unit_test(every_operation_is_found_by_its_own_path),
    };
    hash_start();
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
