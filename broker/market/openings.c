/* The happy path is: read the record once to list its blocks and workloads with the places of their
 * rows, and, when their rights are known, once more to decide about every row. Failure modes are:
 * bytes that are no record (refused).
 */
#include "broker/market/openings.h"

#include <stdlib.h>
#include <string.h>

#define IS_OWN   1
#define IS_OPEN  2
#define IS_SHOWN 4

/* The rows of a lot in their order, see record.h. */
struct lot_places {
    uint32_t key, blocks, demands, index, prefixes, awards, end;
};

static struct lot_places lot_places(uint32_t start, const struct record_lot *lot)
{
    struct lot_places at = {.key = start, .blocks = start + 2};
    at.demands = at.blocks + lot->blocks_count + 1;
    at.index = at.demands + lot->demands_count;
    at.prefixes = at.index + 2;
    at.awards = at.prefixes + lot->outcome.prefixes_count + 1;
    at.end = at.awards + lot->outcome.awards_count;
    return at;
}

struct direct_places {
    uint32_t direct, candidates, index, awards, end;
};

static struct direct_places direct_places(uint32_t start, const struct record_direct *direct)
{
    struct direct_places at = {.direct = start, .candidates = start + 2};
    at.index = at.candidates + direct->candidates_count;
    at.awards = at.index + 2;
    at.end = at.awards + direct->outcome.awards_count;
    return at;
}

static void list_demand(struct openings *openings, struct str id, uint32_t place)
{
    struct opening_demand demand = {.place = place};
    if (!uuid_parse(id, &demand.workload))
        return;
    buf_add(&openings->demands, &demand, sizeof(demand));
    openings->demands_count++;
}

static void list_block(struct openings *openings, const struct opening_block *block)
{
    buf_add(&openings->blocks, block, sizeof(*block));
    openings->blocks_count++;
}

static void list_lot(struct openings *openings, const struct record_lot *lot,
                     const struct lot_places *at)
{
    struct str rest = lot->key;
    struct str region = str_cut(&rest, '/'), class = str_cut(&rest, '/');
    for (uint32_t i = 0; i < lot->blocks_count; i++)
        list_block(openings, &(struct opening_block){.node = lot->blocks[i].node,
                                                     .region = region,
                                                     .class = class,
                                                     .place = at->blocks + i});
    for (uint32_t i = 0; i < lot->demands_count; i++)
        list_demand(openings, lot->demands[i].id, at->demands + i);
}

static void list_direct(struct openings *openings, const struct record_direct *direct,
                        const struct direct_places *at)
{
    list_demand(openings, direct->id, at->direct);
    for (uint32_t i = 0; i < direct->candidates_count; i++)
        list_block(openings, &(struct opening_block){.node = direct->candidates[i].node,
                                                     .region = direct->candidates[i].region,
                                                     .class = direct->candidates[i].class,
                                                     .place = at->candidates + i});
}

static void show(struct openings *openings, uint32_t place, bool is_shown)
{
    if (is_shown)
        openings->flags[place] |= IS_SHOWN;
}

static bool has(const struct openings *openings, uint32_t place, uint8_t flag)
{
    return openings->flags[place] & flag;
}

/* All of a range, or any of it. */
static bool all_open(const struct openings *openings, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (!has(openings, first + i, IS_OPEN))
            return false;
    return true;
}

static bool any_own(const struct openings *openings, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (has(openings, first + i, IS_OWN))
            return true;
    return false;
}

static void show_inputs(struct openings *openings, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        show(openings, first + i, has(openings, first + i, IS_OWN | IS_OPEN));
}

static void decide_lot(struct openings *openings, const struct record_lot *lot,
                       const struct lot_places *at)
{
    const struct lot_result *outcome = &lot->outcome;
    bool is_party = any_own(openings, at->blocks, lot->blocks_count) ||
                    any_own(openings, at->demands, lot->demands_count);
    bool is_open = all_open(openings, at->blocks, lot->blocks_count) &&
                   all_open(openings, at->demands, lot->demands_count);
    /* One that is cleared by itself names its workload in its key, and its index may be what that
     * one would pay: like a direct clearing's, these are not published. */
    bool is_alone = memchr(lot->key.at, '|', lot->key.len) != NULL;
    bool is_public = !is_alone || is_party || is_open;
    show(openings, at->key, is_public);
    show(openings, at->blocks - 1, is_open);
    show_inputs(openings, at->blocks, lot->blocks_count);
    show(openings, at->demands - 1, is_open);
    show_inputs(openings, at->demands, lot->demands_count);
    show(openings, at->index, is_public);
    show(openings, at->prefixes - 1, is_open);
    for (uint32_t i = 0; i < outcome->prefixes_count; i++)
        show(openings, at->prefixes + i,
             is_open || has(openings, at->demands + outcome->prefixes[i].demand, IS_OWN));
    show(openings, at->awards - 1, is_public);
    for (uint32_t i = 0; i < outcome->awards_count; i++)
        show(openings, at->awards + i,
             is_open || has(openings, at->blocks + outcome->awards[i].block, IS_OWN) ||
                 has(openings, at->demands + outcome->awards[i].demand, IS_OWN));
}

static void decide_direct(struct openings *openings, const struct record_direct *direct,
                          const struct direct_places *at)
{
    const struct rfq_result *outcome = &direct->outcome;
    /* A bid has no ask that could end: it opens with the workload it was made for. */
    for (uint32_t i = 0; i < direct->candidates_count; i++)
        if (direct->candidates[i].kind == DIRECT_PRICE_BID && has(openings, at->direct, IS_OPEN))
            openings->flags[at->candidates + i] |= IS_OPEN;
    bool is_tenant = has(openings, at->direct, IS_OWN);
    bool is_open = has(openings, at->direct, IS_OPEN) &&
                   all_open(openings, at->candidates, direct->candidates_count);
    show(openings, at->direct, is_tenant || has(openings, at->direct, IS_OPEN));
    show(openings, at->candidates - 1, is_open);
    show_inputs(openings, at->candidates, direct->candidates_count);
    show(openings, at->index, is_tenant || is_open);
    show(openings, at->awards - 1, is_tenant || is_open);
    for (uint32_t i = 0; i < outcome->awards_count; i++)
        show(openings, at->awards + i,
             is_tenant || is_open ||
                 has(openings, at->candidates + outcome->awards[i].candidate, IS_OWN));
}

/* Once to list (flags are not there yet), once to decide. */
static bool record_walk(struct openings *openings)
{
    struct record_reader reader;
    struct record_head head;
    struct record_lot lot;
    struct record_direct direct;
    uint32_t start = 0;
    bool is_open = record_open(&reader, openings->record, &head);
    while (is_open && record_next_lot(&reader, &lot)) {
        struct lot_places at = lot_places(start, &lot);
        start = at.end;
        if (openings->flags == NULL)
            list_lot(openings, &lot, &at);
        else
            decide_lot(openings, &lot, &at);
    }
    while (is_open && record_next_direct(&reader, &direct)) {
        struct direct_places at = direct_places(start, &direct);
        start = at.end;
        if (openings->flags == NULL)
            list_direct(openings, &direct, &at);
        else
            decide_direct(openings, &direct, &at);
    }
    must(start == openings->rows.count || !is_open || reader.is_bad);
    return record_close(&reader) && is_open;
}

bool openings_make(struct str record, const struct sha256 *secret, struct openings *ret_openings)
{
    *ret_openings = (struct openings){.record = record};
    if (!sealed_rows_make(record, secret, &ret_openings->rows) || !record_walk(ret_openings))
        return false;
    ret_openings->flags = calloc(ret_openings->rows.count + (size_t)1, 1);
    must(ret_openings->flags != NULL);
    return true;
}

const struct opening_block *openings_block(const struct openings *openings, uint32_t i)
{
    return (const struct opening_block *)(const void *)openings->blocks.at + i;
}

const struct opening_demand *openings_demand(const struct openings *openings, uint32_t i)
{
    return (const struct opening_demand *)(const void *)openings->demands.at + i;
}

void openings_grant(struct openings *openings, uint32_t place, bool is_own, bool is_open)
{
    openings->flags[place] |= (uint8_t)((is_own ? IS_OWN : 0) | (is_open ? IS_OPEN : 0));
}

void openings_decide(struct openings *openings)
{
    must(record_walk(openings));
}

bool openings_is_shown(const struct openings *openings, uint32_t place)
{
    return has(openings, place, IS_SHOWN);
}

void openings_finish(struct openings *openings)
{
    sealed_rows_finish(&openings->rows);
    buf_finish(&openings->blocks);
    buf_finish(&openings->demands);
    free(openings->flags);
    *openings = (struct openings){.record = STR_NONE};
}
