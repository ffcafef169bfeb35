#include "broker/base/money.h"

static bool is_money(int64_t uusd)
{
    return uusd >= -MONEY_MAX && uusd <= MONEY_MAX;
}

bool money_add(int64_t a_uusd, int64_t b_uusd, int64_t *ret_uusd)
{
    int64_t sum;
    if (__builtin_add_overflow(a_uusd, b_uusd, &sum) || !is_money(sum))
        return false;
    *ret_uusd = sum;
    return true;
}

bool money_mul(int64_t a_uusd, int64_t count, int64_t *ret_uusd)
{
    int64_t product;
    if (__builtin_mul_overflow(a_uusd, count, &product) || !is_money(product))
        return false;
    *ret_uusd = product;
    return true;
}

int64_t mul_div_floor(int64_t a, int64_t b, int64_t c)
{
    must(a >= 0 && b >= 0 && c > 0);
    __int128 quotient = (__int128)a * b / c;
    must(quotient <= INT64_MAX);
    return (int64_t)quotient;
}

int64_t mul_div_ceil(int64_t a, int64_t b, int64_t c)
{
    must(a >= 0 && b >= 0 && c > 0);
    __int128 quotient = ((__int128)a * b + (c - 1)) / c;
    must(quotient <= INT64_MAX);
    return (int64_t)quotient;
}

int64_t money_for_ms(int64_t price_uusd_per_hour, int64_t ms)
{
    return mul_div_floor(price_uusd_per_hour, ms, MS_PER_HOUR);
}

const char *money_format_usd(int64_t uusd, char buf[32])
{
    uint64_t size = uusd < 0 ? -(uint64_t)uusd : (uint64_t)uusd;
    uint64_t fraction = size % 1000000;
    int decimals = 6;
    while (decimals > 2 && fraction % 10 == 0) {
        fraction /= 10;
        decimals--;
    }
    must(str_format(buf, 32, "%s%llu.%0*llu", uusd < 0 ? "-" : "",
                    (unsigned long long)(size / 1000000), decimals, (unsigned long long)fraction));
    return buf;
}

static bool is_digits(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.at[i] < '0' || s.at[i] > '9')
            return false;
    return s.len > 0;
}

bool money_parse_usd(struct str text, int64_t *ret_uusd)
{
    struct str fraction = text;
    struct str whole = str_cut(&fraction, '.');
    bool has_point = fraction.at != NULL;
    if (!is_digits(whole) || (has_point && !is_digits(fraction)) || fraction.len > 6)
        return false;

    int64_t dollars, micros = 0;
    if (!str_to_i64(whole, &dollars) || (has_point && !str_to_i64(fraction, &micros)))
        return false;
    for (size_t i = fraction.len; i < 6; i++)
        micros *= 10;
    int64_t uusd;
    if (!money_mul(dollars, 1000000, &uusd))
        return false;
    return money_add(uusd, micros, ret_uusd);
}
