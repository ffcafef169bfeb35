/* recompute.c - lays a record's lots and direct clearings out anew, clears them, compares.
 *
 * The happy path is: number owners and groups by their order, clear, encode again, and find the
 * same bytes. Failure modes are: bytes that are no record, a seed of other parts, an input that no
 * round can have, another outcome.
 */
#include "auction/recompute.h"

#include <stdlib.h>
#include <string.h>

struct lot_copy { /* where one lot is laid out anew for clearing */
    struct lot_block *blocks;
    struct lot_demand *demands;
    struct uuid *owners; /* sorted, each once: an owner's number is its place here */
    uint32_t owners_count;
    void *work;
};

static int uuid_order(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct uuid));
}

static void owners_collect(struct lot_copy *copy, const struct record_lot *lot)
{
    for (uint32_t i = 0; i < lot->blocks_count; i++)
        copy->owners[i] = lot->blocks[i].owner;
    qsort(copy->owners, lot->blocks_count, sizeof(struct uuid), uuid_order);
    copy->owners_count = 0;
    for (uint32_t i = 0; i < lot->blocks_count; i++)
        if (i == 0 || !uuid_equal(copy->owners[i], copy->owners[copy->owners_count - 1]))
            copy->owners[copy->owners_count++] = copy->owners[i];
}

/* `owners` are sorted, each once. */
static uint32_t owner_number(const struct uuid *owners, uint32_t count, const struct uuid *owner)
{
    const struct uuid *found = bsearch(owner, owners, count, sizeof(struct uuid), uuid_order);
    return found ? (uint32_t)(found - owners) : LOT_OWNER_NONE;
}

static void *carve(struct buf *memory, size_t size)
{
    size_t start = memory->len;
    memory->len += (size + 63) / 64 * 64;
    must(memory->len <= memory->cap);
    return memory->at + start;
}

static struct lot_copy lot_lay_out(const struct record_lot *lot, const struct lot_limits *limits,
                                   struct buf *memory)
{
    size_t blocks_size = (size_t)lot->blocks_count * sizeof(struct lot_block);
    size_t demands_size = (size_t)lot->demands_count * sizeof(struct lot_demand);
    size_t owners_size = ((size_t)lot->blocks_count + 1) * sizeof(struct uuid);
    size_t work_size = lot_clear_size(limits);
    memory->len = 0;
    buf_reserve(memory, blocks_size + demands_size + owners_size + work_size + (size_t)4 * 64);
    return (struct lot_copy){
        .blocks = carve(memory, blocks_size),
        .demands = carve(memory, demands_size),
        .owners = carve(memory, owners_size),
        .work = carve(memory, work_size),
    };
}

enum lot_outcome record_lot_clear(const struct record_lot *lot, const struct sha256 *seed,
                                  struct buf *memory, struct lot_result *ret_result)
{
    const struct lot_limits limits = {.blocks_max = lot->blocks_count,
                                      .demands_max = lot->demands_count,
                                      .owners_max = lot->blocks_count};
    struct lot_copy copy = lot_lay_out(lot, &limits, memory);
    owners_collect(&copy, lot);
    for (uint32_t i = 0; i < lot->blocks_count; i++) {
        const struct record_block *block = &lot->blocks[i];
        copy.blocks[i] = (struct lot_block){
            .id = block->id,
            .owner = owner_number(copy.owners, copy.owners_count, &block->owner),
            .ask_uusd_per_hour = block->ask_uusd_per_hour,
            .adder_uusd_per_hour = block->adder_uusd_per_hour,
        };
    }
    for (uint32_t i = 0; i < lot->demands_count; i++) {
        const struct record_demand *demand = &lot->demands[i];
        copy.demands[i] = (struct lot_demand){
            .id = demand->id,
            .owner = owner_number(copy.owners, copy.owners_count, &demand->owner),
            .r_uusd_per_hour = demand->r_uusd_per_hour,
            .k = demand->k,
            .kmin = demand->kmin,
        };
    }
    const struct lot_input input = {
        .blocks = copy.blocks,
        .demands = copy.demands,
        .blocks_count = lot->blocks_count,
        .demands_count = lot->demands_count,
        .seed = *seed,
    };
    struct lot_clear clear;
    lot_clear_start(&clear, &limits, copy.work);
    return lot_clear(&clear, &input, ret_result);
}

/* Direct clearings -----------------------------------------------------------------------------*/

struct direct_copy {
    struct rfq_candidate *candidates;
    struct uuid *owners;
    struct str *groups; /* node or region of each; sorted, each once */
    uint32_t owners_count, groups_count;
    void *work;
};

static int text_order(const void *a, const void *b)
{
    return str_compare(*(const struct str *)a, *(const struct str *)b);
}

static struct str group_of(const struct record_direct *direct, uint32_t i)
{
    const struct record_candidate *candidate = &direct->candidates[i];
    if (direct->spread == DIRECT_SPREAD_NODE)
        return (struct str){(const char *)candidate->node.bytes, sizeof(candidate->node.bytes)};
    return direct->spread == DIRECT_SPREAD_REGION ? candidate->region : candidate->id;
}

static struct direct_copy direct_lay_out(const struct record_direct *direct, struct buf *memory)
{
    size_t count = direct->candidates_count;
    memory->len = 0;
    buf_reserve(memory,
                count * (sizeof(struct rfq_candidate) + sizeof(struct uuid) + sizeof(struct str)) +
                    rfq_size(direct->candidates_count) + (size_t)4 * 64);
    struct direct_copy copy = {
        .candidates = carve(memory, count * sizeof(struct rfq_candidate)),
        .owners = carve(memory, count * sizeof(struct uuid)),
        .groups = carve(memory, count * sizeof(struct str)),
        .work = carve(memory, rfq_size(direct->candidates_count)),
    };
    for (uint32_t i = 0; i < direct->candidates_count; i++) {
        copy.owners[i] = direct->candidates[i].owner;
        copy.groups[i] = group_of(direct, i);
    }
    qsort(copy.owners, count, sizeof(struct uuid), uuid_order);
    qsort(copy.groups, count, sizeof(struct str), text_order);
    for (uint32_t i = 0; i < direct->candidates_count; i++) {
        if (i == 0 || !uuid_equal(copy.owners[i], copy.owners[copy.owners_count - 1]))
            copy.owners[copy.owners_count++] = copy.owners[i];
        if (i == 0 || !str_equal(copy.groups[i], copy.groups[copy.groups_count - 1]))
            copy.groups[copy.groups_count++] = copy.groups[i];
    }
    return copy;
}

enum lot_outcome record_direct_clear(const struct record_direct *direct, const struct sha256 *seed,
                                     struct buf *memory, struct rfq_result *ret_result)
{
    struct direct_copy copy = direct_lay_out(direct, memory);
    for (uint32_t i = 0; i < direct->candidates_count; i++) {
        const struct record_candidate *candidate = &direct->candidates[i];
        struct str group = group_of(direct, i);
        const struct str *found =
            bsearch(&group, copy.groups, copy.groups_count, sizeof(struct str), text_order);
        if (candidate->adder_uusd_per_hour < 0 || candidate->latency_uusd_per_hour < 0 ||
            candidate->adder_uusd_per_hour > LOT_SCORE_MAX ||
            candidate->latency_uusd_per_hour > LOT_SCORE_MAX)
            return LOT_INPUT_BAD;
        copy.candidates[i] = (struct rfq_candidate){
            .id = candidate->id,
            .owner = owner_number(copy.owners, copy.owners_count, &candidate->owner),
            .group = (uint32_t)(found - copy.groups),
            .price_uusd_per_hour = candidate->price_uusd_per_hour,
            .terms_uusd_per_hour =
                candidate->adder_uusd_per_hour + candidate->latency_uusd_per_hour,
        };
    }
    const struct rfq_input input = {
        .candidates = copy.candidates,
        .candidates_count = direct->candidates_count,
        .owner = owner_number(copy.owners, copy.owners_count, &direct->owner),
        .r_uusd_per_hour = direct->r_uusd_per_hour,
        .k = direct->k,
        .kmin = direct->kmin,
        .seed = *seed,
    };
    struct rfq rfq;
    rfq_start(&rfq, direct->candidates_count, copy.work);
    return rfq_clear(&rfq, &input, ret_result);
}

/* The whole record -----------------------------------------------------------------------------*/

static enum record_check lots_recompute(struct record_reader *reader,
                                        const struct record_head *head, struct buf *again)
{
    struct record_lot lot;
    struct buf memory = {0};
    enum record_check check = RECORD_HOLDS;
    while (check == RECORD_HOLDS && record_next_lot(reader, &lot)) {
        if (record_lot_clear(&lot, &head->seed, &memory, &lot.outcome) == LOT_CLEARED)
            record_put_lot(again, &lot);
        else
            check = RECORD_BAD_INPUT;
    }
    buf_finish(&memory);
    return check;
}

static enum record_check directs_recompute(struct record_reader *reader,
                                           const struct record_head *head, struct buf *again)
{
    struct record_direct direct;
    struct buf memory = {0};
    enum record_check check = RECORD_HOLDS;
    while (check == RECORD_HOLDS && record_next_direct(reader, &direct)) {
        if (record_direct_clear(&direct, &head->seed, &memory, &direct.outcome) == LOT_CLEARED)
            record_put_direct(again, &direct);
        else
            check = RECORD_BAD_INPUT;
    }
    buf_finish(&memory);
    return check;
}

enum record_check record_recompute(struct str bytes)
{
    struct record_reader reader;
    struct record_head head;
    struct buf again = {0};
    enum record_check check = RECORD_BAD_BYTES;
    bool is_open = record_open(&reader, bytes, &head);
    if (is_open) {
        struct sha256 seed = seed_of(&head.seed_parts);
        record_put_head(&again, &head);
        check = sha256_equal(&seed, &head.seed) ? lots_recompute(&reader, &head, &again)
                                                : RECORD_BAD_SEED;
        if (check == RECORD_HOLDS)
            check = directs_recompute(&reader, &head, &again);
    }
    bool is_whole = record_close(&reader);
    if (check == RECORD_HOLDS && !is_whole)
        check = RECORD_BAD_BYTES;
    if (check == RECORD_HOLDS && !str_equal(buf_str(&again), bytes))
        check = RECORD_BAD_OUTCOME;
    buf_finish(&again);
    return check;
}

const char *record_check_text(enum record_check check)
{
    switch (check) {
    case RECORD_HOLDS:
        return "The record follows from its inputs.";
    case RECORD_BAD_BYTES:
        return "These are not the canonical bytes of a round.";
    case RECORD_BAD_SEED:
        return "The seed is not the one that its parts give.";
    case RECORD_BAD_INPUT:
        return "An ask, reserve or count in it is one that no round can have.";
    case RECORD_BAD_OUTCOME:
        return "The rule gives another outcome from these inputs.";
    }
    must_not_reach();
}
