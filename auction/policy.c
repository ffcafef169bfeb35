#include "auction/policy.h"

#include "broker/base/money.h"

int64_t reserve_net(int64_t reserve_uusd_per_hour, int64_t fee_bp)
{
    must(fee_bp >= 0 && fee_bp <= FEE_BP_MAX);
    return mul_div_floor(reserve_uusd_per_hour, FEE_BP_ONE, FEE_BP_ONE + fee_bp);
}

static int64_t rise_us(const struct price_offer *offer)
{
    if (offer->deadline_at_us == 0)
        return PRICE_RISE_MS * 1000;
    return offer->deadline_at_us - offer->run_ms * 1000 - offer->posted_at_us;
}

int64_t benchmark_choose(int64_t median_uusd_per_hour, int64_t prices_count,
                         int64_t catalogue_uusd_per_hour)
{
    if (prices_count < BENCHMARK_PRICES_MIN)
        return catalogue_uusd_per_hour;
    return median_uusd_per_hour + median_uusd_per_hour / 4;
}

int64_t price_offered(const struct price_offer *offer, int64_t now_us)
{
    int64_t reserve = offer->reserve_uusd_per_hour;
    int64_t start = offer->benchmark_uusd_per_hour;
    int64_t age_us = now_us > offer->posted_at_us ? now_us - offer->posted_at_us : 0;
    int64_t whole_us = rise_us(offer);
    if (offer->policy == PRICE_POLICY_LIMIT || start >= reserve || age_us >= whole_us)
        return reserve;
    return start + mul_div_floor(reserve - start, age_us, whole_us);
}

uint32_t block_devices_for(uint32_t devices)
{
    uint32_t size = 1;
    while (size < devices && size <= BLOCK_DEVICES_MAX)
        size *= 2;
    return devices == 0 || size > BLOCK_DEVICES_MAX ? 0 : size;
}

static int64_t choice_score(const struct lot_choice *choice)
{
    int64_t price = choice->index_uusd_per_hour >= 0 ? choice->index_uusd_per_hour
                                                     : choice->catalogue_uusd_per_hour;
    return price + choice->latency_uusd_per_hour;
}

static bool is_better(const struct lot_choice *a, const struct lot_choice *b)
{
    if (a->is_tried != b->is_tried)
        return !a->is_tried;
    return choice_score(a) < choice_score(b);
}

size_t lot_choose(const struct lot_choice *choices, size_t count)
{
    size_t best = LOT_CHOICE_NONE;
    for (size_t i = 0; i < count; i++) {
        if (choices[i].is_barred)
            continue;
        if (best == LOT_CHOICE_NONE || is_better(&choices[i], &choices[best]))
            best = i;
    }
    return best;
}
