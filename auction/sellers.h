/* sellers.h - who sells in one lot: the owner's one ask, and how many blocks stand behind it.
 *
 * pure apart from malloc. A seller has a number, its place in `at`, from its first block to its
 * last, so that a block can name its seller without a search; a number is used again when its
 * seller has left. An open-addressing table finds the number of an owner. Seventeen bytes each, so
 * that a million asks stay small.
 */
#ifndef UNDERCUT_AUCTION_SELLERS_H
#define UNDERCUT_AUCTION_SELLERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/must.h"

#define SELLER_NONE UINT32_MAX

struct seller {
    uint32_t owner;        /* of one that left: the number of the one that left before it */
    uint32_t ask_low;      /* the ask's lower 32 bits */
    uint32_t ask_high : 8; /* and the 8 above: asks are below 2^40 */
    uint32_t blocks_count : 24;
};

struct sellers { /* zero-initialised is empty */
    struct seller *at;
    uint32_t *table; /* number + 1, or 0; four fifths full at most */
    uint32_t cap, table_cap;
    uint32_t count;
    uint32_t used_count;  /* numbers ever used: all are below */
    uint32_t free_first;  /* number + 1 of the last that left, or 0 */
    uint32_t blocks_most; /* the most blocks that one seller has had since there was none */
};

static inline int64_t seller_ask(const struct seller *seller)
{
    return (int64_t)seller->ask_high << 32 | seller->ask_low;
}

static inline void seller_set_ask(struct seller *seller, int64_t ask_uusd_per_hour)
{
    seller->ask_low = (uint32_t)ask_uusd_per_hour;
    seller->ask_high = (uint32_t)(ask_uusd_per_hour >> 32) & 255;
}

void sellers_reserve(struct sellers *sellers, uint32_t count);
uint32_t sellers_find(const struct sellers *sellers, uint32_t owner); /* a number, or SELLER_NONE */
/* One block more; a new seller begins with this ask. The seller's number, or SELLER_NONE when the
 * seller has another ask. */
MUST_USE uint32_t sellers_add_block(struct sellers *sellers, uint32_t owner,
                                    int64_t ask_uusd_per_hour);
void sellers_drop_block(struct sellers *sellers, uint32_t number); /* of a seller that is here */
size_t sellers_bytes(const struct sellers *sellers);
void sellers_finish(struct sellers *sellers);

#endif
