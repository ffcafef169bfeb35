/* Wake-ups across loops and processes, the cache behind them, workers, and outgoing HTTP. */
#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/base/clock.h"
#include "broker/io/cache.h"
#include "broker/io/http_out.h"
#include "broker/io/hub.h"
#include "broker/io/loop.h"
#include "broker/io/thread.h"
#include "tests/lib/redis.h"
#include "tests/lib/until.h"

struct sleeper {
    struct hub_waiter waiter;
    struct hub *hub;
    atomic_int woken_count;
    struct sleeper *leaves_too; /* leaves the hub together with this one */
    int wanted_count;
};

static void wake(struct hub_waiter *waiter)
{
    struct sleeper *sleeper = waiter->data;
    sleeper->woken_count++;
    if (sleeper->leaves_too == NULL)
        return;
    hub_leave(sleeper->hub, &sleeper->leaves_too->waiter);
    hub_leave(sleeper->hub, waiter);
}

static void join(struct sleeper *sleeper, struct hub *hub, struct loop *loop, const char *topic)
{
    sleeper->hub = hub;
    sleeper->waiter.wake = wake;
    sleeper->waiter.data = sleeper;
    hub_join(hub, loop, &sleeper->waiter, topic);
}

static bool was_woken(void *data)
{
    struct sleeper *sleeper = data;
    return sleeper->woken_count >= sleeper->wanted_count;
}

static bool await(struct loop *loop, struct sleeper *sleeper, int count, int64_t limit_ms)
{
    sleeper->wanted_count = count;
    return until(loop, was_woken, sleeper, limit_ms);
}

struct other { /* a loop on a thread of its own */
    struct loop *loop;
    struct hub *hub;
    struct sleeper sleeper;
    pthread_t thread;
    atomic_bool is_ready;
};

static void other_join(void *data)
{
    struct other *other = data;
    join(&other->sleeper, other->hub, other->loop, "node:1");
    other->is_ready = true;
}

static void *other_run(void *data)
{
    loop_run(((struct other *)data)->loop);
    return NULL;
}

static bool other_is_ready(void *data)
{
    return ((struct other *)data)->is_ready;
}

static void a_wake_reaches_every_loop_and_only_its_topic(void **state)
{
    struct hub *hub = hub_create();
    struct loop *loop = loop_create();
    struct other other = {.loop = loop_create(), .hub = hub};
    struct sleeper here = {0}, elsewhere = {0};
    (void)state;
    hub_add_loop(hub, loop);
    hub_add_loop(hub, other.loop);
    join(&here, hub, loop, "node:1");
    join(&elsewhere, hub, loop, "node:2");
    pthread_create(&other.thread, NULL, other_run, &other);
    loop_post(other.loop, other_join, &other);
    assert_true(until(loop, other_is_ready, &other, 2000));
    hub_wake(hub, "node:1");
    assert_int_equal(here.woken_count, 0); /* never from inside hub_wake */
    assert_true(await(loop, &here, 1, 2000));
    assert_true(await(loop, &other.sleeper, 1, 2000));
    hub_wake(hub, "node:1"); /* still subscribed */
    assert_true(await(loop, &here, 2, 2000));
    assert_int_equal(elsewhere.woken_count, 0);
    loop_stop(other.loop);
    pthread_join(other.thread, NULL);
    hub_destroy(hub);
    loop_destroy(other.loop);
    loop_destroy(loop);
}

static void waiters_may_leave_while_they_are_woken(void **state)
{
    struct hub *hub = hub_create();
    struct loop *loop = loop_create();
    struct sleeper first = {0}, second = {0}, third = {0};
    (void)state;
    hub_add_loop(hub, loop);
    join(&first, hub, loop, "account:7");
    join(&second, hub, loop, "account:7");
    join(&third, hub, loop, "account:7");
    third.leaves_too = &second; /* the newest is woken first */
    hub_wake(hub, "account:7");
    assert_true(await(loop, &first, 1, 2000));
    assert_int_equal(third.woken_count, 1);
    assert_int_equal(second.woken_count, 0);
    hub_leave(hub, &second.waiter); /* harmless */
    hub_leave(hub, &first.waiter);
    hub_wake(hub, "account:7");
    turn_for(loop, 5);
    assert_int_equal(first.woken_count, 1);
    hub_destroy(hub);
    loop_destroy(loop);
}

static void note_topic(void *data, const char *topic)
{
    str_format(data, 64, "%s", topic);
}

static void a_listener_hears_its_prefix_at_once(void **state)
{
    struct hub *hub = hub_create();
    char heard[64] = "";
    (void)state;
    hub_listen(hub, "market:", note_topic, heard);
    hub_wake(hub, "node:1");
    assert_string_equal(heard, "");
    hub_wake(hub, "market:main");
    assert_string_equal(heard, "market:main");
    hub_destroy(hub);
}

/* ---- the cache ---- */

struct process { /* what another broker process would have */
    struct hub *hub;
    struct cache *cache;
    struct sleeper sleeper;
};

static void process_open(struct process *process, struct loop *loop)
{
    process->hub = hub_create();
    hub_add_loop(process->hub, loop);
    process->cache = cache_create(loop, redis_start(), "test");
    hub_attach_cache(process->hub, process->cache);
    join(&process->sleeper, process->hub, loop, "workload:5");
}

static void process_close(struct process *process)
{
    cache_destroy(process->cache);
    hub_destroy(process->hub);
}

static bool is_cache_up(void *data)
{
    return cache_is_up(data);
}

static bool is_cache_down(void *data)
{
    return !cache_is_up(data);
}

/* Subscribing takes a moment that nobody is told of, so wake until it is heard. */
static bool wakes_get_through(struct loop *loop, struct process *from, struct process *to)
{
    to->sleeper.woken_count = 0;
    for (int i = 0; i < 50; i++) {
        hub_wake(from->hub, "workload:5");
        if (await(loop, &to->sleeper, 1, 100))
            return true;
    }
    return false;
}

static void wakes_cross_processes_and_survive_a_restart_of_redis(void **state)
{
    struct loop *loop = loop_create();
    struct process a = {0}, b = {0};
    (void)state;
    process_open(&a, loop);
    process_open(&b, loop);
    assert_true(until(loop, is_cache_up, a.cache, 5000));
    assert_true(wakes_get_through(loop, &a, &b));
    assert_true(wakes_get_through(loop, &b, &a));
    turn_for(loop, 50);
    a.sleeper.woken_count = b.sleeper.woken_count = 0;
    hub_wake(a.hub, "workload:5");
    assert_true(await(loop, &b.sleeper, 1, 2000));
    turn_for(loop, 50);
    assert_int_equal(a.sleeper.woken_count, 1); /* its own message does not come back to it */
    redis_kill9();
    assert_true(until(loop, is_cache_down, a.cache, 5000));
    hub_wake(a.hub, "workload:5"); /* lost elsewhere, heard here */
    assert_true(await(loop, &a.sleeper, 2, 2000));
    redis_start();
    assert_true(until(loop, is_cache_up, a.cache, 5000));
    assert_true(wakes_get_through(loop, &a, &b));
    process_close(&a);
    process_close(&b);
    loop_destroy(loop);
}

struct rate_answer {
    int count;
    bool is_ok;
    int64_t total;
};

static void rate_done(void *data, bool is_ok, int64_t total)
{
    struct rate_answer *answer = data;
    *answer = (struct rate_answer){answer->count + 1, is_ok, total};
}

static bool has_answer(void *data)
{
    return ((struct rate_answer *)data)->count > 0;
}

static struct rate_answer rate_add(struct loop *loop, struct cache *cache, int64_t count)
{
    struct rate_answer answer = {0};
    struct cache_rate rate = {.bucket = "bucket:1", .window_s = 60, .count = count};
    cache_rate_add(cache, &rate, rate_done, &answer);
    assert_true(until(loop, has_answer, &answer, 2000));
    return answer;
}

static void rates_add_up_across_processes_and_never_block(void **state)
{
    struct loop *loop = loop_create();
    struct cache *a = cache_create(loop, redis_start(), "test");
    struct cache *b = cache_create(loop, redis_start(), "test");
    struct cache *none = cache_create(loop, "", "test");
    (void)state;
    assert_false(rate_add(loop, none, 1).is_ok);
    assert_true(until(loop, is_cache_up, a, 5000));
    assert_true(until(loop, is_cache_up, b, 5000));
    assert_int_equal(rate_add(loop, a, 3).total, 3);
    assert_int_equal(rate_add(loop, b, 4).total, 7);
    redis_pause();
    int64_t before_ms = clock_mono_ms();
    assert_false(rate_add(loop, a, 1).is_ok);
    assert_in_range(clock_mono_ms() - before_ms, CACHE_PATIENCE_MS - 5, CACHE_PATIENCE_MS + 400);
    assert_true(until(loop, is_cache_down, a, 5000)); /* silent for too long */
    assert_false(rate_add(loop, a, 1).is_ok);
    redis_go_on();
    assert_true(until(loop, is_cache_up, a, 8000));
    assert_true(rate_add(loop, a, 1).is_ok);
    cache_destroy(a);
    cache_destroy(b);
    cache_destroy(none);
    loop_destroy(loop);
}

/* ---- workers ---- */

struct bell {
    atomic_int rung_count, woken_count;
    atomic_bool has_stopped;
};

static void listen_to_bell(struct worker *worker, void *data)
{
    struct bell *bell = data;
    while (worker_wait(worker, clock_mono_ms() + 60000))
        bell->woken_count++;
    bell->has_stopped = worker_should_stop(worker);
}

static bool was_heard(void *data)
{
    return ((struct bell *)data)->woken_count > 0;
}

static void a_worker_wakes_times_out_and_stops(void **state)
{
    struct loop *loop = loop_create();
    struct bell bell = {0};
    (void)state;
    struct worker *worker = worker_start("bell", listen_to_bell, &bell);
    worker_wake(worker);
    assert_true(until(loop, was_heard, &bell, 2000));
    worker_stop(worker);
    assert_true(bell.has_stopped);
    loop_destroy(loop);
}

/* ---- outgoing HTTP: a server that answers by a script ---- */

struct canned {
    int fd, port;
    const char *answer; /* NULL: reads and closes */
    char request[512];
    pthread_t thread;
};

static void *canned_serve(void *data)
{
    struct canned *canned = data;
    int fd = accept(canned->fd, NULL, NULL);
    ssize_t got = recv(fd, canned->request, sizeof(canned->request) - 1, 0);
    if (got > 0 && canned->answer != NULL)
        send(fd, canned->answer, strlen(canned->answer), MSG_NOSIGNAL);
    close(fd);
    return NULL;
}

static void canned_start(struct canned *canned)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    canned->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(canned->fd, (struct sockaddr *)&address, len), 0);
    listen(canned->fd, 4);
    getsockname(canned->fd, (struct sockaddr *)&address, &len);
    canned->port = ntohs(address.sin_port);
    pthread_create(&canned->thread, NULL, canned_serve, canned);
}

struct got {
    int count;
    struct http_out_reply reply;
    char body[64];
};

static void got_reply(void *data, const struct http_out_reply *reply)
{
    struct got *got = data;
    got->count++;
    got->reply = *reply;
    str_format(got->body, sizeof(got->body), "%.*s", STR_ARG(reply->body));
}

static bool has_got(void *data)
{
    return ((struct got *)data)->count > 0;
}

static struct got fetch(struct canned *canned, const char *method, int64_t response_max)
{
    struct loop *loop = loop_create();
    struct http_out *out = http_out_create();
    struct got got = {0};
    char url[64];
    if (canned->fd == 0 && canned->port == 0)
        canned_start(canned);
    str_format(url, sizeof(url), "http://127.0.0.1:%d/hook", canned->port);
    const char *headers[] = {"Content-Type: application/json", "Idempotency-Key: k1", NULL};
    http_out_submit(out, loop,
                    &(struct http_out_request){.method = method,
                                               .url = url,
                                               .headers = headers,
                                               .body = STR("{\"a\":1}"),
                                               .timeout_ms = 3000,
                                               .response_max = response_max},
                    got_reply, &got);
    assert_true(until(loop, has_got, &got, 5000));
    http_out_destroy(out);
    loop_destroy(loop);
    if (canned->thread != 0)
        pthread_join(canned->thread, NULL);
    return got;
}

static void an_answer_comes_back_with_status_and_body(void **state)
{
    struct canned canned = {
        .answer = "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"};
    (void)state;
    struct got got = fetch(&canned, "PUT", 100);
    assert_true(got.reply.is_ok);
    assert_int_equal(got.reply.status, 202);
    assert_string_equal(got.body, "ok");
    assert_non_null(strstr(canned.request, "PUT /hook HTTP/1.1\r\n"));
    assert_non_null(strstr(canned.request, "Idempotency-Key: k1\r\n"));
    assert_non_null(strstr(canned.request, "\r\n\r\n{\"a\":1}"));
    assert_null(strstr(canned.request, "Expect"));
    close(canned.fd);
}

static void silence_after_sending_is_an_unknown_outcome(void **state)
{
    struct canned canned = {.answer = NULL};
    (void)state;
    struct got got = fetch(&canned, "POST", 100);
    assert_false(got.reply.is_ok);
    assert_true(got.reply.is_unknown);
    close(canned.fd);
}

static void a_refused_connection_is_a_known_failure(void **state)
{
    struct canned canned = {.port = 1};
    (void)state;
    struct got got = fetch(&canned, "POST", 100);
    assert_false(got.reply.is_ok);
    assert_false(got.reply.is_unknown);
}

static void an_answer_over_the_limit_is_refused(void **state)
{
    struct canned canned = {
        .answer = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n123456"};
    (void)state;
    struct got got = fetch(&canned, "POST", 5);
    assert_false(got.reply.is_ok);
    assert_string_equal(got.reply.why, "the answer is too long");
    close(canned.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wake_reaches_every_loop_and_only_its_topic),
        cmocka_unit_test(waiters_may_leave_while_they_are_woken),
        cmocka_unit_test(a_listener_hears_its_prefix_at_once),
        cmocka_unit_test(wakes_cross_processes_and_survive_a_restart_of_redis),
        cmocka_unit_test(rates_add_up_across_processes_and_never_block),
        cmocka_unit_test(a_worker_wakes_times_out_and_stops),
        cmocka_unit_test(an_answer_comes_back_with_status_and_body),
        cmocka_unit_test(silence_after_sending_is_an_unknown_outcome),
        cmocka_unit_test(a_refused_connection_is_a_known_failure),
        cmocka_unit_test(an_answer_over_the_limit_is_refused),
    };
    return cmocka_run_group_tests_name("io_hub", tests, NULL, NULL);
}
