/* rfq.c - one workload's candidates, the choice among them, and what each account is worth.
 *
 * The happy path is: check, order the candidates within r by score and hash, take the cheapest of
 * each group, then take each winning account out once and see who steps in.
 * Failure modes are: an input out of range (LOT_INPUT_BAD, nothing written). Nothing else can fail.
 */
#include "auction/rfq.h"

#include <string.h>

#include "auction/tie.h"

#define OWNER_NOBODY UINT64_MAX /* wider than an owner: nobody is taken out */

struct rfq_key {
    int64_t score;
    uint32_t index; /* position in the input */
};

struct rfq_group {
    uint32_t walk; /* the last walk that took one of it */
    uint32_t pick; /* which key */
    bool has_won;
};

/* Memory ---------------------------------------------------------------------------------------*/

static void *carve(char *memory, size_t *used, size_t size)
{
    size_t start = *used;
    *used += (size + 63) / 64 * 64;
    return memory ? memory + start : NULL;
}

static size_t memory_lay_out(struct rfq *rfq, uint32_t max, char *memory)
{
    size_t used = 0, count = max;
    *rfq = (struct rfq){
        .candidates_max = max,
        .keys = carve(memory, &used, count * sizeof(*rfq->keys)),
        .scratch = carve(memory, &used, count * sizeof(*rfq->scratch)),
        .hashes = carve(memory, &used, count * sizeof(*rfq->hashes)),
        .groups = carve(memory, &used, count * sizeof(*rfq->groups)),
        .awards = carve(memory, &used, count * sizeof(*rfq->awards)),
        .picks = carve(memory, &used, count * sizeof(*rfq->picks)),
        .stand_ins = carve(memory, &used, count * sizeof(*rfq->stand_ins)),
    };
    return used;
}

size_t rfq_size(uint32_t candidates_max)
{
    struct rfq measured;
    return memory_lay_out(&measured, candidates_max, NULL);
}

void rfq_start(struct rfq *rfq, uint32_t candidates_max, void *memory)
{
    (void)memory_lay_out(rfq, candidates_max, memory);
}

/* Input ----------------------------------------------------------------------------------------*/

static bool is_price(int64_t uusd_per_hour)
{
    return uusd_per_hour >= 0 && uusd_per_hour <= LOT_SCORE_MAX;
}

static int64_t score_of(const struct rfq_candidate *candidate)
{
    return candidate->price_uusd_per_hour + candidate->terms_uusd_per_hour;
}

static bool input_is_good(const struct rfq *rfq, const struct rfq_input *input)
{
    if (input->candidates_count > rfq->candidates_max || !is_price(input->r_uusd_per_hour) ||
        input->kmin < 1 || input->kmin > input->k)
        return false;
    for (uint32_t i = 0; i < input->candidates_count; i++) {
        const struct rfq_candidate *candidate = &input->candidates[i];
        if (candidate->group >= input->candidates_count ||
            !is_price(candidate->price_uusd_per_hour) ||
            !is_price(candidate->terms_uusd_per_hour) || !is_price(score_of(candidate)))
            return false;
    }
    return true;
}

/* Order ----------------------------------------------------------------------------------------*/

typedef bool key_before(const struct rfq *rfq, const struct rfq_key *a, const struct rfq_key *b);

static bool score_before(const struct rfq *rfq, const struct rfq_key *a, const struct rfq_key *b)
{
    (void)rfq;
    return a->score < b->score;
}

static bool hash_before(const struct rfq *rfq, const struct rfq_key *a, const struct rfq_key *b)
{
    return memcmp(&rfq->hashes[a->index], &rfq->hashes[b->index], sizeof(struct sha256)) < 0;
}

static void keys_merge(const struct rfq *rfq, struct rfq_key *keys, const uint32_t ends[3],
                       key_before *before)
{
    uint32_t left = ends[0], right = ends[1], at = ends[0];
    while (left < ends[1] || right < ends[2]) {
        bool is_right =
            left == ends[1] || (right < ends[2] && before(rfq, &keys[right], &keys[left]));
        rfq->scratch[at++] = keys[is_right ? right++ : left++];
    }
    memcpy(keys + ends[0], rfq->scratch + ends[0], (ends[2] - ends[0]) * sizeof(*keys));
}

/* Merges runs of 1, 2, 4 ... keys: stable, and without allocation. */
static void keys_sort(const struct rfq *rfq, struct rfq_key *keys, uint32_t count,
                      key_before *before)
{
    for (uint64_t run = 1; run < count; run *= 2) {
        for (uint64_t at = 0; at + run < count; at += 2 * run) {
            uint64_t end = at + 2 * run < count ? at + 2 * run : count;
            keys_merge(rfq, keys, (uint32_t[]){(uint32_t)at, (uint32_t)(at + run), (uint32_t)end},
                       before);
        }
    }
}

static void equals_order(const struct rfq *rfq, const struct rfq_input *input, struct rfq_key *keys,
                         uint32_t count)
{
    struct sha256_run run;
    tie_run_start(&run, &input->seed, TIE_BLOCK);
    for (uint32_t i = 0; i < count; i++)
        rfq->hashes[keys[i].index] = tie_hash(&run, input->candidates[keys[i].index].id);
    keys_sort(rfq, keys, count, hash_before);
}

static void candidates_order(struct rfq *rfq, const struct rfq_input *input)
{
    rfq->keys_count = 0;
    for (uint32_t i = 0; i < input->candidates_count; i++) {
        const struct rfq_candidate *candidate = &input->candidates[i];
        rfq->groups[i] = (struct rfq_group){.walk = rfq->walk}; /* before the next one */
        if (candidate->owner != input->owner && score_of(candidate) <= input->r_uusd_per_hour)
            rfq->keys[rfq->keys_count++] =
                (struct rfq_key){.score = score_of(candidate), .index = i};
    }
    keys_sort(rfq, rfq->keys, rfq->keys_count, score_before);
    for (uint32_t at = 0, end; at < rfq->keys_count; at = end) {
        for (end = at + 1; end < rfq->keys_count && rfq->keys[end].score == rfq->keys[at].score;)
            end++;
        if (end - at > 1)
            equals_order(rfq, input, rfq->keys + at, end - at);
    }
}

/* Choice ---------------------------------------------------------------------------------------*/

/* Takes the cheapest of each group until `most` are taken, passing over those of one owner. */
static uint32_t groups_walk(struct rfq *rfq, const struct rfq_input *input, uint64_t without,
                            uint32_t most, uint32_t *ret_picks)
{
    uint32_t count = 0;
    rfq->walk++;
    for (uint32_t at = 0; at < rfq->keys_count && count < most; at++) {
        const struct rfq_candidate *candidate = &input->candidates[rfq->keys[at].index];
        struct rfq_group *group = &rfq->groups[candidate->group];
        if (candidate->owner == without || group->walk == rfq->walk)
            continue;
        group->walk = rfq->walk;
        group->pick = at;
        ret_picks[count++] = at;
    }
    return count;
}

/* Why fewer than kmin: too few groups at any price, or too few within r. */
static enum demand_verdict refusal_of(struct rfq *rfq, const struct rfq_input *input)
{
    uint32_t groups_count = 0;
    rfq->walk++;
    for (uint32_t i = 0; i < input->candidates_count; i++) {
        struct rfq_group *group = &rfq->groups[input->candidates[i].group];
        if (input->candidates[i].owner == input->owner || group->walk == rfq->walk)
            continue;
        group->walk = rfq->walk;
        groups_count++;
    }
    return groups_count < input->kmin ? DEMAND_LOT_TOO_SMALL : DEMAND_RESERVE_SHORT;
}

/* Price ----------------------------------------------------------------------------------------*/

/* Who steps in, in groups that had not won, cheapest first. */
static uint32_t newcomers(struct rfq *rfq, const struct rfq_input *input, uint32_t owner,
                          uint32_t *ret_picks)
{
    uint32_t count = 0, all = groups_walk(rfq, input, owner, input->k, ret_picks);
    for (uint32_t i = 0; i < all; i++) {
        uint32_t at = ret_picks[i];
        if (!rfq->groups[input->candidates[rfq->keys[at].index].group].has_won)
            ret_picks[count++] = at;
    }
    return count;
}

static bool has_heir(const struct rfq *rfq, const struct rfq_candidate *candidate)
{
    return rfq->groups[candidate->group].walk == rfq->walk;
}

/* Of one account, whose first award is at `first`: all of them are priced here. */
static void owner_price(struct rfq *rfq, const struct rfq_input *input, uint32_t first,
                        uint32_t awards_count)
{
    const struct rfq_candidate *all = input->candidates;
    uint32_t owner = all[rfq->awards[first].candidate].owner, heirless_count = 0;
    uint32_t new_count = newcomers(rfq, input, owner, rfq->stand_ins);
    for (uint32_t i = first; i < awards_count; i++)
        heirless_count += all[rfq->awards[i].candidate].owner == owner &&
                          !has_heir(rfq, &all[rfq->awards[i].candidate]);
    must(new_count <= heirless_count);
    for (uint32_t i = first; i < awards_count; i++) {
        struct rfq_award *award = &rfq->awards[i];
        const struct rfq_candidate *candidate = &all[award->candidate];
        if (candidate->owner != owner)
            continue;
        if (has_heir(rfq, candidate))
            award->theta_uusd_per_hour = rfq->keys[rfq->groups[candidate->group].pick].score;
        else if (heirless_count-- > new_count)
            award->theta_uusd_per_hour = input->r_uusd_per_hour;
        else
            award->theta_uusd_per_hour = rfq->keys[rfq->stand_ins[--new_count]].score;
        award->price_uusd_per_hour = award->theta_uusd_per_hour - candidate->terms_uusd_per_hour;
        must(award->price_uusd_per_hour >= candidate->price_uusd_per_hour);
    }
}

static void awards_price(struct rfq *rfq, const struct rfq_input *input, uint32_t awards_count)
{
    for (uint32_t i = 0; i < awards_count; i++) {
        const struct rfq_key *key = &rfq->keys[rfq->picks[i]];
        rfq->awards[i] =
            (struct rfq_award){.candidate = key->index, .theta_uusd_per_hour = LOT_INDEX_NONE};
        rfq->groups[input->candidates[key->index].group].has_won = true;
    }
    for (uint32_t i = 0; i < awards_count; i++)
        if (rfq->awards[i].theta_uusd_per_hour == LOT_INDEX_NONE)
            owner_price(rfq, input, i, awards_count);
}

enum lot_outcome rfq_clear(struct rfq *rfq, const struct rfq_input *input,
                           struct rfq_result *ret_result)
{
    if (!input_is_good(rfq, input))
        return LOT_INPUT_BAD;

    candidates_order(rfq, input);
    /* One more than wanted, if there is one: its score is the index. */
    uint32_t most = input->k < rfq->candidates_max ? input->k + 1 : rfq->candidates_max;
    uint32_t picks_count = groups_walk(rfq, input, OWNER_NOBODY, most, rfq->picks);
    *ret_result = (struct rfq_result){.awards = rfq->awards, .index_uusd_per_hour = LOT_INDEX_NONE};
    if (picks_count < input->kmin) {
        ret_result->verdict = refusal_of(rfq, input);
        return LOT_CLEARED;
    }
    bool has_next = picks_count > input->k;
    ret_result->awards_count = has_next ? input->k : picks_count;
    ret_result->index_uusd_per_hour =
        has_next ? rfq->keys[rfq->picks[input->k]].score : input->r_uusd_per_hour;
    ret_result->verdict =
        ret_result->awards_count == input->k ? DEMAND_FILLED : DEMAND_PARTLY_FILLED;
    awards_price(rfq, input, ret_result->awards_count);
    return LOT_CLEARED;
}
