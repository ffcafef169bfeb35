/* args.h - a command line against a table of options.
 *
 * pure. Options may stand anywhere before `--`; what follows it is `rest`. Texts point into argv.
 */
#ifndef UNDERCUT_CLI_ARGS_H
#define UNDERCUT_CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/must.h"

#define ARGS_HITS_MAX 128

struct option {        /* a table ends with a row without a name */
    const char *name;  /* "--gpu" */
    const char *value; /* what to call its value in the help; NULL: it takes none */
    const char *help;
    char letter; /* 'f' for -f, or 0 */
};

struct args_hit {
    const struct option *option;
    const char *value;
};

struct args {
    struct args_hit hits[ARGS_HITS_MAX];
    size_t hits_count;
    char **words;
    int words_count;
    char **rest; /* behind `--`, else empty */
    int rest_count;
};

/* Reads argv, which ends with NULL, against the command's table and the common one. Reorders argv
 * so that words come first. False: `ret_why` is a sentence. */
MUST_USE bool args_read(int argc, char **argv, const struct option *const tables[2],
                        struct args *ret_args, char ret_why[256]);

bool args_has(const struct args *args, const char *name);
/* The last value given, or NULL. */
const char *args_text(const struct args *args, const char *name);
/* Every value of a repeated option: start with *io_at = 0; NULL at the end. */
const char *args_next(const struct args *args, const char *name, size_t *io_at);

/* "90", "90s", "15m", "2h", "1d" -> seconds. */
MUST_USE bool duration_parse(const char *text, int64_t *ret_s);
/* "0.40", "0.40/hr", "$0.40/h" -> micro-USD (per hour). */
MUST_USE bool price_parse(const char *text, int64_t *ret_uusd);

#endif
