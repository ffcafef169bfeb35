/* money.h - micro-USD in int64_t, checked, with the one rounding rule (down).
 *
 * pure. Units: uusd = 1/1 000 000 USD (USDC has six decimals, so it is the same unit in its own
 * currency). Amounts are bounded by MONEY_MAX so that a double-based client can hold them exactly.
 */
#ifndef UNDERCUT_BASE_MONEY_H
#define UNDERCUT_BASE_MONEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/must.h"
#include "broker/base/str.h"

#define MONEY_MAX   ((int64_t)1 << 53)
#define MS_PER_HOUR 3600000LL
#define FEE_BP_ONE  10000LL /* basis points in one */

/* False (ret untouched) when |result| would exceed MONEY_MAX. */
MUST_USE bool money_add(int64_t a_uusd, int64_t b_uusd, int64_t *ret_uusd);
MUST_USE bool money_mul(int64_t a_uusd, int64_t count, int64_t *ret_uusd);

/* floor(a * b / c) through 128 bits. a, b >= 0, c > 0; result must fit int64 (a bug otherwise). */
int64_t mul_div_floor(int64_t a, int64_t b, int64_t c);
int64_t mul_div_ceil(int64_t a, int64_t b, int64_t c);

/* What `ms` milliseconds at `price_uusd_per_hour` cost, rounded down. */
int64_t money_for_ms(int64_t price_uusd_per_hour, int64_t ms);

/* "1.234567" with at least two decimals ("0.35", "12.00"); `buf` holds 32 bytes. */
const char *money_format_usd(int64_t uusd, char buf[32]);
/* "0.35", "12", "0.000001" -> uusd. More than six decimals, signs and blanks are refused. */
MUST_USE bool money_parse_usd(struct str text, int64_t *ret_uusd);

#endif
