/* The happy path is: walk the demand with one integer, put equals that matter into hash order, then
 * price each sold block from the walk's prefixes. Failure modes are: one seller's blocks with
 * different adders where a gang bids.
 */
#include "auction/rule.h"

#include <string.h>

#include "auction/keys.h"
#include "auction/tie.h"

#define SCORE_INFINITE INT64_MAX

static void demand_walk(struct lot_clear *lot, const struct lot_source *source);
static void sold_order_ties(struct lot_clear *lot, const struct lot_source *source);
static bool owners_rank_blocks(struct lot_clear *lot, const struct lot_source *source);
static int64_t index_of(const struct lot_clear *lot);
static void awards_price(struct lot_clear *lot, int64_t index_uusd_per_hour);

bool rule_run(struct lot_clear *lot, const struct lot_source *source, struct lot_result *ret_result)
{
    demand_walk(lot, source);
    sold_order_ties(lot, source);
    if (!owners_rank_blocks(lot, source))
        return false;
    int64_t index_uusd_per_hour = index_of(lot);
    awards_price(lot, index_uusd_per_hour);

    *ret_result = (struct lot_result){
        .awards = lot->awards,
        .awards_count = lot->sold_count,
        .prefixes = lot->prefixes,
        .prefixes_count = lot->prefixes_count,
        .verdicts = lot->verdicts,
        .accepted_counts = lot->accepted_counts,
        .index_uusd_per_hour = index_uusd_per_hour,
    };
    return true;
}

void rule_open(struct lot_clear *lot)
{
    lot->page++;
}

struct lot_owner *rule_owner(struct lot_clear *lot, uint32_t owner)
{
    must(owner < lot->limits.owners_max);
    struct lot_owner *row = &lot->owners[owner];
    if (row->page != lot->page)
        *row = (struct lot_owner){.page = lot->page};
    return row;
}

/* Equals ---------------------------------------------------------------------------------------*/

static uint32_t equals_end(const uint64_t *keys, uint32_t from, uint32_t count)
{
    uint32_t end = from + 1;
    while (end < count && key_value(keys[end]) == key_value(keys[from]))
        end++;
    return end;
}

static struct str id_of(const struct lot_source *source, enum tie_kind kind, uint32_t index,
                        char text[ID_TEXT_SIZE])
{
    return kind == TIE_BLOCK ? source->block(source->at, index, text).id
                             : source->demand(source->at, index, text).id;
}

/* Puts a group of equal keys into the order of its tie hashes: first by 16 bits of the hash, then,
 * where those are equal, by all of it. The value is lent out meanwhile. */
static void equals_order(struct lot_clear *lot, const struct lot_source *source, enum tie_kind kind,
                         uint64_t *group, uint32_t count)
{
    int64_t shared_value = key_value(group[0]);
    struct sha256_run run;
    tie_run_start(&run, source->seed, kind);
    for (uint32_t i = 0; i < count; i++) {
        char text[ID_TEXT_SIZE];
        uint32_t index = key_index(group[i]);
        struct sha256 *hash = &lot->hashes[index];
        *hash = tie_hash(&run, id_of(source, kind, index, text));
        group[i] = key_of(hash->bytes[0] << 8 | hash->bytes[1], index);
    }
    keys_sort(group, lot->scratch, count);

    for (uint32_t i = 0; i < count; i++) {
        uint64_t moving = key_of(shared_value, key_index(group[i]));
        const struct sha256 *hash = &lot->hashes[key_index(moving)];
        uint32_t at = i;
        for (; at > 0 && memcmp(&lot->hashes[key_index(group[at - 1])], hash, sizeof(*hash)) > 0;
             at--)
            group[at] = group[at - 1];
        group[at] = moving;
    }
}

/* Which of several equal blocks is sold, to whom and at which of its owner's thresholds, depends on
 * the tie order; what lies wholly past rank K touches nothing and is not hashed. */
static void sold_order_ties(struct lot_clear *lot, const struct lot_source *source)
{
    for (uint32_t at = 0, end; at < lot->sold_count; at = end) {
        end = equals_end(lot->supply, at, lot->front_count);
        if (end - at > 1)
            equals_order(lot, source, TIE_BLOCK, &lot->supply[at], end - at);
    }
}

/* The walk -------------------------------------------------------------------------------------*/

static enum demand_verdict refusal_of(const struct lot_clear *lot, uint32_t kmin, uint32_t reach)
{
    if (lot->blocks_count < kmin)
        return DEMAND_LOT_TOO_SMALL;
    return reach < kmin ? DEMAND_RESERVE_SHORT : DEMAND_OUTBID;
}

/* `reach` is n(r): how many blocks stand at or under the workload's reserve. */
static void demand_serve(struct lot_clear *lot, const struct lot_demand *demand, uint32_t index,
                         uint32_t reach)
{
    uint32_t left = reach > lot->sold_count ? reach - lot->sold_count : 0;
    uint32_t take = demand->k < left ? demand->k : left;
    lot->has_gang = lot->has_gang || demand->kmin > 1;
    lot->accepted_counts[index] = 0;
    if (take < demand->kmin) {
        lot->verdicts[index] = refusal_of(lot, demand->kmin, reach);
        return;
    }
    lot->verdicts[index] = take == demand->k ? DEMAND_FILLED : DEMAND_PARTLY_FILLED;
    lot->accepted_counts[index] = take;
    lot->sold_count += take;
    lot->prefixes[lot->prefixes_count++] = (struct lot_prefix){
        .r_uusd_per_hour = demand->r_uusd_per_hour, .k_total = lot->sold_count, .demand = index};
}

static void demand_walk(struct lot_clear *lot, const struct lot_source *source)
{
    uint32_t reach = lot->front_count;
    lot->sold_count = 0;
    lot->prefixes_count = 0;
    lot->has_gang = false;
    for (uint32_t at = 0, end; at < lot->demands_count; at = end) {
        end = equals_end(lot->demand, at, lot->demands_count);
        int64_t r = LOT_SCORE_MAX - key_value(lot->demand[at]);
        while (reach > 0 && key_value(lot->supply[reach - 1]) > r)
            reach--;
        if (end - at > 1 && reach > lot->sold_count)
            equals_order(lot, source, TIE_WORKLOAD, &lot->demand[at], end - at);
        for (uint32_t i = at; i < end; i++) {
            uint32_t index = key_index(lot->demand[i]);
            struct lot_demand demand = source->demand(source->at, index, NULL);
            demand_serve(lot, &demand, index, reach);
        }
    }
}

/* Prices ---------------------------------------------------------------------------------------*/

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t score_at(const struct lot_clear *lot, uint32_t rank)
{
    return rank < lot->front_count ? key_value(lot->supply[rank]) : SCORE_INFINITE;
}

static int64_t index_of(const struct lot_clear *lot)
{
    int64_t best = LOT_INDEX_NONE;
    for (uint32_t q = 0; q < lot->prefixes_count; q++) {
        const struct lot_prefix *prefix = &lot->prefixes[q];
        int64_t critical = min_i64(prefix->r_uusd_per_hour, score_at(lot, prefix->k_total));
        best = critical > best ? critical : best;
    }
    return best;
}

/* The ranks that thresholds look at: the first K, and behind them as many as the seller with the
 * most blocks has before. Counts the blocks of each seller that won and begins the awards, whose
 * price is the adder until they have one; returns how many ranks, or 0 when a seller's adders
 * differ though a gang bids. */
static uint32_t owners_count_blocks(struct lot_clear *lot, const struct lot_source *source)
{
    uint32_t rank = 0, most = 0;
    for (; rank < lot->front_count && rank < lot->sold_count + most; rank++) {
        struct lot_block block = source->block(source->at, key_index(lot->supply[rank]), NULL);
        struct lot_owner *owner = rule_owner(lot, block.owner);
        lot->rank_owners[rank] = block.owner;
        if (rank < lot->sold_count)
            lot->awards[rank] =
                (struct lot_award){.block = key_index(lot->supply[rank]),
                                   .price_uusd_per_hour = block.adder_uusd_per_hour};
        else if (owner->ranked_count == 0)
            continue;
        if (owner->ranked_count++ == 0)
            owner->adder_uusd_per_hour = block.adder_uusd_per_hour;
        if (lot->has_gang && owner->adder_uusd_per_hour != block.adder_uusd_per_hour) {
            lot->fault = LOT_FAULT_TWO_ADDERS;
            lot->fault_at = key_index(lot->supply[rank]);
            return 0;
        }
        most = owner->ranked_count > most ? owner->ranked_count : most;
    }
    return rank;
}

static bool owners_rank_blocks(struct lot_clear *lot, const struct lot_source *source)
{
    if (lot->sold_count == 0)
        return true;
    rule_open(lot);
    uint32_t ranks_count = owners_count_blocks(lot, source);
    uint32_t first_free = 0;
    for (uint32_t rank = 0; rank < ranks_count; rank++) {
        struct lot_owner *owner = rule_owner(lot, lot->rank_owners[rank]);
        if (owner->ranked_count == 0)
            continue;
        if (owner->placed_count == 0) {
            owner->first = first_free;
            first_free += owner->ranked_count;
        }
        lot->own_ranks[owner->first + owner->placed_count++] = rank;
    }
    return ranks_count > 0;
}

/* The score of the block with `rank` among everybody else's, counted from 0. */
static int64_t others_score(const struct lot_clear *lot, const struct lot_owner *owner,
                            uint32_t rank)
{
    /* Own blocks at or before it: own rank minus own blocks before counts the others before. */
    const uint32_t *own = &lot->own_ranks[owner->first];
    uint32_t low = 0, high = owner->placed_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (own[middle] - middle <= rank)
            low = middle + 1;
        else
            high = middle;
    }
    return score_at(lot, rank + low);
}

/* theta_l. As q goes on, r_q falls and the others' score rises, so the largest of their minima lies
 * where they cross: at the first q whose reserve is no higher, or just before it. */
static int64_t threshold_of(const struct lot_clear *lot, const struct lot_owner *owner, uint32_t l)
{
    int64_t before = 0; /* the others' score at the last q where the reserve is still higher */
    uint32_t low = 0, high = lot->prefixes_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct lot_prefix *prefix = &lot->prefixes[middle];
        int64_t score = prefix->k_total < l ? 0 : others_score(lot, owner, prefix->k_total - l);
        if (prefix->k_total < l || score < prefix->r_uusd_per_hour) {
            before = score;
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool has_crossed = low < lot->prefixes_count;
    int64_t at_crossing = has_crossed ? lot->prefixes[low].r_uusd_per_hour : 0;
    return at_crossing > before ? at_crossing : before;
}

/* A seller of one block has one threshold, the lot's index: without its block, whoever stood behind
 * it moves up by one. */
static void awards_price(struct lot_clear *lot, int64_t index_uusd_per_hour)
{
    uint32_t q = 0;
    for (uint32_t rank = 0; rank < lot->sold_count; rank++) {
        struct lot_award *award = &lot->awards[rank];
        struct lot_owner *owner = rule_owner(lot, lot->rank_owners[rank]);
        while (lot->prefixes[q].k_total <= rank)
            q++;
        int64_t theta = owner->placed_count == 1 ? index_uusd_per_hour
                                                 : threshold_of(lot, owner, ++owner->sold_count);
        award->demand = lot->prefixes[q].demand;
        award->theta_uusd_per_hour = theta;
        award->price_uusd_per_hour = theta - award->price_uusd_per_hour;
        /* The theorem, asserted: nobody is paid less than asked or charged more than reserved. */
        must(theta >= key_value(lot->supply[rank]) && theta <= lot->prefixes[q].r_uusd_per_hour);
    }
}
