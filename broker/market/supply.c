/* The happy path is: rows come ordered by pool and node, so one pass for each kind of pool makes
 * pools, nodes and devices; cutting then makes blocks, largest size first, halving what is left
 * over for smaller wishes. Failure modes are: a database error, which leaves nothing to finish.
 */
#include "broker/market/supply.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/must.h"
#include "broker/market/shelf.h"
#include "broker/market/stock.h"
#include "broker/market/turnout.h"

uint32_t block_size_index(uint32_t devices)
{
    must(devices == 1 || devices == 2 || devices == 4 || devices == 8);
    return (uint32_t)__builtin_ctz(devices);
}

int trust_rank(struct str trust)
{
    static const char *const names[] = {"simulated", "unverified", "verified", "attested"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (str_equal_c(trust, names[i]))
            return (int)i;
    return -1;
}

static void *array_of(size_t count, size_t size)
{
    void *array = calloc(count ? count : 1, size);
    must(array != NULL);
    return array;
}

static bool is_same_pool(const struct supply_pool *pool, const struct stock_load_out *row)
{
    return str_equal(pool->region, row->region) && str_equal(pool->class, row->class) &&
           str_equal(pool->trust, row->trust);
}

struct taking { /* one pass over the rows */
    struct supply *supply;
    const struct supply_query *query;
    bool is_spot;
    uint32_t pool_first, nodes_count, devices_count;
};

static struct supply_pool *pool_of(const struct taking *taking, const struct stock_load_out *row)
{
    struct supply *supply = taking->supply;
    if (supply->pools_count > taking->pool_first &&
        is_same_pool(&supply->pools[supply->pools_count - 1], row))
        return &supply->pools[supply->pools_count - 1];
    struct supply_pool *pool = &supply->pools[supply->pools_count++];
    *pool = (struct supply_pool){
        .region = row->region,
        .class = row->class,
        .trust = row->trust,
        .is_spot = taking->is_spot,
        .catalogue_uusd_per_hour = row->catalogue_uusd_per_hour,
        .node_first = taking->nodes_count,
    };
    return pool;
}

static void node_take(struct supply_node *node, const struct stock_load_out *row,
                      uint32_t device_first)
{
    *node = (struct supply_node){
        .node_id = row->node_id,
        .account_id = row->account_id,
        .history = {.failures_milli = row->failures_milli,
                    .observed_ms = row->observed_ms,
                    .day = row->history_day},
        .ask_uusd_per_device_hour = row->price_uusd_per_device_hour,
        .spot_multiplier_bp = row->spot_multiplier_bp,
        .guaranteed_multiplier_bp = row->guaranteed_multiplier_bp,
        .tier_mask = row->tier_mask,
        .device_first = device_first,
    };
}

static enum err_code query_read(struct session *session, const struct supply_query *query,
                                struct stock **ret_stock)
{
    const struct stock_load_in in = {
        .market = str_of(query->market),
        .regions = query->regions,
        .regions_count = query->regions_count,
        .classes = query->classes,
        .classes_count = query->classes_count,
        .round = query->round,
        .with_held = query->tiers != NULL && query->wants_higher,
    };
    enum err_code err = stock_read(session, &in, ret_stock);
    if (err == ERR_OK && query->shelf != NULL)
        shelf_put(query->shelf, query, *ret_stock);
    return err;
}

enum err_code supply_restock(struct session *session, const char *market, struct shelf *shelf,
                             int64_t round)
{
    struct shelf_places places;
    struct stock *stock = NULL;
    if (!shelf_wants(shelf, &places))
        return ERR_OK;
    const struct supply_query query = {.market = market,
                                       .shelf = shelf,
                                       .regions = places.regions,
                                       .classes = places.classes,
                                       .regions_count = places.regions_count,
                                       .classes_count = places.classes_count,
                                       .round = round};
    enum err_code err = query_read(session, &query, &stock);
    stock_release(stock);
    return err;
}

static bool is_offered(const struct taking *taking, const struct stock_load_out *row)
{
    int32_t tiers = taking->is_spot ? 1 << TIER_SPOT : 1 << TIER_GUARANTEED | 1 << TIER_FLEXIBLE;
    if ((row->tier_mask & tiers) == 0)
        return false;
    if (!row->has_holder_id)
        return true;
    const struct tier_holder holder = {.tier = TIER_SPOT,
                                       .is_running = true,
                                       .is_preempted = row->holder_is_preempted,
                                       .running_at_us = row->holder_running_at_us};
    return tier_may_evict(taking->query->tiers, taking->is_spot ? TIER_SPOT : TIER_FLEXIBLE,
                          &holder, taking->query->at_us);
}

/* Rows of one bid may have others of its node between them. */
static void bid_take(struct supply *supply, const struct stock_load_out *row,
                     const struct supply_bid *fresh, uint32_t at)
{
    uint32_t place = supply->bids_count;
    while (place > 0 && !(uuid_equal(supply->bids[place - 1].bid_id, row->bid_id) &&
                          supply->bids[place - 1].pool == fresh->pool))
        place--;
    if (place == 0) {
        place = ++supply->bids_count;
        supply->bids[place - 1] = *fresh;
        uuid_text(row->device_id, supply->bids[place - 1].block.id);
        supply->bids[place - 1].block.devices = supply->bids[place - 1].devices;
    }
    struct supply_bid *bid = &supply->bids[place - 1];
    must(bid->block.devices_count < BLOCK_DEVICES_MAX);
    bid->devices[bid->block.devices_count++] = (struct supply_device){
        .device_id = row->device_id, .is_simulated = row->is_simulated, .row = at};
}

static void device_take(struct taking *taking, const struct stock_load_out *row, uint32_t at)
{
    struct supply *supply = taking->supply;
    struct supply_pool *pool = pool_of(taking, row);
    bool is_new = pool->nodes_count == 0 ||
                  !uuid_equal(supply->nodes[taking->nodes_count - 1].node_id, row->node_id);
    if (is_new) {
        node_take(&supply->nodes[taking->nodes_count++], row, taking->devices_count);
        pool->nodes_count++;
    }
    if (row->has_bid_workload_id)
        bid_take(supply, row,
                 &(struct supply_bid){.bid_id = row->bid_id,
                                      .workload_id = row->bid_workload_id,
                                      .price_uusd_per_hour = row->bid_uusd_per_hour,
                                      .pool = pool,
                                      .block = {.node = &supply->nodes[taking->nodes_count - 1]}},
                 at);
    if (row->has_bid_id)
        return;
    supply->nodes[taking->nodes_count - 1].devices_count++;
    struct supply_device *device = &supply->devices[taking->devices_count++];
    *device = (struct supply_device){
        .device_id = row->device_id, .is_simulated = row->is_simulated, .row = at};
    if (!row->has_holder_id)
        return;
    device->holder_id = row->holder_id;
    device->holder = (struct tier_victim){
        .r_uusd_per_device_hour =
            reserve_net(row->holder_reserve_uusd_per_hour, row->holder_fee_bp) /
            row->holder_block_size,
        .running_at_us = row->holder_running_at_us,
    };
}

/* Free ones first, as they stand; then lease by lease in the order of eviction. */
static int device_order(const void *a, const void *b)
{
    const struct supply_device *left = a, *right = b;
    bool is_left_free = uuid_is_nil(left->holder_id), is_right_free = uuid_is_nil(right->holder_id);
    if (is_left_free != is_right_free)
        return is_left_free ? -1 : 1;
    int order = is_left_free ? 0 : tier_eviction_order(&left->holder, &right->holder);
    if (order == 0)
        order = memcmp(&left->holder_id, &right->holder_id, sizeof(struct uuid));
    return order != 0 ? order : left->row < right->row ? -1 : 1;
}

/* Fills the pools of one kind. */
static void rows_take(struct taking *taking)
{
    struct supply *supply = taking->supply;
    uint32_t node_first = taking->nodes_count;
    taking->pool_first = supply->pools_count;
    for (uint32_t i = 0; i < supply->stock->count; i++) {
        const struct stock_load_out *row = &supply->stock->rows[i];
        if (!supply->stock->is_struck[i] && is_offered(taking, row))
            device_take(taking, row, i);
    }
    for (uint32_t i = node_first; i < taking->nodes_count; i++)
        qsort(&supply->devices[supply->nodes[i].device_first], supply->nodes[i].devices_count,
              sizeof(struct supply_device), device_order);
}

enum err_code supply_load(struct session *session, const struct supply_query *query,
                          struct supply *ret_supply)
{
    struct stock *stock = query->shelf != NULL ? shelf_take(query->shelf, query) : NULL;
    bool is_from_shelf = stock != NULL;
    enum err_code err = is_from_shelf ? ERR_OK : query_read(session, query, &stock);
    if (err != ERR_OK)
        return err;
    size_t kinds = (size_t)query->wants_spot + (size_t)query->wants_higher;
    *ret_supply = (struct supply){
        .stock = stock,
        .pools = array_of(stock->pools_count * kinds, sizeof(struct supply_pool)),
        .nodes = array_of(stock->nodes_count * kinds, sizeof(struct supply_node)),
        .devices = array_of(stock->count * kinds, sizeof(struct supply_device)),
        .bids = array_of(stock->bids_count * kinds, sizeof(struct supply_bid)),
        .is_sold = array_of(stock->count, sizeof(bool)),
        .cutting = query->cutting,
        .is_from_shelf = is_from_shelf,
    };
    struct taking taking = {.supply = ret_supply, .query = query};
    if (query->wants_higher)
        rows_take(&taking);
    taking.is_spot = true;
    if (query->wants_spot)
        rows_take(&taking);
    return ERR_OK;
}

bool supply_has(const struct supply *supply, const struct supply_block *block)
{
    for (uint32_t i = 0; i < block->devices_count; i++)
        if (supply->is_sold[block->devices[i].row])
            return false;
    return !block->is_gone;
}

void supply_sell(struct supply *supply, const struct supply_block *block)
{
    for (uint32_t i = 0; i < block->devices_count; i++)
        supply->is_sold[block->devices[i].row] = true;
}

void supply_unsell(struct supply *supply)
{
    for (uint32_t i = 0; supply->stock != NULL && i < supply->stock->count; i++)
        supply->is_sold[i] = false;
}

bool supply_is_held(const struct supply_block *block)
{
    for (uint32_t i = 0; i < block->devices_count; i++)
        if (!uuid_is_nil(block->devices[i].holder_id))
            return true;
    return false;
}

/* As their ids' texts do. */
static int block_order(const void *a, const void *b)
{
    const struct supply_block *left = a, *right = b;
    return memcmp(&left->devices[0].device_id, &right->devices[0].device_id, sizeof(struct uuid));
}

/* A node's devices are one group: agents do not report which of them share a link. */
static struct carve_input pool_carve_input(const struct supply *supply,
                                           const struct supply_pool *pool)
{
    struct carve_group *groups = array_of(pool->nodes_count, sizeof(*groups));
    for (uint32_t i = 0; i < pool->nodes_count; i++) {
        const struct supply_node *node = &supply->nodes[pool->node_first + i];
        groups[i] = (struct carve_group){
            .id = {(const char *)node->node_id.bytes, sizeof(node->node_id.bytes)},
            .node = i,
            .first = node->device_first,
            .devices_count = node->devices_count,
        };
    }
    struct carve_input input = {.groups = groups,
                                .groups_count = pool->nodes_count,
                                .nodes_count = pool->nodes_count,
                                .counts = {.wanted_has_unmet = !supply->cutting.is_now},
                                .seed = supply->cutting.seed};
    const struct turnout_row *last = turnout_of(supply->cutting.last, pool);
    memcpy(input.counts.wanted, pool->wanted, sizeof(pool->wanted));
    if (last != NULL) {
        memcpy(input.counts.last_supply, last->supply, sizeof(last->supply));
        memcpy(input.counts.last_sold, last->sold, sizeof(last->sold));
        memcpy(input.counts.last_unmet, last->unmet, sizeof(last->unmet));
    }
    return input;
}

static void block_add(const struct supply *supply, struct supply_pool *pool,
                      const struct carve_block *carved)
{
    uint32_t size = carved->size;
    struct supply_block *block = &pool->blocks[size][pool->blocks_count[size]++];
    *block = (struct supply_block){
        .node = &supply->nodes[pool->node_first + carved->group],
        .devices = &supply->devices[carved->first],
        .devices_count = 1u << size,
    };
    uuid_text(block->devices[0].device_id, block->id);
}

static void pool_cut(const struct supply *supply, struct supply_pool *pool)
{
    uint32_t counts[BLOCK_SIZES] = {0};
    struct carve_input input = pool_carve_input(supply, pool);
    void *memory = array_of(1, carve_memory_size(&input));
    const struct carve_block *carved = NULL;
    uint32_t count = carve(&input, memory, &carved);
    for (uint32_t i = 0; i < count; i++)
        counts[carved[i].size]++;
    for (uint32_t size = 0; size < BLOCK_SIZES; size++)
        pool->blocks[size] = array_of(counts[size], sizeof(struct supply_block));
    for (uint32_t i = 0; i < count; i++)
        block_add(supply, pool, &carved[i]);
    for (uint32_t size = 0; size < BLOCK_SIZES; size++)
        qsort(pool->blocks[size], counts[size], sizeof(struct supply_block), block_order);
    free(memory);
    free((void *)input.groups);
}

void supply_cut(struct supply *supply)
{
    for (uint32_t i = 0; i < supply->pools_count; i++)
        pool_cut(supply, &supply->pools[i]);
}

void supply_finish(struct supply *supply)
{
    for (uint32_t i = 0; i < supply->pools_count; i++)
        for (uint32_t size = 0; size < BLOCK_SIZES; size++)
            free(supply->pools[i].blocks[size]);
    free(supply->pools);
    free(supply->nodes);
    free(supply->devices);
    free(supply->bids);
    free(supply->is_sold);
    stock_release(supply->stock);
    *supply = (struct supply){.pools_count = 0};
}
