#include "broker/market/demand.h"

#include <stdlib.h>
#include <string.h>

/* Where it shall be spread, a place that one of its replicas holds is taken. */
static bool demand_holds(const struct demand *demand, const struct supply_pool *pool,
                         const struct uuid *node_id)
{
    char text[ID_TEXT_SIZE];
    struct str held = demand->held;
    bool is_by_node = demand->wish.spread == DIRECT_SPREAD_NODE;
    struct str place = is_by_node ? str_of(uuid_text(*node_id, text)) : pool->region;
    while (demand->wish.spread != DIRECT_SPREAD_NONE && held.len > 0)
        if (str_equal(str_cut(&held, ','), place))
            return true;
    return false;
}

uint32_t demand_blocks_max(const struct demand *demand, const struct supply_pool *pool,
                           const struct supply_node *node, const struct direct_facts *facts)
{
    uint32_t blocks_max = UINT32_MAX;
    if (uuid_equal(node->account_id, demand->account_id) || demand_avoids(demand, &node->node_id) ||
        demand_holds(demand, pool, &node->node_id))
        return 0;
    if (!demand->is_fine)
        return blocks_max;
    if (facts == NULL ||
        direct_judge(&demand->wish, facts, demand->block_size, &blocks_max) != DIRECT_FITS)
        return 0;
    return blocks_max;
}

bool demand_has_fine(const struct demands *demands)
{
    for (uint32_t i = 0; i < demands->count; i++)
        if (demands->at[i].is_fine)
            return true;
    return false;
}

void demand_price(struct demand *demand, const struct supply_pool *pool,
                  const struct lot_benchmarks *benchmarks)
{
    char key[LOT_KEY_SIZE] = "";
    if (!demand->is_direct)
        lot_key_format(pool, demand->block_size, demand->tier, key);
    demand->offer.benchmark_uusd_per_hour =
        benchmark_of_lot(benchmarks, pool, key, demand->block_size);
    demand->r_uusd_per_hour =
        reserve_net(price_offered(&demand->offer, demand->at_us), demand->fee_bp);
}

static void caller_add(struct demand_callers *callers, const struct uuid *node_id)
{
    if (callers->count == callers->max) {
        callers->max = callers->max > 0 ? callers->max * 2 : 16;
        callers->at = realloc(callers->at, callers->max * sizeof(*callers->at));
        must(callers->at != NULL);
    }
    callers->at[callers->count++] = *node_id;
}

/* What of a pool fits: whether anything does, and whether somebody there bids directly. */
static bool pool_fits(const struct demand *demand, const struct supply_pool *pool,
                      const struct demand_world *world, bool *ret_has_taker)
{
    bool has_fit = false;
    for (uint32_t i = 0; i < pool->nodes_count; i++) {
        const struct supply_node *node = &world->supply->nodes[pool->node_first + i];
        const struct direct_facts *facts =
            demand->is_fine ? direct_facts_of(world->facts, &node->node_id, pool->class) : NULL;
        if (demand_blocks_max(demand, pool, node, facts) == 0)
            continue;
        has_fit = true;
        if (facts == NULL || !facts->takes_bids)
            continue;
        *ret_has_taker = true;
        if (world->round == demand->arrived_round)
            caller_add(world->callers, &node->node_id);
    }
    return has_fit;
}

/* By itself: the cheapest pool with a node that fits sets the price it begins at. */
void demand_route_alone(struct demand *demand, const struct demand_world *world)
{
    const struct supply_pool *cheapest = NULL;
    bool has_taker = false;
    for (uint32_t i = 0; i < world->supply->pools_count; i++) {
        const struct supply_pool *pool = &world->supply->pools[i];
        if (!demand_accepts(demand, pool) || !pool_fits(demand, pool, world, &has_taker))
            continue;
        if (cheapest == NULL || pool->catalogue_uusd_per_hour < cheapest->catalogue_uusd_per_hour)
            cheapest = pool;
    }
    demand->is_direct = cheapest != NULL;
    demand->is_waiting = has_taker && demand->is_fine && !demand->is_now &&
                         world->round < demand->arrived_round + world->window_rounds;
    if (cheapest != NULL)
        demand_price(demand, cheapest, world->benchmarks);
}
