/* Does it pay to lie? Every seller of every drawn lot tries every ask that could make a difference:
 * each score and reserve of the lot, and one step to either side. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/lot_draw.h"

#define POINTS_MAX 64

static struct lot_drawn drawn;
static struct slow_lot slow;

/* Sellers with several blocks, gangs, ties; one adder per seller. */
static const struct draw_shape shape = {.blocks_max = 8,
                                        .demands_max = 6,
                                        .owners_max = 3,
                                        .k_max = 4,
                                        .price_steps = 12,
                                        .has_adders = true};

/* Scores at which the outcome for `owner` can change. */
static uint32_t points_of(const struct lot_input *input, uint32_t owner, int64_t ret[POINTS_MAX])
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < input->blocks_count; i++)
        if (input->blocks[i].owner != owner)
            ret[count++] =
                input->blocks[i].ask_uusd_per_hour + input->blocks[i].adder_uusd_per_hour;
    for (uint32_t i = 0; i < input->demands_count; i++)
        ret[count++] = input->demands[i].r_uusd_per_hour;
    return count;
}

static uint32_t owner_blocks(const struct lot_input *input, uint32_t owner)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < input->blocks_count; i++)
        count += input->blocks[i].owner == owner;
    return count;
}

/* How many blocks `owner` sells when its score is `score`, by the slow rule. */
static uint32_t slow_sold_at(const struct lot_input *input, uint32_t owner, int64_t score)
{
    for (uint32_t i = 0; i < input->blocks_count; i++)
        if (input->blocks[i].owner == owner)
            slow.scores[i] = score;
    slow_walk(input, &slow);
    uint32_t sold_count = 0;
    for (uint32_t rank = 0; rank < slow.sold_count; rank++)
        sold_count += input->blocks[slow.order[rank]].owner == owner;
    return sold_count;
}

/* The highest score below which `owner` sells at least l blocks, by trying them all: P8. That it
 * never sells more at a higher score is P7. */
static int64_t threshold_by_trial(struct prop *p, const struct lot_input *input, uint32_t owner,
                                  uint32_t l)
{
    int64_t points[POINTS_MAX], best = -1;
    uint32_t points_count = points_of(input, owner, points);
    slow_clear(input, &slow);
    for (uint32_t i = 0; i < points_count; i++)
        if (points[i] > best && slow_sold_at(input, owner, points[i] - 1) >= l)
            best = points[i];
    for (uint32_t i = 0; i < points_count; i++) {
        uint32_t above = slow_sold_at(input, owner, points[i] + 1);
        prop_check(p, points[i] < best ? above >= l : above < l);
    }
    return best;
}

static void each_block_is_paid_the_score_at_which_it_would_stop_selling(void **state)
{
    (void)state;
    PROP_FOR(p, 15000) {
        lot_draw(&p, &shape, &drawn);
        struct lot_result result = lot_cleared(&drawn.input);
        uint32_t sold[DRAWN_OWNERS_MAX] = {0};
        for (uint32_t i = 0; i < result.awards_count; i++) {
            uint32_t owner = drawn.blocks[result.awards[i].block].owner;
            int64_t theta = threshold_by_trial(&p, &drawn.input, owner, ++sold[owner]);
            prop_check(&p, result.awards[i].theta_uusd_per_hour == theta);
            /* A seller of one block is paid by the lot's index. */
            prop_check(&p, owner_blocks(&drawn.input, owner) > 1 ||
                               theta == result.index_uusd_per_hour);
        }
    }
}

struct sale {
    uint32_t sold_count;
    int64_t gain_uusd_per_hour; /* what it is paid above its true cost */
};

/* What `owner`, whose block costs it `cost` in truth, makes of asking `ask`. */
static struct sale sale_at(struct lot_drawn *lot, uint32_t owner, int64_t cost, int64_t ask)
{
    for (uint32_t i = 0; i < lot->input.blocks_count; i++)
        if (lot->blocks[i].owner == owner)
            lot->blocks[i].ask_uusd_per_hour = ask;
    struct lot_result result = lot_cleared(&lot->input);
    struct sale sale = {.sold_count = 0};
    for (uint32_t i = 0; i < result.awards_count; i++) {
        if (lot->blocks[result.awards[i].block].owner != owner)
            continue;
        sale.sold_count++;
        sale.gain_uusd_per_hour += result.awards[i].price_uusd_per_hour - cost;
    }
    return sale;
}

static uint32_t first_block_of(const struct lot_input *input, uint32_t owner)
{
    for (uint32_t i = 0; i < input->blocks_count; i++)
        if (input->blocks[i].owner == owner)
            return i;
    return UINT32_MAX;
}

static void lies_try(struct prop *p, struct lot_drawn *lot, uint32_t owner)
{
    uint32_t first = first_block_of(&lot->input, owner);
    if (first == UINT32_MAX)
        return;
    int64_t points[POINTS_MAX];
    uint32_t points_count = points_of(&lot->input, owner, points);
    int64_t cost = lot->blocks[first].ask_uusd_per_hour;
    struct sale truth = sale_at(lot, owner, cost, cost);
    prop_check(p, truth.gain_uusd_per_hour >= 0);
    for (uint32_t i = 0; i < points_count; i++)
        for (int64_t step = -1; step <= 1; step++) {
            int64_t lie = points[i] + step - lot->blocks[first].adder_uusd_per_hour;
            if (lie < 0)
                continue;
            struct sale sale = sale_at(lot, owner, cost, lie);
            prop_check(p, sale.gain_uusd_per_hour <= truth.gain_uusd_per_hour);
            prop_check(p, lie >= cost ? sale.sold_count <= truth.sold_count
                                      : sale.sold_count >= truth.sold_count);
        }
    sale_at(lot, owner, cost, cost);
}

static void no_seller_gains_by_another_ask(void **state)
{
    (void)state;
    PROP_FOR(p, 30000) {
        lot_draw(&p, &shape, &drawn);
        for (uint32_t owner = 0; owner < drawn.owners_count; owner++)
            lies_try(&p, &drawn, owner);
    }
}

/* Nodes of one seller may differ in their adders. With gangs in the lot the theorem then no longer
 * holds to the letter (one lie in some thousands pays a little); with single blocks it does. */
static void nor_with_nodes_of_different_adders_when_workloads_are_single(void **state)
{
    (void)state;
    struct draw_shape mixed = shape;
    mixed.k_max = 1;
    mixed.has_adders_per_block = true;
    const int64_t dearest = DRAWN_STEP * (mixed.price_steps + 1);
    PROP_FOR(p, 5000) {
        lot_draw(&p, &mixed, &drawn);
        for (uint32_t owner = 0; owner < drawn.owners_count; owner++) {
            uint32_t first = first_block_of(&drawn.input, owner);
            if (first == UINT32_MAX)
                continue;
            int64_t cost = drawn.blocks[first].ask_uusd_per_hour;
            struct sale truth = sale_at(&drawn, owner, cost, cost);
            for (int64_t lie = 0; lie <= dearest; lie++) {
                struct sale sale = sale_at(&drawn, owner, cost, lie);
                prop_check(&p, sale.gain_uusd_per_hour <= truth.gain_uusd_per_hour);
            }
            sale_at(&drawn, owner, cost, cost);
        }
    }
}

/* P10. No theorem: evidence. */
static void no_seller_gains_by_hiding_blocks(void **state)
{
    (void)state;
    PROP_FOR(p, 30000) {
        lot_draw(&p, &shape, &drawn);
        for (uint32_t owner = 0; owner < drawn.owners_count; owner++) {
            uint32_t first = first_block_of(&drawn.input, owner);
            if (first == UINT32_MAX)
                continue;
            int64_t cost = drawn.blocks[first].ask_uusd_per_hour;
            struct sale truth = sale_at(&drawn, owner, cost, cost);
            struct lot_drawn hidden = drawn;
            hidden.input.blocks = hidden.blocks;
            hidden.input.demands = hidden.demands;
            hidden.input.blocks_count = 0;
            for (uint32_t i = 0; i < drawn.input.blocks_count; i++)
                if (drawn.blocks[i].owner != owner || prop_chance(&p, 50))
                    hidden.blocks[hidden.input.blocks_count++] = drawn.blocks[i];
            prop_check(&p, sale_at(&hidden, owner, cost, cost).gain_uusd_per_hour <=
                               truth.gain_uusd_per_hour);
        }
    }
}

static void a_lower_reserve_never_wins_what_a_higher_one_lost(void **state)
{
    (void)state;
    PROP_FOR(p, 30000) {
        lot_draw(&p, &shape, &drawn);
        if (drawn.input.demands_count == 0)
            continue;
        uint32_t one = (uint32_t)prop_range(&p, 0, drawn.input.demands_count - 1);
        drawn.demands[one].k = drawn.demands[one].kmin = 1;
        bool had_won = lot_cleared(&drawn.input).accepted_counts[one] > 0;
        while (!had_won && drawn.demands[one].r_uusd_per_hour > 0) {
            drawn.demands[one].r_uusd_per_hour--;
            prop_check(&p, lot_cleared(&drawn.input).accepted_counts[one] == 0);
        }
    }
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_block_is_paid_the_score_at_which_it_would_stop_selling),
        cmocka_unit_test(no_seller_gains_by_another_ask),
        cmocka_unit_test(nor_with_nodes_of_different_adders_when_workloads_are_single),
        cmocka_unit_test(no_seller_gains_by_hiding_blocks),
        cmocka_unit_test(a_lower_reserve_never_wins_what_a_higher_one_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
