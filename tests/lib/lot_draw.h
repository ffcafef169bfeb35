/* lot_draw.h - random lots, and the clearing rule once more, slowly and straight from its wording.
 *
 * Tests only. The slow rule hashes everything, sorts by comparing, counts n(r) anew for every
 * workload and looks at every prefix; it shares no code with auction/clear.c but the hash.
 */
#ifndef UNDERCUT_TESTS_LIB_LOT_DRAW_H
#define UNDERCUT_TESTS_LIB_LOT_DRAW_H

#include <stdlib.h>
#include <string.h>

#include "auction/clear.h"
#include "auction/tie.h"
#include "tests/lib/prop.h"

#define DRAWN_BLOCKS_MAX  3000
#define DRAWN_DEMANDS_MAX 600
#define DRAWN_OWNERS_MAX  64
#define DRAWN_ID_SIZE     10 /* "s63/2999" */
#define DRAWN_STEP        4  /* prices are multiples, so that a step of one lies between any two */

struct draw_shape {
    uint32_t blocks_max, demands_max, owners_max, k_max;
    int64_t price_steps;   /* fewer make more ties */
    unsigned self_percent; /* workloads whose owner may sell here */
    bool has_adders;
    bool has_adders_per_block; /* in lots without gangs; else one adder for all of an owner's */
};

struct lot_drawn {
    struct lot_input input;
    uint32_t owners_count;
    struct lot_block blocks[DRAWN_BLOCKS_MAX];
    struct lot_demand demands[DRAWN_DEMANDS_MAX];
    char block_ids[DRAWN_BLOCKS_MAX][DRAWN_ID_SIZE];
    char demand_ids[DRAWN_DEMANDS_MAX][DRAWN_ID_SIZE];
};

static inline int64_t draw_price(struct prop *p, const struct draw_shape *shape)
{
    return DRAWN_STEP * prop_range(p, 0, shape->price_steps);
}

/* Named as `undercut clear` names them: block n of seller s03 is "s03/n". */
static inline struct str draw_block_id(char *text, uint32_t owner, uint32_t number)
{
    (void)str_format(text, DRAWN_ID_SIZE, "s%02u/%u", owner, number);
    return str_of(text);
}

static inline struct str draw_demand_id(char *text, uint32_t number)
{
    (void)str_format(text, DRAWN_ID_SIZE, "w%03u", number);
    return str_of(text);
}

static inline int drawn_block_compare(const void *a, const void *b)
{
    return strcmp(((const struct lot_block *)a)->id.at, ((const struct lot_block *)b)->id.at);
}

static inline void draw_blocks(struct prop *p, const struct draw_shape *shape,
                               struct lot_drawn *ret)
{
    int64_t asks[DRAWN_OWNERS_MAX], adders[DRAWN_OWNERS_MAX];
    uint32_t counts[DRAWN_OWNERS_MAX] = {0};
    for (uint32_t i = 0; i < ret->owners_count; i++) {
        asks[i] = draw_price(p, shape);
        adders[i] = shape->has_adders ? draw_price(p, shape) / 4 / DRAWN_STEP * DRAWN_STEP : 0;
    }
    for (uint32_t i = 0; i < ret->input.blocks_count; i++) {
        uint32_t owner = (uint32_t)prop_range(p, 0, ret->owners_count - 1);
        int64_t adder = shape->has_adders_per_block
                            ? draw_price(p, shape) / 4 / DRAWN_STEP * DRAWN_STEP
                            : adders[owner];
        ret->blocks[i] = (struct lot_block){
            .id = draw_block_id(ret->block_ids[i], owner, counts[owner]++),
            .owner = owner,
            .ask_uusd_per_hour = asks[owner],
            .adder_uusd_per_hour = adder,
        };
    }
    qsort(ret->blocks, ret->input.blocks_count, sizeof(*ret->blocks), drawn_block_compare);
}

/* Blocks stand in the order of their ids, demands too. */
static inline void lot_draw(struct prop *p, const struct draw_shape *shape, struct lot_drawn *ret)
{
    /* A seller's adders may differ only where nobody wants two blocks or none. */
    bool is_loose = shape->has_adders_per_block && (shape->k_max == 1 || prop_chance(p, 50));
    struct draw_shape of_blocks = *shape;
    of_blocks.has_adders_per_block = is_loose;
    ret->owners_count = (uint32_t)prop_range(p, 1, shape->owners_max);
    ret->input = (struct lot_input){
        .blocks = ret->blocks,
        .demands = ret->demands,
        .blocks_count = (uint32_t)prop_range(p, 0, shape->blocks_max),
        .demands_count = (uint32_t)prop_range(p, 0, shape->demands_max),
    };
    for (int i = 0; i < 32; i++)
        ret->input.seed.bytes[i] = (uint8_t)prop_u64(p);
    draw_blocks(p, &of_blocks, ret);
    for (uint32_t i = 0; i < ret->input.demands_count; i++) {
        uint32_t k = (uint32_t)prop_range(p, 1, shape->k_max);
        bool is_gang = !is_loose && prop_chance(p, 50);
        ret->demands[i] = (struct lot_demand){
            .id = draw_demand_id(ret->demand_ids[i], i),
            .owner = prop_chance(p, shape->self_percent)
                         ? (uint32_t)prop_range(p, 0, ret->owners_count - 1)
                         : LOT_OWNER_NONE,
            .r_uusd_per_hour = draw_price(p, shape),
            .k = k,
            .kmin = is_loose  ? 1
                    : is_gang ? k
                              : (uint32_t)prop_range(p, 1, k),
        };
    }
}

/* Has every seller one adder, so that gangs may bid? */
static inline bool lot_is_even(const struct lot_drawn *lot)
{
    for (uint32_t i = 0; i < lot->input.blocks_count; i++)
        for (uint32_t j = 0; j < i; j++)
            if (lot->blocks[i].owner == lot->blocks[j].owner &&
                lot->blocks[i].adder_uusd_per_hour != lot->blocks[j].adder_uusd_per_hour)
                return false;
    return true;
}

/* A copy to spoil; it borrows the ids. */
static inline void lot_copy(const struct lot_drawn *from, struct lot_drawn *to)
{
    to->input = from->input;
    to->owners_count = from->owners_count;
    memcpy(to->blocks, from->blocks, from->input.blocks_count * sizeof(*to->blocks));
    memcpy(to->demands, from->demands, from->input.demands_count * sizeof(*to->demands));
    to->input.blocks = to->blocks;
    to->input.demands = to->demands;
}

/* The slow rule --------------------------------------------------------------------------------*/

struct slow_lot {
    uint32_t order[DRAWN_BLOCKS_MAX]; /* blocks by (score, hash) */
    int64_t scores[DRAWN_BLOCKS_MAX]; /* by position in the input */
    struct sha256 block_hashes[DRAWN_BLOCKS_MAX];
    struct sha256 demand_hashes[DRAWN_DEMANDS_MAX];
    uint32_t walk[DRAWN_DEMANDS_MAX]; /* admitted demands by (r descending, hash) */
    uint32_t walk_count;
    uint32_t k_after[DRAWN_DEMANDS_MAX]; /* K behind each of the walk */
    uint32_t got[DRAWN_DEMANDS_MAX];     /* by position in the input */
    uint32_t sold_count;                 /* K */
};

static inline void slow_hash(const struct lot_input *input, struct slow_lot *ret)
{
    struct sha256_run run;
    tie_run_start(&run, &input->seed, TIE_BLOCK);
    for (uint32_t i = 0; i < input->blocks_count; i++)
        ret->block_hashes[i] = tie_hash(&run, input->blocks[i].id);
    tie_run_start(&run, &input->seed, TIE_WORKLOAD);
    for (uint32_t i = 0; i < input->demands_count; i++)
        ret->demand_hashes[i] = tie_hash(&run, input->demands[i].id);
}

static inline bool slow_block_before(const struct slow_lot *slow, uint32_t a, uint32_t b)
{
    if (slow->scores[a] != slow->scores[b])
        return slow->scores[a] < slow->scores[b];
    return memcmp(&slow->block_hashes[a], &slow->block_hashes[b], 32) < 0;
}

static inline bool slow_demand_before(const struct lot_input *input, const struct slow_lot *slow,
                                      uint32_t a, uint32_t b)
{
    int64_t r_a = input->demands[a].r_uusd_per_hour, r_b = input->demands[b].r_uusd_per_hour;
    if (r_a != r_b)
        return r_a > r_b;
    return memcmp(&slow->demand_hashes[a], &slow->demand_hashes[b], 32) < 0;
}

static inline bool slow_sells(const struct lot_input *input, uint32_t owner)
{
    for (uint32_t i = 0; i < input->blocks_count; i++)
        if (input->blocks[i].owner == owner)
            return true;
    return false;
}

static inline void slow_sort(const struct lot_input *input, struct slow_lot *slow)
{
    for (uint32_t i = 0; i < input->blocks_count; i++) {
        uint32_t at = i;
        for (; at > 0 && slow_block_before(slow, i, slow->order[at - 1]); at--)
            slow->order[at] = slow->order[at - 1];
        slow->order[at] = i;
    }
    slow->walk_count = 0;
    for (uint32_t i = 0; i < input->demands_count; i++) {
        slow->got[i] = 0;
        if (slow_sells(input, input->demands[i].owner))
            continue;
        uint32_t at = slow->walk_count++;
        for (; at > 0 && slow_demand_before(input, slow, i, slow->walk[at - 1]); at--)
            slow->walk[at] = slow->walk[at - 1];
        slow->walk[at] = i;
    }
}

/* Clears by `slow->scores` and the hashes, which must be there. */
static inline void slow_walk(const struct lot_input *input, struct slow_lot *slow)
{
    slow_sort(input, slow);
    slow->sold_count = 0;
    for (uint32_t w = 0; w < slow->walk_count; w++) {
        const struct lot_demand *demand = &input->demands[slow->walk[w]];
        uint32_t take = 0;
        for (uint32_t rank = slow->sold_count; rank < input->blocks_count; rank++)
            take += slow->scores[slow->order[rank]] <= demand->r_uusd_per_hour;
        take = take < demand->k ? take : demand->k;
        if (take >= demand->kmin) {
            slow->got[slow->walk[w]] = take;
            slow->sold_count += take;
        }
        slow->k_after[w] = slow->sold_count;
    }
}

static inline void slow_clear(const struct lot_input *input, struct slow_lot *ret)
{
    slow_hash(input, ret);
    for (uint32_t i = 0; i < input->blocks_count; i++)
        ret->scores[i] = input->blocks[i].ask_uusd_per_hour + input->blocks[i].adder_uusd_per_hour;
    slow_walk(input, ret);
}

/* max over the walk with K_q >= l of min(r_q, s_(K_q - l + 1)), s without the blocks of `owner`;
 * with LOT_OWNER_NONE and l = 0 the index is K_q + 1 of all, which makes it S*. */
static inline int64_t slow_threshold(const struct lot_input *input, const struct slow_lot *slow,
                                     uint32_t owner, uint32_t l)
{
    static int64_t others[DRAWN_BLOCKS_MAX];
    uint32_t others_count = 0;
    for (uint32_t rank = 0; rank < input->blocks_count; rank++)
        if (input->blocks[slow->order[rank]].owner != owner)
            others[others_count++] = slow->scores[slow->order[rank]];
    int64_t best = LOT_INDEX_NONE;
    for (uint32_t w = 0; w < slow->walk_count; w++) {
        if (slow->k_after[w] < (l ? l : 1))
            continue;
        uint32_t at = slow->k_after[w] - l;
        int64_t r = input->demands[slow->walk[w]].r_uusd_per_hour;
        int64_t critical = at < others_count && others[at] < r ? others[at] : r;
        best = critical > best ? critical : best;
    }
    return best;
}

/* S*, the same with everybody's blocks and s_(K_q + 1). */
static inline int64_t slow_index(const struct lot_input *input, const struct slow_lot *slow)
{
    return slow_threshold(input, slow, LOT_OWNER_NONE, 0);
}

/* The fast one's memory ------------------------------------------------------------------------*/

static inline struct lot_clear *lot_bench(void)
{
    static const struct lot_limits limits = {.blocks_max = DRAWN_BLOCKS_MAX,
                                             .demands_max = DRAWN_DEMANDS_MAX,
                                             .owners_max = DRAWN_OWNERS_MAX};
    static struct lot_clear lot;
    if (!lot.supply) {
        static _Alignas(64) char memory[1 << 20];
        must(lot_clear_size(&limits) <= sizeof(memory));
        lot_clear_start(&lot, &limits, memory);
    }
    return &lot;
}

static inline struct lot_result lot_cleared(const struct lot_input *input)
{
    struct lot_result result;
    must(lot_clear(lot_bench(), input, &result) == LOT_CLEARED);
    return result;
}

#endif
