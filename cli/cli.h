/* cli.h - what every command gets: where to call, as whom, and how to talk to the person.
 *
 * main thread. Data goes to stdout, everything said about it to stderr. A command returns its exit
 * code and leaves nothing to free but what settings_finish() frees.
 */
#ifndef UNDERCUT_CLI_CLI_H
#define UNDERCUT_CLI_CLI_H

#include <stdbool.h>

#include "cli/args.h"
#include "cli/settings.h"

/* Stable for scripts; `undercut help exit-codes` prints the list. */
enum cli_exit {
    EXIT_OK = 0,
    EXIT_GENERIC = 1,
    EXIT_USAGE = 2, /* also a request that the API refused as malformed */
    EXIT_NOT_FOUND = 3,
    EXIT_AUTH = 4,
    EXIT_CONFLICT = 5,
    EXIT_NO_CAPACITY = 6,
    EXIT_FUNDS = 7,
    EXIT_TIMEOUT = 8,
    EXIT_CHANGES = 10, /* only `plan`: applying would change something */
    EXIT_UNTRUE = 11,  /* only `verify`: something does not hold */
    EXIT_INTERRUPTED = 130,
};

struct cli {
    struct settings settings;
    bool is_json;
    bool is_curl; /* print the call instead of making it */
    bool is_yes;  /* do not ask */
    bool can_ask; /* a person is there to answer */
    bool has_color;
};

typedef int command_run(struct cli *cli, const struct args *args);

struct command {
    const char *name; /* "round show" */
    const char *synopsis;
    const char *summary;
    const char *examples; /* lines; printed first by --help */
    const struct option *options;
    command_run *run;
    int words_min;
    int words_max; /* -1: any number */
};

/* The rows of each cmd_*.c; main.c strings them together. Each ends with a row without a name. */
extern const struct command commands_workload[];
extern const struct command commands_account[];
extern const struct command commands_market[];
extern const struct command commands_history[];
extern const struct command commands_bid[];
extern const struct command commands_verify[];

/* Asks on the terminal; `otherwise` when nobody can answer. */
bool cli_confirm(const struct cli *cli, const char *question, bool otherwise);

#endif
