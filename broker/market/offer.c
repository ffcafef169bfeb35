#include "broker/market/offer.h"

#include "broker/base/money.h"

#define BP_ONE     10000
#define US_PER_DAY 86400000000LL

static int64_t multiplier_bp(const struct supply_node *node, struct str tier)
{
    if (str_equal_c(tier, "guaranteed"))
        return node->guaranteed_multiplier_bp;
    return str_equal_c(tier, "spot") ? node->spot_multiplier_bp : BP_ONE;
}

static int64_t loss_ms(struct str tier)
{
    if (str_equal_c(tier, "guaranteed"))
        return ADDER_LOSS_GUARANTEED_MS;
    return str_equal_c(tier, "spot") ? ADDER_LOSS_SPOT_MS : ADDER_LOSS_FLEXIBLE_MS;
}

int64_t offer_ask(const struct offer_place *place, const struct supply_node *node)
{
    return mul_div_floor(node->ask_uusd_per_device_hour * place->devices_count,
                         multiplier_bp(node, place->tier), BP_ONE);
}

bool offer_has_tier(const struct offer_place *place, const struct supply_node *node)
{
    return (node->tier_mask & 1 << tier_of(place->tier)) != 0;
}

int64_t offer_usual(const struct offer_place *place)
{
    char key[LOT_KEY_SIZE];
    lot_key_format(place->pool, place->devices_count, place->tier, key);
    return usual_of_lot(place->benchmarks, place->pool, key, place->devices_count);
}

int64_t offer_adder(const struct offer_place *place, const struct supply_node *node, int64_t usual)
{
    struct failure_history history = node->history;
    failure_history_forget(&history, place->at_us / US_PER_DAY);
    return adder_for(&history, loss_ms(place->tier), usual, usual);
}
