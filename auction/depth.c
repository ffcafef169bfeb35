#include "auction/depth.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/money.h"

#define BP_ONE     10000
#define STEP_SHARE 20

static const int32_t PERCENTS[DEPTH_PERCENTILES] = {10, 25, 50, 75, 90};

static const int32_t EDGES_BP[DEPTH_BUCKETS_MAX] = {0, 100, 200, 500, 1000, 2500, DEPTH_EDGE_NONE};

struct price_of { /* of one block or workload */
    int64_t uusd_per_hour;
    struct uuid owner;
};

struct prices {
    struct price_of *at;
    uint32_t count;
};

static int by_price(const void *a, const void *b)
{
    const struct price_of *left = a, *right = b;
    if (left->uusd_per_hour != right->uusd_per_hour)
        return left->uusd_per_hour < right->uusd_per_hour ? -1 : 1;
    return memcmp(&left->owner, &right->owner, sizeof(left->owner));
}

static int by_owner_then_price(const void *a, const void *b)
{
    const struct price_of *left = a, *right = b;
    int owners = memcmp(&left->owner, &right->owner, sizeof(left->owner));
    return owners != 0 ? owners : by_price(a, b);
}

static void *array_of(size_t count)
{
    void *array = calloc(count + 1, sizeof(struct price_of));
    must(array != NULL);
    return array;
}

/* Each account with its lowest price, by price. */
static struct prices lowest_of_accounts(const struct price_of *all, uint32_t count)
{
    struct prices lowest = {.at = array_of(count)};
    if (count > 0)
        memcpy(lowest.at, all, count * sizeof(*all));
    qsort(lowest.at, count, sizeof(*lowest.at), by_owner_then_price);
    for (uint32_t i = 0; i < count; i++)
        if (i == 0 || !uuid_equal(lowest.at[i].owner, lowest.at[lowest.count - 1].owner))
            lowest.at[lowest.count++] = lowest.at[i];
    qsort(lowest.at, lowest.count, sizeof(*lowest.at), by_price);
    return lowest;
}

static uint32_t accounts_in(const struct price_of *all, uint32_t count)
{
    struct prices accounts = lowest_of_accounts(all, count);
    free(accounts.at);
    return accounts.count;
}

static uint32_t blocks_within(const struct prices *scores, int64_t index, int32_t edge_bp)
{
    uint32_t count = 0;
    int64_t most =
        edge_bp == DEPTH_EDGE_NONE ? INT64_MAX : mul_div_floor(index, BP_ONE + edge_bp, BP_ONE);
    while (count < scores->count && scores->at[count].uusd_per_hour <= most)
        count++;
    return count;
}

static void buckets_fill(const struct prices *scores, int64_t index, struct depth *depth)
{
    uint32_t first = 0, last_start = 0;
    for (int i = 0; i < DEPTH_BUCKETS_MAX; i++) {
        uint32_t end = blocks_within(scores, index, EDGES_BP[i]);
        uint32_t accounts = accounts_in(scores->at + first, end - first);
        if (accounts < DEPTH_ACCOUNTS_MIN)
            continue;
        depth->buckets[depth->buckets_count++] = (struct depth_bucket){
            .edge_bp = EDGES_BP[i], .blocks_count = end - first, .accounts_count = accounts};
        last_start = first;
        first = end;
    }
    if (depth->buckets_count == 0 || first == scores->count)
        return;
    struct depth_bucket *last = &depth->buckets[depth->buckets_count - 1];
    last->edge_bp = DEPTH_EDGE_NONE;
    last->blocks_count = scores->count - last_start;
    last->accounts_count = accounts_in(scores->at + last_start, last->blocks_count);
}

int64_t depth_step_up(int64_t uusd)
{
    int64_t step = 1;
    while (step < uusd)
        step += step < STEP_SHARE ? 1 : step / STEP_SHARE;
    return step;
}

/* False: too few accounts for any figure. */
static bool percentiles_fill(const struct prices *accounts, int64_t ret[DEPTH_PERCENTILES])
{
    if (accounts->count < DEPTH_ACCOUNTS_MIN)
        return false;
    for (int i = 0; i < DEPTH_PERCENTILES; i++) {
        uint32_t rank =
            (uint32_t)(((uint64_t)(accounts->count - 1) * (uint32_t)PERCENTS[i] + 50) / 100);
        uint32_t start = rank > 0 ? rank - 1 : 0;
        if (start > accounts->count - DEPTH_ACCOUNTS_MIN)
            start = accounts->count - DEPTH_ACCOUNTS_MIN;
        int64_t sum = 0;
        for (uint32_t j = start; j < start + DEPTH_ACCOUNTS_MIN; j++)
            sum += accounts->at[j].uusd_per_hour;
        ret[i] = depth_step_up(mul_div_ceil(sum, 1, DEPTH_ACCOUNTS_MIN));
    }
    return true;
}

static void asks_look(const struct record_lot *lot, struct depth *depth)
{
    struct prices scores = {.at = array_of(lot->blocks_count), .count = lot->blocks_count};
    for (uint32_t i = 0; i < lot->blocks_count; i++)
        scores.at[i] = (struct price_of){
            .uusd_per_hour = lot->blocks[i].ask_uusd_per_hour + lot->blocks[i].adder_uusd_per_hour,
            .owner = lot->blocks[i].owner,
        };
    struct prices accounts = lowest_of_accounts(scores.at, scores.count);
    qsort(scores.at, scores.count, sizeof(*scores.at), by_price);
    depth->accounts_count = accounts.count;
    depth->has_asks = percentiles_fill(&accounts, depth->asks_uusd);
    if (lot->outcome.index_uusd_per_hour != LOT_INDEX_NONE)
        buckets_fill(&scores, lot->outcome.index_uusd_per_hour, depth);
    free(accounts.at);
    free(scores.at);
}

static void reserves_look(const struct record_lot *lot, struct depth *depth)
{
    struct prices offers = {.at = array_of(lot->demands_count), .count = lot->demands_count};
    for (uint32_t i = 0; i < lot->demands_count; i++)
        offers.at[i] = (struct price_of){.uusd_per_hour = lot->demands[i].r_uusd_per_hour,
                                         .owner = lot->demands[i].owner};
    struct prices accounts = lowest_of_accounts(offers.at, offers.count);
    depth->has_reserves = percentiles_fill(&accounts, depth->reserves_uusd);
    free(accounts.at);
    free(offers.at);
}

void depth_of(const struct record_lot *lot, struct depth *ret_depth)
{
    *ret_depth = (struct depth){.accounts_count = 0};
    asks_look(lot, ret_depth);
    reserves_look(lot, ret_depth);
}
