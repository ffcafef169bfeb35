#include "cli/args.h"

#include <string.h>

#include "broker/base/money.h"
#include "broker/base/str.h"

static const struct option *option_find(const struct option *const tables[2], const char *word,
                                        size_t len)
{
    for (int t = 0; t < 2; t++) {
        for (const struct option *row = tables[t]; row && row->name; row++) {
            bool is_long = strlen(row->name) == len && !memcmp(row->name, word, len);
            bool is_short = len == 2 && row->letter && word[1] == row->letter;
            if (is_long || is_short)
                return row;
        }
    }
    return NULL;
}

/* The option word at *io_at, and the next one when that is its value; false with a sentence. */
static bool hit_add(struct args *args, const struct option *const tables[2], char **argv,
                    int *io_at, char ret_why[256])
{
    const char *word = argv[*io_at], *next = argv[*io_at + 1]; /* argv ends with NULL */
    const char *equals = strncmp(word, "--", 2) ? NULL : strchr(word, '=');
    const struct option *option =
        option_find(tables, word, equals ? (size_t)(equals - word) : strlen(word));
    if (!option)
        return (void)str_format(ret_why, 256, "unknown option %s", word), false;
    if (args->hits_count == ARGS_HITS_MAX)
        return (void)str_format(ret_why, 256, "more than %d options", ARGS_HITS_MAX), false;
    const char *value = NULL;
    if (option->value) {
        value = equals ? equals + 1 : next;
        *io_at += !equals;
        if (!value)
            return (void)str_format(ret_why, 256, "%s needs %s", option->name, option->value),
                   false;
    } else if (equals) {
        return (void)str_format(ret_why, 256, "%s takes no value", option->name), false;
    }
    args->hits[args->hits_count++] = (struct args_hit){.option = option, .value = value};
    return true;
}

bool args_read(int argc, char **argv, const struct option *const tables[2], struct args *ret_args,
               char ret_why[256])
{
    struct args args = {.words = argv};
    for (int i = 0; i < argc; i++) {
        if (!strcmp(argv[i], "--")) {
            args.rest = argv + i + 1;
            args.rest_count = argc - i - 1;
            break;
        }
        bool is_number = argv[i][1] >= '0' && argv[i][1] <= '9'; /* no option begins with a digit */
        if (argv[i][0] != '-' || argv[i][1] == '\0' || is_number || argv[i][1] == '.') {
            args.words[args.words_count++] = argv[i];
            continue;
        }
        if (!hit_add(&args, tables, argv, &i, ret_why))
            return false;
    }
    *ret_args = args;
    return true;
}

bool args_has(const struct args *args, const char *name)
{
    size_t at = 0;
    for (; at < args->hits_count; at++)
        if (!strcmp(args->hits[at].option->name, name))
            return true;
    return false;
}

const char *args_next(const struct args *args, const char *name, size_t *io_at)
{
    while (*io_at < args->hits_count) {
        const struct args_hit *hit = &args->hits[(*io_at)++];
        if (!strcmp(hit->option->name, name))
            return hit->value;
    }
    return NULL;
}

const char *args_text(const struct args *args, const char *name)
{
    const char *last = NULL, *value;
    for (size_t at = 0; (value = args_next(args, name, &at));)
        last = value;
    return last;
}

bool duration_parse(const char *text, int64_t *ret_s)
{
    static const struct {
        char letter;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    struct str digits = str_of(text);
    int64_t unit = 1;
    for (size_t i = 0; digits.len > 1 && i < ARRAY_COUNT(units); i++) {
        if (digits.at[digits.len - 1] == units[i].letter) {
            unit = units[i].seconds;
            digits.len--;
            break;
        }
    }
    int64_t number;
    if (!str_to_i64(digits, &number) || number < 0 || number > INT32_MAX)
        return false;
    *ret_s = number * unit;
    return true;
}

bool price_parse(const char *text, int64_t *ret_uusd)
{
    struct str price = str_of(text);
    if (str_starts_with(price, STR("$")))
        price = (struct str){.at = price.at + 1, .len = price.len - 1};
    struct str unit = price;
    price = str_cut(&unit, '/');
    bool has_good_unit =
        !unit.at || str_equal_c(unit, "h") || str_equal_c(unit, "hr") || str_equal_c(unit, "hour");
    return has_good_unit && money_parse_usd(price, ret_uusd);
}
