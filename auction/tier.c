#include "auction/tier.h"

#include "broker/base/money.h"

static const char *const names[] = {
    [TIER_GUARANTEED] = "guaranteed", [TIER_FLEXIBLE] = "flexible", [TIER_SPOT] = "spot"};

enum tier tier_of(struct str name)
{
    for (enum tier tier = TIER_GUARANTEED; tier <= TIER_SPOT; tier++)
        if (str_equal_c(name, names[tier]))
            return tier;
    return TIER_NONE;
}

const char *tier_name(enum tier tier)
{
    must(tier >= TIER_GUARANTEED && tier <= TIER_SPOT);
    return names[tier];
}

struct tier_notice tier_notice_for(const struct tier_times *times, enum tier tier,
                                   int64_t stop_grace_ms)
{
    int64_t notice_ms = tier == TIER_SPOT ? times->spot_notice_ms : times->flexible_notice_ms;
    return (struct tier_notice){
        .notice_ms = notice_ms,
        .grace_ms = stop_grace_ms < notice_ms ? stop_grace_ms : notice_ms,
    };
}

bool tier_may_evict(const struct tier_times *times, enum tier tier,
                    const struct tier_holder *holder, int64_t now_us)
{
    if (tier == TIER_SPOT || holder->tier != TIER_SPOT)
        return false;
    if (!holder->is_running || holder->is_reclaimed)
        return false;
    return holder->is_preempted || now_us - holder->running_at_us >= times->tenure_ms * 1000;
}

int tier_eviction_order(const struct tier_victim *a, const struct tier_victim *b)
{
    if (a->r_uusd_per_device_hour != b->r_uusd_per_device_hour)
        return a->r_uusd_per_device_hour < b->r_uusd_per_device_hour ? -1 : 1;
    return (a->running_at_us < b->running_at_us) - (a->running_at_us > b->running_at_us);
}

int64_t tier_wait_adder(int64_t usual_uusd_per_hour, int64_t notice_ms)
{
    return mul_div_ceil(usual_uusd_per_hour, notice_ms, MS_PER_HOUR);
}
