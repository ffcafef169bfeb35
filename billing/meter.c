#include "billing/meter.h"

#include "broker/base/money.h"

static void terms_check(const struct meter_terms *terms)
{
    must(terms->price_uusd_per_hour >= 0 && terms->price_uusd_per_hour <= METER_PRICE_MAX);
    must(terms->fee_bp >= 0 && terms->fee_bp <= METER_FEE_BP_MAX);
}

struct meter_bill bill_for(const struct meter_terms *terms, int64_t billable_ms)
{
    terms_check(terms);
    must(billable_ms >= 0 && billable_ms <= METER_MS_MAX);
    int64_t net_uusd = money_for_ms(terms->price_uusd_per_hour, billable_ms);
    int64_t fee_uusd = mul_div_floor(net_uusd, terms->fee_bp, FEE_BP_ONE);
    return (struct meter_bill){
        .net_uusd = net_uusd, .fee_uusd = fee_uusd, .gross_uusd = net_uusd + fee_uusd};
}

struct meter_bill bill_difference(const struct meter_bill *now, const struct meter_bill *posted)
{
    must(now->net_uusd >= posted->net_uusd && now->fee_uusd >= posted->fee_uusd);
    return (struct meter_bill){
        .net_uusd = now->net_uusd - posted->net_uusd,
        .fee_uusd = now->fee_uusd - posted->fee_uusd,
        .gross_uusd = now->gross_uusd - posted->gross_uusd,
    };
}

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t billable_run_ms(const struct meter_times *times)
{
    int64_t by_broker_ms = times->broker_elapsed_ms - times->paused_ms;
    int64_t ms = min_i64(min_i64(times->receipt_healthy_ms, by_broker_ms), times->cut_ms);
    return ms > 0 ? min_i64(ms, METER_MS_MAX) : 0;
}

int64_t billable_start_ms(enum start_end end, int64_t start_ms)
{
    int64_t beyond_free_ms = start_ms > PULL_FREE_MS ? start_ms - PULL_FREE_MS : 0;
    switch (end) {
    case START_RAN:
        return beyond_free_ms;
    case START_OWNER_ENDED:
        return beyond_free_ms > OWNER_END_MIN_MS ? beyond_free_ms : OWNER_END_MIN_MS;
    case START_FAILED:
    case START_GOES_ON:
        return 0;
    }
    must_not_reach();
}

/* gross(net) <= A means floor(net (1 + f)) <= A, that is net (10000 + f) < (A + 1) 10000; and
 * floor(price ms / hour) <= net means price ms < (net + 1) hour. Both turn round exactly. */
int64_t billable_ms_max(const struct meter_terms *terms, int64_t available_uusd)
{
    terms_check(terms);
    if (available_uusd < 0)
        return 0;
    must(available_uusd <= MONEY_MAX);
    if (terms->price_uusd_per_hour == 0)
        return METER_MS_MAX;

    __int128 net_uusd =
        ((__int128)(available_uusd + 1) * FEE_BP_ONE - 1) / (FEE_BP_ONE + terms->fee_bp);
    __int128 ms = ((net_uusd + 1) * MS_PER_HOUR - 1) / terms->price_uusd_per_hour;
    return ms < METER_MS_MAX ? (int64_t)ms : METER_MS_MAX;
}

int64_t escrow_target(const struct meter_terms *terms, int64_t billable_ms,
                      const struct meter_bill *posted, int64_t horizon_ms)
{
    must(horizon_ms >= 0 && horizon_ms <= METER_MS_MAX);
    struct meter_bill ahead = bill_for(terms, min_i64(billable_ms + horizon_ms, METER_MS_MAX));
    return bill_difference(&ahead, posted).gross_uusd;
}

bool hold_for(int64_t reserve_uusd_per_hour, int64_t replicas, int64_t ms, int64_t *ret_uusd)
{
    must(reserve_uusd_per_hour >= 0 && reserve_uusd_per_hour <= METER_PRICE_MAX);
    must(ms >= 0 && ms <= METER_MS_MAX && replicas >= 0);
    return money_mul(money_for_ms(reserve_uusd_per_hour, ms), replicas, ret_uusd);
}
