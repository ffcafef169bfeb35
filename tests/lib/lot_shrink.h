/* lot_shrink.h - one property over many random lots; a lot that breaks it is made small and shown.
 *
 * Tests only. A property says no with prop_check(), and a must() in the code under test counts as
 * well: both abort, so the abort is caught here. The broken lot then loses blocks, demands, size
 * and price as long as the property stays broken, and what is left is printed as JSON that
 * `undercut clear` reads, with the same ids and so the same ties, before the program dies of it.
 */
#ifndef UNDERCUT_TESTS_LIB_LOT_SHRINK_H
#define UNDERCUT_TESTS_LIB_LOT_SHRINK_H

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <unistd.h>

#include "tests/lib/lot_draw.h"

/* May change `lot`; draws from `p` only what it needs beyond the lot. */
typedef void lot_property(struct prop *p, struct lot_drawn *lot);

static sigjmp_buf lot_broken;

static inline void lot_abort_catch(int signal_number)
{
    (void)signal_number;
    siglongjmp(lot_broken, 1);
}

/* Does the property break on a copy of `lot`? Says nothing. */
static inline bool lot_breaks(lot_property *property, const struct prop *p,
                              const struct lot_drawn *lot)
{
    static struct lot_drawn copy;
    struct prop draws = *p;
    struct sigaction caught = {.sa_handler = lot_abort_catch}, before;
    volatile bool is_broken = true; /* survives the jump */
    lot_copy(lot, &copy);
    must(sigaction(SIGABRT, &caught, &before) == 0);
    if (sigsetjmp(lot_broken, 1) == 0) {
        property(&draws, &copy);
        is_broken = false;
    }
    must(sigaction(SIGABRT, &before, NULL) == 0);
    return is_broken;
}

/* Shrinking -------------------------------------------------------------------------------------*/

enum shrink_move {
    SHRINK_BLOCK = 1, /* drop one */
    SHRINK_DEMAND,
    SHRINK_K, /* halve one */
    SHRINK_KMIN,
    SHRINK_RESERVE,
    SHRINK_ASK,   /* of all blocks of one owner */
    SHRINK_ADDER, /* none */
    SHRINK_OWNER, /* a workload of somebody who does not sell */
    SHRINK_END,
};

static inline void shrink_ask(struct lot_drawn *lot, uint32_t at)
{
    int64_t ask = lot->blocks[at].ask_uusd_per_hour / 2;
    for (uint32_t i = 0; i < lot->input.blocks_count; i++)
        if (lot->blocks[i].owner == lot->blocks[at].owner)
            lot->blocks[i].ask_uusd_per_hour = ask;
}

static inline void shrink_adder(struct lot_drawn *lot, uint32_t at)
{
    uint32_t owner = lot->blocks[at].owner;
    for (uint32_t i = 0; i < lot->input.blocks_count; i++)
        if (lot->blocks[i].owner == owner)
            lot->blocks[i].adder_uusd_per_hour = 0;
}

/* Drops the seller's last block, so that the others' names stay without a gap. */
static inline void shrink_blocks(struct lot_drawn *lot, uint32_t at)
{
    for (uint32_t i = 0; i < lot->input.blocks_count; i++) {
        const struct lot_block *a = &lot->blocks[i], *b = &lot->blocks[at];
        bool is_later = a->id.len != b->id.len ? a->id.len > b->id.len
                                               : memcmp(a->id.at, b->id.at, a->id.len) > 0;
        if (a->owner == b->owner && is_later)
            at = i;
    }
    memmove(&lot->blocks[at], &lot->blocks[at + 1],
            (--lot->input.blocks_count - at) * sizeof(*lot->blocks));
}

/* Applies one move at one place; false when there is nothing to make smaller. */
static inline bool shrink_apply(struct lot_drawn *lot, enum shrink_move move, uint32_t at)
{
    bool is_of_block = move == SHRINK_BLOCK || move == SHRINK_ASK || move == SHRINK_ADDER;
    if (at >= (is_of_block ? lot->input.blocks_count : lot->input.demands_count))
        return false;
    struct lot_demand *demand = &lot->demands[at];
    if (move == SHRINK_BLOCK) {
        shrink_blocks(lot, at);
    } else if (move == SHRINK_DEMAND) {
        memmove(demand, demand + 1, (--lot->input.demands_count - at) * sizeof(*demand));
    } else if (move == SHRINK_K && demand->k > 1) {
        demand->k /= 2;
        demand->kmin = demand->kmin < demand->k ? demand->kmin : demand->k;
    } else if (move == SHRINK_KMIN && demand->kmin > 1) {
        demand->kmin /= 2;
    } else if (move == SHRINK_RESERVE && demand->r_uusd_per_hour > 0) {
        demand->r_uusd_per_hour /= 2;
    } else if (move == SHRINK_ASK && lot->blocks[at].ask_uusd_per_hour > 0) {
        shrink_ask(lot, at);
    } else if (move == SHRINK_ADDER && lot->blocks[at].adder_uusd_per_hour > 0) {
        shrink_adder(lot, at);
    } else if (move == SHRINK_OWNER && demand->owner != LOT_OWNER_NONE) {
        demand->owner = LOT_OWNER_NONE;
    } else {
        return false;
    }
    return true;
}

static inline bool shrink_once(lot_property *property, const struct prop *p, struct lot_drawn *lot)
{
    static struct lot_drawn smaller;
    uint32_t places = lot->input.blocks_count > lot->input.demands_count ? lot->input.blocks_count
                                                                         : lot->input.demands_count;
    for (enum shrink_move move = SHRINK_BLOCK; move < SHRINK_END; move++)
        for (uint32_t at = places; at-- > 0;) {
            lot_copy(lot, &smaller);
            if (shrink_apply(&smaller, move, at) && lot_breaks(property, p, &smaller)) {
                lot_copy(&smaller, lot);
                return true;
            }
        }
    return false;
}

/* Showing ---------------------------------------------------------------------------------------*/

static inline void lot_print_sellers(FILE *to, const struct lot_drawn *lot)
{
    const char *comma = "";
    for (uint32_t owner = 0; owner < DRAWN_OWNERS_MAX; owner++) {
        const struct lot_block *first = NULL;
        uint32_t blocks_count = 0;
        for (uint32_t i = 0; i < lot->input.blocks_count; i++)
            if (lot->blocks[i].owner == owner) {
                first = first ? first : &lot->blocks[i];
                blocks_count++;
            }
        if (blocks_count == 0)
            continue;
        fprintf(to, "%s\"s%02u\": {\"ask\": %lld, \"adder\": %lld, \"blocks\": %u}", comma, owner,
                (long long)first->ask_uusd_per_hour, (long long)first->adder_uusd_per_hour,
                blocks_count);
        comma = ", ";
    }
}

/* Where one seller's blocks differ in their adders, the first one's stands for all; SEED replays
 * such a lot exactly. */
static inline void lot_print(FILE *to, const struct lot_drawn *lot)
{
    char seed[65];
    hex_encode(lot->input.seed.bytes, 32, seed);
    fprintf(to, "{\"seed\": \"%s\",\n \"sellers\": {", seed);
    lot_print_sellers(to, lot);
    fprintf(to, "},\n \"workloads\": {");
    for (uint32_t i = 0; i < lot->input.demands_count; i++) {
        const struct lot_demand *demand = &lot->demands[i];
        fprintf(to, "%s\"%.*s\": {\"reserve\": %lld, \"k\": %u, \"kmin\": %u", i ? ", " : "",
                STR_ARG(demand->id), (long long)demand->r_uusd_per_hour, demand->k, demand->kmin);
        if (demand->owner != LOT_OWNER_NONE)
            fprintf(to, ", \"owner\": \"s%02u\"", demand->owner);
        fprintf(to, "}");
    }
    fprintf(to, "}}\n");
}

/* Shrinks `lot` as far as it goes, shows it, and lets it break once more in the open. */
static inline void lot_blame(lot_property *property, const struct prop *p, struct lot_drawn *lot)
{
    int said = dup(STDERR_FILENO), nowhere = open("/dev/null", O_WRONLY);
    must(said >= 0 && nowhere >= 0 && dup2(nowhere, STDERR_FILENO) >= 0);
    while (shrink_once(property, p, lot))
        ;
    must(dup2(said, STDERR_FILENO) >= 0 && close(said) == 0 && close(nowhere) == 0);
    fprintf(stderr, "the smallest lot that breaks it:\n");
    lot_print(stderr, lot);
    struct prop draws = *p;
    property(&draws, lot);
    abort(); /* it broke only once */
}

static inline void lots_hold(const struct draw_shape *shape, uint64_t cases, lot_property *property)
{
    static struct lot_drawn drawn;
    bool is_short = getenv("CASES_MAX") != NULL; /* asked only whether it breaks, not by what */
    PROP_FOR(p, cases)
    {
        lot_draw(&p, shape, &drawn);
        if (is_short)
            property(&p, &drawn);
        else if (lot_breaks(property, &p, &drawn))
            lot_blame(property, &p, &drawn);
    }
}

#endif
