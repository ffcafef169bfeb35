/* Rate limits: a minute's window, its edge, strangers apart, and two processes joined by Redis. */
#include "tests/lib/test.h"

#include "api/rate.h"
#include "broker/base/clock.h"
#include "broker/base/hash.h"
#include "broker/io/cache.h"
#include "broker/io/loop.h"
#include "tests/lib/redis.h"
#include "tests/lib/until.h"

#define MINUTE_US INT64_C(60000000)

static struct rate_bucket bucket(const char *name)
{
    return rate_bucket_of_address(str_of(name));
}

static void a_window_holds_its_limit_and_no_more(void **state)
{
    (void)state;
    struct rate *rate = rate_create();
    clock_fake(1000 * MINUTE_US + 18000000, 1);
    for (int i = 0; i < 5; i++) {
        struct rate_state taken = rate_take(rate, NULL, bucket("a"), 5, 1);
        assert_false(taken.is_over);
        assert_int_equal(taken.remaining, 4 - i);
        assert_int_equal(taken.reset_s, 42);
    }
    assert_true(rate_take(rate, NULL, bucket("a"), 5, 1).is_over);
    assert_true(rate_take(rate, NULL, bucket("a"), 5, 0).is_over);
    assert_false(rate_take(rate, NULL, bucket("b"), 5, 1).is_over);
    clock_fake(1001 * MINUTE_US, 1);
    assert_false(rate_take(rate, NULL, bucket("a"), 5, 1).is_over);
    clock_fake(-1, -1);
    rate_destroy(rate);
}

static void accounts_have_buckets_of_their_own(void **state)
{
    (void)state;
    struct rate *rate = rate_create();
    struct account_id a = account_id_new(), b = account_id_new();
    clock_fake(1000 * MINUTE_US, 1);
    assert_false(rate_take(rate, NULL, rate_bucket_of_account(a), 1, 1).is_over);
    assert_true(rate_take(rate, NULL, rate_bucket_of_account(a), 1, 1).is_over);
    assert_false(rate_take(rate, NULL, rate_bucket_of_account(b), 1, 1).is_over);
    clock_fake(-1, -1);
    rate_destroy(rate);
}

static void an_ipv6_network_is_one_stranger(void **state)
{
    (void)state;
    struct rate_bucket one = bucket("2001:db8:0:1::1");
    assert_true(one.key == bucket("2001:db8:0:1:ffff:ffff:ffff:ffff").key);
    assert_false(one.key == bucket("2001:db8:0:2::1").key);
    assert_false(bucket("::ffff:192.0.2.1").key == bucket("::ffff:192.0.2.2").key);
    assert_false(bucket("192.0.2.1").key == bucket("192.0.2.2").key);
}

static void looking_costs_nothing(void **state)
{
    (void)state;
    struct rate *rate = rate_create();
    clock_fake(1000 * MINUTE_US, 1);
    for (int i = 0; i < 10; i++)
        assert_int_equal(rate_take(rate, NULL, bucket("x"), 3, 0).remaining, 3);
    clock_fake(-1, -1);
    rate_destroy(rate);
}

static void many_strangers_do_not_push_a_busy_one_out(void **state)
{
    (void)state;
    struct rate *rate = rate_create();
    clock_fake(1000 * MINUTE_US, 1);
    for (int i = 0; i < 100; i++)
        rate_take(rate, NULL, bucket("busy"), 100, 1);
    for (int i = 0; i < 200000; i++) {
        char name[32];
        str_format(name, sizeof(name), "%d", i);
        rate_take(rate, NULL, bucket(name), 100, 1);
    }
    assert_true(rate_take(rate, NULL, bucket("busy"), 100, 1).is_over);
    clock_fake(-1, -1);
    rate_destroy(rate);
}

static bool cache_is_there(void *data)
{
    return cache_is_up(data);
}

struct pair {
    struct rate *a, *b;
    struct cache *cache;
};

static bool b_knows(void *data)
{
    struct pair *pair = data;
    return rate_take(pair->b, pair->cache, bucket("joined"), 100, 0).remaining <= 60;
}

/* Two tables stand for two processes: what one used up, the other learns through Redis. */
static void two_processes_share_a_limit(void **state)
{
    (void)state;
    struct loop *loop = loop_create();
    struct cache *cache = cache_create(loop, redis_start(), "test");
    struct pair pair = {.a = rate_create(), .b = rate_create(), .cache = cache};
    clock_fake(1000 * MINUTE_US, -1); /* no minute may end meanwhile */
    assert_true(until(loop, cache_is_there, cache, 5000));
    for (int i = 0; i < 40; i++)
        rate_take(pair.a, cache, bucket("joined"), 100, 1);
    for (int i = 0; i < 4; i++) /* enough to make it ask */
        rate_take(pair.b, cache, bucket("joined"), 100, 1);
    assert_true(until(loop, b_knows, &pair, 5000));
    cache_destroy(cache);
    loop_destroy(loop);
    clock_fake(-1, -1);
    rate_destroy(pair.a);
    rate_destroy(pair.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_window_holds_its_limit_and_no_more),
        cmocka_unit_test(accounts_have_buckets_of_their_own),
        cmocka_unit_test(an_ipv6_network_is_one_stranger),
        cmocka_unit_test(looking_costs_nothing),
        cmocka_unit_test(many_strangers_do_not_push_a_busy_one_out),
        cmocka_unit_test(two_processes_share_a_limit),
    };
    hash_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
