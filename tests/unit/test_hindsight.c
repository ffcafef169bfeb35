/* An ask in the rounds of the past: what it came to, and what another one would have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "auction/hindsight.h"
#include "auction/recompute.h"
#include "tests/lib/prop.h"

#define BLOCKS_MAX 8

struct past { /* a lot that is cleared as it stands */
    struct record_block blocks[BLOCKS_MAX];
    struct record_demand demands[BLOCKS_MAX];
    char ids[BLOCKS_MAX][8], wishes[BLOCKS_MAX][8];
    struct record_lot lot;
    struct buf memory;
};

static const struct sha256 seed = {.bytes = {7}};

static struct uuid account(int number)
{
    return (struct uuid){.bytes = {[15] = (uint8_t)number}};
}

static void block_add(struct past *past, int owner, int64_t ask)
{
    uint32_t i = past->lot.blocks_count++;
    must(str_format(past->ids[i], sizeof(past->ids[i]), "b%u", i));
    past->blocks[i] = (struct record_block){.id = str_of(past->ids[i]),
                                            .owner = account(owner),
                                            .ask_uusd_per_hour = ask,
                                            .adder_uusd_per_hour = 10};
    past->lot.blocks = past->blocks;
}

static void wish_add(struct past *past, int64_t r, uint32_t k)
{
    uint32_t i = past->lot.demands_count++;
    must(str_format(past->wishes[i], sizeof(past->wishes[i]), "w%u", i));
    past->demands[i] = (struct record_demand){.id = str_of(past->wishes[i]),
                                              .owner = account(100 + (int)i),
                                              .r_uusd_per_hour = r,
                                              .k = k,
                                              .kmin = 1};
    past->lot.demands = past->demands;
}

static void past_clear(struct past *past, const char *key)
{
    past->lot.key = str_of(key);
    assert_int_equal(record_lot_clear(&past->lot, &seed, &past->memory, &past->lot.outcome),
                     LOT_CLEARED);
}

/* Asks 100, 200, 300 of three accounts and two wishes at 500: the index is 310. */
static void three_sell_two(struct past *past, const char *key)
{
    *past = (struct past){.memory = {.at = NULL}};
    for (int i = 1; i <= 3; i++)
        block_add(past, i, 100 * i);
    wish_add(past, 500, 2);
    past_clear(past, key);
}

static void an_outcome_is(const struct past *past, int owner, const char *slug, int64_t gap)
{
    struct uuid who = account(owner);
    struct ask_outcome outcome = ask_outcome_of(&past->lot, &who);
    assert_string_equal(ask_fate_slug(outcome.fate), slug);
    assert_int_equal(outcome.gap_uusd_per_hour, gap);
}

static void fates_are_told_apart(void **unused)
{
    (void)unused;
    struct past past;
    three_sell_two(&past, "eu-west/cpu-1c2g/1/flexible/unverified");
    assert_int_equal(past.lot.outcome.index_uusd_per_hour, 310);
    an_outcome_is(&past, 1, "sold", 0);
    an_outcome_is(&past, 3, "tied", 0); /* its own score is the index: it is the first that lost */
    an_outcome_is(&past, 9, "absent", 0);
    buf_finish(&past.memory);

    past = (struct past){.memory = {.at = NULL}};
    block_add(&past, 1, 100);
    block_add(&past, 1, 100);
    block_add(&past, 1, 100);
    past.blocks[0].adder_uusd_per_hour = 30;
    past.blocks[1].adder_uusd_per_hour = 20;
    block_add(&past, 1, 100);
    past.blocks[3].adder_uusd_per_hour = 25;
    block_add(&past, 2, 200);
    block_add(&past, 3, 290);
    wish_add(&past, 500, 1);
    past_clear(&past, "eu-west/cpu-1c2g/1/spot/unverified");
    assert_int_equal(past.lot.outcome.index_uusd_per_hour, 120);
    struct uuid who = account(1);
    struct ask_outcome outcome = ask_outcome_of(&past.lot, &who);
    assert_int_equal(outcome.fate, ASK_FATE_PARTLY_SOLD);
    assert_int_equal(outcome.sold_count, 1);
    assert_int_equal(outcome.blocks_count, 4);
    assert_int_equal(outcome.score_uusd_per_hour, 120);
    an_outcome_is(&past, 2, "above_index", 90);
    an_outcome_is(&past, 3, "above_index", 180);
    buf_finish(&past.memory);

    past = (struct past){.memory = {.at = NULL}};
    block_add(&past, 1, 700);
    wish_add(&past, 500, 1);
    past_clear(&past, "eu-west/cpu-1c2g/1/flexible/unverified");
    an_outcome_is(&past, 1, "no_trade", 0);
    buf_finish(&past.memory);
}

static struct hindsight_ask other(int owner, int64_t price)
{
    return (struct hindsight_ask){.account_id = account(owner),
                                  .price_uusd_per_device_hour = price,
                                  .spot_multiplier_bp = 5000,
                                  .guaranteed_multiplier_bp = 20000};
}

static void sum_is(const struct hindsight_sum *sum, int64_t sold, int64_t would,
                   int64_t would_revenue)
{
    assert_int_equal(sum->sold_count, sold);
    assert_int_equal(sum->would_count, would);
    assert_int_equal(sum->would_revenue_uusd_per_hour, would_revenue);
}

struct try_case {
    const char *key;
    int owner;
    int64_t price;
    int64_t sold, replayed, replayed_revenue, estimated, estimated_revenue;
};

static void another_ask_is_tried_exactly_and_by_estimate(void **unused)
{
    (void)unused;
    static const struct try_case cases[] = {
        /* The loser would have had to beat the 210 of the second; the index knows 310 only. */
        {"a/b/1/flexible/c", 3, 250, 0, 0, 0, 1, 300},
        {"a/b/1/flexible/c", 3, 150, 0, 1, 200, 1, 300},
        /* A winner stays one up to the 310 of the third, and is paid the same whatever it asks. */
        {"a/b/1/flexible/c", 1, 299, 1, 1, 300, 1, 300},
        {"a/b/1/flexible/c", 1, 301, 1, 0, 0, 0, 0},
        {"a/b/1/flexible/c", 9, 100, 0, 0, 0, 0, 0},
        /* Half of it in spot, twice of it guaranteed, twice of it for two devices. */
        {"a/b/1/spot/c", 3, 300, 0, 1, 200, 1, 300},
        {"a/b/1/guaranteed/c", 3, 90, 0, 1, 200, 1, 300},
        {"a/b/2/flexible/c", 3, 90, 0, 1, 200, 1, 300},
        /* No lot takes such a score. */
        {"a/b/8/flexible/c", 1, 1000000000000, 1, 0, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct try_case *c = &cases[i];
        const struct hindsight_ask ask = other(c->owner, c->price);
        struct hindsight_sum replayed = {.lots_count = 0}, estimated = {.lots_count = 0};
        struct past past;
        three_sell_two(&past, c->key);
        hindsight_replay(&past.lot, &seed, &ask, &replayed);
        hindsight_estimate(&past.lot, &ask, &estimated);
        sum_is(&replayed, c->sold, c->replayed, c->replayed_revenue);
        sum_is(&estimated, c->sold, c->estimated, c->estimated_revenue);
        assert_int_equal(replayed.lots_count, c->owner != 9);
        assert_int_equal(estimated.blocks_count, c->owner != 9);
        buf_finish(&past.memory);
    }
}

static void an_estimate_sells_no_more_than_was_sold(void **unused)
{
    (void)unused;
    const struct hindsight_ask ask = other(2, 10);
    struct hindsight_sum sum = {.lots_count = 0};
    struct past past = {.memory = {.at = NULL}};
    block_add(&past, 1, 100);
    for (int i = 0; i < 4; i++)
        block_add(&past, 2, 300);
    wish_add(&past, 500, 1);
    past_clear(&past, "a/b/1/flexible/c");
    hindsight_estimate(&past.lot, &ask, &sum);
    assert_int_equal(sum.blocks_count, 4);
    sum_is(&sum, 0, 1, 300);
    buf_finish(&past.memory);

    past = (struct past){.memory = {.at = NULL}}; /* nothing traded: nothing is known */
    block_add(&past, 2, 900);
    wish_add(&past, 500, 1);
    past_clear(&past, "a/b/1/flexible/c");
    hindsight_estimate(&past.lot, &ask, &sum);
    sum_is(&sum, 0, 1, 300);
    assert_int_equal(sum.lots_count, 2);
    buf_finish(&past.memory);
}

/* The other ask being the one that stood, a replay is the record again; and what an estimate says
 * does not change with any rival's ask, as long as index and awards stay. */
static void the_same_ask_replays_to_the_record(void **unused)
{
    (void)unused;
    PROP_FOR(p, 2000)
    {
        struct past past = {.memory = {.at = NULL}};
        struct hindsight_sum sum = {.lots_count = 0}, first = {.lots_count = 0};
        int64_t prices[4], price = prop_range(&p, 50, 400);
        for (int i = 0; i < 4; i++) /* an account has one ask in a lot */
            prices[i] = i == 0 ? price : prop_range(&p, 50, 400);
        int64_t count = prop_range(&p, 1, BLOCKS_MAX);
        for (int64_t i = 0; i < count; i++) {
            int owner = (int)prop_range(&p, 1, 4);
            block_add(&past, owner, prices[owner - 1]);
        }
        for (int64_t i = prop_range(&p, 1, 4); i > 0; i--)
            wish_add(&past, prop_range(&p, 50, 500), (uint32_t)prop_range(&p, 1, 3));
        past_clear(&past, "a/b/1/flexible/c");
        const struct hindsight_ask ask = other(1, price);
        hindsight_replay(&past.lot, &seed, &ask, &sum);
        prop_check(&p, sum.sold_count == sum.would_count);
        prop_check(&p, sum.revenue_uusd_per_hour == sum.would_revenue_uusd_per_hour);
        hindsight_estimate(&past.lot, &ask, &first);
        for (int64_t i = 0; i < count; i++)
            if (!uuid_equal(past.blocks[i].owner, ask.account_id))
                past.blocks[i].ask_uusd_per_hour += 1000;
        struct hindsight_sum second = {.lots_count = 0};
        hindsight_estimate(&past.lot, &ask, &second);
        prop_check(&p, memcmp(&first, &second, sizeof(first)) == 0);
        buf_finish(&past.memory);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fates_are_told_apart),
        cmocka_unit_test(another_ask_is_tried_exactly_and_by_estimate),
        cmocka_unit_test(an_estimate_sells_no_more_than_was_sold),
        cmocka_unit_test(the_same_ask_replays_to_the_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
