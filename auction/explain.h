/* explain.h - why a wish is not met, and the smallest single change by which it would have been.
 *
 * pure, no allocation. It sees pools of blocks with public figures only: how many there are, how
 * many are free, and what their lot cost lately. Each block is lost to the first constraint that
 * stands against it; a change is looked for among pools that one constraint alone keeps out.
 * Prices are net micro-USD per block-hour.
 *
 * Example: 2 blocks wanted at 500; a pool of 3 free ones in another region at 450 and one of 4 free
 * ones here at 520. Lost: 3 by region, 4 by price. Changes: the price to 520 (4 % more, so the
 * smallest), or the region.
 */
#ifndef UNDERCUT_AUCTION_EXPLAIN_H
#define UNDERCUT_AUCTION_EXPLAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum constraint {
    CONSTRAINT_NONE,
#define CONSTRAINT(name, slug, rank, lost) CONSTRAINT_##name,
#include "auction/constraints.def"
#undef CONSTRAINT
    CONSTRAINT_END
};

struct constraint_info {
    const char *slug;
    int rank;
    const char *lost;
};
const struct constraint_info *constraint_info(enum constraint constraint);

#define CONSTRAINT_BIT(constraint) (1u << (constraint))
/* What may stand against single nodes of a pool: these and all between them. */
#define CONSTRAINT_APART_FIRST CONSTRAINT_OWN
#define CONSTRAINT_APART_LAST  CONSTRAINT_ROOM
#define CONSTRAINT_APART_COUNT (CONSTRAINT_APART_LAST - CONSTRAINT_APART_FIRST + 1)
#define EXPLAIN_POOL_NONE      SIZE_MAX
#define PRICE_CHANGE_SMALL_BP  1000 /* a rise of the price up to this share is a small change */

struct explain_pool { /* what one lot would sell */
    uint32_t faults;  /* CONSTRAINT_BIT of what stands against all of it */
    uint32_t blocks_count;
    uint32_t free_count; /* neither leased nor apart */
    struct explain_apart {
        uint32_t blocks_count, free_count; /* free: not leased */
    } apart[CONSTRAINT_APART_COUNT];       /* of its blocks, what something stands against */
    int64_t price_uusd_per_hour;
    int64_t offered_uusd_per_hour; /* by the workload, there and now */
};

struct explain_wish {
    uint32_t k, kmin;
    int64_t limit_uusd_per_hour; /* the most it will ever offer */
};

struct explain_loss {
    enum constraint constraint;
    uint32_t blocks_count;
};

struct explain_change {
    enum constraint constraint;
    size_t pool; /* where it would then have won */
};

struct explain {
    uint32_t blocks_count; /* of all pools */
    uint32_t left_count;
    size_t losses_count, changes_count;
    struct explain_loss losses[CONSTRAINT_END];    /* in the order of judging; none is 0 */
    struct explain_change changes[CONSTRAINT_END]; /* the smallest first */
    size_t best; /* the cheapest pool that nothing stands against but its price; else NONE */
    bool would_win;
};

/* Pools of another tier carry CONSTRAINT_TIER and are the same blocks again: they count nowhere but
 * as a change. */
void explain_pools(const struct explain_wish *wish, const struct explain_pool *pools, size_t count,
                   struct explain *ret_explain);

/* Sets blocks of a pool apart, as far as they are there; none is taken twice. */
void explain_set_apart(struct explain_pool *pool, enum constraint constraint,
                       struct explain_apart blocks);

/* The smallest all-in price whose net is `net`. */
int64_t reserve_for_net(int64_t net_uusd_per_hour, int64_t fee_bp);

#endif
