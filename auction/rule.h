/* rule.h - the clearing rule itself, over supply and demand that are sorted already.
 *
 * pure: no allocation, no I/O. Its statement and its theory are in auction/clear.h. Two callers
 * bring it sorted keys: lot_clear() (auction/clear.h) sorts a whole lot, book_clear()
 * (auction/book.h) keeps lots sorted. There is no second implementation of the rule.
 */
#ifndef UNDERCUT_AUCTION_RULE_H
#define UNDERCUT_AUCTION_RULE_H

#include "auction/clear.h"
#include "broker/base/id.h"

/* Where the rule reads a block or a workload, by the index in its key. `id` points into `text` or
 * to where it lives; with `text` NULL it may be left out. */
struct lot_source {
    const void *at;
    struct lot_block (*block)(const void *at, uint32_t index, char text[ID_TEXT_SIZE]);
    struct lot_demand (*demand)(const void *at, uint32_t index, char text[ID_TEXT_SIZE]);
    const struct sha256 *seed;
};

struct lot_owner {               /* what the rule knows of one seller while it clears */
    uint64_t page;               /* of the lot that it belongs to; any other is stale */
    int64_t adder_uusd_per_hour; /* of its first block */
    uint32_t blocks_count;       /* for the caller: in the whole lot */
    uint32_t ranked_count;       /* ranks that thresholds look at */
    uint32_t placed_count;       /* of them, written to own_ranks so far */
    uint32_t first;              /* where they begin there */
    uint32_t sold_count;         /* blocks priced so far */
    uint32_t first_block;        /* for the caller: an index */
};

/* A fresh page for a lot: forgets the owners of the one before. */
void rule_open(struct lot_clear *lot);
/* The working row of an owner in this lot, zero at first sight. */
struct lot_owner *rule_owner(struct lot_clear *lot, uint32_t owner);

/* Clears. The caller has set in `lot`:
 *   blocks_count    of the lot
 *   front, supply   its first keys in order, at least as many as admitted workloads want together
 *                   and one seller has at most, ending behind a group of equals (or all)
 *   demands_count, demand  the keys of admitted workloads in order
 *   verdicts, accepted_counts  of workloads that were not admitted.
 * False: the blocks of a seller that won do not have one adder, and a gang was there (fault is
 * set). */
MUST_USE bool rule_run(struct lot_clear *lot, const struct lot_source *source,
                       struct lot_result *ret_result);

#endif
