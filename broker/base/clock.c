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

/* Puts `value` as `count` digits and says where they end. */
static char *digits_put(char *at, int64_t value, int count)
{
    for (int i = count - 1; i >= 0; i--, value /= 10)
        at[i] = (char)('0' + value % 10);
    return at + count;
}

/* Civil date of a day counted from 1970-01-01; Hinnant, "chrono-Compatible Low-Level Date
 * Algorithms", days_from_civil inverted: years begin in March, eras are 400 years. */
static void date_of(int64_t day, int64_t *ret_year, int64_t *ret_month, int64_t *ret_day)
{
    int64_t shifted = day + 719468;
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t day_of_era = shifted - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153;
    *ret_day = day_of_year - (153 * month + 2) / 5 + 1;
    *ret_month = month < 10 ? month + 3 : month - 9;
    *ret_year = year_of_era + era * 400 + (*ret_month <= 2);
}

const char *clock_format(int64_t at_us, char buf[32])
{
    /* Round down also before 1970, so that no part is negative. */
    int64_t ms = at_us / 1000 - (at_us % 1000 < 0);
    int64_t second = ms / 1000 - (ms % 1000 < 0);
    int64_t day = second / 86400 - (second % 86400 < 0);
    int64_t in_day = second - day * 86400;
    int64_t year, month, day_of_month;
    date_of(day, &year, &month, &day_of_month);
    must(year >= 0 && year <= 9999);
    const struct {
        int64_t value;
        int count;
        char behind;
    } parts[] = {
        {year, 4, '-'},
        {month, 2, '-'},
        {day_of_month, 2, 'T'},
        {in_day / 3600, 2, ':'},
        {in_day / 60 % 60, 2, ':'},
        {in_day % 60, 2, '.'},
        {ms - second * 1000, 3, 'Z'},
    };
    char *at = buf;
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
        at = digits_put(at, parts[i].value, parts[i].count);
        *at++ = parts[i].behind;
    }
    *at = '\0';
    return buf;
}

void clock_fake(int64_t wall_us, int64_t mono_us)
{
    fake_wall_us = wall_us;
    fake_mono_us = mono_us;
}
