/* The happy path is: every demand that has a lot is put into it, each lot gets the blocks of its
 * pool as the record's rows, lots are cleared tier by tier, then what goes by itself on what is
 * left, and each accepted block becomes an award. Failure modes are: a score beyond what a lot may
 * hold (such a block is left out), and an input that lot_clear refuses, which only a bug in loading
 * can make.
 */
#include "broker/market/round.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "auction/losers.h"
#include "auction/even.h"
#include "auction/frag.h"
#include "auction/recompute.h"
#include "broker/base/merkle.h"
#include "broker/base/must.h"
#include "broker/market/direct_round.h"
#include "broker/market/offer.h"
#include "broker/market/turnout.h"

struct sha256 arrival_leaf(int64_t round, int64_t place, const struct sha256 *message)
{
    uint8_t bytes[16 + sizeof(message->bytes)];
    uint64_t big[2] = {htobe64((uint64_t)round), htobe64((uint64_t)place)};
    memcpy(bytes, big, 16);
    memcpy(bytes + 16, message->bytes, sizeof(message->bytes));
    return merkle_leaf(bytes, sizeof(bytes));
}

static void *array_of(size_t count, size_t size)
{
    void *array = calloc(count ? count : 1, size);
    must(array != NULL);
    return array;
}

static int64_t block_adder(const struct supply_block *block, const struct offer_place *place,
                           const struct tier_times *tiers, int64_t usual)
{
    int64_t adder = offer_adder(place, block->node, usual);
    if (supply_is_held(block))
        adder += tier_wait_adder(usual, tiers->spot_notice_ms);
    return adder;
}

/* Offered to the lot: of its tier, not sold in this clearing. */
static bool is_offered(const struct supply_block *block, const struct offer_place *place,
                       const struct round_input *input)
{
    return offer_has_tier(place, block->node) && supply_has(input->supply, block);
}

struct lot_fragments { /* phi of the lot's blocks; only single devices carry it */
    struct frag_whole whole;
    int64_t least_delta, usual_uusd_per_hour;
    bool is_counted;
};

/* Larger blocks are what phi keeps whole (auction/frag.h). */
static struct lot_fragments lot_fragments_of(const struct offer_place *place,
                                             const struct round_input *input)
{
    const struct supply_cutting *cutting = &input->supply->cutting;
    const struct supply_pool *pool = place->pool;
    const struct turnout_row *last = turnout_of(cutting->last, pool);
    int64_t wanted[BLOCK_SIZES];
    if (place->devices_count != 1)
        return (struct lot_fragments){.is_counted = false};
    for (uint32_t size = 0; size < BLOCK_SIZES; size++)
        wanted[size] =
            pool->wanted[size] + (cutting->is_now && last != NULL ? last->unmet[size] : 0);
    struct lot_fragments fragments = {.whole = frag_whole_of(wanted),
                                      .least_delta = INT64_MAX,
                                      .usual_uusd_per_hour = offer_usual(place),
                                      .is_counted = true};
    for (uint32_t i = 0; i < pool->blocks_count[0]; i++) {
        const struct supply_block *block = &pool->blocks[0][i];
        int64_t delta = frag_whole_delta(&fragments.whole, block->node->devices_count);
        if (delta < fragments.least_delta && is_offered(block, place, input))
            fragments.least_delta = delta;
    }
    return fragments;
}

static int64_t block_fragment_adder(const struct lot_fragments *fragments,
                                    const struct supply_block *block)
{
    if (!fragments->is_counted)
        return 0;
    int64_t delta = frag_whole_delta(&fragments->whole, block->node->devices_count);
    return frag_adder(fragments->whole.weight_total, delta - fragments->least_delta,
                      fragments->usual_uusd_per_hour, FRAG_LAMBDA_BP);
}

static void lot_take_blocks(struct round_lot *lot, const struct round_input *input)
{
    const struct supply_pool *pool = lot->pool;
    uint32_t size = block_size_index(lot->devices_count);
    const struct offer_place place = {.pool = pool,
                                      .devices_count = lot->devices_count,
                                      .tier = lot->tier,
                                      .benchmarks = input->benchmarks,
                                      .at_us = input->demands->at[0].at_us};
    const struct lot_fragments fragments = lot_fragments_of(&place, input);
    int64_t usual = offer_usual(&place);
    lot->blocks = array_of(pool->blocks_count[size], sizeof(*lot->blocks));
    lot->sources = array_of(pool->blocks_count[size], sizeof(struct supply_block *));
    for (uint32_t i = 0; i < pool->blocks_count[size]; i++) {
        struct supply_block *block = &pool->blocks[size][i];
        if (!is_offered(block, &place, input))
            continue;
        int64_t ask = offer_ask(&place, block->node);
        int64_t adder = block_adder(block, &place, input->tiers, usual) +
                        block_fragment_adder(&fragments, block);
        if (ask > LOT_SCORE_MAX - adder)
            continue;
        lot->sources[lot->blocks_count] = block;
        lot->blocks[lot->blocks_count++] = (struct record_block){
            .id = str_of(block->id),
            .owner = block->node->account_id,
            .node = block->node->node_id,
            .ask_uusd_per_hour = ask,
            .adder_uusd_per_hour = adder,
        };
    }
}

static void lot_take_demand(struct round_lot *lot, struct demand *demand)
{
    lot->wants[lot->demands_count] = demand;
    lot->demands[lot->demands_count++] = (struct record_demand){
        .id = str_of(demand->id),
        .owner = demand->account_id,
        .r_uusd_per_hour = demand->r_uusd_per_hour,
        .k = demand->k,
        .kmin = demand->kmin,
    };
}

static void lot_open(struct round_lot *lot, const struct demand *first, uint32_t demands_max)
{
    *lot = (struct round_lot){
        .pool = first->pool,
        .devices_count = first->block_size,
        .tier = first->tier,
        .demands = array_of(demands_max, sizeof(struct record_demand)),
        .wants = array_of(demands_max, sizeof(struct demand *)),
    };
    lot_key_format(lot->pool, lot->devices_count, lot->tier, lot->key);
}

/* The order of clearing: lots by tier; then what goes by itself by tier, dearest first. */
static int demand_order(const void *a, const void *b)
{
    const struct demand *left = *(struct demand *const *)a, *right = *(struct demand *const *)b;
    int tiers = (int)tier_of(left->tier) - (int)tier_of(right->tier);
    if (left->is_direct != right->is_direct)
        return left->is_direct - right->is_direct;
    if (tiers != 0)
        return tiers;
    if (left->is_direct && left->r_uusd_per_hour != right->r_uusd_per_hour)
        return left->r_uusd_per_hour > right->r_uusd_per_hour ? -1 : 1;
    if (!left->is_direct && left->pool != right->pool)
        return left->pool < right->pool ? -1 : 1;
    if (!left->is_direct && left->block_size != right->block_size)
        return left->block_size < right->block_size ? -1 : 1;
    return strcmp(left->id, right->id);
}

static bool is_same_lot(const struct demand *a, const struct demand *b)
{
    return !a->is_direct && !b->is_direct && a->pool == b->pool && a->block_size == b->block_size &&
           str_equal(a->tier, b->tier);
}

struct place { /* a block of a lot; those of one node are equal */
    uint32_t at;
    bool is_won;
    struct supply_block *source;
};

/* Node by node, and there what goes first: devices stand free ones first, then in the order of
 * eviction. */
static int place_order(const void *a, const void *b)
{
    const struct place *left = a, *right = b;
    if (left->source->node != right->source->node)
        return left->source->node < right->source->node ? -1 : 1;
    return left->source->devices < right->source->devices ? -1 : 1;
}

static bool wins_held(const struct round_lot *lot)
{
    for (uint32_t i = 0; i < lot->outcome.awards_count; i++)
        if (supply_is_held(lot->sources[lot->outcome.awards[i].block]))
            return true;
    return false;
}

/* Gives the places of a node that were won the blocks that go first. */
static void evictions_choose(struct round_lot *lot)
{
    if (!wins_held(lot))
        return;
    struct place *places = array_of(lot->blocks_count, sizeof(*places));
    for (uint32_t i = 0; i < lot->blocks_count; i++)
        places[i] = (struct place){.at = i, .source = lot->sources[i]};
    for (uint32_t i = 0; i < lot->outcome.awards_count; i++)
        places[lot->outcome.awards[i].block].is_won = true;
    qsort(places, lot->blocks_count, sizeof(*places), place_order);
    for (uint32_t first = 0, last; first < lot->blocks_count; first = last) {
        const struct supply_node *node = places[first].source->node;
        uint32_t next = first;
        for (last = first; last < lot->blocks_count && places[last].source->node == node; last++)
            if (places[last].is_won)
                lot->sources[places[last].at] = places[next++].source;
        for (uint32_t i = first; i < last; i++)
            if (!places[i].is_won)
                lot->sources[places[i].at] = places[next++].source;
    }
    free(places);
}

static struct record_lot lot_record(const struct round_lot *lot)
{
    return (struct record_lot){
        .key = str_of(lot->key),
        .blocks = lot->blocks,
        .demands = lot->demands,
        .blocks_count = lot->blocks_count,
        .demands_count = lot->demands_count,
        .outcome = lot->outcome,
    };
}

static bool lot_clear_one(struct round_lot *lot, const struct round_input *input)
{
    lot_take_blocks(lot, input);
    adders_make_even(lot->blocks, lot->blocks_count, lot->demands, lot->demands_count);
    const struct record_lot record = lot_record(lot);
    if (record_lot_clear(&record, &input->seed, &lot->memory, &lot->outcome) != LOT_CLEARED)
        return false;
    evictions_choose(lot);
    for (uint32_t i = 0; i < lot->outcome.awards_count; i++)
        supply_sell(input->supply, lot->sources[lot->outcome.awards[i].block]);
    return true;
}

static int lot_order(const void *a, const void *b)
{
    return strcmp(((const struct round_lot *)a)->key, ((const struct round_lot *)b)->key);
}

static int direct_order(const void *a, const void *b)
{
    return strcmp(((const struct round_direct *)a)->want->id,
                  ((const struct round_direct *)b)->want->id);
}

static void direct_collect(struct round_clearing *clearing, const struct round_direct *direct)
{
    for (uint32_t i = 0; i < direct->outcome.awards_count; i++) {
        const struct rfq_award *award = &direct->outcome.awards[i];
        const struct direct_source *source = &direct->sources[award->candidate];
        clearing->awards[clearing->awards_count++] = (struct round_award){
            .demand = direct->want,
            .block = source->block,
            .pool = source->pool,
            .theta_uusd_per_hour = award->theta_uusd_per_hour,
            .price_uusd_per_hour = award->price_uusd_per_hour,
            .adder_uusd_per_hour = award->theta_uusd_per_hour - award->price_uusd_per_hour,
        };
    }
}

static void lot_collect(struct round_clearing *clearing, const struct round_lot *lot)
{
    bool *is_set = array_of(lot->outcome.awards_count, sizeof(*is_set));
    const struct record_lot record = lot_record(lot);
    losers_mark(&record, is_set);
    for (uint32_t i = 0; i < lot->outcome.awards_count; i++) {
        const struct lot_award *award = &lot->outcome.awards[i];
        clearing->awards[clearing->awards_count++] = (struct round_award){
            .demand = lot->wants[award->demand],
            .block = lot->sources[award->block],
            .pool = lot->pool,
            .theta_uusd_per_hour = award->theta_uusd_per_hour,
            .price_uusd_per_hour = award->price_uusd_per_hour,
            .adder_uusd_per_hour = lot->blocks[award->block].adder_uusd_per_hour,
            .is_price_set_by_ask = is_set[i],
        };
    }
    free(is_set);
}

static void awards_collect(struct round_clearing *clearing)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < clearing->lots_count; i++)
        count += clearing->lots[i].outcome.awards_count;
    for (uint32_t i = 0; i < clearing->directs_count; i++)
        count += clearing->directs[i].outcome.awards_count;
    clearing->awards = array_of(count, sizeof(struct round_award));
    for (uint32_t i = 0; i < clearing->lots_count; i++)
        lot_collect(clearing, &clearing->lots[i]);
    for (uint32_t i = 0; i < clearing->directs_count; i++)
        direct_collect(clearing, &clearing->directs[i]);
}

/* Who takes part, in the order of clearing. */
static uint32_t demands_order(struct demands *demands, struct demand **ret_order)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < demands->count; i++) {
        struct demand *demand = &demands->at[i];
        bool is_by_itself = demand->is_direct && !demand->is_waiting;
        if ((demand->pool != NULL || is_by_itself) && !demand->is_out)
            ret_order[count++] = demand;
    }
    qsort(ret_order, count, sizeof(struct demand *), demand_order);
    return count;
}

bool round_clear(const struct round_input *input, struct round_clearing *ret_clearing)
{
    struct demand **order = array_of(input->demands->count, sizeof(struct demand *));
    uint32_t count = demands_order(input->demands, order);
    supply_unsell(input->supply);
    direct_facts_reset(input->facts);

    *ret_clearing =
        (struct round_clearing){.lots = array_of(count, sizeof(struct round_lot)),
                                .directs = array_of(count, sizeof(struct round_direct))};
    bool is_good = true;
    for (uint32_t i = 0; i < count && is_good;) {
        if (order[i]->is_direct) {
            is_good = direct_clear(input, order[i++],
                                   &ret_clearing->directs[ret_clearing->directs_count++]);
            continue;
        }
        struct round_lot *lot = &ret_clearing->lots[ret_clearing->lots_count++];
        uint32_t last = i + 1;
        while (last < count && is_same_lot(order[i], order[last]))
            last++;
        lot_open(lot, order[i], last - i);
        for (; i < last; i++)
            lot_take_demand(lot, order[i]);
        is_good = lot_clear_one(lot, input);
    }
    free(order);
    qsort(ret_clearing->lots, ret_clearing->lots_count, sizeof(struct round_lot), lot_order);
    qsort(ret_clearing->directs, ret_clearing->directs_count, sizeof(struct round_direct),
          direct_order);
    awards_collect(ret_clearing);
    return is_good;
}

void round_clearing_finish(struct round_clearing *clearing)
{
    for (uint32_t i = 0; i < clearing->lots_count; i++) {
        struct round_lot *lot = &clearing->lots[i];
        free(lot->blocks);
        free(lot->demands);
        free(lot->sources);
        free(lot->wants);
        buf_finish(&lot->memory);
    }
    for (uint32_t i = 0; i < clearing->directs_count; i++)
        direct_finish(&clearing->directs[i]);
    free(clearing->directs);
    free(clearing->lots);
    free(clearing->awards);
    *clearing = (struct round_clearing){.lots_count = 0};
}

void round_record(const struct round_clearing *clearing, struct record_head head, struct buf *to)
{
    head.lots_count = clearing->lots_count;
    head.directs_count = clearing->directs_count;
    record_put_head(to, &head);
    for (uint32_t i = 0; i < clearing->lots_count; i++) {
        const struct record_lot record = lot_record(&clearing->lots[i]);
        record_put_lot(to, &record);
    }
    for (uint32_t i = 0; i < clearing->directs_count; i++)
        direct_record(&clearing->directs[i], to);
}
