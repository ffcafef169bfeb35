/* The happy path is: each member of the document fills its part of the rules.
 * Failure modes are: a member that is unknown, missing, of the wrong type or out of range; the
 * first one is named with its place.
 */
#include "nodeagent/pricing.h"

#include <string.h>

#include "broker/base/json.h"

#define DAY_MINUTES        1440
#define PERCENT_MAX        1000
#define KWH_UUSD_MAX       100000000
#define WATTS_MAX          100000
#define EVERY_S_DEFAULT    30
#define TIMEOUT_MS_DEFAULT 1000

struct reading {
    char *why; /* 256 bytes */
    bool is_bad;
};

static void refuse(struct reading *reading, const char *where, const char *what)
{
    if (!reading->is_bad)
        (void)str_format(reading->why, 256, "%s %s", where, what);
    reading->is_bad = true;
}

static void members_check(struct reading *reading, const json_t *object, const char *where,
                          const char *const *names)
{
    const char *key;
    json_t *value;
    if (!json_is_object(object)) {
        refuse(reading, where, "must be an object");
        return;
    }
    json_object_foreach ((json_t *)object, key, value) {
        size_t i = 0;
        while (names[i] && strcmp(names[i], key) != 0)
            i++;
        if (!names[i]) {
            char path[160];
            (void)str_format(path, sizeof(path), "%s/%.80s", where, key);
            refuse(reading, path, "is not known here");
        }
    }
}

struct bounds {
    const char *name;
    int64_t low, high, missing; /* missing below low: it is required */
};

static int64_t number_read(struct reading *reading, const json_t *object, const char *where,
                           const struct bounds *bounds)
{
    const json_t *value = json_object_get(object, bounds->name);
    int64_t number = json_is_integer(value) ? json_integer_value(value) : bounds->low - 1;
    if (!value && bounds->missing >= bounds->low)
        return bounds->missing;
    if (number < bounds->low || number > bounds->high) {
        char what[120];
        (void)str_format(what, sizeof(what), "needs `%s`, a whole number from %lld to %lld",
                         bounds->name, (long long)bounds->low, (long long)bounds->high);
        refuse(reading, where, what);
    }
    return number;
}

static int day_of(struct str name)
{
    static const char *const names[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
    for (int day = 0; day < 7; day++)
        if (str_equal_c(name, names[day]))
            return day;
    return -1;
}

/* "mon-fri", "sat,sun", "fri-mon". */
static bool days_parse(struct str text, uint8_t *ret_days)
{
    *ret_days = 0;
    while (text.at) {
        struct str first = str_cut(&text, ',');
        struct str last = first;
        if (memchr(first.at, '-', first.len)) {
            first = str_cut(&last, '-');
        }
        int from = day_of(first), to = day_of(last);
        if (from < 0 || to < 0)
            return false;
        for (int day = from;; day = (day + 1) % 7) {
            *ret_days |= (uint8_t)(1 << day);
            if (day == to)
                break;
        }
    }
    return *ret_days != 0;
}

/* "HH:MM"; "24:00" is the end of the day. */
static bool time_parse(struct str text, int *ret_minute)
{
    int64_t hours, minutes;
    if (text.len != 5 || text.at[2] != ':' || !str_to_i64((struct str){text.at, 2}, &hours) ||
        !str_to_i64((struct str){text.at + 3, 2}, &minutes))
        return false;
    if (hours < 0 || minutes < 0 || minutes > 59 || hours * 60 + minutes > DAY_MINUTES)
        return false;
    *ret_minute = (int)(hours * 60 + minutes) % DAY_MINUTES;
    return true;
}

static void window_read(struct reading *reading, const json_t *object, const char *where,
                        const struct bounds *value, struct price_window *ret_window)
{
    const char *const names[] = {"days", "from", "to", value->name, NULL};
    struct str days = json_str(object, "days");
    members_check(reading, object, where, names);
    ret_window->days = 0x7f;
    if (days.at && !days_parse(days, &ret_window->days))
        refuse(reading, where, "has `days` that are not like mon-fri or sat,sun");
    if (!time_parse(json_str(object, "from"), &ret_window->from_minute) ||
        !time_parse(json_str(object, "to"), &ret_window->to_minute))
        refuse(reading, where, "needs `from` and `to` like 22:00");
    ret_window->value = number_read(reading, object, where, value);
}

static void windows_read(struct reading *reading, const json_t *list, const char *where,
                         const struct bounds *value, struct price_windows *ret_windows)
{
    if (list && (!json_is_array(list) || json_array_size(list) > PRICING_WINDOWS_MAX))
        refuse(reading, where, "must be a list of at most 16 windows");
    for (size_t i = 0; !reading->is_bad && i < json_array_size(list); i++) {
        char path[80];
        (void)str_format(path, sizeof(path), "%s/%zu", where, i);
        window_read(reading, json_array_get(list, i), path, value,
                    &ret_windows->at[ret_windows->count++]);
    }
}

static void energy_read(struct reading *reading, const json_t *energy, struct pricing *pricing)
{
    static const char *const names[] = {"watts", "uusd_per_kwh", "margin_percent", "tariff", NULL};
    const struct bounds watts = {"watts", 1, WATTS_MAX, 0};
    const struct bounds kwh = {"uusd_per_kwh", 0, KWH_UUSD_MAX, -1};
    const struct bounds margin = {"margin_percent", 0, PERCENT_MAX, 0};
    if (!energy)
        return;
    members_check(reading, energy, "/energy", names);
    pricing->watts = number_read(reading, energy, "/energy", &watts);
    pricing->uusd_per_kwh = number_read(reading, energy, "/energy", &kwh);
    pricing->margin_percent = number_read(reading, energy, "/energy", &margin);
    windows_read(reading, json_object_get(energy, "tariff"), "/energy/tariff", &kwh,
                 &pricing->tariff);
}

static void steps_read(struct reading *reading, const json_t *list, struct pricing *pricing)
{
    static const char *const names[] = {"at_least_percent", "percent", NULL};
    const struct bounds least = {"at_least_percent", 1, 100, 0};
    const struct bounds percent = {"percent", 1, PERCENT_MAX, 0};
    if (list && (!json_is_array(list) || json_array_size(list) > PRICING_STEPS_MAX))
        refuse(reading, "/utilisation", "must be a list of at most 8 steps");
    for (size_t i = 0; !reading->is_bad && i < json_array_size(list); i++) {
        const json_t *step = json_array_get(list, i);
        char path[80];
        (void)str_format(path, sizeof(path), "/utilisation/%zu", i);
        members_check(reading, step, path, names);
        pricing->steps[pricing->steps_count++] = (struct price_step){
            .at_least_percent = (int)number_read(reading, step, path, &least),
            .percent = number_read(reading, step, path, &percent),
        };
    }
}

static void program_read(struct reading *reading, const json_t *program, struct pricing *pricing)
{
    static const char *const names[] = {"path", "timeout_ms", NULL};
    const struct bounds timeout = {"timeout_ms", 10, 10000, TIMEOUT_MS_DEFAULT};
    if (!program)
        return;
    struct str path = json_str(program, "path");
    members_check(reading, program, "/program", names);
    if (!path.len || path.at[0] != '/' ||
        !str_format(pricing->program, sizeof(pricing->program), "%.*s", STR_ARG(path)))
        refuse(reading, "/program", "needs `path`, absolute and of at most 255 bytes");
    pricing->timeout_ms = number_read(reading, program, "/program", &timeout);
}

bool pricing_parse(struct str json, struct pricing *ret_pricing, char ret_why[256])
{
    static const char *const names[] = {"schedule", "energy",  "utilisation",
                                        "program",  "every_s", NULL};
    const struct bounds percent = {"percent", 1, PERCENT_MAX, 0};
    const struct bounds every = {"every_s", 1, 3600, EVERY_S_DEFAULT};
    struct reading reading = {.why = ret_why};
    json_t *rules = json_parse(json, ret_why, 256);
    *ret_pricing = (struct pricing){.timeout_ms = TIMEOUT_MS_DEFAULT};
    if (!rules)
        return false;
    members_check(&reading, rules, "", names);
    windows_read(&reading, json_object_get(rules, "schedule"), "/schedule", &percent,
                 &ret_pricing->schedule);
    energy_read(&reading, json_object_get(rules, "energy"), ret_pricing);
    steps_read(&reading, json_object_get(rules, "utilisation"), ret_pricing);
    program_read(&reading, json_object_get(rules, "program"), ret_pricing);
    ret_pricing->every_s = number_read(&reading, rules, "/", &every);
    json_decref(rules);
    return !reading.is_bad;
}

static bool window_is_open(const struct price_window *window, const struct price_moment *moment)
{
    int yesterday = (moment->weekday + 6) % 7;
    bool is_today = (window->days >> moment->weekday & 1) != 0;
    bool was_yesterday = (window->days >> yesterday & 1) != 0;
    if (window->from_minute == window->to_minute)
        return is_today;
    int end = window->to_minute ? window->to_minute : DAY_MINUTES;
    if (window->from_minute < end)
        return is_today && moment->minute >= window->from_minute && moment->minute < end;
    return (is_today && moment->minute >= window->from_minute) ||
           (was_yesterday && moment->minute < end);
}

static int64_t windows_value(const struct price_windows *windows, const struct price_moment *moment,
                             int64_t outside)
{
    for (size_t i = 0; i < windows->count; i++)
        if (window_is_open(&windows->at[i], moment))
            return windows->at[i].value;
    return outside;
}

static int64_t steps_percent(const struct pricing *pricing, int utilisation_percent)
{
    int reached = 0;
    int64_t percent = 100;
    for (size_t i = 0; i < pricing->steps_count; i++) {
        const struct price_step *step = &pricing->steps[i];
        if (step->at_least_percent > reached && step->at_least_percent <= utilisation_percent) {
            reached = step->at_least_percent;
            percent = step->percent;
        }
    }
    return percent;
}

static int64_t percent_of(int64_t value, int64_t percent)
{
    int64_t part = (value * percent + 99) / 100;
    return part < PRICING_UUSD_MAX ? part : PRICING_UUSD_MAX;
}

int64_t pricing_price(const struct pricing *pricing, int64_t base_uusd_per_hour,
                      const struct price_moment *moment)
{
    int64_t price = percent_of(base_uusd_per_hour, windows_value(&pricing->schedule, moment, 100));
    price = percent_of(price, steps_percent(pricing, moment->utilisation_percent));
    int64_t kwh = windows_value(&pricing->tariff, moment, pricing->uusd_per_kwh);
    int64_t energy =
        (pricing->watts * kwh * (100 + pricing->margin_percent) + 99999) / 100000; /* W, percent */
    return price > energy ? price : energy;
}
