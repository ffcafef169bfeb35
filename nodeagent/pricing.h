/* pricing.h - an operator's rules for what a device-hour costs: by the hour of the week, by what
 * the electricity costs, by how busy the machine is.
 *
 * pure apart from malloc in the parser. Prices are micro-USD per device-hour, from 1 to
 * PRICING_UUSD_MAX. The rule is
 *     max(base x schedule x utilisation, watts x tariff x (1 + margin))
 * where of the schedule and the tariff the first window that is open counts, and of the
 * utilisation steps the highest one reached. Percentages are whole; results are rounded up, so
 * that a floor is never undercut by rounding.
 *
 * Example: base 300 000, 70 % at night, 450 W at 280 000 uusd per kWh and a margin of 20 %: by day
 * 300 000, at night 210 000, never below 151 200.
 */
#ifndef UNDERCUT_NODEAGENT_PRICING_H
#define UNDERCUT_NODEAGENT_PRICING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/must.h"
#include "broker/base/str.h"

#define PRICING_WINDOWS_MAX 16
#define PRICING_STEPS_MAX   8
#define PRICING_UUSD_MAX    1000000000000

struct price_window { /* a stretch of the week; one that passes midnight belongs to its first day */
    uint8_t days;     /* bit 0: Monday */
    int from_minute, to_minute; /* of the day, 0..1439; equal: the whole day */
    int64_t value;              /* percent, or uusd per kWh */
};

struct price_windows {
    struct price_window at[PRICING_WINDOWS_MAX];
    size_t count;
};

struct price_step {
    int at_least_percent;
    int64_t percent;
};

struct pricing {
    struct price_windows schedule; /* percent of the base */
    struct price_windows tariff;   /* uusd per kWh */
    int64_t uusd_per_kwh;          /* outside of the tariff's windows */
    int64_t watts;                 /* of one device at work; 0: energy does not count */
    int64_t margin_percent;
    struct price_step steps[PRICING_STEPS_MAX];
    size_t steps_count;
    char program[256]; /* "": none; else it is asked after the rules */
    int64_t timeout_ms;
    int64_t every_s;
};

struct price_moment {
    int weekday; /* 0: Monday */
    int minute;  /* of the day */
    int utilisation_percent;
};

/* Reads the rules' JSON; every member is known or refused. False: `ret_why` says what and where. */
MUST_USE bool pricing_parse(struct str json, struct pricing *ret_pricing, char ret_why[256]);
/* What a device-hour costs now. `base` 0: only what the energy costs; 0 comes out when neither is
 * known. */
int64_t pricing_price(const struct pricing *pricing, int64_t base_uusd_per_hour,
                      const struct price_moment *moment);

#endif
