/* Who may be interrupted, in which order, and how long a notice is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "auction/tier.h"

static const struct tier_times times = {
    .spot_notice_ms = 30000, .flexible_notice_ms = 600000, .tenure_ms = 60000};

static void a_tier_has_one_name(void **state)
{
    (void)state;
    for (enum tier tier = TIER_GUARANTEED; tier <= TIER_SPOT; tier++)
        assert_int_equal(tier_of(str_of(tier_name(tier))), tier);
    assert_int_equal(tier_of(STR("")), TIER_NONE);
    assert_int_equal(tier_of(STR("Spot")), TIER_NONE);
    assert_true(TIER_GUARANTEED < TIER_FLEXIBLE && TIER_FLEXIBLE < TIER_SPOT);
}

static void a_notice_is_the_tiers_and_the_grace_fits_into_it(void **state)
{
    (void)state;
    static const struct {
        enum tier tier;
        int64_t stop_grace_ms, notice_ms, grace_ms;
    } rows[] = {
        {TIER_SPOT, 10000, 30000, 10000},      {TIER_SPOT, 0, 30000, 0},
        {TIER_SPOT, 30000, 30000, 30000},      {TIER_SPOT, 300000, 30000, 30000},
        {TIER_FLEXIBLE, 10000, 600000, 10000}, {TIER_FLEXIBLE, 300000, 600000, 300000},
        {TIER_GUARANTEED, 1, 600000, 1},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct tier_notice notice = tier_notice_for(&times, rows[i].tier, rows[i].stop_grace_ms);
        assert_int_equal(notice.notice_ms, rows[i].notice_ms);
        assert_int_equal(notice.grace_ms, rows[i].grace_ms);
    }
}

static void only_a_running_spot_lease_leaves_and_only_for_a_higher_tier(void **state)
{
    (void)state;
    const int64_t now_us = 1000000000;
    const struct tier_holder settled = {
        .tier = TIER_SPOT, .is_running = true, .running_at_us = now_us - 60000000};
    assert_true(tier_may_evict(&times, TIER_FLEXIBLE, &settled, now_us));
    assert_true(tier_may_evict(&times, TIER_GUARANTEED, &settled, now_us));
    assert_false(tier_may_evict(&times, TIER_SPOT, &settled, now_us));

    struct tier_holder holder = settled;
    holder.running_at_us++;
    assert_false(tier_may_evict(&times, TIER_FLEXIBLE, &holder, now_us));
    holder.is_preempted = true; /* it leaves in any case */
    assert_true(tier_may_evict(&times, TIER_FLEXIBLE, &holder, now_us));
    holder.is_reclaimed = true;
    assert_false(tier_may_evict(&times, TIER_FLEXIBLE, &holder, now_us));

    holder = settled;
    holder.is_running = false;
    assert_false(tier_may_evict(&times, TIER_FLEXIBLE, &holder, now_us));
    holder = settled;
    holder.tier = TIER_FLEXIBLE;
    assert_false(tier_may_evict(&times, TIER_GUARANTEED, &holder, now_us));
}

static void the_lowest_reserve_goes_first_then_the_youngest(void **state)
{
    (void)state;
    const struct tier_victim poor = {100, 50}, rich = {101, 90}, old = {100, 10};
    assert_true(tier_eviction_order(&poor, &rich) < 0);
    assert_true(tier_eviction_order(&rich, &poor) > 0);
    assert_true(tier_eviction_order(&poor, &old) < 0);
    assert_true(tier_eviction_order(&old, &poor) > 0);
    assert_int_equal(tier_eviction_order(&poor, &poor), 0);
}

static void waiting_costs_the_usual_price_for_so_long(void **state)
{
    (void)state;
    assert_int_equal(tier_wait_adder(360000, 30000), 3000);
    assert_int_equal(tier_wait_adder(1, 30000), 1); /* rounded up: a free block always goes first */
    assert_int_equal(tier_wait_adder(360000, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tier_has_one_name),
        cmocka_unit_test(a_notice_is_the_tiers_and_the_grace_fits_into_it),
        cmocka_unit_test(only_a_running_spot_lease_leaves_and_only_for_a_higher_tier),
        cmocka_unit_test(the_lowest_reserve_goes_first_then_the_youngest),
        cmocka_unit_test(waiting_costs_the_usual_price_for_so_long),
    };
    return cmocka_run_group_tests_name("tier", tests, NULL, NULL);
}
