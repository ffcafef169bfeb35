/* The happy path is: list the blocks of every pool that the workload accepts and the bids on it,
 * sort them by id, clear, mark what was sold. Failure modes are: a score beyond what may be asked
 * (left out), and an input that rfq_clear refuses, which only a bug in loading can make.
 */
#include "broker/market/direct_round.h"

#include <stdlib.h>
#include <string.h>

#include "auction/even.h"
#include "auction/recompute.h"
#include "broker/base/must.h"
#include "broker/market/offer.h"

struct listing {
    const struct round_input *input;
    struct demand *demand;
    struct listed {
        struct record_candidate candidate;
        struct direct_source source;
    } * at;
    uint32_t count;
};

static void *array_of(size_t count, size_t size)
{
    void *array = calloc(count ? count : 1, size);
    must(array != NULL);
    return array;
}

/* Lists a block at its price; the standing ask where `bid_uusd_per_hour` is 0. */
static void listing_add(struct listing *listing, struct supply_block *block,
                        const struct direct_source *source, int64_t bid_uusd_per_hour)
{
    const struct demand *demand = listing->demand;
    const struct offer_place place = {.pool = source->pool,
                                      .devices_count = demand->block_size,
                                      .tier = demand->tier,
                                      .benchmarks = listing->input->benchmarks,
                                      .at_us = demand->at_us};
    bool is_bid = bid_uusd_per_hour > 0;
    int64_t price = is_bid ? bid_uusd_per_hour : offer_ask(&place, block->node);
    int64_t adder = offer_adder(&place, block->node, offer_usual(&place));
    int64_t latency = direct_latency(demand->constraints, source->pool->region);
    if (latency < 0 || latency > LOT_SCORE_MAX || price > LOT_SCORE_MAX - adder - latency)
        return;
    struct listed *listed = &listing->at[listing->count++];
    listed->source = *source;
    listed->source.block = block;
    listed->candidate = (struct record_candidate){
        .id = str_of(block->id),
        .owner = block->node->account_id,
        .node = block->node->node_id,
        .region = source->pool->region,
        .class = source->pool->class,
        .kind = is_bid ? DIRECT_PRICE_BID : DIRECT_PRICE_ASK,
        .price_uusd_per_hour = price,
        .adder_uusd_per_hour = adder,
        .latency_uusd_per_hour = latency,
    };
}

static struct direct_source source_of(const struct listing *listing, const struct supply_pool *pool,
                                      const struct supply_node *node)
{
    return (struct direct_source){
        .pool = pool,
        .facts = listing->demand->is_fine
                     ? direct_facts_of(listing->input->facts, &node->node_id, pool->class)
                     : NULL,
    };
}

static uint32_t listed_of_node(const struct listing *listing, const struct supply_node *node)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < listing->count; i++)
        count += listing->at[i].source.block->node == node;
    return count;
}

static void list_bids(struct listing *listing)
{
    const struct demand *demand = listing->demand;
    struct supply *supply = listing->input->supply;
    for (uint32_t i = 0; i < supply->bids_count; i++) {
        struct supply_bid *bid = &supply->bids[i];
        if (!uuid_equal(bid->workload_id, demand->workload_id) ||
            !supply_has(supply, &bid->block) || bid->block.devices_count != demand->block_size ||
            !demand_accepts(demand, bid->pool))
            continue;
        struct direct_source source = source_of(listing, bid->pool, bid->block.node);
        if (demand_blocks_max(demand, bid->pool, bid->block.node, source.facts) > 0)
            listing_add(listing, &bid->block, &source, bid->price_uusd_per_hour);
    }
}

/* Only what is free: nobody has to leave for a workload that no lot can say. */
static bool is_offered(const struct listing *listing, const struct supply_pool *pool,
                       const struct supply_block *block)
{
    const struct offer_place place = {.pool = pool, .tier = listing->demand->tier};
    return offer_has_tier(&place, block->node) && !supply_is_held(block) &&
           supply_has(listing->input->supply, block);
}

/* Blocks ascend by id, so what a node has room for is its first ones. */
static void list_pool(struct listing *listing, struct supply_pool *pool)
{
    uint32_t size = block_size_index(listing->demand->block_size);
    for (uint32_t i = 0; i < pool->blocks_count[size]; i++) {
        struct supply_block *block = &pool->blocks[size][i];
        if (!is_offered(listing, pool, block))
            continue;
        struct direct_source source = source_of(listing, pool, block->node);
        uint32_t most = demand_blocks_max(listing->demand, pool, block->node, source.facts);
        if (most > 0 && (most == UINT32_MAX || listed_of_node(listing, block->node) < most))
            listing_add(listing, block, &source, 0);
    }
}

static int listed_order(const void *a, const void *b)
{
    return str_compare(((const struct listed *)a)->candidate.id,
                       ((const struct listed *)b)->candidate.id);
}

static void listing_fill(struct listing *listing)
{
    struct supply *supply = listing->input->supply;
    uint32_t size = block_size_index(listing->demand->block_size);
    size_t most = supply->bids_count;
    for (uint32_t i = 0; i < supply->pools_count; i++)
        most += supply->pools[i].blocks_count[size];
    listing->at = array_of(most, sizeof(*listing->at));
    list_bids(listing);
    for (uint32_t i = 0; i < supply->pools_count; i++)
        if (demand_accepts(listing->demand, &supply->pools[i]))
            list_pool(listing, &supply->pools[i]);
    qsort(listing->at, listing->count, sizeof(*listing->at), listed_order);
}

static void adders_even(struct round_direct *direct)
{
    const struct record_demand demand = {.kmin = direct->want->kmin};
    struct record_block *blocks = array_of(direct->candidates_count, sizeof(*blocks));
    for (uint32_t i = 0; i < direct->candidates_count; i++)
        blocks[i] =
            (struct record_block){.owner = direct->candidates[i].owner,
                                  .adder_uusd_per_hour = direct->candidates[i].adder_uusd_per_hour};
    adders_make_even(blocks, direct->candidates_count, &demand, 1);
    for (uint32_t i = 0; i < direct->candidates_count; i++)
        direct->candidates[i].adder_uusd_per_hour = blocks[i].adder_uusd_per_hour;
    free(blocks);
}

static struct record_direct record_of(const struct round_direct *direct)
{
    const struct demand *demand = direct->want;
    return (struct record_direct){
        .id = str_of(demand->id),
        .owner = demand->account_id,
        .tier = demand->tier,
        .devices = (uint8_t)demand->block_size,
        .spread = demand->wish.spread,
        .r_uusd_per_hour = demand->r_uusd_per_hour,
        .k = demand->k,
        .kmin = demand->kmin,
        .candidates = direct->candidates,
        .candidates_count = direct->candidates_count,
        .outcome = direct->outcome,
    };
}

bool direct_clear(const struct round_input *input, struct demand *demand,
                  struct round_direct *ret_direct)
{
    struct listing listing = {.input = input, .demand = demand};
    listing_fill(&listing);
    *ret_direct = (struct round_direct){
        .want = demand,
        .candidates = array_of(listing.count, sizeof(struct record_candidate)),
        .sources = array_of(listing.count, sizeof(struct direct_source)),
        .candidates_count = listing.count,
    };
    for (uint32_t i = 0; i < listing.count; i++) {
        ret_direct->candidates[i] = listing.at[i].candidate;
        ret_direct->sources[i] = listing.at[i].source;
    }
    free(listing.at);
    adders_even(ret_direct);
    const struct record_direct record = record_of(ret_direct);
    if (record_direct_clear(&record, &input->seed, &ret_direct->memory, &ret_direct->outcome) !=
        LOT_CLEARED)
        return false;
    for (uint32_t i = 0; i < ret_direct->outcome.awards_count; i++) {
        struct direct_source *sold = &ret_direct->sources[ret_direct->outcome.awards[i].candidate];
        supply_sell(input->supply, sold->block);
        if (sold->facts != NULL)
            direct_take_room(&demand->wish, demand->block_size, sold->facts);
    }
    return true;
}

void direct_record(const struct round_direct *direct, struct buf *to)
{
    const struct record_direct record = record_of(direct);
    record_put_direct(to, &record);
}

void direct_finish(struct round_direct *direct)
{
    free(direct->candidates);
    free(direct->sources);
    buf_finish(&direct->memory);
}
