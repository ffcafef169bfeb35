/* main.c - undercut: finds the command in the tables, reads its options, runs it.
 *
 * The happy path is: the longest command name that fits the first words, its options, its settings,
 * its function. Failure modes are: an unknown command (the nearest one is suggested), wrong options
 * (EXIT_USAGE and one line of usage), and whatever the command returns.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/base/hash.h"
#include "cli/call.h"
#include "cli/cli.h"

static const struct command *const tables[] = {commands_workload, commands_market,
                                               commands_bid,      commands_history,
                                               commands_verify,   commands_account};
static const char *const titles[] = {
    "Workloads",         "Market, nodes and asks", "Direct bids",
    "What was, and why", "Holding it to its word", "Account and money"};

static const struct option common_options[] = {
    {.name = "--json", .help = "the API's JSON on stdout instead of a table"},
    {.name = "--curl", .help = "print the call as a curl command instead of making it"},
    {.name = "--context", .value = "NAME", .help = "which context of the config file"},
    {.name = "--url",
     .value = "URL",
     .help = "of the broker (else UNDERCUT_URL, else the context)"},
    {.name = "--yes", .letter = 'y', .help = "do not ask"},
    {.name = "--no-input", .help = "never ask, whatever the terminal"},
    {.name = "--help", .letter = 'h', .help = "this text"},
    {.name = NULL},
};

static const char exit_codes[] =
    "Exit codes: 0 ok, 1 failed, 2 usage or a request that is wrong in itself, 3 not found,\n"
    "4 authentication or scope, 5 conflict, 6 no capacity at this price, 7 insufficient balance,\n"
    "8 timeout, 10 `plan` found changes, 11 `verify` found a fault, 130 interrupted.\n"
    "`run` ends with the container's own code.\n";

static void options_print(const struct option *options)
{
    for (const struct option *o = options; o && o->name; o++) {
        char left[64], letter[8] = "    ";
        if (o->letter)
            (void)str_format(letter, sizeof letter, "-%c, ", o->letter);
        (void)str_format(left, sizeof left, "%s%s %s", letter, o->name, o->value ? o->value : "");
        printf("  %-26s %s\n", left, o->help);
    }
}

static void command_help(const struct command *command)
{
    printf("%s\n\n", command->summary);
    if (command->examples)
        printf("Examples:\n%s\n", command->examples);
    printf("Usage: undercut %s %s\n\n", command->name, command->synopsis);
    if (command->options && command->options->name) {
        puts("Options:");
        options_print(command->options);
        putchar('\n');
    }
    puts("Common options:");
    options_print(common_options);
    printf("\n%s", exit_codes);
}

static void overview(FILE *to)
{
    fputs("undercut: GPU time by auction, billed by the second\n\n"
          "  undercut login\n"
          "  undercut run --gpu rtx-4090 --max 0.40/hr docker.io/library/busybox:1.36 -- nproc\n"
          "  undercut ps\n\n",
          to);
    for (size_t t = 0; t < ARRAY_COUNT(tables); t++) {
        fprintf(to, "%s:\n", titles[t]);
        for (const struct command *c = tables[t]; c->name; c++)
            fprintf(to, "  %-15s %s\n", c->name, c->summary);
        fputc('\n', to);
    }
    fputs("`undercut COMMAND --help` explains one. ", to);
    fputs(exit_codes, to);
}

/* How many of argv's words the command's name takes; 0 when it does not fit. */
static int words_fitting(const struct command *command, int argc, char **argv)
{
    struct str rest = str_of(command->name);
    int count = 0;
    while (rest.at) {
        struct str word = str_cut(&rest, ' ');
        if (count >= argc || !str_equal_c(word, argv[count]))
            return 0;
        count++;
    }
    return count;
}

static const struct command *command_find(int argc, char **argv, int *ret_words)
{
    const struct command *best = NULL;
    *ret_words = 0;
    for (size_t t = 0; t < ARRAY_COUNT(tables); t++) {
        for (const struct command *c = tables[t]; c->name; c++) {
            int words = words_fitting(c, argc, argv);
            if (words > *ret_words) {
                *ret_words = words;
                best = c;
            }
        }
    }
    return best;
}

/* Levenshtein distance, capped by the sizes: names are short. */
static size_t distance(const char *a, const char *b)
{
    size_t row[32], rows = strlen(a), columns = strlen(b);
    if (rows >= 32 || columns >= 32)
        return 99;
    for (size_t j = 0; j <= columns; j++)
        row[j] = j;
    for (size_t i = 1; i <= rows; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= columns; j++) {
            size_t best = corner + (a[i - 1] != b[j - 1]);
            corner = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[columns];
}

static int command_unknown(const char *word)
{
    const char *nearest = NULL;
    size_t least = 3;
    if (*word == '-') {
        fprintf(stderr, "undercut: options follow the command: undercut COMMAND %s ...\n", word);
        return EXIT_USAGE;
    }
    for (size_t t = 0; t < ARRAY_COUNT(tables); t++) {
        for (const struct command *c = tables[t]; c->name; c++) {
            bool is_noun = str_starts_with(str_of(c->name), str_of(word));
            size_t far = is_noun ? 1 : distance(word, c->name);
            if (far < least) {
                least = far;
                nearest = c->name;
            }
        }
    }
    fprintf(stderr, "undercut: no command '%s'%s%s%s\n", word, nearest ? "; did you mean '" : "",
            nearest ? nearest : "", nearest ? "'?" : "; see undercut --help");
    return EXIT_USAGE;
}

static void interrupt_count(int number)
{
    (void)number;
    interrupts_count = interrupts_count + 1;
}

bool cli_confirm(const struct cli *cli, const char *question, bool otherwise)
{
    if (cli->is_yes)
        return true;
    if (!cli->can_ask)
        return otherwise;
    fprintf(stderr, "%s [y/N] ", question);
    fflush(stderr);
    char line[16] = "";
    ssize_t got = read(STDIN_FILENO, line, sizeof line - 1);
    return got > 0 && (line[0] == 'y' || line[0] == 'Y');
}

static int command_run_with(const struct command *command, const struct args *args)
{
    struct cli cli = {
        .is_json = args_has(args, "--json"),
        .is_curl = args_has(args, "--curl"),
        .is_yes = args_has(args, "--yes"),
        .can_ask = isatty(STDIN_FILENO) && isatty(STDERR_FILENO) && !args_has(args, "--no-input"),
    };
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
    cli.has_color =
        isatty(STDERR_FILENO) && !(no_color && *no_color) && term && strcmp(term, "dumb") != 0;
    char why[256];
    if (!settings_read(&cli.settings, args_text(args, "--context"), args_text(args, "--url"),
                       why)) {
        fprintf(stderr, "undercut: %s\n", why);
        return EXIT_GENERIC;
    }
    struct sigaction on_interrupt = {.sa_handler = interrupt_count};
    sigaction(SIGINT, &on_interrupt, NULL);
    int code = command->run(&cli, args);
    return fflush(stdout) ? EXIT_GENERIC : code;
}

int main(int argc, char **argv)
{
    argc--, argv++;
    bool wants_help = argc > 0 && (!strcmp(argv[0], "--help") || !strcmp(argv[0], "-h") ||
                                   !strcmp(argv[0], "help"));
    if (argc > 0 && (!strcmp(argv[0], "--version") || !strcmp(argv[0], "version")))
        return puts("undercut " UNDERCUT_VERSION) < 0;
    if (argc == 0 || (wants_help && argc == 1))
        return overview(argc ? stdout : stderr), argc ? EXIT_OK : EXIT_USAGE;
    argc -= wants_help, argv += wants_help;
    int words;
    const struct command *command = command_find(argc, argv, &words);
    if (!command)
        return command_unknown(argv[0]);
    struct args args;
    char why[256];
    const struct option *const options[2] = {command->options, common_options};
    if (!args_read(argc - words, argv + words, options, &args, why)) {
        fprintf(stderr, "undercut: %s\nusage: undercut %s %s\n", why, command->name,
                command->synopsis);
        return EXIT_USAGE;
    }
    if (wants_help || args_has(&args, "--help"))
        return command_help(command), EXIT_OK;
    if (args.words_count < command->words_min ||
        (command->words_max >= 0 && args.words_count > command->words_max)) {
        fprintf(stderr, "usage: undercut %s %s\n", command->name, command->synopsis);
        return EXIT_USAGE;
    }
    hash_start();
    calls_start();
    int code = command_run_with(command, &args);
    calls_finish();
    return code;
}
