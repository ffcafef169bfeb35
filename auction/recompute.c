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

static uint32_t owner_number(const struct lot_copy *copy, const struct uuid *owner)
{
    const struct uuid *found =
        bsearch(owner, copy->owners, copy->owners_count, sizeof(struct uuid), uuid_order);
    return found ? (uint32_t)(found - copy->owners) : LOT_OWNER_NONE;
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
            .owner = owner_number(&copy, &block->owner),
            .ask_uusd_per_hour = block->ask_uusd_per_hour,
            .adder_uusd_per_hour = block->adder_uusd_per_hour,
        };
    }
    for (uint32_t i = 0; i < lot->demands_count; i++) {
        const struct record_demand *demand = &lot->demands[i];
        copy.demands[i] = (struct lot_demand){
            .id = demand->id,
            .owner = owner_number(&copy, &demand->owner),
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
