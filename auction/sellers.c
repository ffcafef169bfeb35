#include "auction/sellers.h"

#include <stdlib.h>

#include "auction/keys.h"

static uint32_t home_of(const struct sellers *sellers, uint32_t owner)
{
    uint32_t mixed = owner * 0x9e3779b1u;
    return (uint32_t)((uint64_t)mixed * sellers->table_cap >> 32);
}

static uint32_t place_after(const struct sellers *sellers, uint32_t place)
{
    return place + 1 < sellers->table_cap ? place + 1 : 0;
}

static uint32_t owner_at(const struct sellers *sellers, uint32_t place)
{
    return sellers->at[sellers->table[place] - 1].owner;
}

/* The table's place of the owner, or the empty one where the search ends. */
static uint32_t place_of(const struct sellers *sellers, uint32_t owner)
{
    uint32_t place = home_of(sellers, owner);
    while (sellers->table[place] != 0 && owner_at(sellers, place) != owner)
        place = place_after(sellers, place);
    return place;
}

static void table_grow(struct sellers *sellers, uint32_t cap)
{
    uint32_t *old = sellers->table, old_cap = sellers->table_cap;
    sellers->table = calloc(cap, sizeof(*sellers->table));
    must(sellers->table != NULL);
    sellers->table_cap = cap;
    for (uint32_t i = 0; i < old_cap; i++)
        if (old[i] != 0)
            sellers->table[place_of(sellers, sellers->at[old[i] - 1].owner)] = old[i];
    free(old);
}

static uint32_t table_cap_for(uint32_t count)
{
    return count + count / 4 + 2;
}

void sellers_reserve(struct sellers *sellers, uint32_t count)
{
    if (count > sellers->cap) {
        sellers->at = realloc(sellers->at, count * sizeof(*sellers->at));
        must(sellers->at != NULL);
        sellers->cap = count;
    }
    if (table_cap_for(count) > sellers->table_cap)
        table_grow(sellers, table_cap_for(count));
}

uint32_t sellers_find(const struct sellers *sellers, uint32_t owner)
{
    uint32_t entry = sellers->count > 0 ? sellers->table[place_of(sellers, owner)] : 0;
    return entry != 0 ? entry - 1 : SELLER_NONE;
}

static uint32_t seller_add(struct sellers *sellers, uint32_t owner, int64_t ask_uusd_per_hour)
{
    uint32_t number = sellers->free_first;
    if (number != 0) {
        sellers->free_first = sellers->at[--number].owner;
    } else {
        number = sellers->used_count++;
        if (sellers->used_count > sellers->cap)
            sellers_reserve(sellers, sellers->used_count + sellers->used_count / 4);
    }
    sellers->at[number] = (struct seller){.owner = owner};
    seller_set_ask(&sellers->at[number], ask_uusd_per_hour);
    sellers->table[place_of(sellers, owner)] = number + 1;
    sellers->count++;
    return number;
}

uint32_t sellers_add_block(struct sellers *sellers, uint32_t owner, int64_t ask_uusd_per_hour)
{
    uint32_t number = sellers_find(sellers, owner);
    if (number == SELLER_NONE)
        number = seller_add(sellers, owner, ask_uusd_per_hour);
    struct seller *seller = &sellers->at[number];
    if (seller_ask(seller) != ask_uusd_per_hour)
        return SELLER_NONE;
    seller->blocks_count++;
    if (seller->blocks_count > sellers->blocks_most)
        sellers->blocks_most = seller->blocks_count;
    return number;
}

/* Those behind the hole move into it unless they would then stand before their home. */
static void table_close(struct sellers *sellers, uint32_t hole)
{
    uint32_t place = hole;
    for (;;) {
        place = place_after(sellers, place);
        if (sellers->table[place] == 0)
            break;
        uint32_t home = home_of(sellers, owner_at(sellers, place));
        bool is_between =
            hole <= place ? hole < home && home <= place : hole < home || home <= place;
        if (is_between)
            continue;
        sellers->table[hole] = sellers->table[place];
        hole = place;
    }
    sellers->table[hole] = 0;
}

void sellers_drop_block(struct sellers *sellers, uint32_t number)
{
    struct seller *seller = &sellers->at[number];
    must(seller->blocks_count > 0);
    if (--seller->blocks_count > 0)
        return;
    table_close(sellers, place_of(sellers, seller->owner));
    seller->owner = sellers->free_first;
    sellers->free_first = number + 1;
    if (--sellers->count == 0)
        sellers->blocks_most = 0;
}

size_t sellers_bytes(const struct sellers *sellers)
{
    return sellers->cap * sizeof(*sellers->at) + sellers->table_cap * sizeof(*sellers->table) +
           2 * HEAP_PER_BLOCK;
}

void sellers_finish(struct sellers *sellers)
{
    free(sellers->at);
    free(sellers->table);
    *sellers = (struct sellers){.count = 0};
}
