/* One workload cleared by itself: the rule's wording tried by brute force, every lie that an
 * account could tell, and the edges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "auction/rfq.h"
#include "auction/tie.h"
#include "tests/lib/prop.h"

#define MAX        9
#define OWNERS_MAX 3
#define STEPS      6 /* prices 0..STEPS */

struct rfq_drawn {
    struct rfq_input input;
    struct rfq_candidate candidates[MAX];
    char ids[MAX][4];
};

static struct rfq rfq;
static struct rfq_drawn drawn;

static struct rfq_result cleared(const struct rfq_input *input)
{
    static _Alignas(64) char memory[8192];
    struct rfq_result result;
    must(rfq_size(MAX) <= sizeof(memory));
    memset(memory, 0xff, sizeof(memory)); /* what is lent is not clean */
    rfq_start(&rfq, MAX, memory);
    must(rfq_clear(&rfq, input, &result) == LOT_CLEARED);
    return result;
}

struct draw {
    bool has_terms_per_block, has_prices_per_block, is_spread, is_gang;
};

static void draw(struct prop *p, const struct draw *shape)
{
    int64_t prices[OWNERS_MAX], terms[OWNERS_MAX];
    for (int i = 0; i < OWNERS_MAX; i++) {
        prices[i] = prop_range(p, 0, STEPS);
        terms[i] = prop_range(p, 0, 2);
    }
    uint32_t count = (uint32_t)prop_range(p, 0, 6);
    drawn.input = (struct rfq_input){
        .candidates = drawn.candidates,
        .candidates_count = count,
        .owner = LOT_OWNER_NONE,
        .r_uusd_per_hour = prop_range(p, 0, STEPS + 3),
        .k = (uint32_t)prop_range(p, 1, 4),
    };
    drawn.input.kmin = shape->is_gang ? (uint32_t)prop_range(p, 1, drawn.input.k) : 1;
    for (int i = 0; i < 32; i++)
        drawn.input.seed.bytes[i] = (uint8_t)prop_u64(p);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t owner = (uint32_t)prop_range(p, 0, OWNERS_MAX - 1);
        must(str_format(drawn.ids[i], sizeof(drawn.ids[i]), "b%u", i));
        drawn.candidates[i] = (struct rfq_candidate){
            .id = str_of(drawn.ids[i]),
            .owner = owner,
            .group = shape->is_spread ? (uint32_t)prop_range(p, 0, count - 1) : i,
            .price_uusd_per_hour =
                shape->has_prices_per_block ? prop_range(p, 0, STEPS) : prices[owner],
            .terms_uusd_per_hour = shape->has_terms_per_block ? prop_range(p, 0, 2) : terms[owner],
        };
    }
}

/* The slow rule --------------------------------------------------------------------------------*/

static int64_t score_at(const struct rfq_input *input, uint32_t i)
{
    return input->candidates[i].price_uusd_per_hour + input->candidates[i].terms_uusd_per_hour;
}

static bool set_is_allowed(const struct rfq_input *input, uint32_t set, uint64_t without)
{
    uint32_t groups = 0, count = 0;
    for (uint32_t i = 0; i < input->candidates_count; i++) {
        const struct rfq_candidate *candidate = &input->candidates[i];
        if ((set >> i & 1) == 0)
            continue;
        if (candidate->owner == without || candidate->owner == input->owner ||
            score_at(input, i) > input->r_uusd_per_hour || (groups >> candidate->group & 1) != 0)
            return false;
        groups |= 1u << candidate->group;
        count++;
    }
    return count <= input->k;
}

/* The most that a choice within the rules saves of r, one owner left out. */
static int64_t welfare_best(const struct rfq_input *input, uint64_t without)
{
    int64_t best = 0;
    for (uint32_t set = 0; set < 1u << input->candidates_count; set++) {
        int64_t welfare = 0;
        if (!set_is_allowed(input, set, without))
            continue;
        for (uint32_t i = 0; i < input->candidates_count; i++)
            if (set >> i & 1)
                welfare += input->r_uusd_per_hour - score_at(input, i);
        best = welfare > best ? welfare : best;
    }
    return best;
}

static uint32_t size_most(const struct rfq_input *input, uint64_t without)
{
    uint32_t most = 0;
    for (uint32_t set = 0; set < 1u << input->candidates_count; set++) {
        uint32_t size = (uint32_t)__builtin_popcount(set);
        if (size > most && set_is_allowed(input, set, without))
            most = size;
    }
    return most;
}

static void the_choice_is_the_best_one_and_pays_what_it_saves_the_others(void **state)
{
    (void)state;
    static const struct draw shape = {.has_terms_per_block = true,
                                      .has_prices_per_block = true,
                                      .is_spread = true,
                                      .is_gang = true};
    PROP_FOR(p, 6000)
    {
        draw(&p, &shape);
        const struct rfq_input *input = &drawn.input;
        struct rfq_result result = cleared(input);
        int64_t welfare = 0, paid[OWNERS_MAX] = {0}, asked[OWNERS_MAX] = {0};
        uint32_t set = 0, most = size_most(input, UINT64_MAX);
        for (uint32_t i = 0; i < result.awards_count; i++) {
            const struct rfq_award *award = &result.awards[i];
            const struct rfq_candidate *candidate = &input->candidates[award->candidate];
            set |= 1u << award->candidate;
            welfare += input->r_uusd_per_hour - score_at(input, award->candidate);
            paid[candidate->owner] += award->theta_uusd_per_hour;
            asked[candidate->owner] += score_at(input, award->candidate);
            prop_check(&p, award->price_uusd_per_hour >= candidate->price_uusd_per_hour);
            prop_check(&p, award->theta_uusd_per_hour <= input->r_uusd_per_hour);
        }
        prop_check(&p, set_is_allowed(input, set, UINT64_MAX));
        prop_check(&p, result.awards_count == (most >= input->kmin ? most : 0));
        if (result.awards_count == 0)
            continue;
        int64_t best = welfare_best(input, UINT64_MAX);
        prop_check(&p, welfare == best);
        for (uint32_t owner = 0; owner < OWNERS_MAX; owner++)
            prop_check(&p, paid[owner] - asked[owner] == best - welfare_best(input, owner));
    }
}

/* Lies -----------------------------------------------------------------------------------------*/

/* What `owner` earns above what its blocks truly cost, when it says what stands in `drawn`. */
static int64_t gain_of(uint32_t owner, const int64_t costs[MAX])
{
    struct rfq_result result = cleared(&drawn.input);
    int64_t gain = 0;
    for (uint32_t i = 0; i < result.awards_count; i++)
        if (drawn.candidates[result.awards[i].candidate].owner == owner)
            gain += result.awards[i].price_uusd_per_hour - costs[result.awards[i].candidate];
    return gain;
}

static void costs_take(int64_t ret_costs[MAX])
{
    for (uint32_t i = 0; i < drawn.input.candidates_count; i++)
        ret_costs[i] = drawn.candidates[i].price_uusd_per_hour;
}

/* The next of all price lists over an owner's blocks, 0..STEPS+1 each; false after the last. */
static bool lie_next(uint32_t owner)
{
    for (uint32_t i = 0; i < drawn.input.candidates_count; i++) {
        if (drawn.candidates[i].owner != owner)
            continue;
        if (drawn.candidates[i].price_uusd_per_hour++ <= STEPS)
            return true;
        drawn.candidates[i].price_uusd_per_hour = 0;
    }
    return false;
}

/* Tries every list of prices for every owner. False: one paid. */
static bool no_list_of_prices_pays(void)
{
    int64_t costs[MAX];
    costs_take(costs);
    for (uint32_t owner = 0; owner < OWNERS_MAX; owner++) {
        int64_t truth = gain_of(owner, costs);
        for (uint32_t i = 0; i < drawn.input.candidates_count; i++)
            if (drawn.candidates[i].owner == owner)
                drawn.candidates[i].price_uusd_per_hour = 0;
        bool is_more = true;
        while (is_more) {
            if (gain_of(owner, costs) > truth)
                return false;
            is_more = lie_next(owner);
        }
        for (uint32_t i = 0; i < drawn.input.candidates_count; i++)
            drawn.candidates[i].price_uusd_per_hour = costs[i];
    }
    return true;
}

static void no_prices_but_the_true_ones_pay_where_one_replica_is_enough(void **state)
{
    (void)state;
    static const struct draw shape = {
        .has_terms_per_block = true, .has_prices_per_block = true, .is_spread = true};
    PROP_FOR(p, 300)
    {
        draw(&p, &shape);
        prop_check(&p, no_list_of_prices_pays());
    }
}

static void nor_where_the_rivals_alone_complete_the_gang(void **state)
{
    (void)state;
    static const struct draw shape = {.has_terms_per_block = true,
                                      .has_prices_per_block = true,
                                      .is_spread = true,
                                      .is_gang = true};
    PROP_FOR(p, 300)
    {
        bool has_rivals = true;
        draw(&p, &shape);
        for (uint32_t owner = 0; owner < OWNERS_MAX; owner++)
            has_rivals &= size_most(&drawn.input, owner) >= drawn.input.kmin;
        if (has_rivals)
            prop_check(&p, no_list_of_prices_pays());
    }
}

static void one_price_for_like_blocks_is_best_true_in_any_gang(void **state)
{
    (void)state;
    static const struct draw shape = {.is_gang = true, .is_spread = true};
    PROP_FOR(p, 5000)
    {
        int64_t costs[MAX];
        draw(&p, &shape);
        costs_take(costs);
        for (uint32_t owner = 0; owner < OWNERS_MAX; owner++) {
            int64_t truth = gain_of(owner, costs);
            for (int64_t lie = 0; lie <= STEPS + 4; lie++) {
                for (uint32_t i = 0; i < drawn.input.candidates_count; i++)
                    if (drawn.candidates[i].owner == owner)
                        drawn.candidates[i].price_uusd_per_hour = lie;
                prop_check(&p, gain_of(owner, costs) <= truth);
            }
            for (uint32_t i = 0; i < drawn.input.candidates_count; i++)
                drawn.candidates[i].price_uusd_per_hour = costs[i];
        }
    }
}

/* What the header does not promise, in the smallest case: a gang of two, r = 12, one account with
 * both blocks, one of them with terms 3. Truth (10) sells nothing; 9 sells both, at 12 and 9. */
static void an_account_that_alone_completes_a_gang_may_lower_its_dearest_block(void **state)
{
    (void)state;
    const int64_t costs[MAX] = {10, 10};
    drawn.input = (struct rfq_input){.candidates = drawn.candidates,
                                     .candidates_count = 2,
                                     .owner = LOT_OWNER_NONE,
                                     .r_uusd_per_hour = 12,
                                     .k = 2,
                                     .kmin = 2};
    drawn.candidates[0] =
        (struct rfq_candidate){.id = STR("a"), .group = 0, .price_uusd_per_hour = 10};
    drawn.candidates[1] = (struct rfq_candidate){
        .id = STR("b"), .group = 1, .price_uusd_per_hour = 10, .terms_uusd_per_hour = 3};
    assert_int_equal(gain_of(0, costs), 0);
    drawn.candidates[0].price_uusd_per_hour = drawn.candidates[1].price_uusd_per_hour = 9;
    assert_int_equal(gain_of(0, costs), 1);
}

/* Edges ----------------------------------------------------------------------------------------*/

static void the_order_of_the_input_changes_nothing(void **state)
{
    (void)state;
    static const struct draw shape = {
        .has_terms_per_block = true, .has_prices_per_block = true, .is_spread = true};
    PROP_FOR(p, 3000)
    {
        char before[MAX][4];
        int64_t prices[MAX];
        draw(&p, &shape);
        struct rfq_result result = cleared(&drawn.input);
        uint32_t count = result.awards_count;
        for (uint32_t i = 0; i < count; i++) {
            memcpy(before[i], drawn.candidates[result.awards[i].candidate].id.at, 4);
            prices[i] = result.awards[i].price_uusd_per_hour;
        }
        for (uint32_t i = 1; i < drawn.input.candidates_count; i++) {
            uint32_t other = (uint32_t)prop_range(&p, 0, i);
            struct rfq_candidate swap = drawn.candidates[i];
            drawn.candidates[i] = drawn.candidates[other];
            drawn.candidates[other] = swap;
        }
        result = cleared(&drawn.input);
        prop_check(&p, result.awards_count == count);
        for (uint32_t i = 0; i < count; i++)
            prop_check(&p,
                       result.awards[i].price_uusd_per_hour == prices[i] &&
                           str_equal_c(drawn.candidates[result.awards[i].candidate].id, before[i]));
    }
}

static void a_bid_that_loses_can_be_any_price_above(void **state)
{
    (void)state;
    static const struct draw shape = {.has_terms_per_block = true, .has_prices_per_block = true};
    PROP_FOR(p, 3000)
    {
        draw(&p, &shape);
        struct rfq_result result = cleared(&drawn.input);
        int64_t index = result.index_uusd_per_hour;
        if (result.awards_count == 0)
            continue;
        for (uint32_t i = 0; i < drawn.input.candidates_count; i++)
            if (score_at(&drawn.input, i) > index)
                drawn.candidates[i].price_uusd_per_hour += 7;
        prop_check(&p, cleared(&drawn.input).index_uusd_per_hour == index);
    }
}

static struct rfq_candidate three(const char *id, uint32_t owner, int64_t price, int64_t terms)
{
    return (struct rfq_candidate){.id = str_of(id),
                                  .owner = owner,
                                  .group = owner,
                                  .price_uusd_per_hour = price,
                                  .terms_uusd_per_hour = terms};
}

static void the_worked_example_comes_out(void **state)
{
    (void)state;
    const struct rfq_candidate candidates[] = {
        three("N1", 0, 300000, 45000), three("N2", 1, 320000, 7000), three("N3", 2, 290000, 95000)};
    struct rfq_input input = {.candidates = candidates,
                              .candidates_count = 3,
                              .owner = LOT_OWNER_NONE,
                              .r_uusd_per_hour = 500000,
                              .k = 1,
                              .kmin = 1};
    struct rfq_result result = cleared(&input);
    assert_int_equal(result.awards_count, 1);
    assert_int_equal(result.awards[0].candidate, 1);
    assert_int_equal(result.index_uusd_per_hour, 345000);
    assert_int_equal(result.awards[0].price_uusd_per_hour, 338000);
    assert_int_equal(result.verdict, DEMAND_FILLED);

    input.k = 5; /* the last one is paid up to r */
    result = cleared(&input);
    assert_int_equal(result.verdict, DEMAND_PARTLY_FILLED);
    assert_int_equal(result.awards[2].price_uusd_per_hour, 405000);
    input.k = UINT32_MAX;
    assert_int_equal(cleared(&input).awards_count, 3);

    input.kmin = 4;
    assert_int_equal(cleared(&input).verdict, DEMAND_LOT_TOO_SMALL);
    input.kmin = 3;
    input.r_uusd_per_hour = 384999;
    result = cleared(&input);
    assert_int_equal(result.verdict, DEMAND_RESERVE_SHORT);
    assert_int_equal(result.index_uusd_per_hour, LOT_INDEX_NONE);

    input.owner = 1; /* never its own */
    input.kmin = 1;
    result = cleared(&input);
    assert_int_equal(result.awards_count, 1);
    assert_int_equal(result.awards[0].candidate, 0);
    input.kmin = 3;
    assert_int_equal(cleared(&input).verdict, DEMAND_LOT_TOO_SMALL);
}

static void equals_go_by_hash(void **state)
{
    (void)state;
    struct rfq_candidate candidates[MAX];
    const char *ids[] = {"B/0", "A/0", "D/0", "C/0"};
    struct rfq_input input = {.candidates = candidates,
                              .candidates_count = 4,
                              .owner = LOT_OWNER_NONE,
                              .r_uusd_per_hour = 300,
                              .k = 4,
                              .kmin = 1};
    const uint32_t expected[] = {0, 2, 3, 1}; /* B D C A under seed 00..01 */
    input.seed.bytes[31] = 1;
    for (uint32_t i = 0; i < 4; i++)
        candidates[i] = three(ids[i], i, 200, 0);
    struct rfq_result result = cleared(&input);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(result.awards[i].candidate, expected[i]);
    for (uint32_t i = 0; i < 4; i++) /* of one group only the first */
        candidates[i].group = 0;
    result = cleared(&input);
    assert_int_equal(result.awards_count, 1);
    assert_int_equal(result.awards[0].candidate, 0);
    assert_int_equal(result.awards[0].price_uusd_per_hour, 200);
}

static void input_out_of_range_is_refused(void **state)
{
    (void)state;
    static _Alignas(64) char memory[8192];
    struct rfq_result result;
    struct rfq_candidate one;
    struct rfq_input good = {.candidates = &one,
                             .candidates_count = 1,
                             .r_uusd_per_hour = 5,
                             .owner = LOT_OWNER_NONE,
                             .k = 1,
                             .kmin = 1};
    rfq_start(&rfq, 1, memory);
    for (int fault = 0; fault <= 11; fault++) {
        struct rfq_input input = good;
        one = three("x", 0, 3, 1);
        input.candidates_count = fault == 1 ? 2 : 1;
        input.r_uusd_per_hour = fault == 2 ? -1 : fault == 3 ? LOT_SCORE_MAX + 1 : 5;
        input.kmin = fault == 4 ? 0 : fault == 5 ? 2 : 1;
        one.group = fault == 6 ? 1 : 0;
        one.price_uusd_per_hour = fault == 7   ? -1
                                  : fault == 8 ? LOT_SCORE_MAX + 1
                                  : fault == 9 ? LOT_SCORE_MAX
                                               : 3;
        one.terms_uusd_per_hour = fault == 10 ? -1 : fault == 11 ? LOT_SCORE_MAX + 1 : 1;
        assert_int_equal(rfq_clear(&rfq, &input, &result),
                         fault == 0 ? LOT_CLEARED : LOT_INPUT_BAD);
    }
    good.candidates_count = 0;
    assert_int_equal(rfq_clear(&rfq, &good, &result), LOT_CLEARED);
    assert_int_equal(result.verdict, DEMAND_LOT_TOO_SMALL);
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_choice_is_the_best_one_and_pays_what_it_saves_the_others),
        cmocka_unit_test(no_prices_but_the_true_ones_pay_where_one_replica_is_enough),
        cmocka_unit_test(nor_where_the_rivals_alone_complete_the_gang),
        cmocka_unit_test(one_price_for_like_blocks_is_best_true_in_any_gang),
        cmocka_unit_test(an_account_that_alone_completes_a_gang_may_lower_its_dearest_block),
        cmocka_unit_test(the_order_of_the_input_changes_nothing),
        cmocka_unit_test(a_bid_that_loses_can_be_any_price_above),
        cmocka_unit_test(the_worked_example_comes_out),
        cmocka_unit_test(equals_go_by_hash),
        cmocka_unit_test(input_out_of_range_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
