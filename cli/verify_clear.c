/* The happy path is: sort both sides by score and hash, walk demand, take prefixes of supply, price
 * each block by what its owner's rivals would have charged, compare with the record field by field.
 * Failure modes are: an input that the rule does not admit, and any outcome that differs; the first
 * one found is named.
 */
#include "cli/verify_clear.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PRICE_MAX (((int64_t)1 << 40) - 1)
#define NOBODY    INT64_MAX /* the score of a rival that does not exist */

struct ranked { /* a block, workload or candidate with what orders it */
    int64_t score;
    struct sha256 tie;
    uint32_t at; /* in the record */
};

static void *array_of(size_t count, size_t size)
{
    void *array = calloc(count + 1, size);
    must(array != NULL);
    return array;
}

static bool differs(char why[VERIFY_WHY_SIZE], const char *what, int64_t recorded, int64_t rule)
{
    (void)str_format(why, VERIFY_WHY_SIZE, "%s is %lld in the record, and %lld by the rule", what,
                     (long long)recorded, (long long)rule);
    return false;
}

static bool is_price(int64_t uusd_per_hour)
{
    return uusd_per_hour >= 0 && uusd_per_hour <= PRICE_MAX;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

struct sha256 verify_seed(const struct record_head *head)
{
    static const char domain[] = "undercut/seed/v1|";
    const struct seed_parts *parts = &head->seed_parts;
    struct buf text = {0};
    uint8_t t[8];
    for (int i = 0; i < 8; i++)
        t[i] = (uint8_t)(parts->t >> (8 * (7 - i)));
    buf_add(&text, domain, strlen(domain));
    buf_add_str(&text, parts->market);
    buf_add(&text, t, sizeof(t));
    buf_add(&text, parts->arrivals_root.bytes, 32);
    buf_add(&text, parts->chain_value.bytes, 32);
    struct sha256 seed = sha256_of(text.at, text.len);
    buf_finish(&text);
    return seed;
}

static struct sha256 tie_of(const struct sha256 *seed, const char *kind, struct str id)
{
    static const char domain[] = "undercut/tie/v1|";
    struct buf text = {0};
    buf_add(&text, domain, strlen(domain));
    buf_add(&text, seed->bytes, 32);
    buf_add(&text, kind, strlen(kind));
    buf_add_str(&text, id);
    struct sha256 tie = sha256_of(text.at, text.len);
    buf_finish(&text);
    return tie;
}

static int cheapest_first(const void *a, const void *b)
{
    const struct ranked *left = a, *right = b;
    if (left->score != right->score)
        return left->score < right->score ? -1 : 1;
    return memcmp(left->tie.bytes, right->tie.bytes, 32);
}

static int dearest_first(const void *a, const void *b)
{
    const struct ranked *left = a, *right = b;
    if (left->score != right->score)
        return left->score > right->score ? -1 : 1;
    return memcmp(left->tie.bytes, right->tie.bytes, 32);
}

/* Lots -----------------------------------------------------------------------------------------*/

struct walk {
    const struct record_lot *lot;
    struct ranked *supply, *demand;
    uint32_t demand_count; /* admitted */
    uint32_t *buyers;      /* of each rank that was sold */
    struct lot_prefix *prefixes;
    uint32_t sold, prefixes_count;
};

static bool sells_here(const struct record_lot *lot, struct uuid owner)
{
    for (uint32_t i = 0; i < lot->blocks_count; i++)
        if (uuid_equal(lot->blocks[i].owner, owner))
            return true;
    return false;
}

/* One ask per seller, and one adder where a gang bids: what truthfulness rests on. */
static bool sellers_admitted(const struct record_lot *lot, char why[VERIFY_WHY_SIZE])
{
    bool has_gang = false;
    for (uint32_t i = 0; i < lot->demands_count; i++)
        has_gang |= lot->demands[i].kmin > 1;
    for (uint32_t i = 0; i < lot->blocks_count; i++) {
        const struct record_block *block = &lot->blocks[i], *first = lot->blocks;
        while (!uuid_equal(first->owner, block->owner))
            first++;
        if (block->ask_uusd_per_hour != first->ask_uusd_per_hour)
            return differs(why, "a second ask of one seller", block->ask_uusd_per_hour,
                           first->ask_uusd_per_hour);
        if (has_gang && block->adder_uusd_per_hour != first->adder_uusd_per_hour)
            return differs(why, "a second adder of one seller beside a gang",
                           block->adder_uusd_per_hour, first->adder_uusd_per_hour);
    }
    return true;
}

static bool lot_admitted(const struct record_lot *lot, char why[VERIFY_WHY_SIZE])
{
    (void)str_format(why, VERIFY_WHY_SIZE, "a price, score, k or kmin is one that no lot admits");
    for (uint32_t i = 0; i < lot->blocks_count; i++) {
        const struct record_block *block = &lot->blocks[i];
        if (!is_price(block->ask_uusd_per_hour) || !is_price(block->adder_uusd_per_hour) ||
            !is_price(block->ask_uusd_per_hour + block->adder_uusd_per_hour))
            return false;
    }
    for (uint32_t i = 0; i < lot->demands_count; i++) {
        const struct record_demand *demand = &lot->demands[i];
        if (!is_price(demand->r_uusd_per_hour) || demand->kmin < 1 || demand->kmin > demand->k)
            return false;
    }
    return sellers_admitted(lot, why);
}

static void lot_sort(struct walk *walk, const struct sha256 *seed)
{
    const struct record_lot *lot = walk->lot;
    for (uint32_t i = 0; i < lot->blocks_count; i++) {
        const struct record_block *block = &lot->blocks[i];
        walk->supply[i] = (struct ranked){
            .score = block->ask_uusd_per_hour + block->adder_uusd_per_hour,
            .tie = tie_of(seed, "|u|", block->id),
            .at = i,
        };
    }
    qsort(walk->supply, lot->blocks_count, sizeof(struct ranked), cheapest_first);
    for (uint32_t i = 0; i < lot->demands_count; i++) {
        const struct record_demand *demand = &lot->demands[i];
        if (!sells_here(lot, demand->owner))
            walk->demand[walk->demand_count++] = (struct ranked){
                .score = demand->r_uusd_per_hour,
                .tie = tie_of(seed, "|w|", demand->id),
                .at = i,
            };
    }
    qsort(walk->demand, walk->demand_count, sizeof(struct ranked), dearest_first);
}

/* n(r): blocks at or under r. */
static uint32_t within(const struct walk *walk, int64_t r)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < walk->lot->blocks_count; i++)
        count += walk->supply[i].score <= r;
    return count;
}

static void lot_walk(struct walk *walk)
{
    for (uint32_t i = 0; i < walk->demand_count; i++) {
        uint32_t at = walk->demand[i].at, reach = within(walk, walk->demand[i].score);
        const struct record_demand *demand = &walk->lot->demands[at];
        uint32_t left = reach > walk->sold ? reach - walk->sold : 0;
        uint32_t taken = left < demand->k ? left : demand->k;
        if (taken < demand->kmin)
            continue;
        for (uint32_t n = 0; n < taken; n++)
            walk->buyers[walk->sold++] = at;
        walk->prefixes[walk->prefixes_count++] = (struct lot_prefix){
            .r_uusd_per_hour = demand->r_uusd_per_hour, .k_total = walk->sold, .demand = at};
    }
}

/* Scores in order, without one owner's blocks if there is one. Returns how many. */
static uint32_t scores_without(const struct walk *walk, const struct uuid *without,
                               int64_t *ret_scores)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < walk->lot->blocks_count; i++) {
        const struct ranked *ranked = &walk->supply[i];
        if (without == NULL || !uuid_equal(walk->lot->blocks[ranked->at].owner, *without))
            ret_scores[count++] = ranked->score;
    }
    return count;
}

/* The highest score at which `owner` still sells `nth` blocks; for owner NULL and nth 0, S*. */
static int64_t threshold(const struct walk *walk, const struct uuid *owner, uint32_t nth)
{
    int64_t *rivals = array_of(walk->lot->blocks_count, sizeof(int64_t)), best = LOT_INDEX_NONE;
    uint32_t rivals_count = scores_without(walk, owner, rivals);
    for (uint32_t q = 0; q < walk->prefixes_count; q++) {
        const struct lot_prefix *prefix = &walk->prefixes[q];
        if (prefix->k_total < nth)
            continue;
        uint32_t rank = prefix->k_total - nth; /* from 0 */
        int64_t bound = least(prefix->r_uusd_per_hour, rank < rivals_count ? rivals[rank] : NOBODY);
        best = bound > best ? bound : best;
    }
    free(rivals);
    return best;
}

/* How many of the ranks up to and with `rank` (from 0) are the owner's. */
static uint32_t own_rank(const struct walk *walk, uint32_t rank, struct uuid owner)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i <= rank; i++)
        count += uuid_equal(walk->lot->blocks[walk->supply[i].at].owner, owner);
    return count;
}

static bool award_compare(const struct walk *walk, uint32_t rank, char why[VERIFY_WHY_SIZE])
{
    const struct lot_award *award = &walk->lot->outcome.awards[rank];
    uint32_t at = walk->supply[rank].at;
    const struct record_block *block = &walk->lot->blocks[at];
    int64_t theta = threshold(walk, &block->owner, own_rank(walk, rank, block->owner));
    char what[64];
    (void)str_format(what, sizeof(what), "the block of award %u", rank);
    if (award->block != at)
        return differs(why, what, award->block, at);
    (void)str_format(what, sizeof(what), "the workload of award %u", rank);
    if (award->demand != walk->buyers[rank])
        return differs(why, what, award->demand, walk->buyers[rank]);
    (void)str_format(what, sizeof(what), "the threshold of award %u", rank);
    if (award->theta_uusd_per_hour != theta)
        return differs(why, what, award->theta_uusd_per_hour, theta);
    (void)str_format(what, sizeof(what), "the price of award %u", rank);
    if (award->price_uusd_per_hour != theta - block->adder_uusd_per_hour)
        return differs(why, what, award->price_uusd_per_hour, theta - block->adder_uusd_per_hour);
    return true;
}

static bool prefixes_compare(const struct walk *walk, char why[VERIFY_WHY_SIZE])
{
    const struct lot_result *recorded = &walk->lot->outcome;
    if (recorded->prefixes_count != walk->prefixes_count)
        return differs(why, "the number of workloads that got something", recorded->prefixes_count,
                       walk->prefixes_count);
    for (uint32_t q = 0; q < walk->prefixes_count; q++) {
        const struct lot_prefix *mine = &walk->prefixes[q], *theirs = &recorded->prefixes[q];
        if (theirs->demand != mine->demand)
            return differs(why, "a workload in the walk", theirs->demand, mine->demand);
        if (theirs->k_total != mine->k_total)
            return differs(why, "K in the walk", theirs->k_total, mine->k_total);
        if (theirs->r_uusd_per_hour != mine->r_uusd_per_hour)
            return differs(why, "r in the walk", theirs->r_uusd_per_hour, mine->r_uusd_per_hour);
    }
    return true;
}

static bool outcome_compare(const struct walk *walk, char why[VERIFY_WHY_SIZE])
{
    const struct lot_result *recorded = &walk->lot->outcome;
    int64_t index = threshold(walk, NULL, 0);
    if (recorded->awards_count != walk->sold)
        return differs(why, "K", recorded->awards_count, walk->sold);
    if (recorded->index_uusd_per_hour != index)
        return differs(why, "the index", recorded->index_uusd_per_hour, index);
    if (!prefixes_compare(walk, why))
        return false;
    for (uint32_t rank = 0; rank < walk->sold; rank++)
        if (!award_compare(walk, rank, why))
            return false;
    return true;
}

bool verify_lot(const struct record_lot *lot, const struct sha256 *seed,
                char ret_why[VERIFY_WHY_SIZE])
{
    struct walk walk = {
        .lot = lot,
        .supply = array_of(lot->blocks_count, sizeof(struct ranked)),
        .demand = array_of(lot->demands_count, sizeof(struct ranked)),
        .buyers = array_of(lot->blocks_count, sizeof(uint32_t)),
        .prefixes = array_of(lot->demands_count, sizeof(struct lot_prefix)),
    };
    bool is_good = lot_admitted(lot, ret_why);
    if (is_good) {
        lot_sort(&walk, seed);
        lot_walk(&walk);
        is_good = outcome_compare(&walk, ret_why);
    }
    free(walk.supply);
    free(walk.demand);
    free(walk.buyers);
    free(walk.prefixes);
    return is_good;
}

/* Direct clearings -----------------------------------------------------------------------------*/

struct choice {
    const struct record_direct *direct;
    struct ranked *candidates; /* within r, cheapest first */
    uint32_t count;
};

static int64_t terms_of(const struct record_candidate *candidate)
{
    return candidate->adder_uusd_per_hour + candidate->latency_uusd_per_hour;
}

/* May at most one of the two be taken? */
static bool same_group(const struct record_direct *direct, uint32_t a, uint32_t b)
{
    const struct record_candidate *left = &direct->candidates[a], *right = &direct->candidates[b];
    if (direct->spread == DIRECT_SPREAD_NODE)
        return uuid_equal(left->node, right->node);
    if (direct->spread == DIRECT_SPREAD_REGION)
        return str_equal(left->region, right->region);
    return a == b;
}

/* The cheapest of each group until `most` are taken, without one owner if there is one. Returns how
 * many; `ret_picks` are places in `candidates`. */
static uint32_t choose(const struct choice *choice, const struct uuid *without, uint64_t most,
                       uint32_t *ret_picks)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < choice->count && count < most; i++) {
        uint32_t at = choice->candidates[i].at;
        bool is_free =
            without == NULL || !uuid_equal(choice->direct->candidates[at].owner, *without);
        for (uint32_t n = 0; n < count && is_free; n++)
            is_free = !same_group(choice->direct, at, choice->candidates[ret_picks[n]].at);
        if (is_free)
            ret_picks[count++] = i;
    }
    return count;
}

/* The place in `picks` of the one that shares a group with record row `at`, or `count`. */
static uint32_t find_in(const struct choice *choice, const uint32_t *picks, uint32_t count,
                        uint32_t at)
{
    for (uint32_t n = 0; n < count; n++)
        if (same_group(choice->direct, choice->candidates[picks[n]].at, at))
            return n;
    return count;
}

/* What the owner's rivals would have charged instead: in each group that somebody else inherits,
 * that one's score; the others are worth r as far as nobody new steps in, then the newcomers'
 * scores, dearest first. `ret_thetas` are by place in `wins`; others' stay as they are. */
static void owner_worth(const struct choice *choice, const uint32_t *wins, uint32_t wins_count,
                        struct uuid owner, int64_t *ret_thetas)
{
    const struct record_direct *direct = choice->direct;
    uint32_t *picks = array_of(choice->count, sizeof(uint32_t));
    uint32_t *heirless = array_of(wins_count, sizeof(uint32_t)), heirless_count = 0, new_count = 0;
    uint32_t count = choose(choice, &owner, direct->k, picks);
    for (uint32_t n = 0; n < wins_count; n++) {
        uint32_t at = choice->candidates[wins[n]].at, heir = find_in(choice, picks, count, at);
        if (!uuid_equal(direct->candidates[at].owner, owner))
            continue;
        if (heir < count)
            ret_thetas[n] = choice->candidates[picks[heir]].score;
        else
            heirless[heirless_count++] = n;
    }
    for (uint32_t n = 0; n < count; n++) /* keep those in groups that had not won, cheapest first */
        if (find_in(choice, wins, wins_count, choice->candidates[picks[n]].at) == wins_count)
            picks[new_count++] = picks[n];
    for (uint32_t n = 0; n < heirless_count; n++) {
        uint32_t left = heirless_count - n;
        ret_thetas[heirless[n]] =
            left > new_count ? direct->r_uusd_per_hour : choice->candidates[picks[left - 1]].score;
    }
    free(picks);
    free(heirless);
}

static bool direct_compare(const struct choice *choice, const uint32_t *wins, uint32_t wins_count,
                           char why[VERIFY_WHY_SIZE])
{
    const struct record_direct *direct = choice->direct;
    int64_t *thetas = array_of(wins_count, sizeof(int64_t));
    bool is_same = true;
    for (uint32_t n = 0; n < wins_count && is_same; n++) {
        const struct rfq_award *award = &direct->outcome.awards[n];
        uint32_t at = choice->candidates[wins[n]].at;
        owner_worth(choice, wins, wins_count, direct->candidates[at].owner, thetas);
        int64_t price = thetas[n] - terms_of(&direct->candidates[at]);
        if (award->candidate != at)
            is_same = differs(why, "a winner", award->candidate, at);
        else if (award->theta_uusd_per_hour != thetas[n])
            is_same = differs(why, "a winner's worth", award->theta_uusd_per_hour, thetas[n]);
        else if (award->price_uusd_per_hour != price)
            is_same = differs(why, "a price", award->price_uusd_per_hour, price);
    }
    free(thetas);
    return is_same;
}

static bool direct_admitted(const struct record_direct *direct, char why[VERIFY_WHY_SIZE])
{
    (void)str_format(why, VERIFY_WHY_SIZE,
                     "a price, k or kmin is one that no direct clearing admits");
    if (!is_price(direct->r_uusd_per_hour) || direct->kmin < 1 || direct->kmin > direct->k)
        return false;
    for (uint32_t i = 0; i < direct->candidates_count; i++) {
        const struct record_candidate *candidate = &direct->candidates[i];
        if (!is_price(candidate->price_uusd_per_hour) ||
            !is_price(candidate->adder_uusd_per_hour) ||
            !is_price(candidate->latency_uusd_per_hour) || !is_price(terms_of(candidate)) ||
            !is_price(candidate->price_uusd_per_hour + terms_of(candidate)))
            return false;
    }
    return true;
}

static void direct_sort(struct choice *choice, const struct sha256 *seed)
{
    const struct record_direct *direct = choice->direct;
    for (uint32_t i = 0; i < direct->candidates_count; i++) {
        const struct record_candidate *candidate = &direct->candidates[i];
        int64_t score = candidate->price_uusd_per_hour + terms_of(candidate);
        if (score > direct->r_uusd_per_hour || uuid_equal(candidate->owner, direct->owner))
            continue;
        choice->candidates[choice->count++] =
            (struct ranked){.score = score, .tie = tie_of(seed, "|u|", candidate->id), .at = i};
    }
    qsort(choice->candidates, choice->count, sizeof(struct ranked), cheapest_first);
}

bool verify_direct(const struct record_direct *direct, const struct sha256 *seed,
                   char ret_why[VERIFY_WHY_SIZE])
{
    if (!direct_admitted(direct, ret_why))
        return false;
    struct choice choice = {
        .direct = direct,
        .candidates = array_of(direct->candidates_count, sizeof(struct ranked)),
    };
    direct_sort(&choice, seed);
    uint32_t *wins = array_of(choice.count, sizeof(uint32_t));
    uint32_t found = choose(&choice, NULL, (uint64_t)direct->k + 1, wins);
    bool has_next = found > direct->k;
    uint32_t wins_count = found < direct->kmin ? 0 : has_next ? direct->k : found;
    int64_t index = found < direct->kmin ? LOT_INDEX_NONE
                    : has_next           ? choice.candidates[wins[direct->k]].score
                                         : direct->r_uusd_per_hour;
    bool is_good = true;
    if (direct->outcome.awards_count != wins_count)
        is_good =
            differs(ret_why, "the number of winners", direct->outcome.awards_count, wins_count);
    else if (direct->outcome.index_uusd_per_hour != index)
        is_good = differs(ret_why, "the index", direct->outcome.index_uusd_per_hour, index);
    else
        is_good = direct_compare(&choice, wins, wins_count, ret_why);
    free(choice.candidates);
    free(wins);
    return is_good;
}
