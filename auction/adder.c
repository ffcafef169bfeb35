#include "auction/adder.h"

#include "broker/base/money.h"

#define PRIOR_FAILURES_MILLI 2000
#define PRIOR_OBSERVED_MS    (200 * MS_PER_HOUR)
#define KEPT_PER_DAY_PPM     977160 /* 2^(-1/30) */
#define PPM_ONE              1000000

void failure_history_forget(struct failure_history *history, int64_t day)
{
    must(history->failures_milli >= 0 && history->observed_ms >= 0);
    if (day <= history->day)
        return;
    int64_t days = day - history->day;
    /* Within 2000 days nothing is left of any history. */
    for (int64_t i = 0; i < days && history->observed_ms + history->failures_milli > 0; i++) {
        history->failures_milli = mul_div_floor(history->failures_milli, KEPT_PER_DAY_PPM, PPM_ONE);
        history->observed_ms = mul_div_floor(history->observed_ms, KEPT_PER_DAY_PPM, PPM_ONE);
    }
    history->day = day;
}

int64_t adder_for(const struct failure_history *history, int64_t loss_ms,
                  int64_t usual_uusd_per_hour, int64_t adder_max_uusd_per_hour)
{
    must(loss_ms >= 0 && usual_uusd_per_hour >= 0 && history->failures_milli >= 0);
    __int128 above = (__int128)(PRIOR_FAILURES_MILLI + history->failures_milli) * loss_ms;
    __int128 below = (__int128)FAILURE_ONE_MILLI * (PRIOR_OBSERVED_MS + history->observed_ms);
    /* Together below 2^127, so that the product stays within 128 bits. */
    must(above < (__int128)1 << 73 && usual_uusd_per_hour <= MONEY_MAX);
    __int128 adder = (above * usual_uusd_per_hour + below - 1) / below;
    return adder < adder_max_uusd_per_hour ? (int64_t)adder : adder_max_uusd_per_hour;
}
