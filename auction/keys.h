/* keys.h - what a lot is sorted by: 64-bit keys, and an ordered set of them that stays sorted.
 *
 * pure apart from malloc in the set. A key holds a value of 40 bits (a score, or LOT_SCORE_MAX - r
 * so that the highest reserve comes first) above an index of 24 bits (which block or workload of
 * the lot), so comparing two keys is comparing two integers and equals differ by their index.
 *
 * The set is a row of sorted leaves of at most KEY_LEAF_MAX keys, as in the bottom of a B+-tree:
 * insert and remove cost a binary search and the move of half a leaf, whatever the size of the set;
 * reading the first n keys copies whole leaves.
 */
#ifndef UNDERCUT_AUCTION_KEYS_H
#define UNDERCUT_AUCTION_KEYS_H

#include <stddef.h>
#include <stdint.h>

#include "broker/base/must.h"

#define KEY_INDEX_BITS 24
#define KEY_INDEX_MAX  (((uint32_t)1 << KEY_INDEX_BITS) - 1)
#define KEY_LEAF_MAX   128
#define HEAP_PER_BLOCK 16 /* what malloc takes for itself, where bytes are counted */
#define CACHE_LINE     64

static inline uint64_t key_of(int64_t value, uint32_t index)
{
    return (uint64_t)value << KEY_INDEX_BITS | index;
}

static inline int64_t key_value(uint64_t key)
{
    return (int64_t)(key >> KEY_INDEX_BITS);
}

static inline uint32_t key_index(uint64_t key)
{
    return (uint32_t)key & KEY_INDEX_MAX;
}

/* Asks for memory that will be read soon. */
static inline void memory_fetch(const void *from, size_t size)
{
    for (size_t at = 0; at < size; at += CACHE_LINE)
        __builtin_prefetch((const char *)from + at);
}

/* Ascending by the whole key. Linear for large counts. `scratch` holds as many keys. */
void keys_sort(uint64_t *keys, uint64_t *scratch, uint32_t count);

struct key_leaf {
    uint64_t first; /* keys[0], kept here so that a search stays in one array */
    uint64_t *keys;
    uint32_t count, cap;
};

struct key_set {             /* zero-initialised is empty */
    struct key_leaf *leaves; /* ascending; none is empty */
    uint32_t leaves_count, leaves_cap;
    uint32_t count;
};

void key_set_insert(struct key_set *set, uint64_t key); /* a key it does not hold */
void key_set_remove(struct key_set *set, uint64_t key); /* a key it holds */
/* Holds exactly these afterwards; they are sorted and no two are equal. */
void key_set_fill(struct key_set *set, const uint64_t *keys, uint32_t count);
/* Copies the first `wanted` keys (or all) and whatever more it takes to end behind a group of equal
 * values; says how many. `ret` has room for all. */
uint32_t key_set_read(const struct key_set *set, uint64_t *ret, uint32_t wanted);
void key_set_fetch(const struct key_set *set); /* into the cache: which leaves there are */
void key_set_fetch_at(const struct key_set *set, uint64_t key); /* the leaf where it belongs */
size_t key_set_bytes(const struct key_set *set);                /* on the heap */
void key_set_finish(struct key_set *set);

#endif
