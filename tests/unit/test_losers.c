/* Which prices a losing ask set, and what offers begin at. */
#include "tests/lib/test.h"

#include "auction/losers.h"
#include "auction/policy.h"
#include "auction/recompute.h"

struct row {
    const char *id;
    int owner;
    int64_t ask, adder;
};

static struct uuid owner_of(int number)
{
    struct uuid id = {.bytes = {(uint8_t)number}};
    return id;
}

struct marks {
    bool is_set[8];
    int64_t theta[8];
};

/* Blocks ascending by id; all workloads want one. */
static struct marks mark(const struct row *rows, uint32_t count, const int64_t *reserves,
                         uint32_t reserves_count)
{
    struct marks marks = {{false}, {0}};
    struct record_block blocks[8];
    struct record_demand demands[8];
    char ids[8][8];
    struct buf memory = {0};
    for (uint32_t i = 0; i < count; i++)
        blocks[i] = (struct record_block){.id = str_of(rows[i].id),
                                          .owner = owner_of(rows[i].owner),
                                          .ask_uusd_per_hour = rows[i].ask,
                                          .adder_uusd_per_hour = rows[i].adder};
    for (uint32_t i = 0; i < reserves_count; i++) {
        assert_true(str_format(ids[i], sizeof(ids[i]), "w%u", i));
        demands[i] = (struct record_demand){.id = str_of(ids[i]),
                                            .owner = owner_of(100 + (int)i),
                                            .r_uusd_per_hour = reserves[i],
                                            .k = 1,
                                            .kmin = 1};
    }
    struct record_lot lot = {.key = STR("lot"),
                             .blocks = blocks,
                             .demands = demands,
                             .blocks_count = count,
                             .demands_count = reserves_count};
    const struct sha256 seed = {{0}};
    assert_int_equal(record_lot_clear(&lot, &seed, &memory, &lot.outcome), LOT_CLEARED);
    losers_mark(&lot, marks.is_set);
    for (uint32_t i = 0; i < lot.outcome.awards_count; i++)
        marks.theta[i] = lot.outcome.awards[i].theta_uusd_per_hour;
    buf_finish(&memory);
    return marks;
}

static void a_price_that_the_next_ask_sets_is_marked(void **state)
{
    (void)state;
    static const struct row rows[] = {{"a", 1, 200, 0}, {"b", 2, 250, 0}, {"c", 3, 300, 30}};
    static const int64_t reserves[] = {600, 500};
    struct marks marks = mark(rows, 3, reserves, 2);
    assert_int_equal(marks.theta[0], 330);
    assert_true(marks.is_set[0] && marks.is_set[1]);
}

static void a_price_that_a_reserve_sets_is_not(void **state)
{
    (void)state;
    static const struct row rows[] = {{"a", 1, 200, 0}, {"b", 2, 900, 0}};
    static const int64_t reserves[] = {600};
    struct marks marks = mark(rows, 2, reserves, 1);
    assert_int_equal(marks.theta[0], 600);
    assert_false(marks.is_set[0]);
}

static void a_losing_block_of_ones_own_sets_nothing(void **state)
{
    (void)state;
    /* Its own third block stands where its price is: nobody else does. */
    static const struct row rows[] = {{"a", 1, 600, 0}, {"b", 1, 600, 0}};
    static const int64_t reserves[] = {600};
    struct marks marks = mark(rows, 2, reserves, 1);
    assert_int_equal(marks.theta[0], 600);
    assert_false(marks.is_set[0]);
}

static void of_equals_one_stranger_is_enough(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"a", 1, 400, 0}, {"b", 1, 400, 0}, {"c", 2, 400, 0}, {"d", 3, 500, 0}};
    static const int64_t reserves[] = {600};
    struct marks marks = mark(rows, 4, reserves, 1);
    assert_int_equal(marks.theta[0], 400);
    assert_true(marks.is_set[0]);
}

static void too_few_prices_leave_the_catalogue(void **state)
{
    (void)state;
    assert_int_equal(benchmark_choose(200, BENCHMARK_PRICES_MIN - 1, 390), 390);
    assert_int_equal(benchmark_choose(200, BENCHMARK_PRICES_MIN, 390), 250);
    assert_int_equal(benchmark_choose(0, 0, 390), 390);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_price_that_the_next_ask_sets_is_marked),
        cmocka_unit_test(a_price_that_a_reserve_sets_is_not),
        cmocka_unit_test(a_losing_block_of_ones_own_sets_nothing),
        cmocka_unit_test(of_equals_one_stranger_is_enough),
        cmocka_unit_test(too_few_prices_leave_the_catalogue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
