/* What offers begin at, reckoned from leases: weighted, over other lots only, not from too few. */
#include "broker/market/benchmark.h"

#include "tests/sql/market_fixture.h"

#define CATALOGUE 390000

static struct market_world world;

static int setup(void **state)
{
    (void)state;
    world_open(&world);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_close(&world);
    return 0;
}

struct sale {
    int count;
    const char *region;
    int block_size;
    int64_t price, billed_ms;
    bool is_set, is_simulated;
    int hours_ago;
};

static void sell(const struct sale *sale)
{
    char sql[1024];
    must(str_format(
        sql, sizeof(sql),
        "insert into leases (lease_id, replica_id, workload_id, account_id, operator_account_id,"
        " node_id, market, round, region, class, block_size, tier, trust, replica_index, epoch,"
        " state, closed_at, close_reason, price_uusd_per_hour, fee_bp, theta_uusd_per_hour,"
        " adder_uusd_per_hour, max_duration_s, device_ids, is_simulated, awarded_at,"
        " billable_ms_max, billed_ms, price_set_by_ask)"
        " select gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), fx.account(1),"
        " fx.account(2), gen_random_uuid(), 'main', 1, '%s', 'rtx-4090', %d, 'flexible', '%s', 0,"
        " 1,"
        " 'closed', now(), 'completed', %lld, 1000, %lld, 0, 600, '{}', %s,"
        " now() - %d * interval '1 hour', 600000, %lld, %s from generate_series(1, %d)",
        sale->region, sale->block_size, sale->is_simulated ? "simulated" : "unverified",
        (long long)sale->price, (long long)sale->price, sale->is_simulated ? "true" : "false",
        sale->hours_ago, (long long)sale->billed_ms, sale->is_set ? "true" : "false", sale->count));
    pg_execute(world.conninfo, sql);
}

typedef int64_t price_of(const struct lot_benchmarks *benchmarks, const struct supply_pool *pool,
                         const char *lot_key, uint32_t devices);

/* Of the lot, as the leader would have it; NULL: of a workload that is cleared by itself. */
static int64_t price(price_of *of, const char *region, bool is_simulated, uint32_t devices)
{
    struct lot_benchmarks benchmarks = {.count = 0};
    const struct supply_pool pool = {
        .region = region ? str_of(region) : STR("eu-west"),
        .class = STR("rtx-4090"),
        .trust = is_simulated ? STR("simulated") : STR("unverified"),
        .catalogue_uusd_per_hour = CATALOGUE,
    };
    char key[LOT_KEY_SIZE] = "";
    if (region)
        must(str_format(key, sizeof(key), "%s/rtx-4090/%u/flexible/%.*s", region, devices,
                        STR_ARG(pool.trust)));
    assert_int_equal(benchmarks_store(world.session, "main"), ERR_OK);
    assert_int_equal(benchmarks_load(world.session, "main", &benchmarks), ERR_OK);
    int64_t found = of(&benchmarks, &pool, key, devices);
    benchmarks_finish(&benchmarks);
    return found;
}

static int64_t benchmark(const char *region, bool is_simulated, uint32_t devices)
{
    return price(benchmark_of_lot, region, is_simulated, devices);
}

static int64_t usual(const char *region, uint32_t devices)
{
    return price(usual_of_lot, region, false, devices);
}

static void without_prices_it_is_the_catalogue(void **state)
{
    (void)state;
    assert_int_equal(benchmark("eu-west", false, 2), 2 * CATALOGUE);
}

static void it_comes_from_the_other_lots_of_the_class(void **state)
{
    (void)state;
    sell(&(struct sale){100, "eu-west", 2, 400000, 60000, true, false, 1});
    assert_int_equal(benchmark("us-east", false, 1), 250000); /* 1.25 x 0.20 a device */
    assert_int_equal(benchmark(NULL, false, 1), 250000);
    assert_int_equal(benchmark("eu-west", false, 2), 2 * CATALOGUE); /* its own do not count */
    assert_int_equal(benchmark("eu-west", false, 1), 250000);        /* another lot of the region */
    assert_int_equal(benchmark("us-east", true, 1), CATALOGUE); /* real prices, not simulated */
    assert_int_equal(usual("us-east", 4), 4 * 200000);
    assert_int_equal(usual("eu-west", 2), 2 * CATALOGUE);
}

static void ninety_nine_prices_are_too_few(void **state)
{
    (void)state;
    sell(&(struct sale){99, "eu-west", 1, 200000, 60000, true, false, 1});
    assert_int_equal(benchmark("us-east", false, 1), CATALOGUE);
    sell(&(struct sale){1, "ap-southeast", 1, 200000, 60000, true, false, 1});
    assert_int_equal(benchmark("us-east", false, 1), 250000);
    assert_int_equal(benchmark("ap-southeast", false, 1), CATALOGUE);
}

static void what_nobody_paid_for_or_a_reserve_set_counts_nothing(void **state)
{
    (void)state;
    sell(&(struct sale){200, "eu-west", 1, 900000, 0, true, false, 1});
    sell(&(struct sale){200, "eu-west", 1, 900000, 60000, false, false, 1});
    sell(&(struct sale){200, "eu-west", 1, 900000, 60000, true, false, 25});
    assert_int_equal(benchmark("us-east", false, 1), CATALOGUE);
    assert_int_equal(usual("us-east", 1), CATALOGUE);
}

static void time_that_was_paid_for_weighs(void **state)
{
    (void)state;
    sell(&(struct sale){150, "eu-west", 1, 100000, 1000, true, false, 1});
    sell(&(struct sale){10, "ap-northeast", 1, 300000, 3600000, true, false, 1});
    assert_int_equal(benchmark("us-east", false, 1), 375000);
    pg_execute(world.conninfo, "delete from leases");
    assert_int_equal(benchmark("us-east", false, 1), CATALOGUE); /* rows of old medians are gone */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_prices_it_is_the_catalogue, setup, teardown),
        cmocka_unit_test_setup_teardown(it_comes_from_the_other_lots_of_the_class, setup, teardown),
        cmocka_unit_test_setup_teardown(ninety_nine_prices_are_too_few, setup, teardown),
        cmocka_unit_test_setup_teardown(what_nobody_paid_for_or_a_reserve_set_counts_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(time_that_was_paid_for_weighs, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
