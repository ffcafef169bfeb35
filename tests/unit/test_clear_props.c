/* What the parties of a lot rely on, each on a hundred thousand random lots: P1 to P7, P11 to P17
 * and P20 of the rule's list, that nobody trades with itself, and that taking now is clearing a lot
 * of one workload. Lies and thresholds are tried in test_clear_truth.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "auction/policy.h"
#include "billing/meter.h"
#include "tests/lib/lot_shrink.h"

#define LOTS_COUNT 100000
#define HOUR_MS    3600000

static const struct draw_shape small = {.blocks_max = 9,
                                        .demands_max = 7,
                                        .owners_max = 4,
                                        .k_max = 4,
                                        .price_steps = 12,
                                        .self_percent = 15,
                                        .has_adders = true,
                                        .has_adders_per_block = true};
static const struct draw_shape unit = {.blocks_max = 9,
                                       .demands_max = 9,
                                       .owners_max = 6,
                                       .k_max = 1,
                                       .price_steps = 12,
                                       .has_adders = true};
static const struct draw_shape tiny_unit = {.blocks_max = 4,
                                            .demands_max = 4,
                                            .owners_max = 4,
                                            .k_max = 1,
                                            .price_steps = 30,
                                            .has_adders = true};

/* From the result alone -------------------------------------------------------------------------*/

static int64_t block_score(const struct lot_block *block)
{
    return block->ask_uusd_per_hour + block->adder_uusd_per_hour;
}

static void award_check(struct prop *p, const struct lot_input *input,
                        const struct lot_result *result, const struct lot_award *award)
{
    const struct lot_block *block = &input->blocks[award->block];
    const struct lot_demand *demand = &input->demands[award->demand];
    prop_check(p, block->owner != demand->owner);
    prop_check(p, block_score(block) <= demand->r_uusd_per_hour);
    prop_check(p, award->price_uusd_per_hour >= block->ask_uusd_per_hour);
    prop_check(p, award->price_uusd_per_hour <= demand->r_uusd_per_hour);
    prop_check(p, award->price_uusd_per_hour ==
                      award->theta_uusd_per_hour - block->adder_uusd_per_hour);
    prop_check(p, block_score(block) <= result->index_uusd_per_hour);
    prop_check(p, demand->r_uusd_per_hour >= result->index_uusd_per_hour);
}

/* P1, P2, P3, P14 */
static void awards_are_feasible(struct prop *p, struct lot_drawn *lot)
{
    static uint32_t got[DRAWN_DEMANDS_MAX];
    static bool is_sold[DRAWN_BLOCKS_MAX];
    struct lot_result result = lot_cleared(&lot->input);
    memset(got, 0, sizeof(got));
    memset(is_sold, 0, sizeof(is_sold));
    for (uint32_t i = 0; i < result.awards_count; i++) {
        const struct lot_award *award = &result.awards[i];
        award_check(p, &lot->input, &result, award);
        prop_check(p, !is_sold[award->block]);
        is_sold[award->block] = true;
        got[award->demand]++;
    }
    for (uint32_t i = 0; i < lot->input.demands_count; i++) {
        const struct lot_demand *demand = &lot->demands[i];
        prop_check(p, got[i] == result.accepted_counts[i] && got[i] <= demand->k);
        prop_check(p, got[i] == 0 || got[i] >= demand->kmin);
    }
    prop_check(p, (result.index_uusd_per_hour == LOT_INDEX_NONE) == (result.awards_count == 0));
}

/* P11, P12: what is sold is no dearer than what is not, and nobody has cause for envy. */
static void winners_are_a_prefix(struct prop *p, struct lot_drawn *lot)
{
    static bool is_sold[DRAWN_BLOCKS_MAX];
    memset(is_sold, 0, sizeof(is_sold));
    struct lot_result result = lot_cleared(&lot->input);
    int64_t dearest = 0;
    for (uint32_t i = 0; i < result.awards_count; i++) {
        int64_t score = block_score(&lot->blocks[result.awards[i].block]);
        prop_check(p, score >= dearest);
        is_sold[result.awards[i].block] = true;
        dearest = score;
    }
    if (result.awards_count == 0)
        return;
    for (uint32_t i = 0; i < lot->input.blocks_count; i++)
        prop_check(p, is_sold[i] || block_score(&lot->blocks[i]) >= dearest);
    for (uint32_t i = 0; i < lot->input.demands_count; i++) {
        bool could_envy = result.accepted_counts[i] == 0 && lot->demands[i].kmin == 1 &&
                          result.verdicts[i] != DEMAND_SELLS_HERE;
        prop_check(p, !could_envy || lot->demands[i].r_uusd_per_hour <= result.index_uusd_per_hour);
    }
}

/* P12: a seller of one block that lost stood at the index or above. */
static void losers_stood_at_the_index_or_above(struct prop *p, struct lot_drawn *lot)
{
    static bool is_sold[DRAWN_BLOCKS_MAX];
    uint32_t counts[DRAWN_OWNERS_MAX] = {0};
    memset(is_sold, 0, sizeof(is_sold));
    struct lot_result result = lot_cleared(&lot->input);
    for (uint32_t i = 0; i < result.awards_count; i++)
        is_sold[result.awards[i].block] = true;
    for (uint32_t i = 0; i < lot->input.blocks_count; i++)
        counts[lot->blocks[i].owner]++;
    for (uint32_t i = 0; i < lot->input.blocks_count; i++)
        prop_check(p, is_sold[i] || counts[lot->blocks[i].owner] > 1 ||
                          block_score(&lot->blocks[i]) >= result.index_uusd_per_hour);
}

/* P3 and P4 with money: all-in, no tenant pays above its reserve in any time, and what tenants pay
 * is what operators and the platform get. */
static void money_balances_within_reserves(struct prop *p, struct lot_drawn *lot)
{
    int64_t reserves[DRAWN_DEMANDS_MAX], fee_bp = prop_range(p, 0, METER_FEE_BP_MAX);
    int64_t paid = 0, received = 0, fees = 0, ms = prop_range(p, 0, 50 * HOUR_MS);
    for (uint32_t i = 0; i < lot->input.demands_count; i++) {
        reserves[i] = lot->demands[i].r_uusd_per_hour * 1000 + prop_range(p, 0, 999);
        lot->demands[i].r_uusd_per_hour = reserve_net(reserves[i], fee_bp);
    }
    for (uint32_t i = 0; i < lot->input.blocks_count; i++) {
        lot->blocks[i].ask_uusd_per_hour *= 900;
        lot->blocks[i].adder_uusd_per_hour *= 900;
    }
    struct lot_result result = lot_cleared(&lot->input);
    for (uint32_t i = 0; i < result.awards_count; i++) {
        const struct lot_award *award = &result.awards[i];
        struct meter_terms terms = {.price_uusd_per_hour = award->price_uusd_per_hour,
                                    .fee_bp = fee_bp};
        struct meter_bill bill = bill_for(&terms, ms), hour = bill_for(&terms, HOUR_MS);
        struct meter_terms asked = {.price_uusd_per_hour =
                                        lot->blocks[award->block].ask_uusd_per_hour};
        prop_check(p, hour.gross_uusd <= reserves[award->demand]);
        prop_check(p, bill.net_uusd >= bill_for(&asked, ms).net_uusd);
        paid += bill.gross_uusd;
        received += bill.net_uusd;
        fees += bill.fee_uusd;
    }
    prop_check(p, paid == received + fees);
}

static void refusals_say_why(struct prop *p, struct lot_drawn *lot)
{
    struct lot_result result = lot_cleared(&lot->input);
    for (uint32_t i = 0; i < lot->input.demands_count; i++) {
        const struct lot_demand *demand = &lot->demands[i];
        uint32_t got = result.accepted_counts[i], reach = 0;
        for (uint32_t b = 0; b < lot->input.blocks_count; b++)
            reach += block_score(&lot->blocks[b]) <= demand->r_uusd_per_hour;
        enum demand_verdict wanted = slow_sells(&lot->input, demand->owner)   ? DEMAND_SELLS_HERE
                                     : got == demand->k                       ? DEMAND_FILLED
                                     : got > 0                                ? DEMAND_PARTLY_FILLED
                                     : lot->input.blocks_count < demand->kmin ? DEMAND_LOT_TOO_SMALL
                                     : reach < demand->kmin                   ? DEMAND_RESERVE_SHORT
                                                                              : DEMAND_OUTBID;
        prop_check(p, result.verdicts[i] == wanted);
    }
}

/* By comparing two clearings --------------------------------------------------------------------*/

/* An outcome as a hash that does not depend on positions in the input. */
static struct sha256 digest_of(const struct lot_input *input)
{
    struct lot_result result = lot_cleared(input);
    struct sha256_run run;
    sha256_run_start(&run);
    sha256_run_add(&run, &result.index_uusd_per_hour, 8);
    for (uint32_t i = 0; i < result.awards_count; i++) {
        const struct lot_award *award = &result.awards[i];
        struct str block = input->blocks[award->block].id;
        struct str demand = input->demands[award->demand].id;
        sha256_run_add(&run, block.at, block.len + 1);
        sha256_run_add(&run, demand.at, demand.len + 1);
        sha256_run_add(&run, &award->theta_uusd_per_hour, 8);
        sha256_run_add(&run, &award->price_uusd_per_hour, 8);
    }
    return sha256_run_end(&run);
}

static bool clears_to(const struct lot_input *input, const struct sha256 *wanted)
{
    struct sha256 got = digest_of(input);
    return sha256_equal(&got, wanted);
}

/* P5, P6; numbering the sellers otherwise changes nothing either. */
static void input_order_changes_nothing(struct prop *p, struct lot_drawn *lot)
{
    struct sha256 before = digest_of(&lot->input);
    prop_check(p, clears_to(&lot->input, &before));
    for (uint32_t i = lot->input.blocks_count; i > 1; i--) {
        uint32_t with = (uint32_t)prop_range(p, 0, i - 1);
        struct lot_block moved = lot->blocks[with];
        lot->blocks[with] = lot->blocks[i - 1];
        lot->blocks[i - 1] = moved;
    }
    for (uint32_t i = lot->input.demands_count; i > 1; i--) {
        uint32_t with = (uint32_t)prop_range(p, 0, i - 1);
        struct lot_demand moved = lot->demands[with];
        lot->demands[with] = lot->demands[i - 1];
        lot->demands[i - 1] = moved;
    }
    prop_check(p, clears_to(&lot->input, &before));
    for (uint32_t i = 0; i < lot->input.blocks_count; i++)
        lot->blocks[i].owner = DRAWN_OWNERS_MAX - 1 - lot->blocks[i].owner;
    for (uint32_t i = 0; i < lot->input.demands_count; i++)
        if (lot->demands[i].owner != LOT_OWNER_NONE)
            lot->demands[i].owner = DRAWN_OWNERS_MAX - 1 - lot->demands[i].owner;
    prop_check(p, clears_to(&lot->input, &before));
}

/* P7 */
static void a_dearer_ask_never_sells_more(struct prop *p, struct lot_drawn *lot)
{
    if (lot->input.blocks_count == 0)
        return;
    uint32_t owner = lot->blocks[prop_range(p, 0, lot->input.blocks_count - 1)].owner;
    uint32_t sold_before = UINT32_MAX;
    for (int rise = 0; rise < 4; rise++) {
        struct lot_result result = lot_cleared(&lot->input);
        uint32_t sold_count = 0;
        for (uint32_t i = 0; i < result.awards_count; i++)
            sold_count += lot->blocks[result.awards[i].block].owner == owner;
        prop_check(p, sold_count <= sold_before);
        sold_before = sold_count;
        int64_t more = prop_range(p, 1, 3 * DRAWN_STEP);
        for (uint32_t i = 0; i < lot->input.blocks_count; i++)
            lot->blocks[i].ask_uusd_per_hour += lot->blocks[i].owner == owner ? more : 0;
    }
}

/* P7 */
static void a_lower_reserve_never_wins(struct prop *p, struct lot_drawn *lot)
{
    if (lot->input.demands_count == 0)
        return;
    struct lot_demand *one = &lot->demands[prop_range(p, 0, lot->input.demands_count - 1)];
    one->k = one->kmin = 1;
    bool had_lost = false;
    for (int fall = 0; fall < 6 && one->r_uusd_per_hour >= 0; fall++) {
        bool has_won = lot_cleared(&lot->input).accepted_counts[one - lot->demands] > 0;
        prop_check(p, !(had_lost && has_won));
        had_lost = !has_won;
        one->r_uusd_per_hour -= prop_range(p, 1, 2 * DRAWN_STEP);
    }
}

/* P15: a workload under the index changes nothing, whatever it wants. */
static void a_workload_under_the_index_changes_nothing(struct prop *p, struct lot_drawn *lot)
{
    char id[DRAWN_ID_SIZE];
    int64_t index = lot_cleared(&lot->input).index_uusd_per_hour;
    if (index <= 0)
        return;
    struct sha256 before = digest_of(&lot->input);
    uint32_t k = (uint32_t)prop_range(p, 1, 3);
    lot->demands[lot->input.demands_count] = (struct lot_demand){
        .id = draw_demand_id(id, 999),
        .owner = LOT_OWNER_NONE,
        .r_uusd_per_hour = prop_range(p, 0, index - 1),
        .k = k,
        .kmin = lot_is_even(lot) ? (uint32_t)prop_range(p, 1, k) : 1,
    };
    lot->input.demands_count++;
    prop_check(p, clears_to(&lot->input, &before));
}

/* P15: so does a block above it, where nobody wants several at once. */
static void a_block_above_the_index_changes_nothing(struct prop *p, struct lot_drawn *lot)
{
    char id[DRAWN_ID_SIZE];
    struct sha256 before = digest_of(&lot->input);
    int64_t index = lot_cleared(&lot->input).index_uusd_per_hour;
    if (index == LOT_INDEX_NONE)
        return;
    lot->blocks[lot->input.blocks_count] = (struct lot_block){
        .id = draw_block_id(id, DRAWN_OWNERS_MAX - 1, 0),
        .owner = DRAWN_OWNERS_MAX - 1,
        .ask_uusd_per_hour = index + prop_range(p, 1, DRAWN_STEP),
    };
    lot->input.blocks_count++;
    int64_t index_after = lot_cleared(&lot->input).index_uusd_per_hour;
    prop_check(p, index_after == index);
    /* A seller of several blocks may have had no rival left where the new one now stands. */
    uint32_t counts[DRAWN_OWNERS_MAX] = {0}, most = 0;
    for (uint32_t i = 0; i < lot->input.blocks_count; i++) {
        uint32_t count = ++counts[lot->blocks[i].owner];
        most = count > most ? count : most;
    }
    prop_check(p, most > 1 || clears_to(&lot->input, &before));
}

/* P16 */
static void ten_times_the_prices_is_ten_times_the_outcome(struct prop *p, struct lot_drawn *lot)
{
    struct lot_result result = lot_cleared(&lot->input);
    uint32_t awards_count = result.awards_count;
    int64_t index = result.index_uusd_per_hour, prices[DRAWN_BLOCKS_MAX];
    for (uint32_t i = 0; i < awards_count; i++)
        prices[i] = result.awards[i].price_uusd_per_hour;
    for (uint32_t i = 0; i < lot->input.blocks_count; i++) {
        lot->blocks[i].ask_uusd_per_hour *= 10;
        lot->blocks[i].adder_uusd_per_hour *= 10;
    }
    for (uint32_t i = 0; i < lot->input.demands_count; i++)
        lot->demands[i].r_uusd_per_hour *= 10;
    result = lot_cleared(&lot->input);
    prop_check(p, result.awards_count == awards_count);
    prop_check(p, result.index_uusd_per_hour == (index < 0 ? index : 10 * index));
    for (uint32_t i = 0; i < awards_count; i++)
        prop_check(p, result.awards[i].price_uusd_per_hour == 10 * prices[i]);
}

/* P20: where no two reserves are equal, another seed moves only who among equals sells. */
static void another_seed_only_moves_equals(struct prop *p, struct lot_drawn *lot)
{
    int64_t scores[DRAWN_BLOCKS_MAX];
    uint32_t demands[DRAWN_BLOCKS_MAX];
    for (uint32_t i = 0; i < lot->input.demands_count; i++)
        lot->demands[i].r_uusd_per_hour = 16 * lot->demands[i].r_uusd_per_hour + i;
    for (uint32_t i = 0; i < lot->input.blocks_count; i++)
        lot->blocks[i].ask_uusd_per_hour *= 16;
    struct lot_result result = lot_cleared(&lot->input);
    uint32_t awards_count = result.awards_count;
    int64_t index = result.index_uusd_per_hour;
    for (uint32_t i = 0; i < awards_count; i++) {
        scores[i] = block_score(&lot->blocks[result.awards[i].block]);
        demands[i] = result.awards[i].demand;
    }
    lot->input.seed.bytes[0] ^= 1;
    result = lot_cleared(&lot->input);
    prop_check(p, result.index_uusd_per_hour == index && result.awards_count == awards_count);
    for (uint32_t i = 0; i < awards_count; i++) {
        prop_check(p, result.awards[i].demand == demands[i]);
        prop_check(p, block_score(&lot->blocks[result.awards[i].block]) == scores[i]);
    }
}

static void a_seller_who_also_rents_is_as_if_absent(struct prop *p, struct lot_drawn *lot)
{
    struct sha256 before = digest_of(&lot->input);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < lot->input.demands_count; i++)
        if (!slow_sells(&lot->input, lot->demands[i].owner))
            lot->demands[kept++] = lot->demands[i];
    lot->input.demands_count = kept;
    prop_check(p, clears_to(&lot->input, &before));
}

/* Taking now: the cheapest blocks within the reserve, each at its first losing rival or at the
 * reserve; another workload that could not have been served before it makes no difference. */
static void taking_now_is_a_lot_of_one_workload(struct prop *p, struct lot_drawn *lot)
{
    if (lot->input.demands_count == 0)
        return;
    const struct lot_demand *one = &lot->demands[0];
    lot->input.demands_count = 1;
    struct lot_result result = lot_cleared(&lot->input);
    uint32_t reach = 0, sold[DRAWN_OWNERS_MAX] = {0};
    for (uint32_t i = 0; i < lot->input.blocks_count; i++)
        reach += block_score(&lot->blocks[i]) <= one->r_uusd_per_hour;
    uint32_t take = reach < one->k ? reach : one->k;
    bool is_served = take >= one->kmin && !slow_sells(&lot->input, one->owner);
    prop_check(p, result.awards_count == (is_served ? take : 0));
    for (uint32_t i = 0; i < result.awards_count; i++) {
        uint32_t owner = lot->blocks[result.awards[i].block].owner, cheaper = 0;
        int64_t theta = result.awards[i].theta_uusd_per_hour;
        /* Rivals cheaper than theta, and those not dearer: rank K - l lies between the two. */
        uint32_t rank = result.awards_count - ++sold[owner], not_dearer = 0;
        for (uint32_t b = 0; b < lot->input.blocks_count; b++) {
            cheaper += lot->blocks[b].owner != owner && block_score(&lot->blocks[b]) < theta;
            not_dearer += lot->blocks[b].owner != owner && block_score(&lot->blocks[b]) <= theta;
        }
        prop_check(p, cheaper <= rank);
        prop_check(p, theta == one->r_uusd_per_hour || not_dearer > rank);
    }
}

/* Welfare ---------------------------------------------------------------------------------------*/

/* The best total of r - score over all ways to give each workload at most one block. */
static int64_t best_welfare(const struct lot_input *input, uint32_t demand, unsigned taken)
{
    if (demand == input->demands_count)
        return 0;
    int64_t best = best_welfare(input, demand + 1, taken);
    for (uint32_t b = 0; b < input->blocks_count; b++) {
        int64_t gain = input->demands[demand].r_uusd_per_hour - block_score(&input->blocks[b]);
        if (taken & 1u << b || gain < 0)
            continue;
        int64_t total = gain + best_welfare(input, demand + 1, taken | 1u << b);
        best = total > best ? total : best;
    }
    return best;
}

/* P17 */
static void welfare_is_the_best(struct prop *p, struct lot_drawn *lot)
{
    struct lot_result result = lot_cleared(&lot->input);
    int64_t welfare = 0;
    for (uint32_t i = 0; i < result.awards_count; i++)
        welfare += lot->demands[result.awards[i].demand].r_uusd_per_hour -
                   block_score(&lot->blocks[result.awards[i].block]);
    prop_check(p, welfare == best_welfare(&lot->input, 0, 0));
}

/* The tool itself: what breaks is made as small as it can be, and no smaller. */
static void three_blocks_are_too_many(struct prop *p, struct lot_drawn *lot)
{
    prop_check(p, lot->input.blocks_count < 3 || lot->input.demands_count == 0);
}

static void a_broken_lot_shrinks_to_the_least_that_breaks(void **state)
{
    (void)state;
    static struct lot_drawn lot;
    PROP_FOR(p, 50)
    {
        lot_draw(&p, &small, &lot);
        FILE *said = stderr;
        stderr = fopen("/dev/null", "w");
        bool is_broken = lot_breaks(three_blocks_are_too_many, &p, &lot);
        prop_check(&p, is_broken == (lot.input.blocks_count > 2 && lot.input.demands_count > 0));
        while (is_broken && shrink_once(three_blocks_are_too_many, &p, &lot))
            ;
        fclose(stderr);
        stderr = said;
        prop_check(&p, !is_broken || (lot.input.blocks_count == 3 && lot.input.demands_count == 1));
        prop_check(&p, !is_broken || lot.demands[0].k == 1);
    }
}

struct holding {
    const struct draw_shape *shape;
    lot_property *property;
};

static void holds(void **state)
{
    const struct holding *holding = *state;
    lots_hold(holding->shape, LOTS_COUNT, holding->property);
}

#define HOLDS(of_property, of_shape)                              \
    {                                                             \
        .name = #of_property "_on_100k_lots", .test_func = holds, \
        .initial_state = &(struct holding)                        \
        {                                                         \
            .shape = of_shape, .property = of_property            \
        }                                                         \
    }

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_broken_lot_shrinks_to_the_least_that_breaks),
        HOLDS(awards_are_feasible, &small),
        HOLDS(winners_are_a_prefix, &small),
        HOLDS(losers_stood_at_the_index_or_above, &small),
        HOLDS(money_balances_within_reserves, &small),
        HOLDS(refusals_say_why, &small),
        HOLDS(input_order_changes_nothing, &small),
        HOLDS(a_dearer_ask_never_sells_more, &small),
        HOLDS(a_lower_reserve_never_wins, &small),
        HOLDS(a_workload_under_the_index_changes_nothing, &small),
        HOLDS(a_block_above_the_index_changes_nothing, &unit),
        HOLDS(ten_times_the_prices_is_ten_times_the_outcome, &small),
        HOLDS(another_seed_only_moves_equals, &small),
        HOLDS(a_seller_who_also_rents_is_as_if_absent, &small),
        HOLDS(taking_now_is_a_lot_of_one_workload, &small),
        HOLDS(welfare_is_the_best, &tiny_unit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
