#include "broker/base/clock.h"

#include <stdatomic.h>
#include <time.h>

#include "broker/base/must.h"
#include "broker/base/str.h"

#define CLOCK_REAL (-1)

static _Atomic int64_t fake_wall_us = CLOCK_REAL;
static _Atomic int64_t fake_mono_us = CLOCK_REAL;

static int64_t read_us(clockid_t id)
{
    struct timespec now;
    must(clock_gettime(id, &now) == 0);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_now_us(void)
{
    int64_t fake_us = fake_wall_us;
    return fake_us == CLOCK_REAL ? read_us(CLOCK_REALTIME) : fake_us;
}

int64_t clock_mono_us(void)
{
    int64_t fake_us = fake_mono_us;
    return fake_us == CLOCK_REAL ? read_us(CLOCK_BOOTTIME) : fake_us;
}

int64_t clock_mono_ms(void)
{
    return clock_mono_us() / 1000;
}

const char *clock_format(int64_t at_us, char buf[32])
{
    /* Round down also before 1970, so that the milliseconds are never negative. */
    int64_t second = at_us / 1000000 - (at_us % 1000000 < 0);
    int64_t rest_us = at_us - second * 1000000;
    struct tm utc;
    time_t when = (time_t)second;
    must(gmtime_r(&when, &utc) != NULL);
    must(str_format(buf, 32, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", utc.tm_year + 1900,
                    utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                    (int)(rest_us / 1000)));
    return buf;
}

void clock_fake(int64_t wall_us, int64_t mono_us)
{
    fake_wall_us = wall_us;
    fake_mono_us = mono_us;
}
