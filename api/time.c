#include "api/time.h"

/* Takes exactly `digits` digits from the front; -1 when they are not there. */
static int64_t take_digits(struct str *rest, size_t digits)
{
    int64_t value = 0;
    if (rest->len < digits)
        return -1;
    for (size_t i = 0; i < digits; i++) {
        if (rest->at[i] < '0' || rest->at[i] > '9')
            return -1;
        value = value * 10 + (rest->at[i] - '0');
    }
    *rest = (struct str){.at = rest->at + digits, .len = rest->len - digits};
    return value;
}

static bool take_char(struct str *rest, const char *any_of)
{
    for (const char *c = any_of; rest->len > 0 && *c != '\0'; c++) {
        if (rest->at[0] == *c) {
            *rest = (struct str){.at = rest->at + 1, .len = rest->len - 1};
            return true;
        }
    }
    return false;
}

/* Days since 1970-01-01 of a Gregorian date: years are counted from March, so that the leap day is
 * the last day of a year. E.g. 2000-03-01 is day 11017. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t months_since_march = (month + 9) % 12;
    int64_t day_of_year = (153 * months_since_march + 2) / 5 + day - 1;
    return 365 * y + y / 4 - y / 100 + y / 400 + day_of_year - 719468;
}

static int64_t days_in_month(int64_t year, int64_t month)
{
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (month == 2)
        return is_leap ? 29 : 28;
    return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

static bool take_day(struct str *rest, int64_t *ret_days)
{
    int64_t year = take_digits(rest, 4);
    if (year < 1970 || !take_char(rest, "-"))
        return false;
    int64_t month = take_digits(rest, 2);
    if (month < 1 || month > 12 || !take_char(rest, "-"))
        return false;
    int64_t day = take_digits(rest, 2);
    if (day < 1 || day > days_in_month(year, month))
        return false;
    *ret_days = days_of(year, month, day);
    return true;
}

static bool take_clock(struct str *rest, int64_t *ret_s)
{
    int64_t hour = take_digits(rest, 2);
    if (hour < 0 || hour > 23 || !take_char(rest, ":"))
        return false;
    int64_t minute = take_digits(rest, 2);
    if (minute < 0 || minute > 59)
        return false;
    *ret_s = hour * 3600 + minute * 60;
    return true;
}

static bool take_fraction(struct str *rest, int64_t *ret_us)
{
    int64_t us = 0, unit = 1000000;
    if (!take_char(rest, "."))
        return true;
    for (int64_t digit; (digit = take_digits(rest, 1)) >= 0;) {
        unit /= 10;
        us += digit * unit;
        if (unit == 0)
            return false;
    }
    *ret_us = us;
    return unit < 1000000;
}

static bool take_offset(struct str *rest, int64_t *ret_s)
{
    if (take_char(rest, "Zz"))
        return true;
    bool is_west = rest->len > 0 && rest->at[0] == '-';
    if (!take_char(rest, "+-") || !take_clock(rest, ret_s))
        return false;
    if (is_west)
        *ret_s = -*ret_s;
    return true;
}

bool time_parse(struct str text, int64_t *ret_at_us)
{
    struct str rest = text;
    int64_t days = 0, clock_s = 0, fraction_us = 0, offset_s = 0;
    if (!take_day(&rest, &days) || !take_char(&rest, "Tt ") || !take_clock(&rest, &clock_s) ||
        !take_char(&rest, ":"))
        return false;
    int64_t second = take_digits(&rest, 2);
    if (second < 0 || second > 59 || !take_fraction(&rest, &fraction_us) ||
        !take_offset(&rest, &offset_s) || rest.len > 0)
        return false;
    *ret_at_us = (days * 86400 + clock_s + second - offset_s) * 1000000 + fraction_us;
    return *ret_at_us >= 0;
}
