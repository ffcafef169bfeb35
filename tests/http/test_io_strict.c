/* Which wall stops which malformed request: raw sockets against a real server.
 *
 *   NONE    well formed: it reaches the handler
 *   STRICT  our second look at the raw head: a problem document, and the connection is closed
 *   H2O     h2o refuses while reading the body: turned into a problem document, and closed
 *   PARSER  h2o cannot parse the head: its own plain 400, and closed
 *   LAST    well formed as far as this process can see (h2o has decoded the chunks already): it
 *           reaches the handler, and the connection is closed after it, so that nothing can hide
 *           behind it. How the chunks were cut is for the proxy of deploy/ to judge.
 */
#include "tests/lib/test.h"

#include <h2o.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/io/strict.h"
#include "broker/server.h"
#include "tests/lib/loopback.h"

enum wall { NONE = 1, STRICT, H2O, PARSER, LAST };

struct strict_case {
    const char *name;
    struct str request; /* "{9000*a}" stands for 9000 letters a */
    int status;
    enum wall wall;
};

#define H "Host: a\r\n"
#define CASE(name, request, status, wall)                  \
    {                                                      \
        name, {request, sizeof(request) - 1}, status, wall \
    }

static const struct strict_case cases[] = {
#include "tests/http/io_strict_cases.def"
};

static struct server *server;
static atomic_int handled_count, refused_count;

static void handle(void *data, int thread_index, h2o_req_t *req)
{
    (void)data, (void)thread_index;
    handled_count++;
    req->res.status = 200;
    req->res.content_length = 2;
    h2o_send_inline(req, "ok", 2);
}

/* "{count*what}"; # stands for a whole header line. */
static void expand(struct buf *to, struct str pattern)
{
    while (pattern.len > 0) {
        struct str rest = pattern;
        int64_t count = 0;
        (void)str_cut(&rest, '{');
        struct str number = rest;
        bool is_repeat = rest.at != NULL;
        number = is_repeat ? str_cut(&rest, '*') : STR_NONE;
        is_repeat = is_repeat && number.len > 0 && number.len < 8 && str_to_i64(number, &count);
        size_t plain_len = is_repeat ? (size_t)(number.at - pattern.at) - 1 : pattern.len;
        buf_add(to, pattern.at, plain_len);
        if (!is_repeat)
            return;
        for (int64_t i = 0; i < count; i++)
            buf_add_c(to, rest.at[0] == '#' ? "X-A: a\r\n" : (char[]){rest.at[0], '\0'});
        pattern = (struct str){.at = rest.at + 2, .len = rest.len - 2};
    }
}

static bool is_problem(const struct answer *answer)
{
    return str_equal_c(loopback_header(answer, "content-type"), "application/problem+json") &&
           answer->is_whole && answer->body.len > 0 && answer->body.at[0] == '{';
}

static const char *judge(const struct strict_case *strict_case, const struct answer *answer, int fd)
{
    enum wall wall = strict_case->wall;
    bool is_head = str_starts_with(strict_case->request, STR("HEAD"));
    bool must_close = wall != NONE;
    if (answer->status != strict_case->status)
        return "another status";
    if (handled_count != (wall == NONE || wall == LAST ? 1 : 0))
        return "reached the handler, or did not";
    if (refused_count != (wall == STRICT ? 1 : 0))
        return "another wall";
    if ((wall == STRICT || wall == H2O) && !is_head && !is_problem(answer))
        return "no problem document";
    if (wall == PARSER && !str_equal_c(answer->body, "Bad Request"))
        return "not h2o's plain answer";
    if (must_close && !loopback_closes(fd, 2000))
        return "the connection stays open";
    return NULL;
}

/* What was accepted must leave the connection fit for the next request. */
static const char *ask_again(int fd)
{
    loopback_send(fd, STR("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    struct answer answer = loopback_read(fd, false, 2000);
    bool is_fine = answer.status == 200 && handled_count == 2;
    loopback_finish(&answer);
    return is_fine ? NULL : "the next request is not served";
}

static void refuse(void *data, int thread_index, h2o_req_t *req, enum err_code err,
                   const char *detail)
{
    (void)data, (void)thread_index;
    refused_count++;
    assert_true(strlen(detail) > 0);
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL,
                   H2O_STRLIT("application/problem+json"));
    req->res.status = err_info(err)->http_status;
    req->res.content_length = 2;
    h2o_send_inline(req, "{}", 2);
}

static const char *play(const struct strict_case *strict_case)
{
    struct buf request = {0};
    int fd = loopback_connect(server_port(server));
    handled_count = refused_count = 0;
    expand(&request, strict_case->request);
    loopback_send(fd, buf_str(&request));
    struct answer answer = loopback_read(fd, str_starts_with(strict_case->request, STR("HEAD")),
                                         strict_case->status == 100 ? 500 : 5000);
    if (strict_case->status == 100) /* the final answer follows the interim one */
        answer.status = handled_count == 1 ? 100 : 0;
    const char *why = judge(strict_case, &answer, fd);
    if (why == NULL && strict_case->wall == NONE && strict_case->status == 200)
        why = ask_again(fd);
    if (why != NULL)
        print_error("%s: %s (status %d)\n", strict_case->name, why, answer.status);
    loopback_finish(&answer);
    buf_finish(&request);
    close(fd);
    return why;
}

static void every_malformed_request_meets_its_wall(void **state)
{
    int wrong_count = 0;
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        wrong_count += play(&cases[i]) != NULL;
    print_message("%zu requests, %d judged wrongly\n", ARRAY_COUNT(cases), wrong_count);
    assert_int_equal(wrong_count, 0);
}

/* The pure half may be given anything; asan and ubsan are the judges. */
static void strict_head_survives_every_cut_and_every_byte(void **state)
{
    static const char whole[] = "POST /v1/a%20b?c=%41 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
                                "Expect: 100-continue\r\nX-A: b\r\n\r\n";
    (void)state;
    assert_int_equal(strict_head((struct str){whole, sizeof(whole) - 1}, 10).err, ERR_OK);
    assert_int_equal(strict_head(STR_NONE, 10).err, ERR_MALFORMED_REQUEST);
    for (size_t len = 0; len < sizeof(whole) - 1; len++) {
        char *cut = malloc(len + 1); /* exactly as long, so that asan sees one byte too far */
        memcpy(cut, whole, len);
        assert_int_equal(strict_head((struct str){cut, len}, 10).err, ERR_MALFORMED_REQUEST);
        for (int byte = 0; byte < 256; byte++) {
            cut[len] = (char)byte;
            (void)strict_head((struct str){cut, len + 1}, 10);
        }
        free(cut);
    }
}

static int start_server(void **state)
{
    char why[128];
    (void)state;
    struct server_config config = {
        .listen_host = "127.0.0.1", .threads = 1, .connections_max = 100};
    server = server_create(&config, &(struct server_hooks){.handle = handle, .refuse = refuse}, why,
                           sizeof(why));
    if (server == NULL)
        return -1;
    server_run(server);
    return 0;
}

static int stop_server(void **state)
{
    (void)state;
    server_destroy(server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_malformed_request_meets_its_wall),
        cmocka_unit_test(strict_head_survives_every_cut_and_every_byte),
    };
    return cmocka_run_group_tests_name("io_strict", tests, start_server, stop_server);
}
