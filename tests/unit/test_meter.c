/* The meter: what is billed does not depend on how one looks at it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "auction/policy.h"
#include "billing/meter.h"
#include "broker/base/money.h"
#include "tests/lib/prop.h"

static struct meter_terms terms_draw(struct prop *p)
{
    static const int64_t fees_bp[] = {0, 1, 333, 1000, 9999, METER_FEE_BP_MAX};
    return (struct meter_terms){
        .price_uusd_per_hour = prop_chance(p, 10)   ? prop_range(p, 0, METER_PRICE_MAX)
                               : prop_chance(p, 30) ? prop_range(p, 0, 20)
                                                    : prop_range(p, 0, 40000000),
        .fee_bp = fees_bp[prop_u64(p) % ARRAY_COUNT(fees_bp)],
    };
}

struct bill_case {
    int64_t price_uusd_per_hour, fee_bp, ms;
    int64_t net_uusd, fee_uusd;
};

static void a_bill_is_rounded_down_from_the_total(void **state)
{
    (void)state;
    static const struct bill_case cases[] = {
        {349999, 0, 1000, 97, 0},
        {349999, 0, 10000, 972, 0},
        {349999, 0, 3600000, 349999, 0}, /* summing the seconds would give 349 200 */
        {349999, 1000, 3600000, 349999, 34999},
        {0, 1000, 3600000, 0, 0},
        {3600000, 1000, 9, 9, 0},
        {3600000, 1000, 10, 10, 1},
        {METER_PRICE_MAX, 10000, 3600000, METER_PRICE_MAX, METER_PRICE_MAX},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct meter_terms terms = {.price_uusd_per_hour = cases[i].price_uusd_per_hour,
                                          .fee_bp = cases[i].fee_bp};
        struct meter_bill bill = bill_for(&terms, cases[i].ms);
        assert_int_equal(bill.net_uusd, cases[i].net_uusd);
        assert_int_equal(bill.fee_uusd, cases[i].fee_uusd);
        assert_int_equal(bill.gross_uusd, cases[i].net_uusd + cases[i].fee_uusd);
    }
}

static void settling_each_second_or_each_hour_comes_to_the_same(void **state)
{
    (void)state;
    PROP_FOR(p, 200)
    {
        struct meter_terms terms = terms_draw(&p);
        int64_t end_ms = prop_range(&p, 0, 3 * MS_PER_HOUR);
        int64_t step_ms = prop_chance(&p, 50) ? 1000 : prop_range(&p, 500, MS_PER_HOUR);
        struct meter_bill posted = {0};
        for (int64_t ms = 0;; ms += step_ms) {
            struct meter_bill now = bill_for(&terms, ms < end_ms ? ms : end_ms);
            struct meter_bill more = bill_difference(&now, &posted);
            prop_check(&p, more.net_uusd >= 0 && more.fee_uusd >= 0);
            prop_check(&p, more.gross_uusd == more.net_uusd + more.fee_uusd);
            posted.net_uusd += more.net_uusd;
            posted.fee_uusd += more.fee_uusd;
            posted.gross_uusd += more.gross_uusd;
            if (ms >= end_ms)
                break;
        }
        struct meter_bill whole = bill_for(&terms, end_ms);
        prop_check(&p, posted.net_uusd == whole.net_uusd && posted.fee_uusd == whole.fee_uusd);
        prop_check(&p, posted.gross_uusd == whole.gross_uusd);
    }
}

static void the_longest_affordable_time_is_exact(void **state)
{
    (void)state;
    PROP_FOR(p, 50000)
    {
        struct meter_terms terms = terms_draw(&p);
        int64_t available_uusd =
            prop_chance(&p, 50) ? prop_range(&p, -2, 1000) : prop_range(&p, 0, MONEY_MAX);
        int64_t ms = billable_ms_max(&terms, available_uusd);
        if (available_uusd < 0) {
            prop_check(&p, ms == 0);
            continue;
        }
        prop_check(&p, bill_for(&terms, ms).gross_uusd <= available_uusd);
        prop_check(&p, ms == METER_MS_MAX || bill_for(&terms, ms + 1).gross_uusd > available_uusd);
    }
}

static void a_hold_at_the_reserve_covers_any_price_under_it(void **state)
{
    (void)state;
    PROP_FOR(p, 20000)
    {
        int64_t fee_bp = prop_range(&p, 0, METER_FEE_BP_MAX);
        int64_t reserve = prop_range(&p, 0, 1000000);
        int64_t ms = prop_range(&p, 0, 2 * MS_PER_HOUR);
        int64_t r = reserve_net(reserve, fee_bp);
        struct meter_terms terms = {.price_uusd_per_hour = prop_range(&p, 0, r), .fee_bp = fee_bp};
        int64_t held_uusd;
        prop_check(&p, hold_for(reserve, 3, ms, &held_uusd));
        prop_check(&p, 3 * bill_for(&terms, ms).gross_uusd <= held_uusd);
        /* And the net reserve is the largest price for which that is so. */
        prop_check(&p, r * (FEE_BP_ONE + fee_bp) <= reserve * FEE_BP_ONE);
        prop_check(&p, (r + 1) * (FEE_BP_ONE + fee_bp) > reserve * FEE_BP_ONE);
    }
    int64_t untouched = 7;
    assert_false(hold_for(METER_PRICE_MAX, 1 << 20, MS_PER_HOUR, &untouched));
    assert_int_equal(untouched, 7);
}

static void an_escrow_at_its_target_lasts_the_horizon(void **state)
{
    (void)state;
    PROP_FOR(p, 20000)
    {
        struct meter_terms terms = terms_draw(&p);
        int64_t posted_ms = prop_range(&p, 0, MS_PER_HOUR);
        int64_t now_ms = posted_ms + prop_range(&p, 0, 100000);
        int64_t horizon_ms = prop_range(&p, 0, 600000);
        struct meter_bill posted = bill_for(&terms, posted_ms);
        int64_t target_uusd = escrow_target(&terms, now_ms, &posted, horizon_ms);
        struct meter_bill later = bill_for(&terms, now_ms + horizon_ms);
        prop_check(&p, posted.gross_uusd + target_uusd == later.gross_uusd);
        prop_check(&p, posted.gross_uusd + target_uusd > MONEY_MAX ||
                           billable_ms_max(&terms, posted.gross_uusd + target_uusd) >=
                               now_ms + horizon_ms);
    }
}

struct run_case {
    struct meter_times times;
    int64_t ms;
};

static void neither_clock_alone_can_bill(void **state)
{
    (void)state;
    static const struct run_case cases[] = {
        {{.receipt_healthy_ms = 10, .broker_elapsed_ms = 20, .cut_ms = METER_MS_MAX}, 10},
        {{.receipt_healthy_ms = 30, .broker_elapsed_ms = 20, .cut_ms = METER_MS_MAX}, 20},
        {{.receipt_healthy_ms = 30, .broker_elapsed_ms = 20, .paused_ms = 5, .cut_ms = 99}, 15},
        {{.receipt_healthy_ms = 30, .broker_elapsed_ms = 20, .cut_ms = 7}, 7},
        {{.receipt_healthy_ms = 30, .broker_elapsed_ms = 20, .paused_ms = 25, .cut_ms = 7}, 0},
        {{.receipt_healthy_ms = 0, .broker_elapsed_ms = 20, .cut_ms = 7}, 0},
        {{.receipt_healthy_ms = -1, .broker_elapsed_ms = 20, .cut_ms = 7}, 0},
        {{.receipt_healthy_ms = INT64_MAX, .broker_elapsed_ms = INT64_MAX, .cut_ms = INT64_MAX},
         METER_MS_MAX},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        assert_int_equal(billable_run_ms(&cases[i].times), cases[i].ms);
}

static void a_start_is_free_for_two_minutes_unless_its_owner_ends_it(void **state)
{
    (void)state;
    assert_int_equal(billable_start_ms(START_RAN, 0), 0);
    assert_int_equal(billable_start_ms(START_RAN, PULL_FREE_MS), 0);
    assert_int_equal(billable_start_ms(START_RAN, PULL_FREE_MS + 1), 1);
    assert_int_equal(billable_start_ms(START_OWNER_ENDED, 0), OWNER_END_MIN_MS);
    assert_int_equal(billable_start_ms(START_OWNER_ENDED, PULL_FREE_MS + 1), OWNER_END_MIN_MS);
    assert_int_equal(billable_start_ms(START_OWNER_ENDED, PULL_FREE_MS + 70000), 70000);
    assert_int_equal(billable_start_ms(START_FAILED, MS_PER_HOUR), 0);
    assert_int_equal(billable_start_ms(START_GOES_ON, MS_PER_HOUR), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bill_is_rounded_down_from_the_total),
        cmocka_unit_test(settling_each_second_or_each_hour_comes_to_the_same),
        cmocka_unit_test(the_longest_affordable_time_is_exact),
        cmocka_unit_test(a_hold_at_the_reserve_covers_any_price_under_it),
        cmocka_unit_test(an_escrow_at_its_target_lasts_the_horizon),
        cmocka_unit_test(neither_clock_alone_can_bill),
        cmocka_unit_test(a_start_is_free_for_two_minutes_unless_its_owner_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
