#include "auction/hindsight.h"

#include <stdlib.h>
#include <string.h>

#include "auction/recompute.h"
#include "auction/tier.h"
#include "broker/base/money.h"

#define BP_ONE 10000

const char *ask_fate_slug(enum ask_fate fate)
{
    static const char *const slugs[ASK_FATE_COUNT] = {
        [ASK_FATE_ABSENT] = "absent",
        [ASK_FATE_SOLD] = "sold",
        [ASK_FATE_PARTLY_SOLD] = "partly_sold",
        [ASK_FATE_ABOVE_INDEX] = "above_index",
        [ASK_FATE_TIED] = "tied",
        [ASK_FATE_NO_TRADE] = "no_trade",
    };
    must(fate >= ASK_FATE_ABSENT && fate < ASK_FATE_COUNT);
    return slugs[fate];
}

/* What a lot sold of an account's, in blocks and per hour. */
struct sales {
    uint32_t count;
    int64_t revenue_uusd_per_hour;
};

static struct sales sales_of(const struct record_lot *lot, const struct uuid *account)
{
    struct sales sales = {.count = 0};
    for (uint32_t i = 0; i < lot->outcome.awards_count; i++) {
        const struct lot_award *award = &lot->outcome.awards[i];
        if (!uuid_equal(lot->blocks[award->block].owner, *account))
            continue;
        sales.count++;
        sales.revenue_uusd_per_hour += award->price_uusd_per_hour;
    }
    return sales;
}

static bool is_sold(const struct record_lot *lot, uint32_t block)
{
    for (uint32_t i = 0; i < lot->outcome.awards_count; i++)
        if (lot->outcome.awards[i].block == block)
            return true;
    return false;
}

static int64_t score_of(const struct record_block *block)
{
    return block->ask_uusd_per_hour + block->adder_uusd_per_hour;
}

struct ask_outcome ask_outcome_of(const struct record_lot *lot, const struct uuid *account)
{
    struct ask_outcome outcome = {.fate = ASK_FATE_ABSENT};
    int64_t index = lot->outcome.index_uusd_per_hour;
    for (uint32_t i = 0; i < lot->blocks_count; i++) {
        if (!uuid_equal(lot->blocks[i].owner, *account))
            continue;
        int64_t score = score_of(&lot->blocks[i]);
        outcome.blocks_count++;
        if (is_sold(lot, i))
            outcome.sold_count++;
        else if (outcome.score_uusd_per_hour == 0 || score < outcome.score_uusd_per_hour)
            outcome.score_uusd_per_hour = score;
    }
    if (outcome.blocks_count == 0)
        return outcome;
    if (index != LOT_INDEX_NONE && outcome.score_uusd_per_hour > index)
        outcome.gap_uusd_per_hour = outcome.score_uusd_per_hour - index;
    if (outcome.sold_count == outcome.blocks_count)
        outcome.fate = ASK_FATE_SOLD;
    else if (outcome.sold_count > 0)
        outcome.fate = ASK_FATE_PARTLY_SOLD;
    else if (index == LOT_INDEX_NONE)
        outcome.fate = ASK_FATE_NO_TRADE;
    else
        outcome.fate = outcome.gap_uusd_per_hour > 0 ? ASK_FATE_ABOVE_INDEX : ASK_FATE_TIED;
    return outcome;
}

/* "region/class/devices/tier/...": what a block of this lot would ask. */
static int64_t block_ask(const struct record_lot *lot, const struct hindsight_ask *ask)
{
    struct str rest = lot->key;
    int64_t devices = 0, bp = BP_ONE;
    str_cut(&rest, '/');
    str_cut(&rest, '/');
    must(str_to_i64(str_cut(&rest, '/'), &devices));
    enum tier tier = tier_of(str_cut(&rest, '/'));
    if (tier == TIER_SPOT)
        bp = ask->spot_multiplier_bp;
    else if (tier == TIER_GUARANTEED)
        bp = ask->guaranteed_multiplier_bp;
    return mul_div_floor(ask->price_uusd_per_device_hour * devices, bp, BP_ONE);
}

/* How many blocks the account had there; what they came to is added. */
static uint32_t sum_add(const struct record_lot *lot, const struct hindsight_ask *ask,
                        struct hindsight_sum *sum)
{
    struct sales then = sales_of(lot, &ask->account_id);
    uint32_t count = 0;
    for (uint32_t i = 0; i < lot->blocks_count; i++)
        count += uuid_equal(lot->blocks[i].owner, ask->account_id);
    sum->lots_count += count > 0;
    sum->blocks_count += count;
    sum->sold_count += then.count;
    sum->revenue_uusd_per_hour += then.revenue_uusd_per_hour;
    return count;
}

void hindsight_replay(const struct record_lot *lot, const struct sha256 *seed,
                      const struct hindsight_ask *ask, struct hindsight_sum *sum)
{
    struct buf memory = {.at = NULL};
    struct record_lot again = *lot;
    if (sum_add(lot, ask, sum) == 0)
        return;
    struct record_block *blocks = calloc(lot->blocks_count, sizeof(*blocks));
    must(blocks != NULL);
    int64_t price = block_ask(lot, ask);
    again.blocks = blocks;
    again.blocks_count = 0;
    for (uint32_t i = 0; i < lot->blocks_count; i++) {
        struct record_block block = lot->blocks[i];
        bool is_own = uuid_equal(block.owner, ask->account_id);
        if (is_own && price > LOT_SCORE_MAX - block.adder_uusd_per_hour)
            continue; /* no lot takes such a score */
        if (is_own)
            block.ask_uusd_per_hour = price;
        blocks[again.blocks_count++] = block;
    }
    must(record_lot_clear(&again, seed, &memory, &again.outcome) == LOT_CLEARED);
    struct sales then = sales_of(&again, &ask->account_id);
    sum->would_count += then.count;
    sum->would_revenue_uusd_per_hour += then.revenue_uusd_per_hour;
    buf_finish(&memory);
    free(blocks);
}

void hindsight_estimate(const struct record_lot *lot, const struct hindsight_ask *ask,
                        struct hindsight_sum *sum)
{
    int64_t index = lot->outcome.index_uusd_per_hour;
    uint32_t left = lot->outcome.awards_count; /* more than were sold is not known to be wanted */
    if (sum_add(lot, ask, sum) == 0 || index == LOT_INDEX_NONE)
        return;
    int64_t price = block_ask(lot, ask);
    for (uint32_t i = 0; i < lot->blocks_count && left > 0; i++) {
        int64_t earned = index - lot->blocks[i].adder_uusd_per_hour;
        if (!uuid_equal(lot->blocks[i].owner, ask->account_id) || price >= earned)
            continue;
        sum->would_count++;
        sum->would_revenue_uusd_per_hour += earned;
        left--;
    }
}
