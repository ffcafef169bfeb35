/* The happy path is: the stock stands ordered by pool and node, so one pass for each kind of pool
 * makes pools, nodes and devices; cutting then makes blocks, largest size first, halving what is
 * left over for smaller wishes. Failure modes are: none, memory aside.
 */
#include "broker/market/supply.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/must.h"
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

struct taking { /* one pass over the stock */
    struct supply *supply;
    const struct supply_query *query;
    bool is_spot;
    uint32_t pool_first, nodes_count, devices_count;
};

static struct supply_pool *pool_of(const struct taking *taking, const struct stock_entry *entry)
{
    struct supply *supply = taking->supply;
    if (supply->pools_count > taking->pool_first) {
        struct supply_pool *last = &supply->pools[supply->pools_count - 1];
        if (str_equal(last->region, entry->region) && str_equal(last->class, entry->class) &&
            str_equal(last->trust, entry->trust))
            return last;
    }
    struct supply_pool *pool = &supply->pools[supply->pools_count++];
    *pool = (struct supply_pool){
        .region = entry->region,
        .class = entry->class,
        .trust = entry->trust,
        .is_spot = taking->is_spot,
        .catalogue_uusd_per_hour = entry->catalogue_uusd_per_hour,
        .node_first = taking->nodes_count,
    };
    return pool;
}

static void node_take(struct supply_node *node, const struct stock_entry *entry,
                      uint32_t device_first)
{
    *node = (struct supply_node){
        .node_id = entry->node_id,
        .account_id = entry->account_id,
        .history = entry->history,
        .ask_uusd_per_device_hour = entry->ask->price_uusd_per_device_hour,
        .spot_multiplier_bp = entry->ask->spot_multiplier_bp,
        .guaranteed_multiplier_bp = entry->ask->guaranteed_multiplier_bp,
        .tier_mask = entry->ask->tier_mask,
        .device_first = device_first,
    };
}

static bool is_listed(struct str word, const struct str *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (str_equal(word, list[i]))
            return true;
    return false;
}

static bool is_wanted(const struct supply_query *query, const struct stock_entry *entry)
{
    return is_listed(entry->region, query->regions, query->regions_count) &&
           is_listed(entry->class, query->classes, query->classes_count);
}

/* Whether its node sells in this round, at the price that its account asks. */
static bool is_open(const struct taking *taking, const struct stock_entry *entry)
{
    const struct supply_query *query = taking->query;
    int32_t tiers = taking->is_spot ? 1 << TIER_SPOT : 1 << TIER_GUARANTEED | 1 << TIER_FLEXIBLE;
    const struct stock_ask *ask = entry->ask;
    return ask != NULL && !ask->is_withdrawn && ask->arrived_round <= query->round &&
           (ask->tier_mask & tiers) != 0 && entry->suspect_until_us <= query->at_us &&
           (entry->floor_uusd_per_device_hour == 0 ||
            entry->floor_uusd_per_device_hour == ask->price_uusd_per_device_hour);
}

/* Whether it is free, or held by whoever would have to leave. */
static bool is_offered(const struct taking *taking, const struct stock_device *device)
{
    const struct supply_query *query = taking->query;
    if (device->is_sold)
        return false;
    if (uuid_is_nil(device->holder_id))
        return true;
    const struct tier_holder holder = {.tier = TIER_SPOT,
                                       .is_running = true,
                                       .is_preempted = device->holder_is_preempted,
                                       .running_at_us = device->holder_running_at_us};
    return query->tiers != NULL && query->wants_higher &&
           tier_may_evict(query->tiers, taking->is_spot ? TIER_SPOT : TIER_FLEXIBLE, &holder,
                          query->at_us);
}

/* It stands, and came before the freeze. */
static bool bid_counts(const struct supply_query *query, const struct stock_device *device)
{
    return !uuid_is_nil(device->bid_workload_id) && device->bid_arrived_round <= query->round &&
           device->bid_expires_at_us > query->at_us;
}

/* Devices of one bid may have others of its node between them. */
static void bid_take(struct taking *taking, struct supply_pool *pool, struct stock_device *device,
                     uint32_t at)
{
    struct supply *supply = taking->supply;
    uint32_t place = supply->bids_count;
    while (place > 0 && !(uuid_equal(supply->bids[place - 1].bid_id, device->bid_id) &&
                          supply->bids[place - 1].pool == pool))
        place--;
    if (place == 0) {
        place = ++supply->bids_count;
        struct supply_bid *fresh = &supply->bids[place - 1];
        *fresh = (struct supply_bid){
            .bid_id = device->bid_id,
            .workload_id = device->bid_workload_id,
            .price_uusd_per_hour = device->bid_uusd_per_hour,
            .pool = pool,
            .block = {.node = &supply->nodes[taking->nodes_count - 1], .devices = fresh->devices}};
        uuid_text(device->device_id, fresh->block.id);
    }
    struct supply_bid *bid = &supply->bids[place - 1];
    must(bid->block.devices_count < BLOCK_DEVICES_MAX);
    bid->devices[bid->block.devices_count++] =
        (struct supply_device){.device_id = device->device_id,
                               .is_simulated = device->is_simulated,
                               .of = device,
                               .row = at};
}

static void device_take(struct taking *taking, const struct stock_entry *entry,
                        struct stock_device *device, uint32_t at)
{
    struct supply *supply = taking->supply;
    struct supply_pool *pool = pool_of(taking, entry);
    bool is_new = pool->nodes_count == 0 ||
                  !uuid_equal(supply->nodes[taking->nodes_count - 1].node_id, entry->node_id);
    if (is_new) {
        node_take(&supply->nodes[taking->nodes_count++], entry, taking->devices_count);
        pool->nodes_count++;
    }
    if (bid_counts(taking->query, device))
        bid_take(taking, pool, device, at);
    if (!uuid_is_nil(device->bid_id))
        return;
    supply->nodes[taking->nodes_count - 1].devices_count++;
    struct supply_device *taken = &supply->devices[taking->devices_count++];
    *taken = (struct supply_device){.device_id = device->device_id,
                                    .is_simulated = device->is_simulated,
                                    .of = device,
                                    .row = at};
    if (uuid_is_nil(device->holder_id))
        return;
    taken->holder_id = device->holder_id;
    taken->holder = (struct tier_victim){
        .r_uusd_per_device_hour =
            reserve_net(device->holder_reserve_uusd_per_hour, device->holder_fee_bp) /
            device->holder_block_size,
        .running_at_us = device->holder_running_at_us,
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

/* Fills the pools of one kind. Every device of an entry that is wanted has a row, sold or not, so
 * that it has the same one in both kinds. */
static void stock_take(struct taking *taking)
{
    struct supply *supply = taking->supply;
    const struct stock *stock = taking->query->stock;
    uint32_t node_first = taking->nodes_count, row = 0;
    taking->pool_first = supply->pools_count;
    for (size_t i = 0; i < stock->entries_count; i++) {
        struct stock_entry *entry = stock->entries[i];
        if (!is_wanted(taking->query, entry))
            continue;
        bool is_selling = is_open(taking, entry);
        for (uint32_t d = 0; is_selling && d < entry->devices_count; d++)
            if (is_offered(taking, &entry->devices[d]))
                device_take(taking, entry, &entry->devices[d], row + d);
        row += entry->devices_count;
    }
    for (uint32_t i = node_first; i < taking->nodes_count; i++)
        qsort(&supply->devices[supply->nodes[i].device_first], supply->nodes[i].devices_count,
              sizeof(struct supply_device), device_order);
}

struct size { /* of what is wanted: the most that supply can be */
    uint32_t entries_count, devices_count, bidding_count;
};

static struct size size_of(const struct supply_query *query)
{
    struct size size = {.entries_count = 0};
    for (size_t i = 0; i < query->stock->entries_count; i++) {
        const struct stock_entry *entry = query->stock->entries[i];
        if (!is_wanted(query, entry))
            continue;
        size.entries_count++;
        size.devices_count += entry->devices_count;
        for (uint32_t d = 0; d < entry->devices_count; d++)
            size.bidding_count += !uuid_is_nil(entry->devices[d].bid_id);
    }
    return size;
}

void supply_make(const struct supply_query *query, struct supply *ret_supply)
{
    const struct size size = size_of(query);
    size_t kinds = (size_t)query->wants_spot + (size_t)query->wants_higher;
    *ret_supply = (struct supply){
        .pools = array_of(kinds * size.entries_count, sizeof(struct supply_pool)),
        .nodes = array_of(kinds * size.entries_count, sizeof(struct supply_node)),
        .devices = array_of(kinds * size.devices_count, sizeof(struct supply_device)),
        .bids = array_of(kinds * size.bidding_count, sizeof(struct supply_bid)),
        .is_sold = array_of(size.devices_count, sizeof(bool)),
        .rows_count = size.devices_count,
        .cutting = query->cutting,
    };
    struct taking taking = {.supply = ret_supply, .query = query};
    if (query->wants_higher)
        stock_take(&taking);
    taking.is_spot = true;
    if (query->wants_spot)
        stock_take(&taking);
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
    for (uint32_t i = 0; i < supply->rows_count; i++)
        supply->is_sold[i] = false;
}

bool supply_is_held(const struct supply_block *block)
{
    for (uint32_t i = 0; i < block->devices_count; i++)
        if (!uuid_is_nil(block->devices[i].holder_id))
            return true;
    return false;
}

static int block_order(const void *a, const void *b)
{
    const struct supply_block *left = a, *right = b;
    return strcmp(left->id, right->id);
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
    *supply = (struct supply){.pools_count = 0};
}
