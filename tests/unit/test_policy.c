/* What a workload offers, where it goes, and what a node's failures add to its score. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "auction/adder.h"
#include "auction/policy.h"
#include "broker/base/money.h"
#include "tests/lib/prop.h"

#define SECOND_US 1000000LL
#define POSTED_US (1700000000 * SECOND_US)

struct offer_case {
    struct price_offer offer;
    int64_t age_us;
    int64_t price;
};

static void offers_rise_from_the_market_to_the_reserve(void **state)
{
    (void)state;
    static const struct offer_case cases[] = {
        /* One seller at 200 000, one workload at 900 000, B = 350 000: it offers 350 000. */
        {{.policy = PRICE_POLICY_MARKET, 900000, 350000}, 0, 350000},
        {{.policy = PRICE_POLICY_MARKET, 900000, 350000}, 30 * SECOND_US, 625000},
        {{.policy = PRICE_POLICY_MARKET, 900000, 350000}, 60 * SECOND_US - 1, 899999},
        {{.policy = PRICE_POLICY_MARKET, 900000, 350000}, 60 * SECOND_US, 900000},
        {{.policy = PRICE_POLICY_MARKET, 900000, 350000}, -5, 350000},
        {{.policy = PRICE_POLICY_MARKET, 300000, 350000}, 0, 300000},
        {{.policy = PRICE_POLICY_LIMIT, 900000, 350000}, 0, 900000},
        /* Deadline in 100 s, 20 s to run: the latest start is after 80 s. */
        {{.policy = PRICE_POLICY_MARKET,
          900000,
          100000,
          .deadline_at_us = 100 * SECOND_US,
          .run_ms = 20000},
         40 * SECOND_US,
         500000},
        {{.policy = PRICE_POLICY_MARKET,
          900000,
          100000,
          .deadline_at_us = 100 * SECOND_US,
          .run_ms = 20000},
         80 * SECOND_US,
         900000},
        /* Too late to finish: everything at once. */
        {{.policy = PRICE_POLICY_MARKET,
          900000,
          100000,
          .deadline_at_us = 10 * SECOND_US,
          .run_ms = 20000},
         0,
         900000},
        /* Posted at its latest start: the same, and nothing to rise through. */
        {{.policy = PRICE_POLICY_MARKET,
          900000,
          100000,
          .deadline_at_us = 20 * SECOND_US,
          .run_ms = 20000},
         0,
         900000},
        /* So large that a microsecond would show. */
        {{.policy = PRICE_POLICY_MARKET, (int64_t)1 << 40, 0}, -5, 0},
        {{.policy = PRICE_POLICY_MARKET, (int64_t)1 << 40, 0}, 1, 18325},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct price_offer offer = cases[i].offer;
        offer.posted_at_us = POSTED_US;
        offer.deadline_at_us += offer.deadline_at_us ? POSTED_US : 0;
        int64_t got = price_offered(&offer, POSTED_US + cases[i].age_us);
        if (got != cases[i].price)
            fail_msg("case %zu: %lld, not %lld", i, (long long)got, (long long)cases[i].price);
    }
}

/* P21 */
static void an_offer_never_falls_or_exceeds_the_reserve(void **state)
{
    (void)state;
    PROP_FOR(p, 100000)
    {
        bool has_deadline = prop_chance(&p, 50);
        int64_t run_ms = prop_range(&p, 0, 100000), slack_us = prop_range(&p, 0, 90000 * SECOND_US);
        struct price_offer offer = {
            .policy = PRICE_POLICY_MARKET,
            .reserve_uusd_per_hour = prop_range(&p, 0, (int64_t)1 << 40),
            .benchmark_uusd_per_hour = prop_range(&p, 0, (int64_t)1 << 40),
            .posted_at_us = POSTED_US,
            .deadline_at_us = has_deadline ? POSTED_US + slack_us + run_ms * 1000 : 0,
            .run_ms = run_ms,
        };
        int64_t whole_us = has_deadline ? slack_us : PRICE_RISE_MS * 1000;
        int64_t early_us = prop_range(&p, 0, whole_us);
        int64_t late_us = prop_range(&p, early_us, whole_us);
        int64_t early = price_offered(&offer, POSTED_US + early_us);
        int64_t late = price_offered(&offer, POSTED_US + late_us);
        int64_t reserve = offer.reserve_uusd_per_hour, start = offer.benchmark_uusd_per_hour;
        prop_check(&p, early >= (start < reserve ? start : reserve));
        prop_check(&p, early <= late && late <= reserve);
        prop_check(&p, price_offered(&offer, POSTED_US + whole_us) == reserve);
    }
}

/* P3 with the fee: a lease at or under r costs no more than the reserve, for any time. */
static void the_net_reserve_leaves_room_for_the_fee(void **state)
{
    (void)state;
    assert_int_equal(reserve_net(1100000, 1000), 1000000);
    assert_int_equal(reserve_net(350000, 0), 350000);
    assert_int_equal(reserve_net(1, 1000), 0);
    assert_int_equal(reserve_net(0, 1000), 0);
    PROP_FOR(p, 100000)
    {
        int64_t reserve = prop_range(&p, 0, (int64_t)1 << 40);
        int64_t fee_bp = prop_range(&p, 0, FEE_BP_MAX);
        int64_t r = reserve_net(reserve, fee_bp);
        prop_check(&p, r + mul_div_floor(r, fee_bp, FEE_BP_ONE) <= reserve);
        prop_check(&p, (r + 1) * (FEE_BP_ONE + fee_bp) > reserve * FEE_BP_ONE);
    }
}

static void a_replica_takes_the_next_block_size_up(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0, 1, 2, 4, 4, 8, 8, 8, 8, 0, 0};
    for (uint32_t devices = 0; devices < ARRAY_COUNT(sizes); devices++)
        assert_int_equal(block_devices_for(devices), sizes[devices]);
    assert_int_equal(block_devices_for(UINT32_MAX), 0);
}

static void lots_are_tried_from_the_cheapest_on(void **state)
{
    (void)state;
    struct lot_choice choices[] = {
        {.index_uusd_per_hour = 300, .latency_uusd_per_hour = 50},
        {.index_uusd_per_hour = -1, .catalogue_uusd_per_hour = 310},
        {.index_uusd_per_hour = 10, .is_barred = true},
        {.index_uusd_per_hour = 290, .catalogue_uusd_per_hour = 1},
        {.index_uusd_per_hour = 290},
    };
    static const size_t wanted[] = {3, 4, 1, 0, 3, 3};
    for (size_t round = 0; round < ARRAY_COUNT(wanted); round++) {
        size_t chosen = lot_choose(choices, ARRAY_COUNT(choices));
        assert_int_equal(chosen, wanted[round]);
        choices[chosen].is_tried = true;
    }
    /* An index of nothing is an index. */
    struct lot_choice free_or_dear[] = {{.index_uusd_per_hour = 1},
                                        {.index_uusd_per_hour = 0, .catalogue_uusd_per_hour = 2}};
    assert_int_equal(lot_choose(free_or_dear, 2), 1);
    assert_int_equal(lot_choose(choices, 0), LOT_CHOICE_NONE);
    assert_int_equal(lot_choose(&choices[2], 1), LOT_CHOICE_NONE);
}

struct adder_case {
    int64_t failures, observed_h, adder;
};

static void adders_price_observed_failures(void **state)
{
    (void)state;
    static const struct adder_case cases[] = {
        {0, 0, 2100}, {0, 2000, 191}, {3, 500, 1500}, {40, 1000, 7350}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct failure_history history = {.failures_milli =
                                                    cases[i].failures * FAILURE_ONE_MILLI,
                                                .observed_ms = cases[i].observed_h * MS_PER_HOUR};
        assert_int_equal(adder_for(&history, ADDER_LOSS_SPOT_MS, 350000, MONEY_MAX),
                         cases[i].adder);
        assert_int_equal(adder_for(&history, ADDER_LOSS_FLEXIBLE_MS, 350000, 100), 100);
    }
    const struct failure_history worst = {.failures_milli = 1000000 * FAILURE_ONE_MILLI};
    assert_int_equal(adder_for(&worst, ADDER_LOSS_GUARANTEED_MS, (int64_t)1 << 40, 1 << 20),
                     1 << 20);
}

static void failures_are_forgotten_by_half_in_thirty_days(void **state)
{
    (void)state;
    struct failure_history history = {
        .failures_milli = 8000, .observed_ms = 1000 * MS_PER_HOUR, .day = 100};
    failure_history_forget(&history, 90);
    assert_int_equal(history.failures_milli, 8000);
    assert_int_equal(history.day, 100);
    failure_history_forget(&history, 130);
    assert_in_range(history.failures_milli, 3970, 4000);
    assert_in_range(history.observed_ms, 499 * MS_PER_HOUR, 501 * MS_PER_HOUR);
    struct failure_history stepwise = history;
    for (int64_t day = 131; day <= 160; day++)
        failure_history_forget(&stepwise, day);
    failure_history_forget(&history, 160);
    assert_int_equal(history.failures_milli, stepwise.failures_milli);
    failure_history_forget(&history, 1000000);
    assert_int_equal(history.failures_milli, 0);
    assert_int_equal(history.observed_ms, 0);
}

static void an_adder_is_rounded_up_by_less_than_one(void **state)
{
    (void)state;
    /* 2 failures in 200 h, each of which loses an hour: a hundredth of the price. */
    const struct failure_history fresh = {.failures_milli = 0};
    assert_int_equal(adder_for(&fresh, MS_PER_HOUR, 0, MONEY_MAX), 0);
    assert_int_equal(adder_for(&fresh, MS_PER_HOUR, 1, MONEY_MAX), 1);
    assert_int_equal(adder_for(&fresh, MS_PER_HOUR, 100, MONEY_MAX), 1);
    assert_int_equal(adder_for(&fresh, MS_PER_HOUR, 101, MONEY_MAX), 2);
    /* One part in 720 billion over a whole number is rounded up too. */
    const struct failure_history odd = {.failures_milli = 1, .observed_ms = 360002};
    assert_int_equal(adder_for(&odd, 1, 360000000, MONEY_MAX), 1);
    assert_int_equal(adder_for(&odd, 1, 360000001, MONEY_MAX), 2);
    /* One microdollar in a hundred more than a whole number of them is one more. */
    const struct failure_history exact = {.observed_ms = 1800 * MS_PER_HOUR};
    assert_int_equal(adder_for(&exact, 1, 3600000000, MONEY_MAX), 1);
    assert_int_equal(adder_for(&exact, 1, 3600000001, MONEY_MAX), 2);
}

static void a_day_keeps_the_thirtieth_root_of_a_half(void **state)
{
    (void)state;
    struct failure_history history = {.failures_milli = 1000000000000, .observed_ms = 7};
    failure_history_forget(&history, 1);
    assert_int_equal(history.failures_milli, 977160000000);
    assert_int_equal(history.observed_ms, 6);
    assert_int_equal(history.day, 1);
    failure_history_forget(&history, 2);
    assert_int_equal(history.failures_milli, 954841665600);
    /* Failures outlast the hours in which they were seen, and the last thousandth goes too. */
    struct failure_history rest = {.failures_milli = 1};
    failure_history_forget(&rest, 1);
    assert_int_equal(rest.failures_milli, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(offers_rise_from_the_market_to_the_reserve),
        cmocka_unit_test(an_offer_never_falls_or_exceeds_the_reserve),
        cmocka_unit_test(the_net_reserve_leaves_room_for_the_fee),
        cmocka_unit_test(a_replica_takes_the_next_block_size_up),
        cmocka_unit_test(lots_are_tried_from_the_cheapest_on),
        cmocka_unit_test(adders_price_observed_failures),
        cmocka_unit_test(failures_are_forgotten_by_half_in_thirty_days),
        cmocka_unit_test(an_adder_is_rounded_up_by_less_than_one),
        cmocka_unit_test(a_day_keeps_the_thirtieth_root_of_a_half),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
