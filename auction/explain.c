/* The happy path is: each pool's blocks are counted to the first constraint that stands against
 * them, and for each kind of change the best pool is looked for that it alone would open.
 * Failure modes are: none; a constraint that is none is a bug of the caller.
 */
#include "auction/explain.h"

#include "broker/base/money.h"

#define BP_ONE 10000

const struct constraint_info *constraint_info(enum constraint constraint)
{
    static const struct constraint_info infos[CONSTRAINT_END] = {
#define CONSTRAINT(name, slug, rank, lost) [CONSTRAINT_##name] = {slug, rank, lost},
#include "auction/constraints.def"
#undef CONSTRAINT
    };
    must(constraint > CONSTRAINT_NONE && constraint < CONSTRAINT_END);
    return &infos[constraint];
}

int64_t reserve_for_net(int64_t net_uusd_per_hour, int64_t fee_bp)
{
    return mul_div_ceil(net_uusd_per_hour, BP_ONE + fee_bp, BP_ONE);
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t apart_count(const struct explain_pool *pool)
{
    uint32_t count = 0;
    for (size_t i = 0; i < CONSTRAINT_APART_COUNT; i++)
        count += pool->apart[i].blocks_count;
    return count;
}

void explain_set_apart(struct explain_pool *pool, enum constraint constraint,
                       struct explain_apart blocks)
{
    must(constraint >= CONSTRAINT_APART_FIRST && constraint <= CONSTRAINT_APART_LAST);
    struct explain_apart *apart = &pool->apart[constraint - CONSTRAINT_APART_FIRST];
    uint32_t held = pool->blocks_count - apart_count(pool) - pool->free_count;
    uint32_t free_taken = least(blocks.free_count, pool->free_count);
    uint32_t held_taken = least(blocks.blocks_count - blocks.free_count, held);
    pool->free_count -= free_taken;
    apart->free_count += free_taken;
    apart->blocks_count += free_taken + held_taken;
}

/* The first that stands against the whole pool. */
static enum constraint first_fault(const struct explain_pool *pool)
{
    enum constraint first = CONSTRAINT_NONE + 1;
    while (!(pool->faults & CONSTRAINT_BIT(first)))
        first++;
    return first;
}

/* What its free blocks are lost to, once nothing stands against all of the pool. */
static enum constraint free_fault(const struct explain_wish *wish, const struct explain_pool *pool)
{
    if (pool->free_count < wish->kmin)
        return CONSTRAINT_COUNT;
    if (pool->price_uusd_per_hour > wish->limit_uusd_per_hour)
        return CONSTRAINT_PRICE;
    if (pool->price_uusd_per_hour > pool->offered_uusd_per_hour)
        return CONSTRAINT_TIME;
    return CONSTRAINT_NONE;
}

static void pool_count(const struct explain_wish *wish, const struct explain_pool *pool,
                       uint32_t lost[CONSTRAINT_END])
{
    if (pool->faults != 0) {
        lost[first_fault(pool)] += pool->blocks_count;
        return;
    }
    for (enum constraint c = CONSTRAINT_APART_FIRST; c <= CONSTRAINT_APART_LAST; c++)
        lost[c] += pool->apart[c - CONSTRAINT_APART_FIRST].blocks_count;
    lost[CONSTRAINT_TAKEN] += pool->blocks_count - apart_count(pool) - pool->free_count;
    lost[free_fault(wish, pool)] += pool->free_count;
}

static void losses_fill(const struct explain_wish *wish, const struct explain_pool *pools,
                        size_t count, struct explain *explain)
{
    uint32_t lost[CONSTRAINT_END] = {0};
    for (size_t i = 0; i < count; i++) {
        if (pools[i].faults & CONSTRAINT_BIT(CONSTRAINT_TIER))
            continue;
        explain->blocks_count += pools[i].blocks_count;
        pool_count(wish, &pools[i], lost);
    }
    explain->left_count = lost[CONSTRAINT_NONE];
    for (enum constraint c = CONSTRAINT_NONE + 1; c < CONSTRAINT_END; c++)
        if (lost[c] > 0)
            explain->losses[explain->losses_count++] =
                (struct explain_loss){.constraint = c, .blocks_count = lost[c]};
}

/* Cheaper, or as cheap with more to have. */
static bool is_better(const struct explain_pool *pool, const struct explain_pool *than)
{
    if (pool->price_uusd_per_hour != than->price_uusd_per_hour)
        return pool->price_uusd_per_hour < than->price_uusd_per_hour;
    return pool->free_count > than->free_count;
}

/* Whether this change alone would do for this pool. */
static bool change_helps(enum constraint constraint, const struct explain_wish *wish,
                         const struct explain_pool *pool)
{
    switch (constraint) {
    case CONSTRAINT_REGION:
    case CONSTRAINT_VENDOR:
    case CONSTRAINT_MODEL:
    case CONSTRAINT_VRAM:
    case CONSTRAINT_VCPU:
    case CONSTRAINT_MEMORY:
    case CONSTRAINT_DISK:
    case CONSTRAINT_TIER:
    case CONSTRAINT_TRUST:
        return pool->faults == CONSTRAINT_BIT(constraint) && pool->free_count >= wish->kmin &&
               pool->price_uusd_per_hour <= wish->limit_uusd_per_hour;
    case CONSTRAINT_DRIVER:
    case CONSTRAINT_COMPUTE:
    case CONSTRAINT_ISOLATION:
    case CONSTRAINT_ROOM: /* those nodes as well */
        return pool->faults == 0 && pool->free_count < wish->kmin &&
               pool->free_count + pool->apart[constraint - CONSTRAINT_APART_FIRST].free_count >=
                   wish->kmin &&
               pool->price_uusd_per_hour <= wish->limit_uusd_per_hour;
    case CONSTRAINT_TAKEN: /* wait until one is free */
        return pool->faults == 0 && pool->free_count < wish->kmin &&
               pool->blocks_count - apart_count(pool) >= wish->kmin &&
               pool->price_uusd_per_hour <= wish->limit_uusd_per_hour;
    case CONSTRAINT_COUNT: /* be content with fewer */
        return pool->faults == 0 && pool->free_count > 0 && pool->free_count < wish->kmin &&
               pool->price_uusd_per_hour <= wish->limit_uusd_per_hour;
    case CONSTRAINT_PRICE:
    case CONSTRAINT_TIME:
        return pool->faults == 0 && free_fault(wish, pool) == constraint;
    case CONSTRAINT_NONE:
    case CONSTRAINT_OWN:
    case CONSTRAINT_EXCLUDED:
    case CONSTRAINT_END:
        return false;
    }
    must_not_reach();
}

/* A small rise of the price comes right behind waiting; a large one last. */
static int change_rank(const struct explain_change *change, const struct explain_wish *wish,
                       const struct explain_pool *pools)
{
    int64_t small =
        mul_div_floor(wish->limit_uusd_per_hour, BP_ONE + PRICE_CHANGE_SMALL_BP, BP_ONE);
    if (change->constraint == CONSTRAINT_PRICE && pools[change->pool].price_uusd_per_hour <= small)
        return constraint_info(CONSTRAINT_TIME)->rank + 1;
    return constraint_info(change->constraint)->rank;
}

static void change_insert(struct explain *explain, struct explain_change change,
                          const struct explain_wish *wish, const struct explain_pool *pools)
{
    size_t at = explain->changes_count++;
    while (at > 0 && change_rank(&explain->changes[at - 1], wish, pools) >
                         change_rank(&change, wish, pools)) {
        explain->changes[at] = explain->changes[at - 1];
        at--;
    }
    explain->changes[at] = change;
}

static void changes_fill(const struct explain_wish *wish, const struct explain_pool *pools,
                         size_t count, struct explain *explain)
{
    for (enum constraint c = CONSTRAINT_NONE + 1; c < CONSTRAINT_END; c++) {
        size_t best = EXPLAIN_POOL_NONE;
        for (size_t i = 0; i < count; i++)
            if (change_helps(c, wish, &pools[i]) &&
                (best == EXPLAIN_POOL_NONE || is_better(&pools[i], &pools[best])))
                best = i;
        if (best != EXPLAIN_POOL_NONE)
            change_insert(explain, (struct explain_change){.constraint = c, .pool = best}, wish,
                          pools);
    }
}

void explain_pools(const struct explain_wish *wish, const struct explain_pool *pools, size_t count,
                   struct explain *ret_explain)
{
    *ret_explain = (struct explain){.best = EXPLAIN_POOL_NONE};
    losses_fill(wish, pools, count, ret_explain);
    for (size_t i = 0; i < count; i++) {
        if (pools[i].faults != 0)
            continue;
        ret_explain->would_win |= free_fault(wish, &pools[i]) == CONSTRAINT_NONE;
        if (ret_explain->best == EXPLAIN_POOL_NONE ||
            is_better(&pools[i], &pools[ret_explain->best]))
            ret_explain->best = i;
    }
    if (!ret_explain->would_win)
        changes_fill(wish, pools, count, ret_explain);
}
