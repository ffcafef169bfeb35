/* record.c - encodes a round, and reads it back as strictly as it was written.
 *
 * The happy path is fixed-width little-endian fields in a row, and back again.
 * Failure modes are: bytes that end early, go on too long, promise more items than they hold, or
 * stand in another order (all refused by the reader, which then stays bad).
 */
#include "auction/record.h"

#include <string.h>

#define RECORD_MAGIC "UCRR"

/* The least bytes of one item: no count that is read may ask for more memory than its bytes could
 * ever fill. */
#define BLOCK_SIZE_MIN  (1 + 16 + 16 + 8 + 8)
#define DEMAND_SIZE_MIN (1 + 16 + 8 + 4 + 4)
#define PREFIX_SIZE     (8 + 4 + 4)
#define AWARD_SIZE      (4 + 4 + 8 + 8)

#define CANDIDATE_SIZE_MIN (1 + 16 + 16 + 1 + 1 + 1 + 8 + 8 + 8)
#define DIRECT_AWARD_SIZE  (4 + 8 + 8)

/* Writing --------------------------------------------------------------------------------------*/

static void put_uint(struct buf *to, uint64_t value, int size)
{
    uint8_t bytes[8];
    for (int i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    buf_add(to, bytes, (size_t)size);
}

static void put_u32(struct buf *to, uint32_t value)
{
    put_uint(to, value, 4);
}

static void put_i64(struct buf *to, int64_t value)
{
    put_uint(to, (uint64_t)value, 8);
}

static void put_str(struct buf *to, struct str s)
{
    must(s.len <= UINT8_MAX);
    put_uint(to, s.len, 1);
    buf_add_str(to, s);
}

void record_put_head(struct buf *to, const struct record_head *head)
{
    must(head->kind > 0 && head->kind < RECORD_KIND_COUNT);
    must(head->kind != RECORD_VOID || (head->lots_count == 0 && head->directs_count == 0));
    buf_add_str(to, STR(RECORD_MAGIC));
    put_uint(to, RECORD_VERSION, 2);
    put_uint(to, (uint64_t)head->kind, 1);
    put_str(to, head->seed_parts.market);
    put_uint(to, head->seed_parts.t, 8);
    buf_add(to, head->seed_parts.arrivals_root.bytes, 32);
    put_uint(to, head->chain_index, 8);
    buf_add(to, head->seed_parts.chain_value.bytes, 32);
    buf_add(to, head->seed.bytes, 32);
    put_u32(to, head->fee_bp);
    put_u32(to, head->lots_count);
    put_u32(to, head->directs_count);
}

static void put_blocks(struct buf *to, const struct record_lot *lot)
{
    put_u32(to, lot->blocks_count);
    for (uint32_t i = 0; i < lot->blocks_count; i++) {
        const struct record_block *block = &lot->blocks[i];
        must(i == 0 || str_compare(lot->blocks[i - 1].id, block->id) < 0);
        put_str(to, block->id);
        buf_add(to, block->owner.bytes, 16);
        buf_add(to, block->node.bytes, 16);
        put_i64(to, block->ask_uusd_per_hour);
        put_i64(to, block->adder_uusd_per_hour);
    }
}

static void put_demands(struct buf *to, const struct record_lot *lot)
{
    put_u32(to, lot->demands_count);
    for (uint32_t i = 0; i < lot->demands_count; i++) {
        const struct record_demand *demand = &lot->demands[i];
        must(i == 0 || str_compare(lot->demands[i - 1].id, demand->id) < 0);
        put_str(to, demand->id);
        buf_add(to, demand->owner.bytes, 16);
        put_i64(to, demand->r_uusd_per_hour);
        put_u32(to, demand->k);
        put_u32(to, demand->kmin);
    }
}

static void put_outcome(struct buf *to, const struct lot_result *outcome)
{
    put_i64(to, outcome->index_uusd_per_hour);
    put_u32(to, outcome->prefixes_count);
    for (uint32_t i = 0; i < outcome->prefixes_count; i++) {
        put_i64(to, outcome->prefixes[i].r_uusd_per_hour);
        put_u32(to, outcome->prefixes[i].k_total);
        put_u32(to, outcome->prefixes[i].demand);
    }
    put_u32(to, outcome->awards_count);
    for (uint32_t i = 0; i < outcome->awards_count; i++) {
        put_u32(to, outcome->awards[i].demand);
        put_u32(to, outcome->awards[i].block);
        put_i64(to, outcome->awards[i].theta_uusd_per_hour);
        put_i64(to, outcome->awards[i].price_uusd_per_hour);
    }
}

void record_put_lot(struct buf *to, const struct record_lot *lot)
{
    put_str(to, lot->key);
    put_blocks(to, lot);
    put_demands(to, lot);
    put_outcome(to, &lot->outcome);
}

static void put_candidates(struct buf *to, const struct record_direct *direct)
{
    put_u32(to, direct->candidates_count);
    for (uint32_t i = 0; i < direct->candidates_count; i++) {
        const struct record_candidate *candidate = &direct->candidates[i];
        must(i == 0 || str_compare(direct->candidates[i - 1].id, candidate->id) < 0);
        put_str(to, candidate->id);
        buf_add(to, candidate->owner.bytes, 16);
        buf_add(to, candidate->node.bytes, 16);
        put_str(to, candidate->region);
        put_str(to, candidate->class);
        put_uint(to, (uint64_t)candidate->kind, 1);
        put_i64(to, candidate->price_uusd_per_hour);
        put_i64(to, candidate->adder_uusd_per_hour);
        put_i64(to, candidate->latency_uusd_per_hour);
    }
}

void record_put_direct(struct buf *to, const struct record_direct *direct)
{
    put_str(to, direct->id);
    buf_add(to, direct->owner.bytes, 16);
    put_str(to, direct->tier);
    put_uint(to, direct->devices, 1);
    put_uint(to, (uint64_t)direct->spread, 1);
    put_i64(to, direct->r_uusd_per_hour);
    put_u32(to, direct->k);
    put_u32(to, direct->kmin);
    put_candidates(to, direct);
    put_i64(to, direct->outcome.index_uusd_per_hour);
    put_u32(to, direct->outcome.awards_count);
    for (uint32_t i = 0; i < direct->outcome.awards_count; i++) {
        put_u32(to, direct->outcome.awards[i].candidate);
        put_i64(to, direct->outcome.awards[i].theta_uusd_per_hour);
        put_i64(to, direct->outcome.awards[i].price_uusd_per_hour);
    }
}

/* Reading --------------------------------------------------------------------------------------*/

/* The next `len` bytes, or NULL: then the reader is bad and all that follows reads as zero. */
static const char *take(struct record_reader *reader, size_t len)
{
    if (reader->is_bad || len > reader->rest.len) {
        reader->is_bad = true;
        return NULL;
    }
    const char *at = reader->rest.at;
    reader->rest = (struct str){.at = at + len, .len = reader->rest.len - len};
    return at;
}

static void get_bytes(struct record_reader *reader, uint8_t *ret, size_t len)
{
    const char *at = take(reader, len);
    if (at)
        memcpy(ret, at, len);
    else
        memset(ret, 0, len);
}

static uint64_t get_uint(struct record_reader *reader, size_t size)
{
    uint8_t bytes[8];
    uint64_t value = 0;
    get_bytes(reader, bytes, size);
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static uint32_t get_u32(struct record_reader *reader)
{
    return (uint32_t)get_uint(reader, 4);
}

static int64_t get_i64(struct record_reader *reader)
{
    return (int64_t)get_uint(reader, 8);
}

static struct str get_str(struct record_reader *reader)
{
    size_t len = (size_t)get_uint(reader, 1);
    const char *at = take(reader, len);
    return at ? (struct str){.at = at, .len = len} : STR_NONE;
}

/* A count of items, with room for them in `home`; 0 when the bytes cannot hold so many. */
static uint32_t get_count(struct record_reader *reader, size_t size_min, struct buf *home,
                          size_t item_size)
{
    uint32_t count = get_u32(reader);
    if (count > reader->rest.len / size_min) {
        reader->is_bad = true;
        return 0;
    }
    home->len = 0;
    buf_reserve(home, (count + (size_t)1) * item_size);
    return count;
}

static void expect(struct record_reader *reader, bool is_good)
{
    reader->is_bad = reader->is_bad || !is_good;
}

/* Everything since the last row is the next one. */
static void row_end(struct record_reader *reader, enum record_row_kind kind, uint32_t item)
{
    const char *end = reader->rest.at;
    const struct record_row row = {
        .kind = kind,
        .lot = kind < RECORD_ROW_DIRECT ? reader->lots_read : reader->directs_read,
        .item = item,
        .bytes = {.at = reader->row_start, .len = (size_t)(end - reader->row_start)},
    };
    reader->row_start = end;
    if (reader->on_row != NULL && !reader->is_bad)
        reader->on_row(reader->row_data, &row);
}

bool record_open(struct record_reader *reader, struct str bytes, struct record_head *ret_head)
{
    *reader = (struct record_reader){.on_row = NULL};
    return record_open_rows(reader, bytes, ret_head);
}

bool record_open_rows(struct record_reader *reader, struct str bytes, struct record_head *ret_head)
{
    *reader = (struct record_reader){.rest = bytes,
                                     .row_start = bytes.at,
                                     .on_row = reader->on_row,
                                     .row_data = reader->row_data};
    const char *magic = take(reader, sizeof(RECORD_MAGIC) - 1);
    expect(reader, magic && memcmp(magic, RECORD_MAGIC, sizeof(RECORD_MAGIC) - 1) == 0);
    expect(reader, get_uint(reader, 2) == RECORD_VERSION);

    struct record_head head = {.kind = (enum record_kind)get_uint(reader, 1)};
    head.seed_parts.market = get_str(reader);
    head.seed_parts.t = get_uint(reader, 8);
    get_bytes(reader, head.seed_parts.arrivals_root.bytes, 32);
    head.chain_index = get_uint(reader, 8);
    get_bytes(reader, head.seed_parts.chain_value.bytes, 32);
    get_bytes(reader, head.seed.bytes, 32);
    head.fee_bp = get_u32(reader);
    head.lots_count = get_u32(reader);
    head.directs_count = get_u32(reader);
    expect(reader, head.kind > 0 && head.kind < RECORD_KIND_COUNT);
    expect(reader, head.kind != RECORD_VOID || (head.lots_count == 0 && head.directs_count == 0));
    if (reader->is_bad)
        return false;
    row_end(reader, RECORD_ROW_HEAD, 0);
    reader->lots_left = head.lots_count;
    reader->directs_left = head.directs_count;
    *ret_head = head;
    return true;
}

static void get_blocks(struct record_reader *reader, struct record_lot *lot)
{
    lot->blocks_count =
        get_count(reader, BLOCK_SIZE_MIN, &reader->blocks, sizeof(struct record_block));
    row_end(reader, RECORD_ROW_BLOCK_COUNT, 0);
    struct record_block *blocks = (struct record_block *)(void *)reader->blocks.at;
    for (uint32_t i = 0; i < lot->blocks_count; i++) {
        blocks[i].id = get_str(reader);
        get_bytes(reader, blocks[i].owner.bytes, 16);
        get_bytes(reader, blocks[i].node.bytes, 16);
        blocks[i].ask_uusd_per_hour = get_i64(reader);
        blocks[i].adder_uusd_per_hour = get_i64(reader);
        expect(reader, i == 0 || str_compare(blocks[i - 1].id, blocks[i].id) < 0);
        row_end(reader, RECORD_ROW_BLOCK, i);
    }
    lot->blocks = blocks;
}

static void get_demands(struct record_reader *reader, struct record_lot *lot)
{
    lot->demands_count =
        get_count(reader, DEMAND_SIZE_MIN, &reader->demands, sizeof(struct record_demand));
    row_end(reader, RECORD_ROW_DEMAND_COUNT, 0);
    struct record_demand *demands = (struct record_demand *)(void *)reader->demands.at;
    for (uint32_t i = 0; i < lot->demands_count; i++) {
        demands[i].id = get_str(reader);
        get_bytes(reader, demands[i].owner.bytes, 16);
        demands[i].r_uusd_per_hour = get_i64(reader);
        demands[i].k = get_u32(reader);
        demands[i].kmin = get_u32(reader);
        expect(reader, i == 0 || str_compare(demands[i - 1].id, demands[i].id) < 0);
        row_end(reader, RECORD_ROW_DEMAND, i);
    }
    lot->demands = demands;
}

static void get_outcome(struct record_reader *reader, struct record_lot *lot)
{
    struct lot_result *outcome = &lot->outcome;
    outcome->index_uusd_per_hour = get_i64(reader);
    row_end(reader, RECORD_ROW_INDEX, 0);
    outcome->prefixes_count =
        get_count(reader, PREFIX_SIZE, &reader->prefixes, sizeof(struct lot_prefix));
    row_end(reader, RECORD_ROW_PREFIX_COUNT, 0);
    struct lot_prefix *prefixes = (struct lot_prefix *)(void *)reader->prefixes.at;
    for (uint32_t i = 0; i < outcome->prefixes_count; i++) {
        prefixes[i].r_uusd_per_hour = get_i64(reader);
        prefixes[i].k_total = get_u32(reader);
        prefixes[i].demand = get_u32(reader);
        expect(reader, prefixes[i].demand < lot->demands_count);
        row_end(reader, RECORD_ROW_PREFIX, i);
    }
    outcome->awards_count =
        get_count(reader, AWARD_SIZE, &reader->awards, sizeof(struct lot_award));
    row_end(reader, RECORD_ROW_SOLD_COUNT, 0);
    struct lot_award *awards = (struct lot_award *)(void *)reader->awards.at;
    for (uint32_t i = 0; i < outcome->awards_count; i++) {
        awards[i].demand = get_u32(reader);
        awards[i].block = get_u32(reader);
        awards[i].theta_uusd_per_hour = get_i64(reader);
        awards[i].price_uusd_per_hour = get_i64(reader);
        expect(reader, awards[i].demand < lot->demands_count);
        expect(reader, awards[i].block < lot->blocks_count);
        row_end(reader, RECORD_ROW_AWARD, i);
    }
    outcome->prefixes = prefixes;
    outcome->awards = awards;
}

bool record_next_lot(struct record_reader *reader, struct record_lot *ret_lot)
{
    if (reader->is_bad || reader->lots_left == 0)
        return false;
    struct record_lot lot = {.key = get_str(reader)};
    expect(reader, reader->last_key.at == NULL || str_compare(reader->last_key, lot.key) < 0);
    row_end(reader, RECORD_ROW_LOT, 0);
    get_blocks(reader, &lot);
    get_demands(reader, &lot);
    get_outcome(reader, &lot);
    if (reader->is_bad)
        return false;
    reader->last_key = lot.key;
    reader->lots_left--;
    reader->lots_read++;
    *ret_lot = lot;
    return true;
}

static void get_candidates(struct record_reader *reader, struct record_direct *direct)
{
    direct->candidates_count =
        get_count(reader, CANDIDATE_SIZE_MIN, &reader->blocks, sizeof(struct record_candidate));
    row_end(reader, RECORD_ROW_CANDIDATE_COUNT, 0);
    struct record_candidate *candidates = (struct record_candidate *)(void *)reader->blocks.at;
    for (uint32_t i = 0; i < direct->candidates_count; i++) {
        struct record_candidate *candidate = &candidates[i];
        candidate->id = get_str(reader);
        get_bytes(reader, candidate->owner.bytes, 16);
        get_bytes(reader, candidate->node.bytes, 16);
        candidate->region = get_str(reader);
        candidate->class = get_str(reader);
        candidate->kind = (enum direct_price)get_uint(reader, 1);
        candidate->price_uusd_per_hour = get_i64(reader);
        candidate->adder_uusd_per_hour = get_i64(reader);
        candidate->latency_uusd_per_hour = get_i64(reader);
        expect(reader, i == 0 || str_compare(candidates[i - 1].id, candidate->id) < 0);
        expect(reader, candidate->kind == DIRECT_PRICE_ASK || candidate->kind == DIRECT_PRICE_BID);
        row_end(reader, RECORD_ROW_CANDIDATE, i);
    }
    direct->candidates = candidates;
}

static void get_direct_outcome(struct record_reader *reader, struct record_direct *direct)
{
    direct->outcome.index_uusd_per_hour = get_i64(reader);
    row_end(reader, RECORD_ROW_DIRECT_INDEX, 0);
    direct->outcome.awards_count =
        get_count(reader, DIRECT_AWARD_SIZE, &reader->awards, sizeof(struct rfq_award));
    row_end(reader, RECORD_ROW_DIRECT_SOLD_COUNT, 0);
    struct rfq_award *awards = (struct rfq_award *)(void *)reader->awards.at;
    for (uint32_t i = 0; i < direct->outcome.awards_count; i++) {
        awards[i].candidate = get_u32(reader);
        awards[i].theta_uusd_per_hour = get_i64(reader);
        awards[i].price_uusd_per_hour = get_i64(reader);
        expect(reader, awards[i].candidate < direct->candidates_count);
        row_end(reader, RECORD_ROW_DIRECT_AWARD, i);
    }
    direct->outcome.awards = awards;
}

bool record_next_direct(struct record_reader *reader, struct record_direct *ret_direct)
{
    if (reader->is_bad || reader->lots_left > 0 || reader->directs_left == 0)
        return false;
    struct record_direct direct = {.id = get_str(reader)};
    expect(reader,
           reader->last_direct.at == NULL || str_compare(reader->last_direct, direct.id) < 0);
    get_bytes(reader, direct.owner.bytes, 16);
    direct.tier = get_str(reader);
    direct.devices = (uint8_t)get_uint(reader, 1);
    direct.spread = (enum direct_spread)get_uint(reader, 1);
    expect(reader, direct.spread >= DIRECT_SPREAD_NONE && direct.spread <= DIRECT_SPREAD_REGION);
    direct.r_uusd_per_hour = get_i64(reader);
    direct.k = get_u32(reader);
    direct.kmin = get_u32(reader);
    row_end(reader, RECORD_ROW_DIRECT, 0);
    get_candidates(reader, &direct);
    get_direct_outcome(reader, &direct);
    if (reader->is_bad)
        return false;
    reader->last_direct = direct.id;
    reader->directs_left--;
    reader->directs_read++;
    *ret_direct = direct;
    return true;
}

bool record_close(struct record_reader *reader)
{
    bool is_whole = !reader->is_bad && reader->lots_left == 0 && reader->directs_left == 0 &&
                    reader->rest.len == 0;
    buf_finish(&reader->blocks);
    buf_finish(&reader->demands);
    buf_finish(&reader->prefixes);
    buf_finish(&reader->awards);
    return is_whole;
}
