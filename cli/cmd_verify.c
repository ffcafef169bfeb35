/* cmd_verify.c - undercut verify: is what the market said true?
 *
 * The happy path is: a transcript is read, fetched or both, checked, and each check is counted.
 * Failure modes are: options that contradict each other, a transcript that cannot be had, and what
 * does not hold. What could not be checked is said, and a transcript without any round is not ok.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "broker/base/clock.h"
#include "cli/table.h"
#include "cli/transcript.h"

static const struct option verify_options[] = {
    {.name = "--dir", .value = "DIR", .help = "a transcript; without --download nobody is called"},
    {.name = "--download", .help = "fetch it into --dir first; heads there already are kept"},
    {.name = "--from", .value = "ROUND", .help = "first round (else about the last hundred)"},
    {.name = "--to", .value = "ROUND", .help = "last round (else the newest)"},
    {.name = "--head", .value = "FILE", .help = "a head that somebody else was given"},
    {.name = "--key", .value = "KEY", .help = "the market's public key, as you know it"},
    {.name = NULL},
};

static bool round_option(const struct args *args, const char *name, int64_t *ret)
{
    const char *text = args_text(args, name);
    if (text == NULL || (str_to_i64(str_of(text), ret) && *ret > 0))
        return true;
    fprintf(stderr, "undercut: %s: must be the number of a round\n", name);
    return false;
}

static bool key_option(const struct args *args, struct ed25519_public *ret_key,
                       const struct ed25519_public **ret_key_or_null)
{
    const char *text = args_text(args, "--key");
    *ret_key_or_null = text ? ret_key : NULL;
    if (text == NULL || base64url_decode(str_of(text), ret_key->bytes, 32) == 32)
        return true;
    fputs("undercut: --key: must be 43 characters of base64url\n", stderr);
    return false;
}

static void print_json(const struct verify_report *report)
{
    struct buf text = {0};
    struct json_out out;
    json_out_start(&out, &text);
    json_object_open(&out, NULL);
    json_put_bool(&out, "ok", report->faults_count == 0 && report->last_round > 0);
    json_put_i64(&out, "size", report->size);
    json_put_time(&out, "signed_at", report->signed_at_us);
    json_object_open(&out, "checked");
    for (int check = 1; check < VERIFY_CHECK_COUNT; check++)
        json_put_i64(&out, verify_check_name((enum verify_check)check), report->counts[check]);
    json_object_close(&out);
    json_put_i64(&out, "first_round", report->first_round);
    json_put_i64(&out, "last_round", report->last_round);
    json_put_i64(&out, "leases_not_compared", report->leases_left);
    json_put_i64(&out, "promises_not_compared", report->promises_left);
    json_put_i64(&out, "void_rounds", report->void_count);
    json_put_i64(&out, "lost_links", report->lost_links_count);
    json_put_i64(&out, "faults_count", report->faults_count);
    json_array_open(&out, "faults");
    for (int64_t i = 0; i < report->faults_count && i < VERIFY_FAULTS_MAX; i++) {
        json_object_open(&out, NULL);
        json_put_c(&out, "check", verify_check_name(report->faults[i].check));
        json_put_c(&out, "detail", report->faults[i].text);
        json_object_close(&out);
    }
    json_array_close(&out);
    json_object_close(&out);
    printf("%.*s\n", STR_ARG(buf_str(&text)));
    buf_finish(&text);
}

static void print_lines(const struct verify_report *report)
{
    static const char *const what[VERIFY_CHECK_COUNT] = {
        [VERIFY_HEADS] = "signed by the market's key, one root per size",
        [VERIFY_CONSISTENCY] = "each log the beginning of the next",
        [VERIFY_LEAVES] = "in the log, none left out, rounds in a row",
        [VERIFY_SEEDS] = "from market, round, R_t and link",
        [VERIFY_CHAIN] = "links of a chain announced before them",
        [VERIFY_RECORDS] = "rounds under their leaves, with what the caller may see",
        [VERIFY_CLEARINGS] = "lots and direct workloads, cleared again by code of its own",
        [VERIFY_ROWS] = "single rows under their leaves, and fitting together",
        [VERIFY_ARRIVALS] = "messages under R_t",
        [VERIFY_PROMISES] = "signed, and kept",
        [VERIFY_LEASES] = "at the price of an award in the record",
        [VERIFY_INDEXES] = "published as they stand in the record",
    };
    char at[32] = "never";
    if (report->signed_at_us > 0)
        clock_format(report->signed_at_us, at);
    printf("log of %lld leaves, head signed at %s; checks made:\n", (long long)report->size, at);
    for (int check = 1; check < VERIFY_CHECK_COUNT; check++)
        printf("  %-12s %8lld  %s\n", verify_check_name((enum verify_check)check),
               (long long)report->counts[check], what[check]);
    if (report->void_count > 0)
        printf("  void rounds  %8lld  frozen and never committed; of these %lld never showed their "
               "link\n",
               (long long)report->void_count, (long long)report->lost_links_count);
    for (int64_t i = 0; i < report->faults_count && i < VERIFY_FAULTS_MAX; i++) {
        printf("  FAULT in %s: ", verify_check_name(report->faults[i].check));
        print_clean(str_of(report->faults[i].text));
        putchar('\n');
    }
    if (report->faults_count > 0)
        printf("verify: %lld of the checks failed\n", (long long)report->faults_count);
    else
        puts(report->last_round > 0 ? "verify: ok" : "verify: no round was there to check");
}

/* On stderr, what nobody should take for checked. */
static void print_unchecked(const struct verify_report *report,
                            const struct transcript_range *range)
{
    long long first = report->first_round, last = report->last_round;
    if (last == 0)
        fputs("undercut: no round was there to check; `undercut round ls` lists some\n", stderr);
    else if (range->from > 0 && range->from < first)
        fprintf(stderr, "undercut: not checked: rounds %lld to %lld are not in the log\n",
                (long long)range->from, first - 1);
    if (last > 0 && range->to > last)
        fprintf(stderr, "undercut: not checked: rounds %lld to %lld are not under the head yet\n",
                last + 1, (long long)range->to);
    if (report->leases_left > 0)
        fprintf(
            stderr,
            "undercut: not compared: %lld leases of other rounds; --from and --to choose them\n",
            (long long)report->leases_left);
    if (report->promises_left > 0)
        fprintf(stderr,
                "undercut: not compared: %lld promises for other rounds; only their signatures "
                "were checked\n",
                (long long)report->promises_left);
}

static int range_get(const struct args *args, bool is_fetched, struct transcript_range *ret_range)
{
    struct transcript_range range = {0};
    if (!round_option(args, "--from", &range.from) || !round_option(args, "--to", &range.to))
        return EXIT_USAGE;
    if (range.to > 0 && range.from > range.to) {
        fputs("undercut: --from: must not be after --to\n", stderr);
        return EXIT_USAGE;
    }
    if (!is_fetched && (range.from > 0 || range.to > 0)) {
        fputs("undercut: --from and --to say what to fetch; a folder is checked as a whole, "
              "--download fetches\n",
              stderr);
        return EXIT_USAGE;
    }
    *ret_range = range;
    return EXIT_OK;
}

/* Fills `docs`; an exit code. */
static int docs_get(const struct cli *cli, const struct args *args, struct verify_docs *docs,
                    struct transcript_range *ret_range)
{
    const char *dir = args_text(args, "--dir");
    bool is_fetched = dir == NULL || args_has(args, "--download");
    int code = range_get(args, is_fetched, ret_range);
    if (code != EXIT_OK)
        return code;
    if (dir == NULL && args_has(args, "--download")) {
        fputs("undercut: --download: say where with --dir\n", stderr);
        return EXIT_USAGE;
    }
    if (dir != NULL && !is_fetched && access(dir, R_OK | X_OK) != 0) {
        fprintf(stderr, "undercut: %s: %s; --download fetches a transcript\n", dir,
                strerror(errno));
        return EXIT_GENERIC;
    }
    if (dir != NULL && !transcript_read(dir, docs))
        return EXIT_GENERIC;
    const char *other_head = args_text(args, "--head");
    if (other_head != NULL && !transcript_read_head(other_head, docs))
        return EXIT_GENERIC;
    if (!is_fetched)
        return EXIT_OK;
    struct transcript_range range = *ret_range;
    if (range.from == 0)
        range.from = json_i64(json_array_get(docs->leaves, 0), "round", 0);
    code = transcript_fetch(cli, &range, docs);
    if (code == EXIT_OK && dir != NULL && !cli->is_curl && !transcript_write(dir, docs))
        code = EXIT_GENERIC;
    return code;
}

static int verify_command(struct cli *cli, const struct args *args)
{
    struct verify_docs docs;
    struct verify_report report;
    struct ed25519_public key;
    const struct ed25519_public *key_or_null;
    struct transcript_range range = {0};
    if (!key_option(args, &key, &key_or_null))
        return EXIT_USAGE;
    transcript_start(&docs);
    int code = docs_get(cli, args, &docs, &range);
    if (code == EXIT_OK && !cli->is_curl) {
        verify_run(&docs, key_or_null, &report);
        if (cli->is_json)
            print_json(&report);
        else
            print_lines(&report);
        print_unchecked(&report, &range);
        code = report.faults_count > 0  ? EXIT_UNTRUE
               : report.last_round == 0 ? EXIT_NOT_FOUND
                                        : EXIT_OK;
    }
    transcript_finish(&docs);
    return code;
}

const struct command commands_verify[] = {
    {"verify", "", "Check promises, roots, seeds, clearings, prices and the log",
     "  undercut verify\n"
     "  undercut verify --download --dir transcript --from 100\n"
     "  undercut verify --dir transcript --key kQ2...\n",
     verify_options, verify_command, 0, 0},
    {.name = NULL},
};
