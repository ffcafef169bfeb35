/* The server as a peer sees it: limits, slow and vanished clients, streams, and the graceful end.
 * */
#include "tests/lib/test.h"

#include <h2o.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "broker/base/clock.h"
#include "broker/io/loop.h"
#include "broker/io/stream.h"
#include "broker/io/timer.h"
#include "broker/server.h"
#include "tests/lib/loopback.h"

#define BIG_SIZE  (32 * 1024 * 1024)
#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"

struct later { /* an answer that comes by timer; a watched one dies with its client */
    struct timer timer;
    h2o_req_t *req;
};

struct feed { /* a stream that sends by timer */
    struct timer timer;
    struct stream *stream;
    struct loop *loop;
    int sent_count, count_max;
    size_t piece;
    bool is_firing;
};

static struct server *server;
static char *big;
static atomic_int gone_count, cut_count, held_count, threads_seen;

static void reply(h2o_req_t *req, const char *body, size_t len)
{
    req->res.status = 200;
    req->res.content_length = len;
    h2o_send_inline(req, body, len);
}

static void later_fired(struct timer *timer)
{
    struct later *later = timer->data;
    h2o_req_t *req = later->req;
    free(later);
    reply(req, "late", 4);
}

static void later_start(h2o_req_t *req, struct loop *loop, int64_t ms)
{
    struct later *later = calloc(1, sizeof(*later));
    later->req = req;
    later->timer = (struct timer){.fire = later_fired, .data = later};
    timer_arm_in(loop, &later->timer, ms);
    held_count++;
}

static void client_gone(void *data)
{
    gone_count++;
    reply(data, "", 0); /* nobody listens; this lets h2o close */
}

static void feed_gone(void *data)
{
    struct feed *feed = data;
    gone_count++;
    timer_disarm(&feed->timer);
    if (!feed->is_firing)
        free(feed);
}

static void feed_fired(struct timer *timer)
{
    struct feed *feed = timer->data;
    char text[64];
    str_format(text, sizeof(text), "data: %d\n\n", feed->sent_count);
    struct str piece = feed->piece > 0 ? (struct str){big, feed->piece} : str_of(text);
    feed->is_firing = true;
    if (!stream_send(feed->stream, piece)) {
        cut_count++;
        free(feed);
        return;
    }
    feed->is_firing = false;
    if (++feed->sent_count < feed->count_max) {
        timer_arm_in(feed->loop, &feed->timer, 1);
        return;
    }
    stream_end(feed->stream);
    free(feed);
}

static void feed_start(h2o_req_t *req, struct loop *loop, int count_max, size_t piece)
{
    struct feed *feed = calloc(1, sizeof(*feed));
    *feed = (struct feed){.loop = loop, .count_max = count_max, .piece = piece};
    feed->timer = (struct timer){.fire = feed_fired, .data = feed};
    req->res.status = 200;
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL,
                   H2O_STRLIT("text/event-stream"));
    feed->stream = stream_start(req, feed_gone, feed);
    timer_arm_in(loop, &feed->timer, 1);
}

static bool path_is(const h2o_req_t *req, const char *path)
{
    return h2o_memis(req->path.base, req->path.len, path, strlen(path));
}

static void handle(void *data, int thread_index, h2o_req_t *req)
{
    struct loop *loop = server_loop(server, thread_index);
    (void)data;
    threads_seen |= 1 << thread_index;
    if (path_is(req, "/later"))
        later_start(req, loop, 100);
    else if (path_is(req, "/hold"))
        held_count += stream_watch_hangup(req, client_gone, req);
    else if (path_is(req, "/watched") && stream_watch_hangup(req, client_gone, req))
        later_start(req, loop, 50);
    else if (path_is(req, "/feed"))
        feed_start(req, loop, 3, 0);
    else if (path_is(req, "/endless"))
        feed_start(req, loop, 1000000, 0);
    else if (path_is(req, "/flood"))
        feed_start(req, loop, 1000000, 16384);
    else if (path_is(req, "/big"))
        reply(req, big, BIG_SIZE);
    else
        reply(req, "hello", 5);
}

static void start(struct server_config config)
{
    char why[128];
    config.listen_host = "127.0.0.1";
    config.threads = config.threads > 0 ? config.threads : 1;
    config.connections_max = config.connections_max > 0 ? config.connections_max : 100;
    gone_count = cut_count = held_count = threads_seen = 0;
    server = server_create(&config, &(struct server_hooks){.handle = handle}, why, sizeof(why));
    assert_non_null(server);
    server_run(server);
}

/* What the server's threads count up reaches `wanted` within `ms`. */
static bool reaches(atomic_int *count, int wanted, int ms)
{
    for (int64_t until_ms = clock_mono_ms() + ms; clock_mono_ms() < until_ms; poll(NULL, 0, 2)) {
        if (*count >= wanted)
            return true;
    }
    return *count >= wanted;
}

static bool all_connections_close(int ms)
{
    for (int64_t until_ms = clock_mono_ms() + ms; clock_mono_ms() < until_ms; poll(NULL, 0, 2)) {
        if (server_connections_count(server) == 0)
            return true;
    }
    return false;
}

static void assert_served(void)
{
    struct answer answer = loopback_ask(server_port(server), GET("/"), 3000);
    assert_int_equal(answer.status, 200);
    assert_true(str_equal_c(answer.body, "hello"));
    loopback_finish(&answer);
}

static void head_has_a_length_and_no_body(void **state)
{
    (void)state;
    start((struct server_config){0});
    int fd = loopback_connect(server_port(server));
    loopback_send(fd, STR("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" GET("/")));
    struct answer answer = loopback_read(fd, true, 2000);
    assert_true(str_equal_c(loopback_header(&answer, "content-length"), "5"));
    /* Were there a body, the next answer would not start with a status line. */
    struct str rest = answer.body;
    struct answer next = {0};
    if (rest.len == 0)
        next = loopback_read(fd, false, 2000);
    assert_true(rest.len > 0 ? str_starts_with(rest, STR("HTTP/1.1 200")) : next.status == 200);
    loopback_finish(&answer);
    loopback_finish(&next);
    close(fd);
    server_destroy(server);
}

static void every_thread_serves_on_one_port(void **state)
{
    (void)state;
    start((struct server_config){.threads = 3});
    for (int i = 0; i < 200 && threads_seen != 7; i++)
        assert_served();
    assert_int_equal(threads_seen, 7);
    server_destroy(server);
}

static void a_taken_port_is_said_so(void **state)
{
    char why[128] = "";
    struct server_config config = {.listen_host = "192.0.2.1", .threads = 1, .port = 9};
    (void)state;
    assert_null(server_create(&config, &(struct server_hooks){.handle = handle}, why, sizeof(why)));
    assert_non_null(strstr(why, "192.0.2.1 port 9"));
}

static void one_connection_too_many_is_turned_away(void **state)
{
    int fds[5];
    (void)state;
    start((struct server_config){.connections_max = 4});
    for (int i = 0; i < 4; i++)
        fds[i] = loopback_connect(server_port(server));
    fds[4] = loopback_connect(server_port(server));
    struct answer answer = loopback_read(fds[4], false, 2000);
    assert_int_equal(answer.status, 503);
    assert_true(str_equal_c(loopback_header(&answer, "content-type"), "application/problem+json"));
    assert_non_null(memmem(answer.body.at, answer.body.len, "\"code\":\"overloaded\"", 19));
    assert_true(loopback_closes(fds[4], 2000));
    loopback_finish(&answer);
    for (int i = 0; i < 5; i++)
        close(fds[i]);
    assert_true(all_connections_close(2000));
    assert_served();
    server_destroy(server);
}

static void slow_writers_are_cut(void **state)
{
    static const char *const starts[] = {
        "", "GET / HT", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{"};
    (void)state;
    start((struct server_config){.request_ms = 300});
    for (size_t i = 0; i < 3; i++) {
        int fd = loopback_connect(server_port(server));
        int64_t before_ms = clock_mono_ms();
        loopback_send(fd, str_of(starts[i]));
        assert_true(loopback_closes(fd, 3000));
        assert_in_range(clock_mono_ms() - before_ms, 250, 1500);
        close(fd);
    }
    server_destroy(server);
}

static void slow_readers_are_cut(void **state)
{
    (void)state;
    start((struct server_config){.reader_ms = 500});
    int fd = loopback_connect(server_port(server));
    loopback_send(fd, STR(GET("/big")));
    assert_true(reaches(&threads_seen, 1, 2000)); /* and now nothing is read */
    assert_true(all_connections_close(15000));
    close(fd);
    server_destroy(server);
}

static int64_t cpu_ms(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
           (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;
}

static void running_out_of_descriptors_neither_spins_nor_kills(void **state)
{
    struct rlimit before, none;
    (void)state;
    start((struct server_config){0});
    assert_served();
    assert_true(all_connections_close(2000));
    getrlimit(RLIMIT_NOFILE, &before);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    none = before;
    none.rlim_cur = (rlim_t)fd + 1; /* descriptors below may be free: fill them */
    int filler[64], fillers_count = 0;
    setrlimit(RLIMIT_NOFILE, &none);
    while (fillers_count < 64 && (filler[fillers_count] = dup(0)) >= 0)
        fillers_count++;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)server_port(server))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    loopback_send(fd, STR(GET("/")));
    int64_t cpu_before_ms = cpu_ms();
    struct answer answer = loopback_read(fd, false, 500); /* waits in the backlog */
    assert_int_equal(answer.status, 0);
    assert_true(cpu_ms() - cpu_before_ms < 250);
    setrlimit(RLIMIT_NOFILE, &before);
    while (fillers_count > 0)
        close(filler[--fillers_count]);
    loopback_finish(&answer);
    answer = loopback_read(fd, false, 2000);
    assert_int_equal(answer.status, 200);
    loopback_finish(&answer);
    close(fd);
    server_destroy(server);
}

static void a_hang_up_is_noticed_while_a_request_waits(void **state)
{
    (void)state;
    start((struct server_config){0});
    int plain = loopback_connect(server_port(server));
    int pipelining = loopback_connect(server_port(server));
    loopback_send(plain, STR(GET("/hold")));
    loopback_send(pipelining, STR(GET("/hold")));
    assert_true(reaches(&held_count, 2, 2000));
    assert_int_equal(gone_count, 0);
    loopback_send(pipelining, STR(GET("/"))); /* hides the end of the connection behind it */
    close(plain);
    assert_true(reaches(&gone_count, 1, 2000));
    close(pipelining);
    assert_true(reaches(&gone_count, 2, 2000));
    assert_true(all_connections_close(2000));
    server_destroy(server);
}

static void a_watch_ends_with_the_answer(void **state)
{
    (void)state;
    start((struct server_config){0});
    int fd = loopback_connect(server_port(server));
    for (int i = 0; i < 3; i++) { /* the second is sent while the first is still watched */
        loopback_send(fd, STR(GET("/watched") GET("/")));
        struct answer late = loopback_read(fd, false, 2000);
        assert_int_equal(late.status, 200);
        if (late.bytes.len < 250 && memmem(late.bytes.at, late.bytes.len, "hello", 5) == NULL) {
            struct answer next = loopback_read(fd, false, 2000);
            assert_true(str_equal_c(next.body, "hello"));
            loopback_finish(&next);
        }
        loopback_finish(&late);
    }
    close(fd);
    assert_true(all_connections_close(2000));
    assert_int_equal(gone_count, 0);
    server_destroy(server);
}

static void a_stream_arrives_in_pieces_and_ends(void **state)
{
    (void)state;
    start((struct server_config){0});
    struct answer answer = loopback_ask(server_port(server), GET("/feed"), 3000);
    assert_int_equal(answer.status, 200);
    assert_true(answer.is_whole);
    assert_non_null(memmem(answer.body.at, answer.body.len, "data: 0\n\n", 9));
    assert_non_null(memmem(answer.body.at, answer.body.len, "data: 2\n\n", 9));
    loopback_finish(&answer);
    answer = loopback_ask(server_port(server), "GET /feed HTTP/1.0\r\n\r\n", 3000);
    assert_true(str_equal_c(answer.body, "data: 0\n\ndata: 1\n\ndata: 2\n\n"));
    assert_int_equal(gone_count, 0);
    loopback_finish(&answer);
    server_destroy(server);
}

static void a_stream_whose_reader_leaves_is_told(void **state)
{
    (void)state;
    start((struct server_config){0});
    for (int i = 1; i <= 5; i++) {
        int fd = loopback_connect(server_port(server));
        loopback_send(fd, STR(GET("/endless")));
        struct answer answer = loopback_read(fd, false, 20);
        assert_int_equal(answer.status, 200);
        loopback_finish(&answer);
        close(fd);
        assert_true(reaches(&gone_count, i, 2000));
    }
    assert_true(all_connections_close(2000));
    assert_int_equal(cut_count, 0);
    server_destroy(server);
}

static void a_stream_whose_reader_is_slow_is_cut(void **state)
{
    (void)state;
    start((struct server_config){0});
    int fd = loopback_connect(server_port(server));
    loopback_send(fd, STR(GET("/flood")));
    assert_true(reaches(&cut_count, 1, 10000));
    assert_int_equal(gone_count, 1);
    assert_true(all_connections_close(2000));
    close(fd);
    server_destroy(server);
}

static void draining_finishes_what_is_in_progress(void **state)
{
    (void)state;
    start((struct server_config){.threads = 2});
    int port = server_port(server);
    int idle = loopback_connect(port), busy = loopback_connect(port);
    loopback_send(idle, STR(GET("/")));
    struct answer answer = loopback_read(idle, false, 2000);
    loopback_finish(&answer);
    loopback_send(busy, STR(GET("/later")));
    assert_true(reaches(&held_count, 1, 2000));
    assert_int_equal(server_drain(server, 3000), 0);
    answer = loopback_read(busy, false, 2000);
    assert_int_equal(answer.status, 200);
    assert_true(str_equal_c(answer.body, "late"));
    loopback_finish(&answer);
    assert_true(loopback_closes(idle, 2000));
    assert_int_equal(loopback_connect(port), -1);
    close(idle);
    close(busy);
    server_stop(server);
    server_destroy(server);
}

static void draining_gives_up_on_what_does_not_end(void **state)
{
    (void)state;
    start((struct server_config){0});
    int fd = loopback_connect(server_port(server));
    loopback_send(fd, STR(GET("/endless")));
    assert_true(reaches(&threads_seen, 1, 2000));
    int64_t before_ms = clock_mono_ms();
    assert_int_equal(server_drain(server, 200), 1);
    assert_in_range(clock_mono_ms() - before_ms, 190, 1000);
    server_destroy(server); /* cuts it */
    assert_int_equal(gone_count, 1);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(head_has_a_length_and_no_body),
        cmocka_unit_test(every_thread_serves_on_one_port),
        cmocka_unit_test(a_taken_port_is_said_so),
        cmocka_unit_test(one_connection_too_many_is_turned_away),
        cmocka_unit_test(slow_writers_are_cut),
        cmocka_unit_test(slow_readers_are_cut),
        cmocka_unit_test(running_out_of_descriptors_neither_spins_nor_kills),
        cmocka_unit_test(a_hang_up_is_noticed_while_a_request_waits),
        cmocka_unit_test(a_watch_ends_with_the_answer),
        cmocka_unit_test(a_stream_arrives_in_pieces_and_ends),
        cmocka_unit_test(a_stream_whose_reader_leaves_is_told),
        cmocka_unit_test(a_stream_whose_reader_is_slow_is_cut),
        cmocka_unit_test(draining_finishes_what_is_in_progress),
        cmocka_unit_test(draining_gives_up_on_what_does_not_end),
    };
    big = calloc(1, BIG_SIZE);
    int rc = cmocka_run_group_tests_name("io_server", tests, NULL, NULL);
    free(big);
    return rc;
}
