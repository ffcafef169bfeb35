/* The happy path is: a change finds its row, takes the row's old key out of the order and marks
 * the row as fresh; book_sort() puts fresh rows in; clearing reads the first keys of each order
 * and runs the rule. Failure modes are: a change that no lot can have (refused by name, nothing
 * changed), and no memory (aborts).
 */
#include "auction/book.h"

#include <stdlib.h>
#include <string.h>

#include "auction/rule.h"

#define FRESH_SHARE 8 /* more than an eighth changed: sorting anew is faster */
#define FRESH_LEAST 4

#define UUID_TEXT_LEN 36

struct row { /* how both kinds begin */
    bool is_live;
    bool is_sorted;     /* its key is in the order */
    bool is_named;      /* while a change of ask is checked */
    uint8_t adder_high; /* of a block: bits 32 to 39 */
};

struct block_row { /* 12 bytes */
    struct row row;
    uint32_t seller; /* its number in the lot */
    uint32_t adder_low;
};

struct demand_row {
    struct row row;
    uint32_t owner;
    int64_t r_uusd_per_hour;
    uint32_t k, kmin;
};

/* Sides ----------------------------------------------------------------------------------------*/

static void side_start(struct book_side *side, uint32_t stride)
{
    *side = (struct book_side){.fresh_count = 0};
    slots_start(&side->slots, stride);
}

static void side_finish(struct book_side *side)
{
    slots_finish(&side->slots);
    key_set_finish(&side->order);
    free(side->fresh);
}

static size_t side_bytes(const struct book_side *side)
{
    return slots_bytes(&side->slots) + key_set_bytes(&side->order) +
           side->fresh_cap * sizeof(*side->fresh) + HEAP_PER_BLOCK;
}

/* The row at `slot` is not in the order and wants to be. */
static void side_freshen(struct book_side *side, uint32_t slot)
{
    if (side->is_dishevelled)
        return;
    if (side->fresh_count == side->fresh_cap) {
        uint32_t cap = side->slots.live_count / FRESH_SHARE;
        cap = cap > FRESH_LEAST ? cap : FRESH_LEAST;
        if (cap <= side->fresh_cap) {
            side->is_dishevelled = true;
            return;
        }
        side->fresh = realloc(side->fresh, cap * sizeof(*side->fresh));
        must(side->fresh != NULL);
        side->fresh_cap = cap;
    }
    side->fresh[side->fresh_count++] = slot;
}

/* Takes a row's key out of the order, before the key changes. */
static void side_unsort(struct book_side *side, struct row *row, uint64_t key)
{
    if (row->is_sorted && !side->is_dishevelled)
        key_set_remove(&side->order, key);
    row->is_sorted = false;
}

/* Lots -----------------------------------------------------------------------------------------*/

void book_start(struct book *book, uint32_t lots_count)
{
    *book = (struct book){
        .lots = calloc(lots_count ? lots_count : 1, sizeof(*book->lots)),
        .touched = calloc(lots_count ? lots_count : 1, sizeof(*book->touched)),
        .lots_count = lots_count,
    };
    must(book->lots != NULL && book->touched != NULL);
    for (uint32_t i = 0; i < lots_count; i++) {
        side_start(&book->lots[i].blocks, sizeof(struct block_row));
        side_start(&book->lots[i].demands, sizeof(struct demand_row));
    }
}

void book_reserve(struct book *book, uint32_t number, const struct book_room *room)
{
    must(number < book->lots_count && room->blocks_count <= KEY_INDEX_MAX &&
         room->demands_count <= KEY_INDEX_MAX);
    slots_reserve(&book->lots[number].blocks.slots, room->blocks_count);
    slots_reserve(&book->lots[number].demands.slots, room->demands_count);
    sellers_reserve(&book->lots[number].sellers, room->sellers_count);
}

void book_finish(struct book *book)
{
    for (uint32_t i = 0; i < book->lots_count; i++) {
        side_finish(&book->lots[i].blocks);
        side_finish(&book->lots[i].demands);
        sellers_finish(&book->lots[i].sellers);
    }
    free(book->lots);
    free(book->touched);
    free(book->work_memory);
    *book = (struct book){.lots_count = 0};
}

struct book_bytes book_bytes(const struct book *book)
{
    struct book_bytes bytes = {
        .shared = sizeof(*book) + 3 * HEAP_PER_BLOCK + lot_clear_size(&book->work.limits) +
                  book->lots_count * (sizeof(*book->lots) + sizeof(*book->touched)),
    };
    for (uint32_t i = 0; i < book->lots_count; i++) {
        const struct book_lot *lot = &book->lots[i];
        bytes.asks += side_bytes(&lot->blocks) + sellers_bytes(&lot->sellers);
        bytes.workloads += side_bytes(&lot->demands);
    }
    return bytes;
}

void book_lot_fetch(const struct book *book, uint32_t number)
{
    must(number < book->lots_count);
    const struct book_lot *lot = &book->lots[number];
    key_set_fetch(&lot->blocks.order);
    slots_fetch(&lot->demands.slots);
    for (uint32_t i = 0; i < lot->blocks.fresh_count; i++)
        __builtin_prefetch(slots_row(&lot->blocks.slots, lot->blocks.fresh[i]));
}

static struct book_lot *lot_touch(struct book *book, uint32_t number)
{
    struct book_lot *lot = &book->lots[number];
    if (!lot->is_touched)
        book->touched[book->touched_count++] = number;
    lot->is_touched = true;
    return lot;
}

static bool is_price(int64_t uusd_per_hour)
{
    return uusd_per_hour >= 0 && uusd_per_hour <= LOT_SCORE_MAX;
}

/* Blocks ---------------------------------------------------------------------------------------*/

static int64_t row_adder(const struct block_row *block)
{
    return (int64_t)block->row.adder_high << 32 | block->adder_low;
}

static void row_set_adder(struct block_row *block, int64_t adder_uusd_per_hour)
{
    block->adder_low = (uint32_t)adder_uusd_per_hour;
    block->row.adder_high = (uint8_t)(adder_uusd_per_hour >> 32);
}

static int64_t row_ask(const struct book_lot *lot, const struct block_row *block)
{
    return seller_ask(&lot->sellers.at[block->seller]);
}

static uint64_t block_key(const struct book_lot *lot, uint32_t slot)
{
    const struct block_row *block = slots_row(&lot->blocks.slots, slot);
    return key_of(row_ask(lot, block) + row_adder(block), slot);
}

static struct block_row *block_unsort(struct book_lot *lot, uint32_t slot)
{
    struct block_row *block = slots_row(&lot->blocks.slots, slot);
    side_unsort(&lot->blocks, &block->row, block_key(lot, slot));
    return block;
}

static enum book_outcome price_check(int64_t ask_uusd_per_hour, int64_t adder_uusd_per_hour)
{
    if (ask_uusd_per_hour <= 0 || !is_price(ask_uusd_per_hour))
        return BOOK_ASK_BAD;
    if (!is_price(adder_uusd_per_hour))
        return BOOK_ADDER_BAD;
    return is_price(ask_uusd_per_hour + adder_uusd_per_hour) ? BOOK_DONE : BOOK_SCORE_BAD;
}

static enum book_outcome block_check(const struct book_lot *lot, const struct book_block *block)
{
    enum book_outcome price = price_check(block->ask_uusd_per_hour, block->adder_uusd_per_hour);
    if (price != BOOK_DONE)
        return price;
    if (block->owner == LOT_OWNER_NONE)
        return BOOK_OWNER_BAD;
    if (lot->blocks.slots.live_count == KEY_INDEX_MAX)
        return BOOK_LOT_FULL;
    return slots_find(&lot->blocks.slots, block->id) == SLOT_NONE ? BOOK_DONE : BOOK_ID_TAKEN;
}

enum book_outcome book_block_add(struct book *book, uint32_t number, const struct book_block *block)
{
    if (number >= book->lots_count)
        return BOOK_LOT_UNKNOWN;
    struct book_lot *lot = &book->lots[number];
    enum book_outcome outcome = block_check(lot, block);
    if (outcome != BOOK_DONE)
        return outcome;
    uint32_t seller = sellers_add_block(&lot->sellers, block->owner, block->ask_uusd_per_hour);
    if (seller == SELLER_NONE)
        return BOOK_TWO_ASKS;
    lot_touch(book, number);
    uint32_t slot = slots_add(&lot->blocks.slots, block->id);
    struct block_row *row = slots_row(&lot->blocks.slots, slot);
    row->row.is_live = true;
    row->seller = seller;
    row_set_adder(row, block->adder_uusd_per_hour);
    side_freshen(&lot->blocks, slot);
    return BOOK_DONE;
}

enum book_outcome book_block_drop(struct book *book, uint32_t number, struct uuid id)
{
    if (number >= book->lots_count)
        return BOOK_LOT_UNKNOWN;
    uint32_t slot = slots_find(&book->lots[number].blocks.slots, id);
    if (slot == SLOT_NONE)
        return BOOK_ID_UNKNOWN;
    struct book_lot *lot = lot_touch(book, number);
    const struct block_row *block = block_unsort(lot, slot);
    sellers_drop_block(&lot->sellers, block->seller);
    slots_drop(&lot->blocks.slots, slot);
    return BOOK_DONE;
}

enum book_outcome book_adder_change(struct book *book, uint32_t number, struct uuid id,
                                    int64_t adder_uusd_per_hour)
{
    if (number >= book->lots_count)
        return BOOK_LOT_UNKNOWN;
    struct book_lot *lot = &book->lots[number];
    uint32_t slot = slots_find(&lot->blocks.slots, id);
    if (slot == SLOT_NONE)
        return BOOK_ID_UNKNOWN;
    int64_t ask = row_ask(lot, slots_row(&lot->blocks.slots, slot));
    enum book_outcome outcome = price_check(ask, adder_uusd_per_hour);
    if (outcome != BOOK_DONE)
        return outcome;
    lot_touch(book, number);
    row_set_adder(block_unsort(lot, slot), adder_uusd_per_hour);
    side_freshen(&lot->blocks, slot);
    return BOOK_DONE;
}

/* One of the blocks that a change of ask names; each may be named once. */
static enum book_outcome block_name(struct book_lot *lot, uint32_t seller,
                                    const struct book_ask *ask, struct uuid id)
{
    uint32_t slot = slots_find(&lot->blocks.slots, id);
    if (slot == SLOT_NONE)
        return BOOK_ID_UNKNOWN;
    struct block_row *block = slots_row(&lot->blocks.slots, slot);
    if (block->seller != seller || block->row.is_named)
        return BOOK_ASK_PARTIAL;
    enum book_outcome outcome = price_check(ask->ask_uusd_per_hour, row_adder(block));
    block->row.is_named = outcome == BOOK_DONE;
    return outcome;
}

/* Takes the names away again; with `is_changing` the blocks also leave the order. */
static void blocks_unname(struct book_lot *lot, const struct uuid *ids, uint32_t count,
                          bool is_changing)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = slots_find(&lot->blocks.slots, ids[i]);
        ((struct row *)slots_row(&lot->blocks.slots, slot))->is_named = false;
        if (!is_changing)
            continue;
        block_unsort(lot, slot);
        side_freshen(&lot->blocks, slot);
    }
}

enum book_outcome book_ask_change(struct book *book, uint32_t number, const struct book_ask *ask)
{
    if (number >= book->lots_count)
        return BOOK_LOT_UNKNOWN;
    struct book_lot *lot = &book->lots[number];
    uint32_t seller = sellers_find(&lot->sellers, ask->owner), named_count = 0;
    if (seller == SELLER_NONE || lot->sellers.at[seller].blocks_count != ask->blocks_count)
        return BOOK_ASK_PARTIAL;
    enum book_outcome outcome = BOOK_DONE;
    while (outcome == BOOK_DONE && named_count < ask->blocks_count) {
        outcome = block_name(lot, seller, ask, ask->block_ids[named_count]);
        named_count += outcome == BOOK_DONE;
    }
    blocks_unname(lot, ask->block_ids, named_count, outcome == BOOK_DONE);
    if (outcome != BOOK_DONE)
        return outcome;
    seller_set_ask(&lot->sellers.at[seller], ask->ask_uusd_per_hour);
    lot_touch(book, number);
    return BOOK_DONE;
}

/* Workloads ------------------------------------------------------------------------------------*/

static enum book_outcome demand_check(const struct book_lot *lot, const struct book_demand *demand,
                                      uint32_t slot)
{
    if (!is_price(demand->r_uusd_per_hour))
        return BOOK_RESERVE_BAD;
    if (demand->k == 0)
        return BOOK_K_BAD;
    if (demand->kmin == 0 || demand->kmin > demand->k)
        return BOOK_KMIN_BAD;
    bool is_full = slot == SLOT_NONE && lot->demands.slots.live_count == KEY_INDEX_MAX;
    return is_full ? BOOK_LOT_FULL : BOOK_DONE;
}

static uint64_t demand_key(const struct book_lot *lot, uint32_t slot)
{
    const struct demand_row *demand = slots_row(&lot->demands.slots, slot);
    return key_of(LOT_SCORE_MAX - demand->r_uusd_per_hour, slot);
}

static struct demand_row *demand_unsort(struct book_lot *lot, uint32_t slot)
{
    struct demand_row *demand = slots_row(&lot->demands.slots, slot);
    side_unsort(&lot->demands, &demand->row, demand_key(lot, slot));
    return demand;
}

enum book_outcome book_demand_put(struct book *book, uint32_t number,
                                  const struct book_demand *demand)
{
    if (number >= book->lots_count)
        return BOOK_LOT_UNKNOWN;
    struct slots *slots = &book->lots[number].demands.slots;
    uint32_t slot = slots_find(slots, demand->id);
    enum book_outcome outcome = demand_check(&book->lots[number], demand, slot);
    if (outcome != BOOK_DONE)
        return outcome;
    struct book_lot *lot = lot_touch(book, number);
    if (slot == SLOT_NONE)
        slot = slots_add(slots, demand->id);
    struct demand_row *row = demand_unsort(lot, slot);
    row->row.is_live = true;
    row->owner = demand->owner;
    row->r_uusd_per_hour = demand->r_uusd_per_hour;
    row->k = demand->k;
    row->kmin = demand->kmin;
    side_freshen(&lot->demands, slot);
    return BOOK_DONE;
}

enum book_outcome book_demand_drop(struct book *book, uint32_t number, struct uuid id)
{
    if (number >= book->lots_count)
        return BOOK_LOT_UNKNOWN;
    uint32_t slot = slots_find(&book->lots[number].demands.slots, id);
    if (slot == SLOT_NONE)
        return BOOK_ID_UNKNOWN;
    struct book_lot *lot = lot_touch(book, number);
    demand_unsort(lot, slot);
    slots_drop(&lot->demands.slots, slot);
    return BOOK_DONE;
}

/* Order ----------------------------------------------------------------------------------------*/

static uint32_t most(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* Working memory for the largest lot so far, with a quarter to spare. */
static void work_make_room(struct book *book, const struct book_lot *lot)
{
    const struct lot_limits *has = &book->work.limits;
    struct lot_limits wanted = {
        .blocks_max = most(has->blocks_max, lot->blocks.slots.used_count),
        .demands_max = most(has->demands_max, lot->demands.slots.used_count),
        .owners_max = most(has->owners_max, lot->sellers.used_count),
    };
    if (book->work_memory != NULL && wanted.blocks_max == has->blocks_max &&
        wanted.demands_max == has->demands_max && wanted.owners_max == has->owners_max)
        return;
    wanted.blocks_max += wanted.blocks_max / 4;
    wanted.demands_max += wanted.demands_max / 4;
    wanted.owners_max += wanted.owners_max / 4;
    free(book->work_memory);
    book->work_memory = malloc(lot_clear_size(&wanted));
    must(book->work_memory != NULL);
    lot_clear_start(&book->work, &wanted, book->work_memory);
}

typedef uint64_t row_key(const struct book_lot *lot, uint32_t slot);

/* Every live row's key, in one pass and one sort. */
static void side_sort_anew(struct book *book, struct book_lot *lot, struct book_side *side,
                           row_key *key_at)
{
    uint64_t *keys = side == &lot->blocks ? book->work.supply : book->work.demand;
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < side->slots.used_count; slot++) {
        struct row *row = slots_row(&side->slots, slot);
        row->is_sorted = row->is_live;
        if (row->is_live)
            keys[count++] = key_at(lot, slot);
    }
    keys_sort(keys, book->work.scratch, count);
    key_set_fill(&side->order, keys, count);
    side->is_dishevelled = false;
}

/* A slot may have come twice, and its row may be gone since. All leaves are asked for first. */
static void side_sort_fresh(struct book_lot *lot, struct book_side *side, row_key *key_at)
{
    for (uint32_t i = 0; i < side->fresh_count; i++)
        key_set_fetch_at(&side->order, key_at(lot, side->fresh[i]));
    for (uint32_t i = 0; i < side->fresh_count; i++) {
        struct row *row = slots_row(&side->slots, side->fresh[i]);
        if (row->is_live && !row->is_sorted)
            key_set_insert(&side->order, key_at(lot, side->fresh[i]));
        row->is_sorted = row->is_live;
    }
}

static void side_sort(struct book *book, struct book_lot *lot, struct book_side *side,
                      row_key *key_at)
{
    if (side->is_dishevelled)
        side_sort_anew(book, lot, side, key_at);
    else
        side_sort_fresh(lot, side, key_at);
    side->fresh_count = 0;
}

void book_lot_sort(struct book *book, uint32_t number)
{
    must(number < book->lots_count);
    struct book_lot *lot = &book->lots[number];
    work_make_room(book, lot);
    side_sort(book, lot, &lot->blocks, block_key);
    side_sort(book, lot, &lot->demands, demand_key);
}

struct book_touched book_freeze(struct book *book)
{
    struct book_touched touched = {.lots = book->touched, .count = book->touched_count};
    for (uint32_t i = 0; i < touched.count; i++)
        book->lots[touched.lots[i]].is_touched = false;
    book->touched_count = 0;
    return touched;
}

/* Clearing -------------------------------------------------------------------------------------*/

static struct str id_text(const struct uuid *id, char text[ID_TEXT_SIZE])
{
    return text != NULL ? (struct str){.at = uuid_text(*id, text), .len = UUID_TEXT_LEN} : STR_NONE;
}

/* The rule numbers a lot's owners as the lot does. It does not read asks. */
static struct lot_block block_read(const void *at, uint32_t slot, char text[ID_TEXT_SIZE])
{
    const struct book_lot *lot = at;
    const struct block_row *block = slots_row(&lot->blocks.slots, slot);
    return (struct lot_block){
        .id = id_text(&lot->blocks.slots.ids[slot], text),
        .owner = block->seller,
        .adder_uusd_per_hour = row_adder(block),
    };
}

static struct lot_demand demand_read(const void *at, uint32_t slot, char text[ID_TEXT_SIZE])
{
    const struct book_lot *lot = at;
    const struct demand_row *demand = slots_row(&lot->demands.slots, slot);
    return (struct lot_demand){
        .id = id_text(&lot->demands.slots.ids[slot], text),
        .r_uusd_per_hour = demand->r_uusd_per_hour,
        .k = demand->k,
        .kmin = demand->kmin,
    };
}

/* Fills work->demand; returns how many blocks the admitted want together, at most all there are. */
static uint32_t demand_admit(struct lot_clear *work, const struct book_lot *lot)
{
    uint64_t wanted = 0;
    uint32_t count = key_set_read(&lot->demands.order, work->scratch, UINT32_MAX);
    work->demands_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = key_index(work->scratch[i]);
        const struct demand_row *demand = slots_row(&lot->demands.slots, slot);
        if (demand->owner != LOT_OWNER_NONE &&
            sellers_find(&lot->sellers, demand->owner) != SELLER_NONE) {
            work->verdicts[slot] = DEMAND_SELLS_HERE;
            work->accepted_counts[slot] = 0;
            continue;
        }
        work->demand[work->demands_count++] = work->scratch[i];
        wanted += demand->k;
    }
    return wanted < lot->blocks.slots.live_count ? (uint32_t)wanted : lot->blocks.slots.live_count;
}

/* A lot's rows were last touched a round ago, so they come from main memory: all at once here, not
 * one after the other where they are needed. */
static void front_fetch(const struct lot_clear *work, const struct book_lot *lot)
{
    for (uint32_t i = 0; i < work->front_count; i++) {
        uint64_t key = work->supply[i], before = i > 0 ? work->supply[i - 1] : 0;
        __builtin_prefetch(slots_row(&lot->blocks.slots, key_index(key)));
        if (key_value(key) != key_value(before))
            continue;
        __builtin_prefetch(&lot->blocks.slots.ids[key_index(before)]); /* equals are hashed */
        __builtin_prefetch(&lot->blocks.slots.ids[key_index(key)]);
    }
}

enum lot_outcome book_lot_clear(struct book *book, uint32_t number, const struct sha256 *seed,
                                struct lot_result *ret_result)
{
    must(number < book->lots_count);
    const struct book_lot *lot = &book->lots[number];
    must(lot->blocks.fresh_count + lot->demands.fresh_count == 0);
    must(!lot->blocks.is_dishevelled && !lot->demands.is_dishevelled);
    struct lot_clear *work = &book->work;
    const struct lot_source source = {
        .at = lot, .block = block_read, .demand = demand_read, .seed = seed};
    uint32_t wanted = demand_admit(work, lot) + lot->sellers.blocks_most;
    work->blocks_count = lot->blocks.slots.live_count;
    work->front_count = key_set_read(&lot->blocks.order, work->supply, wanted);
    front_fetch(work, lot);
    return rule_run(work, &source, ret_result) ? LOT_CLEARED : LOT_INPUT_BAD;
}

struct book_block book_block_at(const struct book *book, uint32_t number, uint32_t slot)
{
    const struct book_lot *lot = &book->lots[number];
    const struct block_row *block = slots_row(&lot->blocks.slots, slot);
    must(number < book->lots_count && slot < lot->blocks.slots.used_count && block->row.is_live);
    return (struct book_block){
        .id = lot->blocks.slots.ids[slot],
        .owner = lot->sellers.at[block->seller].owner,
        .ask_uusd_per_hour = row_ask(lot, block),
        .adder_uusd_per_hour = row_adder(block),
    };
}

struct book_demand book_demand_at(const struct book *book, uint32_t number, uint32_t slot)
{
    const struct book_lot *lot = &book->lots[number];
    const struct demand_row *demand = slots_row(&lot->demands.slots, slot);
    must(number < book->lots_count && slot < lot->demands.slots.used_count && demand->row.is_live);
    return (struct book_demand){
        .id = lot->demands.slots.ids[slot],
        .owner = demand->owner,
        .r_uusd_per_hour = demand->r_uusd_per_hour,
        .k = demand->k,
        .kmin = demand->kmin,
    };
}

const char *book_outcome_text(enum book_outcome outcome)
{
    static const char *const texts[BOOK_OUTCOME_COUNT] = {
        [BOOK_DONE] = "done",
        [BOOK_LOT_UNKNOWN] = "there is no lot with this number",
        [BOOK_LOT_FULL] = "the lot holds as many as one lot can",
        [BOOK_ID_TAKEN] = "a block with this id stands in the lot already",
        [BOOK_ID_UNKNOWN] = "nothing with this id stands in the lot",
        [BOOK_OWNER_BAD] = "a block has no owner",
        [BOOK_ASK_BAD] = "an ask is zero, negative or above the largest price",
        [BOOK_ADDER_BAD] = "an adder is negative or above the largest price",
        [BOOK_SCORE_BAD] = "an ask and its adder together are above the largest price",
        [BOOK_RESERVE_BAD] = "a reserve is negative or above the largest price",
        [BOOK_K_BAD] = "a workload wants no block",
        [BOOK_KMIN_BAD] = "a workload's kmin is not between 1 and k",
        [BOOK_TWO_ASKS] = "the seller has another ask in the lot",
        [BOOK_ASK_PARTIAL] = "the change does not name each of the seller's blocks once",
    };
    must(outcome > 0 && outcome < BOOK_OUTCOME_COUNT);
    return texts[outcome];
}
