/* clear.c - one lot from its input: check, sort, and hand it to the rule.
 *
 * The happy path is: check, count what each owner sells, admit and sort demand, sort supply, run
 * the rule. Failure modes are: an input out of range or against the rule's terms (LOT_INPUT_BAD,
 * nothing written). Nothing else can fail.
 */
#include "auction/clear.h"

#include <string.h>

#include "auction/keys.h"
#include "auction/rule.h"

static bool input_is_good(struct lot_clear *lot, const struct lot_input *input);
static bool owners_are_good(struct lot_clear *lot, const struct lot_input *input);
static void supply_sort(struct lot_clear *lot, const struct lot_input *input);
static void demand_admit(struct lot_clear *lot, const struct lot_input *input);
static struct lot_block block_read(const void *at, uint32_t index, char text[ID_TEXT_SIZE]);
static struct lot_demand demand_read(const void *at, uint32_t index, char text[ID_TEXT_SIZE]);

enum lot_outcome lot_clear(struct lot_clear *lot, const struct lot_input *input,
                           struct lot_result *ret_result)
{
    rule_open(lot);
    if (!input_is_good(lot, input) || !owners_are_good(lot, input))
        return LOT_INPUT_BAD;

    demand_admit(lot, input);
    supply_sort(lot, input);
    const struct lot_source source = {
        .at = input, .block = block_read, .demand = demand_read, .seed = &input->seed};
    must(rule_run(lot, &source, ret_result));
    return LOT_CLEARED;
}

/* Memory ---------------------------------------------------------------------------------------*/

struct carver {
    char *memory; /* NULL while only measuring */
    size_t used;
};

static void *carve(struct carver *from, size_t count, size_t size)
{
    size_t start = from->used;
    from->used += (count * size + 63) / 64 * 64;
    return from->memory ? from->memory + start : NULL;
}

static size_t memory_lay_out(struct lot_clear *lot, const struct lot_limits *limits, void *memory)
{
    struct carver from = {.memory = memory};
    size_t blocks = limits->blocks_max, demands = limits->demands_max;
    size_t most = blocks > demands ? blocks : demands;
    *lot = (struct lot_clear){
        .limits = *limits,
        .fault = LOT_FAULT_NONE,
        .supply = carve(&from, blocks, sizeof(*lot->supply)),
        .demand = carve(&from, demands, sizeof(*lot->demand)),
        .scratch = carve(&from, most, sizeof(*lot->scratch)),
        .hashes = carve(&from, most, sizeof(*lot->hashes)),
        .rank_owners = carve(&from, blocks, sizeof(*lot->rank_owners)),
        .own_ranks = carve(&from, blocks, sizeof(*lot->own_ranks)),
        .owners = carve(&from, limits->owners_max, sizeof(*lot->owners)),
        .awards = carve(&from, blocks, sizeof(*lot->awards)),
        .prefixes = carve(&from, demands, sizeof(*lot->prefixes)),
        .verdicts = carve(&from, demands, sizeof(*lot->verdicts)),
        .accepted_counts = carve(&from, demands, sizeof(*lot->accepted_counts)),
    };
    return from.used;
}

size_t lot_clear_size(const struct lot_limits *limits)
{
    struct lot_clear measured;
    return memory_lay_out(&measured, limits, NULL);
}

void lot_clear_start(struct lot_clear *lot, const struct lot_limits *limits, void *memory)
{
    (void)memory_lay_out(lot, limits, memory);
    memset(lot->owners, 0, limits->owners_max * sizeof(*lot->owners));
}

/* Input ----------------------------------------------------------------------------------------*/

static bool refuse(struct lot_clear *lot, enum lot_fault fault, uint32_t at)
{
    lot->fault = fault;
    lot->fault_at = at;
    return fault == LOT_FAULT_NONE;
}

static bool is_price(int64_t uusd_per_hour)
{
    return uusd_per_hour >= 0 && uusd_per_hour <= LOT_SCORE_MAX;
}

static enum lot_fault block_fault(const struct lot_clear *lot, const struct lot_block *block)
{
    if (block->owner >= lot->limits.owners_max)
        return LOT_FAULT_OWNER;
    if (!is_price(block->ask_uusd_per_hour))
        return LOT_FAULT_ASK;
    if (!is_price(block->adder_uusd_per_hour))
        return LOT_FAULT_ADDER;
    bool has_score = is_price(block->ask_uusd_per_hour + block->adder_uusd_per_hour);
    return has_score ? LOT_FAULT_NONE : LOT_FAULT_SCORE;
}

static enum lot_fault demand_fault(const struct lot_clear *lot, const struct lot_demand *demand)
{
    if (demand->owner >= lot->limits.owners_max && demand->owner != LOT_OWNER_NONE)
        return LOT_FAULT_OWNER;
    if (!is_price(demand->r_uusd_per_hour))
        return LOT_FAULT_RESERVE;
    if (demand->k == 0)
        return LOT_FAULT_K;
    return demand->kmin >= 1 && demand->kmin <= demand->k ? LOT_FAULT_NONE : LOT_FAULT_KMIN;
}

static bool input_is_good(struct lot_clear *lot, const struct lot_input *input)
{
    if (input->blocks_count > lot->limits.blocks_max || input->blocks_count > KEY_INDEX_MAX)
        return refuse(lot, LOT_FAULT_COUNT, input->blocks_count);
    if (input->demands_count > lot->limits.demands_max || input->demands_count > KEY_INDEX_MAX)
        return refuse(lot, LOT_FAULT_COUNT, input->demands_count);
    for (uint32_t i = 0; i < input->blocks_count; i++)
        if (!refuse(lot, block_fault(lot, &input->blocks[i]), i))
            return false;
    for (uint32_t i = 0; i < input->demands_count; i++)
        if (!refuse(lot, demand_fault(lot, &input->demands[i]), i))
            return false;
    return refuse(lot, LOT_FAULT_NONE, 0);
}

/* What the theorem wants: one ask per seller, and one adder where somebody wants two or none. */
static bool owners_are_good(struct lot_clear *lot, const struct lot_input *input)
{
    bool has_gang = false;
    for (uint32_t i = 0; i < input->demands_count; i++)
        has_gang = has_gang || input->demands[i].kmin > 1;
    for (uint32_t i = 0; i < input->blocks_count; i++) {
        const struct lot_block *block = &input->blocks[i];
        struct lot_owner *owner = rule_owner(lot, block->owner);
        if (owner->blocks_count++ == 0)
            owner->first_block = i;
        const struct lot_block *first = &input->blocks[owner->first_block];
        if (block->ask_uusd_per_hour != first->ask_uusd_per_hour)
            return refuse(lot, LOT_FAULT_TWO_ASKS, i);
        if (has_gang && block->adder_uusd_per_hour != first->adder_uusd_per_hour)
            return refuse(lot, LOT_FAULT_TWO_ADDERS, i);
    }
    return true;
}

/* Order ----------------------------------------------------------------------------------------*/

static void supply_sort(struct lot_clear *lot, const struct lot_input *input)
{
    for (uint32_t i = 0; i < input->blocks_count; i++) {
        const struct lot_block *block = &input->blocks[i];
        lot->supply[i] = key_of(block->ask_uusd_per_hour + block->adder_uusd_per_hour, i);
    }
    keys_sort(lot->supply, lot->scratch, input->blocks_count);
    lot->blocks_count = lot->front_count = input->blocks_count;
}

static void demand_admit(struct lot_clear *lot, const struct lot_input *input)
{
    lot->demands_count = 0;
    for (uint32_t i = 0; i < input->demands_count; i++) {
        const struct lot_demand *demand = &input->demands[i];
        if (demand->owner != LOT_OWNER_NONE && rule_owner(lot, demand->owner)->blocks_count > 0) {
            lot->verdicts[i] = DEMAND_SELLS_HERE;
            lot->accepted_counts[i] = 0;
            continue;
        }
        lot->demand[lot->demands_count++] = key_of(LOT_SCORE_MAX - demand->r_uusd_per_hour, i);
    }
    keys_sort(lot->demand, lot->scratch, lot->demands_count);
}

static struct lot_block block_read(const void *at, uint32_t index, char text[ID_TEXT_SIZE])
{
    (void)text;
    return ((const struct lot_input *)at)->blocks[index];
}

static struct lot_demand demand_read(const void *at, uint32_t index, char text[ID_TEXT_SIZE])
{
    (void)text;
    return ((const struct lot_input *)at)->demands[index];
}

/* Texts ----------------------------------------------------------------------------------------*/

const char *demand_verdict_slug(enum demand_verdict verdict)
{
    switch (verdict) {
    case DEMAND_FILLED:
        return "filled";
    case DEMAND_PARTLY_FILLED:
        return "partly_filled";
    case DEMAND_SELLS_HERE:
        return "sells_here";
    case DEMAND_LOT_TOO_SMALL:
        return "lot_too_small";
    case DEMAND_RESERVE_SHORT:
        return "reserve_short";
    case DEMAND_OUTBID:
        return "outbid";
    }
    must_not_reach();
}

const char *lot_fault_text(enum lot_fault fault)
{
    switch (fault) {
    case LOT_FAULT_NONE:
        return "nothing is wrong";
    case LOT_FAULT_COUNT:
        return "there are too many blocks or workloads for one lot";
    case LOT_FAULT_OWNER:
        return "an owner's number is out of range";
    case LOT_FAULT_ASK:
        return "an ask is negative or above the largest price";
    case LOT_FAULT_ADDER:
        return "an adder is negative or above the largest price";
    case LOT_FAULT_SCORE:
        return "an ask and its adder together are above the largest price";
    case LOT_FAULT_RESERVE:
        return "a reserve is negative or above the largest price";
    case LOT_FAULT_K:
        return "a workload wants no block";
    case LOT_FAULT_KMIN:
        return "a workload's kmin is not between 1 and k";
    case LOT_FAULT_TWO_ASKS:
        return "one seller has two asks in the lot";
    case LOT_FAULT_TWO_ADDERS:
        return "one seller's blocks have different adders in a lot where a gang bids";
    }
    must_not_reach();
}
