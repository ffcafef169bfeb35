#include "nodeagent/meter.h"

#define WALL_DRIFT_MAX_US \
    2000000 /* more than this between two marks means somebody set the clock */

static void count_until(struct meter *meter, int64_t until_mono_ms)
{
    if (meter->is_counting && until_mono_ms > meter->mark_mono_ms)
        meter->healthy_ms += until_mono_ms - meter->mark_mono_ms;
}

void meter_observe(struct meter *meter, bool is_healthy, int64_t now_mono_ms, int64_t now_wall_us)
{
    count_until(meter, now_mono_ms);
    meter->mark_mono_ms = now_mono_ms;
    meter->mark_wall_us = now_wall_us;
    meter->is_counting = is_healthy;
}

void meter_end(struct meter *meter, int64_t ended_mono_ms)
{
    count_until(meter, ended_mono_ms);
    meter->is_counting = false;
}

void meter_end_by_wall(struct meter *meter, int64_t ended_wall_us, int64_t now_mono_ms,
                       int64_t now_wall_us)
{
    int64_t offset_then_us = meter->mark_wall_us - meter->mark_mono_ms * 1000;
    int64_t drift_us = now_wall_us - now_mono_ms * 1000 - offset_then_us;
    bool is_steady = drift_us < WALL_DRIFT_MAX_US && drift_us > -WALL_DRIFT_MAX_US;
    int64_t ended_mono_ms = meter->mark_mono_ms;
    if (is_steady)
        ended_mono_ms = (ended_wall_us - offset_then_us) / 1000;
    meter_end(meter, ended_mono_ms < now_mono_ms ? ended_mono_ms : now_mono_ms);
}
