/* Which wall stops which malformed request: raw sockets against a real server.
 *
 *   NONE    well formed: it reaches the handler
 *   STRICT  our second look at the raw head: a problem document, and the connection is closed
 *   H2O     h2o refuses while reading the body: turned into a problem document, and closed
 *   PARSER  h2o cannot parse the head: its own plain 400, and closed
 *   LAST    well formed as far as this process can see (h2o has decoded the chunks already): it reaches
 *           the handler, and the connection is closed after it, so that nothing can hide behind it. How
 *           the chunks were cut is for the proxy of deploy/ to judge.
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
#define CASE(name, request, status, wall) {name, {request, sizeof(request) - 1}, status, wall}

/* clang-format off */
static const struct strict_case cases[] = {
    /* well formed */
    CASE("plain GET",                    "GET /v1/x?y=1 HTTP/1.1\r\n" H "\r\n",                               200, NONE),
    CASE("plain POST",                   "POST / HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\n{}",               200, NONE),
    CASE("zero length",                  "POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n",                 200, NONE),
    CASE("DELETE",                       "DELETE /v1/x HTTP/1.1\r\n" H "\r\n",                                200, NONE),
    CASE("OPTIONS *",                    "OPTIONS * HTTP/1.1\r\n" H "\r\n",                                   200, NONE),
    CASE("header value with tab",        "GET / HTTP/1.1\r\n" H "X-A: a\tb\r\n\r\n",                          200, NONE),
    CASE("header of UTF-8",              "GET / HTTP/1.1\r\n" H "X-A: \xc3\xa4\r\n\r\n",                      200, NONE),
    CASE("host with port",               "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",                        200, NONE),
    CASE("escape in path",               "GET /v1/a%20b HTTP/1.1\r\n" H "\r\n",                               200, NONE),
    CASE("unknown method is the router's", "BREW / HTTP/1.1\r\n" H "\r\n",                                    200, NONE),
    CASE("target of 8 KiB",              "GET /{8191*a} HTTP/1.1\r\n" H "\r\n",                               200, NONE),
    CASE("headers of 15 KiB",            "GET / HTTP/1.1\r\n" H "X-A: {15000*a}\r\n\r\n",                     200, NONE),
    CASE("body of 256 KiB",              "POST / HTTP/1.1\r\n" H "Content-Length: 262144\r\n\r\n{262144*a}",  200, NONE),
    CASE("expect 100-continue",          "POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}", 100, NONE),
    CASE("upgrade to h2c is ignored",    "GET / HTTP/1.1\r\n" H "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", 200, LAST),
    /* well formed, but the connection ends with it */
    CASE("chunked",                      "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 200, LAST),
    CASE("chunks with bare line feeds",  "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n", 200, LAST),
    CASE("chunk extension",              "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\n\r\n", 200, LAST),
    CASE("HTTP/1.0",                     "GET / HTTP/1.0\r\n\r\n",                                            200, LAST),
    CASE("HTTP/1.0 keep-alive",          "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",                  200, LAST),
    /* where does the body end? */
    CASE("CL and TE",                    "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, STRICT),
    CASE("TE and CL",                    "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400, STRICT),
    CASE("two equal CL",                 "POST / HTTP/1.1\r\n" H "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400, STRICT),
    CASE("two different CL",             "POST / HTTP/1.1\r\n" H "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x", 400, STRICT),
    CASE("two CL hidden by case",        "POST / HTTP/1.1\r\n" H "content-length: 2\r\nCONTENT-LENGTH: 3\r\n\r\n{}x", 400, STRICT),
    CASE("two TE",                       "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, STRICT),
    CASE("HTTP/1.0 and TE",              "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, STRICT),
    CASE("HTTP/1.0 and body",            "POST / HTTP/1.0\r\n" H "Content-Length: 2\r\n\r\n{}",               400, STRICT),
    CASE("GET with body",                "GET / HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\n{}",                400, STRICT),
    CASE("GET with chunks",              "GET / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, STRICT),
    CASE("HEAD with body",               "HEAD / HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\n{}",               400, STRICT),
    CASE("negative CL",                  "POST / HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\n",                400, H2O),
    CASE("CL with plus",                 "POST / HTTP/1.1\r\n" H "Content-Length: +3\r\n\r\nabc",             400, H2O),
    CASE("CL list",                      "POST / HTTP/1.1\r\n" H "Content-Length: 3, 3\r\n\r\nabc",           400, H2O),
    CASE("CL in hex",                    "POST / HTTP/1.1\r\n" H "Content-Length: 0x2\r\n\r\n{}",             400, H2O),
    CASE("empty CL",                     "POST / HTTP/1.1\r\n" H "Content-Length: \r\n\r\n",                  400, H2O),
    CASE("unknown TE",                   "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip\r\n\r\n",           400, H2O),
    CASE("TE list",                      "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, H2O),
    CASE("broken chunk size",            "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nzz\r\n",  400, H2O),
    CASE("TE hidden by blank",           "POST / HTTP/1.1\r\n" H "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, PARSER),
    /* who is asked? */
    CASE("no Host",                      "GET / HTTP/1.1\r\n\r\n",                                            400, STRICT),
    CASE("two Hosts",                    "GET / HTTP/1.1\r\n" H "Host: b\r\n\r\n",                            400, STRICT),
    CASE("empty Host",                   "GET / HTTP/1.1\r\nHost: \r\n\r\n",                                  400, STRICT),
    CASE("Host with path",               "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",                               400, STRICT),
    CASE("Host with user",               "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",                               400, STRICT),
    CASE("two credentials",              "GET / HTTP/1.1\r\n" H "Authorization: a\r\nAuthorization: b\r\n\r\n", 400, STRICT),
    CASE("two idempotency keys",         "POST / HTTP/1.1\r\n" H "Idempotency-Key: a\r\nIdempotency-Key: b\r\n\r\n", 400, STRICT),
    CASE("absolute form",                "GET http://evil/abs HTTP/1.1\r\n" H "\r\n",                         400, STRICT),
    CASE("authority form",               "CONNECT a:443 HTTP/1.1\r\n" H "\r\n",                               400, STRICT),
    CASE("no leading slash",             "GET v1 HTTP/1.1\r\n" H "\r\n",                                      400, STRICT),
    CASE("* for GET",                    "GET * HTTP/1.1\r\n" H "\r\n",                                       400, STRICT),
    CASE("dots in path",                 "GET /v1/../admin HTTP/1.1\r\n" H "\r\n",                            400, STRICT),
    CASE("dots at the end",              "GET /v1/.. HTTP/1.1\r\n" H "\r\n",                                  400, STRICT),
    CASE("escaped dots",                 "GET /v1/%2e%2E/admin HTTP/1.1\r\n" H "\r\n",                        400, STRICT),
    CASE("escaped slash",                "GET /v1/a%2fb HTTP/1.1\r\n" H "\r\n",                               400, STRICT),
    CASE("escaped NUL",                  "GET /v1/a%00b HTTP/1.1\r\n" H "\r\n",                               400, STRICT),
    CASE("escaped NUL in query",         "GET /v1?a=%00 HTTP/1.1\r\n" H "\r\n",                               400, STRICT),
    CASE("broken escape",                "GET /v1/%zz HTTP/1.1\r\n" H "\r\n",                                 400, STRICT),
    CASE("cut escape",                   "GET /v1/%4 HTTP/1.1\r\n" H "\r\n",                                  400, STRICT),
    CASE("fragment",                     "GET /v1#a HTTP/1.1\r\n" H "\r\n",                                   400, STRICT),
    CASE("backslash",                    "GET /v1\\a HTTP/1.1\r\n" H "\r\n",                                  400, STRICT),
    CASE("raw UTF-8 in target",          "GET /\xc3\xa4 HTTP/1.1\r\n" H "\r\n",                               400, STRICT),
    /* where do lines end, and what stands on them? */
    CASE("bare LF after request line",   "GET / HTTP/1.1\n" H "\r\n",                                         400, STRICT),
    CASE("bare LF after header",         "GET / HTTP/1.1\r\nHost: a\n\r\n",                                   400, STRICT),
    CASE("bare LF at the end",           "GET / HTTP/1.1\r\n" H "\n",                                         400, STRICT),
    CASE("bare CR in header",            "GET / HTTP/1.1\r\n" H "X-A: a\rb\r\n\r\n",                          400, PARSER),
    CASE("folded header",                "GET / HTTP/1.1\r\n" H "X-A: a\r\n b\r\n\r\n",                       400, STRICT),
    CASE("folded with tab",              "GET / HTTP/1.1\r\n" H "X-A: a\r\n\tb\r\n\r\n",                      400, STRICT),
    CASE("blank before colon",           "GET / HTTP/1.1\r\n" H "X-A : a\r\n\r\n",                            400, PARSER),
    CASE("no colon",                     "GET / HTTP/1.1\r\n" H "X-A\r\n\r\n",                                400, PARSER),
    CASE("empty name",                   "GET / HTTP/1.1\r\n" H ": a\r\n\r\n",                                400, PARSER),
    CASE("NUL in header",                "GET / HTTP/1.1\r\n" H "X-A: a\0b\r\n\r\n",                          400, PARSER),
    CASE("DEL in header",                "GET / HTTP/1.1\r\n" H "X-A: a\177b\r\n\r\n",                        400, PARSER),
    CASE("HTTP/1.9",                     "GET / HTTP/1.9\r\n" H "\r\n",                                       400, STRICT),
    CASE("HTTP/2.0",                     "GET / HTTP/2.0\r\n" H "\r\n",                                       400, PARSER),
    CASE("HTTP/0.9",                     "GET /\r\n\r\n",                                                     400, PARSER),
    CASE("HTTP/2 preface",               "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",                                  400, PARSER),
    CASE("two blanks in request line",   "GET  / HTTP/1.1\r\n" H "\r\n",                                      400, PARSER),
    CASE("empty line first",             "\r\nGET / HTTP/1.1\r\n" H "\r\n",                                   400, STRICT),
    CASE("TLS on the plain port",        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",              400, PARSER),
    CASE("other expectation",            "GET / HTTP/1.1\r\n" H "Expect: bribe\r\n\r\n",                      400, STRICT),
    CASE("other expectation with body",  "POST / HTTP/1.1\r\n" H "Expect: bribe\r\nContent-Length: 2\r\n\r\n{}", 400, H2O),
    /* too large */
    CASE("target over 8 KiB",            "GET /{8193*a} HTTP/1.1\r\n" H "\r\n",                               414, STRICT),
    CASE("target of 300 KB",             "GET /{300000*a} HTTP/1.1\r\n" H "\r\n",                             414, STRICT),
    CASE("headers over 16 KiB",          "GET / HTTP/1.1\r\n" H "X-A: {17000*a}\r\n\r\n",                     431, STRICT),
    CASE("header name of 300 KB",        "GET / HTTP/1.1\r\n" H "{300000*a}: a\r\n\r\n",                      431, STRICT),
    CASE("65 headers",                   "GET / HTTP/1.1\r\n" H "{64*#}\r\n",                                 431, STRICT),
    CASE("101 headers",                  "GET / HTTP/1.1\r\n" H "{100*#}\r\n",                                400, PARSER),
    CASE("CL over the limit",            "POST / HTTP/1.1\r\n" H "Content-Length: 262145\r\n\r\n",            413, H2O),
    CASE("CL far over the limit",        "POST / HTTP/1.1\r\n" H "Content-Length: 99999999999\r\n\r\n",       413, H2O),
    CASE("chunks over the limit",        "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n50000\r\n{327680*a}\r\n0\r\n\r\n", 413, H2O),
};
/* clang-format on */

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
    struct answer answer = loopback_read(
        fd, str_starts_with(strict_case->request, STR("HEAD")), strict_case->status == 100 ? 500 : 5000);
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
    struct server_config config = {.listen_host = "127.0.0.1", .threads = 1, .connections_max = 100};
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
