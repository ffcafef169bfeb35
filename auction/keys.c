/* The happy path is: find the leaf by its first key, find the place in it, move the rest by one.
 * Failure modes are: no memory, and a key that is there already or is missing (both are bugs).
 */
#include "auction/keys.h"

#include <stdlib.h>
#include <string.h>

#define RADIX_FROM    96  /* below this many keys insertion beats counting */
#define LEAF_FILL     112 /* of a leaf that is filled at once: room for the next changes */
#define LEAF_JOIN_MAX 64

/* Sorting --------------------------------------------------------------------------------------*/

static void keys_insertion_sort(uint64_t *keys, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        uint64_t moving = keys[i];
        uint32_t at = i;
        for (; at > 0 && keys[at - 1] > moving; at--)
            keys[at] = keys[at - 1];
        keys[at] = moving;
    }
}

/* One stable pass by one byte. */
static void radix_pass(const uint64_t *from, uint64_t *to, uint32_t count, int shift)
{
    uint32_t starts[257] = {0};
    for (uint32_t i = 0; i < count; i++)
        starts[(from[i] >> shift & 255) + 1]++;
    for (int digit = 0; digit < 256; digit++)
        starts[digit + 1] += starts[digit];
    for (uint32_t i = 0; i < count; i++)
        to[starts[from[i] >> shift & 255]++] = from[i];
}

void keys_sort(uint64_t *keys, uint64_t *scratch, uint32_t count)
{
    if (count < RADIX_FROM) {
        keys_insertion_sort(keys, count);
        return;
    }
    uint64_t differing = 0;
    for (uint32_t i = 1; i < count; i++)
        differing |= keys[i] ^ keys[0];
    uint64_t *from = keys, *to = scratch;
    for (int shift = 0; shift < 64; shift += 8) {
        if ((differing >> shift & 255) == 0)
            continue;
        radix_pass(from, to, count, shift);
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != keys)
        memcpy(keys, from, count * sizeof(*keys));
}

/* The set --------------------------------------------------------------------------------------*/

static void leaf_resize(struct key_leaf *leaf, uint32_t cap)
{
    leaf->cap = cap < KEY_LEAF_MAX ? cap : KEY_LEAF_MAX;
    leaf->keys = realloc(leaf->keys, leaf->cap * sizeof(*leaf->keys));
    must(leaf->keys != NULL);
}

/* An empty leaf at position `at`. */
static struct key_leaf *leaf_open(struct key_set *set, uint32_t at)
{
    if (set->leaves_count == set->leaves_cap) {
        set->leaves_cap += set->leaves_cap / 8 + 1;
        set->leaves = realloc(set->leaves, set->leaves_cap * sizeof(*set->leaves));
        must(set->leaves != NULL);
    }
    memmove(&set->leaves[at + 1], &set->leaves[at],
            (set->leaves_count - at) * sizeof(*set->leaves));
    set->leaves_count++;
    set->leaves[at] = (struct key_leaf){.keys = NULL};
    return &set->leaves[at];
}

static void leaf_drop(struct key_set *set, uint32_t at)
{
    free(set->leaves[at].keys);
    set->leaves_count--;
    memmove(&set->leaves[at], &set->leaves[at + 1],
            (set->leaves_count - at) * sizeof(*set->leaves));
}

/* The last leaf that begins at or before `key`; the first when none does. */
static uint32_t leaf_for(const struct key_set *set, uint64_t key)
{
    uint32_t low = 0, high = set->leaves_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (set->leaves[middle].first <= key)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? low - 1 : 0;
}

/* How many keys of the leaf come before `key`. */
static uint32_t place_in(const struct key_leaf *leaf, uint64_t key)
{
    uint32_t low = 0, high = leaf->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (leaf->keys[middle] < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void leaf_split(struct key_set *set, uint32_t at)
{
    struct key_leaf *right = leaf_open(set, at + 1), *left = &set->leaves[at];
    uint32_t kept = left->count / 2;
    right->count = left->count - kept;
    leaf_resize(right, right->count + right->count / 4);
    memcpy(right->keys, left->keys + kept, right->count * sizeof(*right->keys));
    right->first = right->keys[0];
    left->count = kept;
    leaf_resize(left, kept + kept / 4);
}

void key_set_insert(struct key_set *set, uint64_t key)
{
    if (set->leaves_count == 0)
        leaf_open(set, 0);
    uint32_t at = leaf_for(set, key);
    if (set->leaves[at].count == KEY_LEAF_MAX) {
        leaf_split(set, at);
        at += set->leaves[at + 1].first <= key;
    }
    struct key_leaf *leaf = &set->leaves[at];
    if (leaf->count == leaf->cap)
        leaf_resize(leaf, leaf->cap + leaf->cap / 4 + 2);
    uint32_t place = place_in(leaf, key);
    must(place == leaf->count || leaf->keys[place] != key);
    memmove(&leaf->keys[place + 1], &leaf->keys[place],
            (leaf->count - place) * sizeof(*leaf->keys));
    leaf->keys[place] = key;
    leaf->first = leaf->keys[0];
    leaf->count++;
    set->count++;
}

/* Two thin neighbours become one, so that leaves stay a third full on average at the least. */
static void leaf_join_next(struct key_set *set, uint32_t at)
{
    if (at + 1 >= set->leaves_count)
        return;
    struct key_leaf *left = &set->leaves[at], *right = &set->leaves[at + 1];
    uint32_t count = left->count + right->count;
    if (count > LEAF_JOIN_MAX)
        return;
    if (count > left->cap)
        leaf_resize(left, count);
    memcpy(left->keys + left->count, right->keys, right->count * sizeof(*left->keys));
    left->count = count;
    leaf_drop(set, at + 1);
}

void key_set_remove(struct key_set *set, uint64_t key)
{
    must(set->count > 0);
    uint32_t at = leaf_for(set, key);
    struct key_leaf *leaf = &set->leaves[at];
    uint32_t place = place_in(leaf, key);
    must(place < leaf->count && leaf->keys[place] == key);
    leaf->count--;
    set->count--;
    memmove(&leaf->keys[place], &leaf->keys[place + 1],
            (leaf->count - place) * sizeof(*leaf->keys));
    if (leaf->count == 0) {
        leaf_drop(set, at);
        return;
    }
    leaf->first = leaf->keys[0];
    leaf_join_next(set, at);
}

void key_set_fill(struct key_set *set, const uint64_t *keys, uint32_t count)
{
    key_set_finish(set);
    uint32_t leaves_count = (count + LEAF_FILL - 1) / LEAF_FILL;
    set->leaves = calloc(leaves_count ? leaves_count : 1, sizeof(*set->leaves));
    must(set->leaves != NULL);
    set->leaves_cap = set->leaves_count = leaves_count;
    set->count = count;
    for (uint32_t i = 0, from = 0; i < leaves_count; i++) {
        struct key_leaf *leaf = &set->leaves[i];
        leaf->count = (count - from) / (leaves_count - i); /* even shares */
        leaf_resize(leaf, leaf->count + leaf->count / 16);
        memcpy(leaf->keys, keys + from, leaf->count * sizeof(*keys));
        leaf->first = leaf->keys[0];
        from += leaf->count;
    }
}

uint32_t key_set_read(const struct key_set *set, uint64_t *ret, uint32_t wanted)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < set->leaves_count; i++) {
        const struct key_leaf *leaf = &set->leaves[i];
        if (count >= wanted && (count == 0 || key_value(leaf->first) != key_value(ret[count - 1])))
            break;
        memcpy(ret + count, leaf->keys, leaf->count * sizeof(*ret));
        count += leaf->count;
    }
    return count;
}

void key_set_fetch(const struct key_set *set)
{
    memory_fetch(set->leaves, set->leaves_count * sizeof(*set->leaves));
}

void key_set_fetch_at(const struct key_set *set, uint64_t key)
{
    if (set->leaves_count == 0)
        return;
    const struct key_leaf *leaf = &set->leaves[leaf_for(set, key)];
    memory_fetch(leaf->keys, leaf->count * sizeof(*leaf->keys));
}

size_t key_set_bytes(const struct key_set *set)
{
    size_t bytes = set->leaves_cap * sizeof(*set->leaves) + HEAP_PER_BLOCK;
    for (uint32_t i = 0; i < set->leaves_count; i++)
        bytes += set->leaves[i].cap * sizeof(uint64_t) + HEAP_PER_BLOCK;
    return bytes;
}

void key_set_finish(struct key_set *set)
{
    for (uint32_t i = 0; i < set->leaves_count; i++)
        free(set->leaves[i].keys);
    free(set->leaves);
    *set = (struct key_set){.count = 0};
}
