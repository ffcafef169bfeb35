#include "auction/slots.h"

#include <stdlib.h>
#include <string.h>

#include "auction/keys.h"

void slots_start(struct slots *slots, uint32_t stride)
{
    *slots = (struct slots){.stride = stride, .free_first = SLOT_NONE};
}

static uint64_t hash_of(const struct uuid *id)
{
    uint64_t halves[2];
    memcpy(halves, id->bytes, sizeof(halves));
    return (halves[0] ^ halves[1] * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
}

/* Scales the upper 32 bits to the table, which need not be a power of two. */
static uint32_t home_of(const struct slots *slots, uint64_t hash)
{
    return (uint32_t)((hash >> 32) * slots->table_cap >> 32);
}

/* An entry names its slot and eight bits of the hash, so that a search seldom reads a row in vain.
 */
static uint32_t entry_of(uint64_t hash, uint32_t slot)
{
    return (uint32_t)(hash >> 8) << KEY_INDEX_BITS | (slot + 1);
}

static uint32_t entry_slot(uint32_t entry)
{
    return (entry & KEY_INDEX_MAX) - 1;
}

static uint32_t place_after(const struct slots *slots, uint32_t place)
{
    return place + 1 < slots->table_cap ? place + 1 : 0;
}

static void table_put(struct slots *slots, uint32_t slot)
{
    uint64_t hash = hash_of(&slots->ids[slot]);
    uint32_t place = home_of(slots, hash);
    while (slots->table[place] != 0)
        place = place_after(slots, place);
    slots->table[place] = entry_of(hash, slot);
}

static void table_grow(struct slots *slots, uint32_t cap)
{
    uint32_t *old = slots->table, old_cap = slots->table_cap;
    slots->table = calloc(cap, sizeof(*slots->table));
    must(slots->table != NULL);
    slots->table_cap = cap;
    for (uint32_t i = 0; i < old_cap; i++)
        if (old[i] != 0)
            table_put(slots, entry_slot(old[i]));
    free(old);
}

/* Four fifths full at most. */
static uint32_t table_cap_for(uint32_t count)
{
    return count + count / 4 + 2;
}

void slots_reserve(struct slots *slots, uint32_t count)
{
    if (count > slots->rows_cap) {
        slots->ids = realloc(slots->ids, (size_t)count * sizeof(*slots->ids));
        slots->rows = realloc(slots->rows, (size_t)count * slots->stride);
        must(slots->ids != NULL && slots->rows != NULL);
        slots->rows_cap = count;
    }
    if (table_cap_for(count) > slots->table_cap)
        table_grow(slots, table_cap_for(count));
}

/* The table's place of `id`, or the empty one where the search ends. */
static uint32_t place_of(const struct slots *slots, const struct uuid *id)
{
    uint64_t hash = hash_of(id);
    uint32_t place = home_of(slots, hash), entry;
    for (; (entry = slots->table[place]) != 0; place = place_after(slots, place)) {
        uint32_t slot = entry_slot(entry);
        if (entry == entry_of(hash, slot) && memcmp(&slots->ids[slot], id, sizeof(*id)) == 0)
            break;
    }
    return place;
}

uint32_t slots_find(const struct slots *slots, struct uuid id)
{
    uint32_t entry = slots->live_count > 0 ? slots->table[place_of(slots, &id)] : 0;
    return entry != 0 ? entry_slot(entry) : SLOT_NONE;
}

uint32_t slots_add(struct slots *slots, struct uuid id)
{
    uint32_t slot = slots->free_first;
    if (slot != SLOT_NONE) {
        memcpy(&slots->free_first, &slots->ids[slot], sizeof(slots->free_first));
    } else {
        slot = slots->used_count++;
        if (slots->used_count > slots->rows_cap)
            slots_reserve(slots, slots->used_count + slots->used_count / 4);
        memset(slots_row(slots, slot), 0, slots->stride);
    }
    slots->ids[slot] = id;
    slots->live_count++;
    table_put(slots, slot);
    return slot;
}

/* Entries behind the hole move into it unless they would then stand before their home. */
static void table_close(struct slots *slots, uint32_t hole)
{
    uint32_t place = hole;
    for (;;) {
        place = place_after(slots, place);
        if (slots->table[place] == 0)
            break;
        uint32_t slot = entry_slot(slots->table[place]);
        uint32_t home = home_of(slots, hash_of(&slots->ids[slot]));
        bool is_between =
            hole <= place ? hole < home && home <= place : hole < home || home <= place;
        if (is_between)
            continue;
        slots->table[hole] = slots->table[place];
        hole = place;
    }
    slots->table[hole] = 0;
}

void slots_drop(struct slots *slots, uint32_t slot)
{
    table_close(slots, place_of(slots, &slots->ids[slot]));
    memset(slots_row(slots, slot), 0, slots->stride);
    memcpy(&slots->ids[slot], &slots->free_first, sizeof(slots->free_first));
    slots->free_first = slot;
    slots->live_count--;
}

void slots_fetch(const struct slots *slots)
{
    memory_fetch(slots->table, slots->table_cap * sizeof(*slots->table));
    memory_fetch(slots->ids, slots->used_count * sizeof(*slots->ids));
    memory_fetch(slots->rows, (size_t)slots->used_count * slots->stride);
}

size_t slots_bytes(const struct slots *slots)
{
    return (size_t)slots->rows_cap * (sizeof(*slots->ids) + slots->stride) +
           slots->table_cap * sizeof(*slots->table) + 3 * HEAP_PER_BLOCK;
}

void slots_finish(struct slots *slots)
{
    free(slots->ids);
    free(slots->rows);
    free(slots->table);
    slots_start(slots, slots->stride);
}
