#include "auction/sellers.h"

#include <stdlib.h>

#include "auction/keys.h"

static uint32_t home_of(const struct sellers *sellers, uint32_t owner)
{
    uint32_t mixed = owner * 0x9e3779b1u;
    return (uint32_t)((uint64_t)mixed * sellers->cap >> 32);
}

static uint32_t place_after(const struct sellers *sellers, uint32_t place)
{
    return place + 1 < sellers->cap ? place + 1 : 0;
}

/* The owner's place, or the empty one where the search ends. */
static uint32_t place_of(const struct sellers *sellers, uint32_t owner)
{
    uint32_t place = home_of(sellers, owner);
    while (sellers->at[place].blocks_count > 0 && sellers->at[place].owner != owner)
        place = place_after(sellers, place);
    return place;
}

void sellers_reserve(struct sellers *sellers, uint32_t count)
{
    uint32_t cap = count + count / 4 + 2; /* four fifths full at most */
    if (cap <= sellers->cap)
        return;
    struct sellers old = *sellers;
    sellers->at = calloc(cap, sizeof(*sellers->at));
    must(sellers->at != NULL);
    sellers->cap = cap;
    for (uint32_t i = 0; i < old.cap; i++)
        if (old.at[i].blocks_count > 0)
            sellers->at[place_of(sellers, old.at[i].owner)] = old.at[i];
    free(old.at);
}

uint32_t sellers_find(const struct sellers *sellers, uint32_t owner)
{
    if (sellers->count == 0)
        return SELLER_NONE;
    uint32_t place = place_of(sellers, owner);
    return sellers->at[place].blocks_count > 0 ? place : SELLER_NONE;
}

bool sellers_add_block(struct sellers *sellers, uint32_t owner, int64_t ask_uusd_per_hour)
{
    if (sellers->cap * 4ull < (sellers->count + 1) * 5ull + 4)
        sellers_reserve(sellers, sellers->count + sellers->count / 4 + 1);
    struct seller *seller = &sellers->at[place_of(sellers, owner)];
    if (seller->blocks_count == 0) {
        seller->owner = owner;
        seller_set_ask(seller, ask_uusd_per_hour);
        sellers->count++;
    }
    if (seller_ask(seller) != ask_uusd_per_hour)
        return false;
    seller->blocks_count++;
    if (seller->blocks_count > sellers->blocks_most)
        sellers->blocks_most = seller->blocks_count;
    return true;
}

/* Those behind the hole move into it unless they would then stand before their home. */
static void table_close(struct sellers *sellers, uint32_t hole)
{
    uint32_t place = hole;
    for (;;) {
        place = place_after(sellers, place);
        if (sellers->at[place].blocks_count == 0)
            break;
        uint32_t home = home_of(sellers, sellers->at[place].owner);
        bool is_between =
            hole <= place ? hole < home && home <= place : hole < home || home <= place;
        if (is_between)
            continue;
        sellers->at[hole] = sellers->at[place];
        hole = place;
    }
    sellers->at[hole] = (struct seller){.owner = 0};
}

void sellers_drop_block(struct sellers *sellers, uint32_t owner)
{
    uint32_t place = place_of(sellers, owner);
    must(sellers->at[place].blocks_count > 0);
    if (--sellers->at[place].blocks_count > 0)
        return;
    table_close(sellers, place);
    if (--sellers->count == 0)
        sellers->blocks_most = 0;
}

size_t sellers_bytes(const struct sellers *sellers)
{
    return sellers->cap * sizeof(*sellers->at) + HEAP_PER_BLOCK;
}

void sellers_finish(struct sellers *sellers)
{
    free(sellers->at);
    *sellers = (struct sellers){.count = 0};
}
