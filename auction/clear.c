/* clear.c - the walk and its prices.
 *
 * The happy path is: check, sort supply by score, admit and sort demand, walk it with one integer,
 * put equals that matter into hash order, then price each sold block from the walk's prefixes.
 * Failure modes are: an input out of range (LOT_INPUT_BAD, nothing written). Nothing else can fail.
 */
#include "auction/clear.h"

#include <string.h>

#include "auction/tie.h"

#define SCORE_INFINITE INT64_MAX
#define RADIX_FROM 48 /* below this many keys insertion beats counting */

struct lot_key {
    int64_t key;    /* score, or LOT_SCORE_MAX - r so that the highest reserve comes first */
    uint32_t index; /* position in the input */
};

struct lot_owner {
    uint32_t blocks_count;
    uint32_t first;        /* of its ranks in own_ranks */
    uint32_t ranked_count; /* ranks written there so far */
    uint32_t sold_count;   /* blocks priced so far */
};

static bool input_is_good(const struct lot_clear *lot, const struct lot_input *input);
static void supply_sort(struct lot_clear *lot, const struct lot_input *input);
static void owners_count_blocks(struct lot_clear *lot, const struct lot_input *input);
static void demand_admit(struct lot_clear *lot, const struct lot_input *input);
static void demand_walk(struct lot_clear *lot, const struct lot_input *input);
static void sold_order_ties(struct lot_clear *lot, const struct lot_input *input);
static void owners_rank_blocks(struct lot_clear *lot, const struct lot_input *input);
static void awards_price(struct lot_clear *lot, const struct lot_input *input);
static int64_t index_of(const struct lot_clear *lot);

enum lot_outcome lot_clear(struct lot_clear *lot, const struct lot_input *input,
                           struct lot_result *ret_result)
{
    if (!input_is_good(lot, input))
        return LOT_INPUT_BAD;

    supply_sort(lot, input);
    owners_count_blocks(lot, input);
    demand_admit(lot, input);
    demand_walk(lot, input);
    sold_order_ties(lot, input);
    owners_rank_blocks(lot, input);
    awards_price(lot, input);

    *ret_result = (struct lot_result){
        .awards = lot->awards,
        .awards_count = lot->sold_count,
        .prefixes = lot->prefixes,
        .prefixes_count = lot->prefixes_count,
        .verdicts = lot->verdicts,
        .accepted_counts = lot->accepted_counts,
        .index_uusd_per_hour = index_of(lot),
    };
    return LOT_CLEARED;
}

/* Memory ---------------------------------------------------------------------------------------*/

struct carver {
    char *memory; /* NULL while only measuring */
    size_t used;
};

static void *carve(struct carver *from, size_t count, size_t size)
{
    size_t start = from->used;
    from->used += (count * size + 63) / 64 * 64;
    return from->memory ? from->memory + start : NULL;
}

static size_t memory_lay_out(struct lot_clear *lot, const struct lot_limits *limits, void *memory)
{
    struct carver from = {.memory = memory};
    size_t blocks = limits->blocks_max, demands = limits->demands_max;
    size_t most = blocks > demands ? blocks : demands;
    *lot = (struct lot_clear){
        .limits = *limits,
        .supply = carve(&from, blocks, sizeof(*lot->supply)),
        .demand = carve(&from, demands, sizeof(*lot->demand)),
        .scratch = carve(&from, most, sizeof(*lot->scratch)),
        .hashes = carve(&from, most, sizeof(*lot->hashes)),
        .own_ranks = carve(&from, blocks, sizeof(*lot->own_ranks)),
        .owners = carve(&from, limits->owners_max, sizeof(*lot->owners)),
        .awards = carve(&from, blocks, sizeof(*lot->awards)),
        .prefixes = carve(&from, demands, sizeof(*lot->prefixes)),
        .verdicts = carve(&from, demands, sizeof(*lot->verdicts)),
        .accepted_counts = carve(&from, demands, sizeof(*lot->accepted_counts)),
    };
    return from.used;
}

size_t lot_clear_size(const struct lot_limits *limits)
{
    struct lot_clear measured;
    return memory_lay_out(&measured, limits, NULL);
}

void lot_clear_start(struct lot_clear *lot, const struct lot_limits *limits, void *memory)
{
    (void)memory_lay_out(lot, limits, memory);
}

/* Input ----------------------------------------------------------------------------------------*/

static bool is_price(int64_t uusd_per_hour)
{
    return uusd_per_hour >= 0 && uusd_per_hour <= LOT_SCORE_MAX;
}

static bool block_is_good(const struct lot_clear *lot, const struct lot_block *block)
{
    return block->owner < lot->limits.owners_max && is_price(block->ask_uusd_per_hour) &&
           is_price(block->adder_uusd_per_hour) &&
           is_price(block->ask_uusd_per_hour + block->adder_uusd_per_hour);
}

static bool demand_is_good(const struct lot_clear *lot, const struct lot_demand *demand)
{
    bool has_owner = demand->owner < lot->limits.owners_max || demand->owner == LOT_OWNER_NONE;
    return has_owner && is_price(demand->r_uusd_per_hour) && demand->kmin >= 1 &&
           demand->kmin <= demand->k;
}

static bool input_is_good(const struct lot_clear *lot, const struct lot_input *input)
{
    if (input->blocks_count > lot->limits.blocks_max ||
        input->demands_count > lot->limits.demands_max)
        return false;
    for (uint32_t i = 0; i < input->blocks_count; i++)
        if (!block_is_good(lot, &input->blocks[i]))
            return false;
    for (uint32_t i = 0; i < input->demands_count; i++)
        if (!demand_is_good(lot, &input->demands[i]))
            return false;
    return true;
}

/* Order ----------------------------------------------------------------------------------------*/

static void keys_insertion_sort(struct lot_key *keys, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        struct lot_key moving = keys[i];
        uint32_t at = i;
        for (; at > 0 && keys[at - 1].key > moving.key; at--)
            keys[at] = keys[at - 1];
        keys[at] = moving;
    }
}

/* One stable pass by one byte of the key; false when that byte is the same everywhere. */
static bool radix_pass(const struct lot_key *from, struct lot_key *to, uint32_t count, int shift)
{
    uint32_t starts[257] = {0};
    for (uint32_t i = 0; i < count; i++)
        starts[(from[i].key >> shift & 255) + 1]++;
    if (starts[(from[0].key >> shift & 255) + 1] == count)
        return false;
    for (int digit = 0; digit < 256; digit++)
        starts[digit + 1] += starts[digit];
    for (uint32_t i = 0; i < count; i++)
        to[starts[from[i].key >> shift & 255]++] = from[i];
    return true;
}

/* By key, ascending; keys are below 2^40. Linear for large counts. */
static void keys_sort(struct lot_clear *lot, struct lot_key *keys, uint32_t count)
{
    if (count < RADIX_FROM) {
        keys_insertion_sort(keys, count);
        return;
    }
    struct lot_key *from = keys, *to = lot->scratch;
    for (int shift = 0; shift < 40; shift += 8) {
        if (!radix_pass(from, to, count, shift))
            continue;
        struct lot_key *swap = from;
        from = to;
        to = swap;
    }
    if (from != keys)
        memcpy(keys, from, count * sizeof(*keys));
}

static uint32_t equals_end(const struct lot_key *keys, uint32_t from, uint32_t count)
{
    uint32_t end = from + 1;
    while (end < count && keys[end].key == keys[from].key)
        end++;
    return end;
}

static struct str id_at(const struct lot_input *input, enum tie_kind kind, uint32_t index)
{
    return kind == TIE_BLOCK ? input->blocks[index].id : input->demands[index].id;
}

/* Puts a group of equal keys into the order of its tie hashes: first by 16 bits of the hash, then,
 * where those are equal, by all of it. The score is lent out meanwhile. */
static void equals_order(struct lot_clear *lot, const struct lot_input *input, enum tie_kind kind,
                         struct lot_key *group, uint32_t count)
{
    int64_t shared_key = group[0].key;
    struct sha256_run run;
    tie_run_start(&run, &input->seed, kind);
    for (uint32_t i = 0; i < count; i++) {
        struct sha256 *hash = &lot->hashes[group[i].index];
        *hash = tie_hash(&run, id_at(input, kind, group[i].index));
        group[i].key = hash->bytes[0] << 8 | hash->bytes[1];
    }
    keys_sort(lot, group, count);

    for (uint32_t i = 0; i < count; i++) {
        struct lot_key moving = {.key = shared_key, .index = group[i].index};
        const struct sha256 *hash = &lot->hashes[moving.index];
        uint32_t at = i;
        for (; at > 0 && memcmp(&lot->hashes[group[at - 1].index], hash, sizeof(*hash)) > 0; at--)
            group[at] = group[at - 1];
        group[at] = moving;
    }
}

static void supply_sort(struct lot_clear *lot, const struct lot_input *input)
{
    lot->blocks_count = input->blocks_count;
    for (uint32_t i = 0; i < input->blocks_count; i++) {
        const struct lot_block *block = &input->blocks[i];
        lot->supply[i] = (struct lot_key){
            .key = block->ask_uusd_per_hour + block->adder_uusd_per_hour, .index = i};
    }
    keys_sort(lot, lot->supply, lot->blocks_count);
}

/* Which of several equal blocks is sold, to whom and at which of its owner's thresholds, depends on
 * the tie order; what lies wholly past rank K touches nothing and is not hashed. */
static void sold_order_ties(struct lot_clear *lot, const struct lot_input *input)
{
    for (uint32_t at = 0, end; at < lot->sold_count; at = end) {
        end = equals_end(lot->supply, at, lot->blocks_count);
        if (end - at > 1)
            equals_order(lot, input, TIE_BLOCK, &lot->supply[at], end - at);
    }
}

/* Demand ---------------------------------------------------------------------------------------*/

static void owners_count_blocks(struct lot_clear *lot, const struct lot_input *input)
{
    /* Only the owners that this lot knows are reset, so that a small lot stays cheap. */
    for (uint32_t i = 0; i < input->demands_count; i++)
        if (input->demands[i].owner != LOT_OWNER_NONE)
            lot->owners[input->demands[i].owner].blocks_count = 0;
    for (uint32_t i = 0; i < input->blocks_count; i++)
        lot->owners[input->blocks[i].owner] = (struct lot_owner){.blocks_count = 0};
    for (uint32_t i = 0; i < input->blocks_count; i++)
        lot->owners[input->blocks[i].owner].blocks_count++;
}

static void demand_admit(struct lot_clear *lot, const struct lot_input *input)
{
    lot->demands_count = 0;
    for (uint32_t i = 0; i < input->demands_count; i++) {
        const struct lot_demand *demand = &input->demands[i];
        lot->accepted_counts[i] = 0;
        if (demand->owner != LOT_OWNER_NONE && lot->owners[demand->owner].blocks_count > 0) {
            lot->verdicts[i] = DEMAND_SELLS_HERE;
            continue;
        }
        lot->demand[lot->demands_count++] =
            (struct lot_key){.key = LOT_SCORE_MAX - demand->r_uusd_per_hour, .index = i};
    }
    keys_sort(lot, lot->demand, lot->demands_count);
}

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

static void demand_walk(struct lot_clear *lot, const struct lot_input *input)
{
    uint32_t reach = lot->blocks_count;
    lot->sold_count = 0;
    lot->prefixes_count = 0;
    for (uint32_t at = 0, end; at < lot->demands_count; at = end) {
        end = equals_end(lot->demand, at, lot->demands_count);
        int64_t r = LOT_SCORE_MAX - lot->demand[at].key;
        while (reach > 0 && lot->supply[reach - 1].key > r)
            reach--;
        if (end - at > 1 && reach > lot->sold_count)
            equals_order(lot, input, TIE_WORKLOAD, &lot->demand[at], end - at);
        for (uint32_t i = at; i < end; i++) {
            uint32_t index = lot->demand[i].index;
            demand_serve(lot, &input->demands[index], index, reach);
        }
    }
}

/* Prices ---------------------------------------------------------------------------------------*/

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t index_of(const struct lot_clear *lot)
{
    int64_t best = LOT_INDEX_NONE;
    for (uint32_t q = 0; q < lot->prefixes_count; q++) {
        const struct lot_prefix *prefix = &lot->prefixes[q];
        int64_t next = prefix->k_total < lot->blocks_count ? lot->supply[prefix->k_total].key
                                                           : SCORE_INFINITE;
        int64_t critical = min_i64(prefix->r_uusd_per_hour, next);
        best = critical > best ? critical : best;
    }
    return best;
}

static void owners_rank_blocks(struct lot_clear *lot, const struct lot_input *input)
{
    uint32_t first_free = 0;
    for (uint32_t rank = 0; rank < lot->blocks_count; rank++) {
        struct lot_owner *owner = &lot->owners[input->blocks[lot->supply[rank].index].owner];
        if (owner->ranked_count == 0) {
            owner->first = first_free;
            first_free += owner->blocks_count;
        }
        lot->own_ranks[owner->first + owner->ranked_count++] = rank;
    }
}

/* The score of the block with `rank` among everybody else's, counted from 0. */
static int64_t others_score(const struct lot_clear *lot, const struct lot_owner *owner,
                            uint32_t rank)
{
    /* Own blocks at or before it: own rank minus own blocks before counts the others before. */
    const uint32_t *own = &lot->own_ranks[owner->first];
    uint32_t low = 0, high = owner->blocks_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (own[middle] - middle <= rank)
            low = middle + 1;
        else
            high = middle;
    }
    uint32_t at = rank + low;
    return at < lot->blocks_count ? lot->supply[at].key : SCORE_INFINITE;
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
        int64_t score =
            prefix->k_total < l ? 0 : others_score(lot, owner, prefix->k_total - l);
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

static void awards_price(struct lot_clear *lot, const struct lot_input *input)
{
    uint32_t q = 0;
    for (uint32_t rank = 0; rank < lot->sold_count; rank++) {
        uint32_t index = lot->supply[rank].index;
        const struct lot_block *block = &input->blocks[index];
        struct lot_owner *owner = &lot->owners[block->owner];
        while (lot->prefixes[q].k_total <= rank)
            q++;
        int64_t theta = threshold_of(lot, owner, ++owner->sold_count);
        lot->awards[rank] = (struct lot_award){
            .demand = lot->prefixes[q].demand,
            .block = index,
            .theta_uusd_per_hour = theta,
            .price_uusd_per_hour = theta - block->adder_uusd_per_hour,
        };
        /* The theorem, asserted: nobody is paid less than asked or charged more than reserved. */
        must(theta >= lot->supply[rank].key && theta <= lot->prefixes[q].r_uusd_per_hour);
    }
}

const char *demand_verdict_slug(enum demand_verdict verdict)
{
    switch (verdict) {
    case DEMAND_FILLED:
        return "filled";
    case DEMAND_PARTLY_FILLED:
        return "partly_filled";
    case DEMAND_SELLS_HERE:
        return "sells_here";
    case DEMAND_LOT_TOO_SMALL:
        return "lot_too_small";
    case DEMAND_RESERVE_SHORT:
        return "reserve_short";
    case DEMAND_OUTBID:
        return "outbid";
    }
    must_not_reach();
}
