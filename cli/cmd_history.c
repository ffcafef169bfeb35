/* cmd_history.c - market candles, depth, stats, cheapest; explain; ask explain, ask backtest.
 *
 * The happy path is: one call, then a small picture and a table of it. Failure modes are: what the
 * API refuses, and words that are no number or price.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/call.h"
#include "cli/explain.h"
#include "cli/show.h"

#define BAR_MAX 40

static command_run candles, depth, stats, cheapest, explain, ask_explain, ask_backtest;

#define LOT_OPTIONS                                                                  \
    {.name = "--block", .value = "N", .help = "devices per block (default 1)"},      \
        {.name = "--tier", .value = "TIER", .help = "guaranteed, flexible or spot"}, \
    {                                                                                \
        .name = "--trust", .value = "TRUST",                                         \
        .help = "simulated, unverified, verified or "                                \
                "attested"                                                           \
    }

static const struct option candle_options[] = {
    LOT_OPTIONS,
    {.name = "--step", .value = "STEP", .help = "1s, 1m (default), 1h or 1d"},
    {.name = "--count", .value = "N", .help = "this many candles (default 60)"},
    {.name = NULL},
};
static const struct option depth_options[] = {LOT_OPTIONS, {.name = NULL}};
static const struct option stats_options[] = {
    LOT_OPTIONS,
    {.name = "--hours", .value = "N", .help = "so far back (default 24)"},
    {.name = NULL},
};
static const struct option cheapest_options[] = {
    {.name = "--region", .value = "REGION", .help = "only this region"},
    {.name = "--class", .value = "CLASS", .help = "only this device class"},
    {.name = "--vram", .value = "MIB", .help = "only classes with at least this much memory"},
    {.name = "--trust", .value = "TRUST", .help = "trust class (default unverified)"},
    {.name = NULL},
};
static const struct option rounds_options[] = {
    {.name = "--rounds", .value = "N", .help = "at most so many rounds"},
    {.name = NULL},
};
static const struct option backtest_options[] = {
    {.name = "--price", .value = "USD/hr", .help = "the other ask, per device"},
    {.name = "--rounds", .value = "N", .help = "at most so many rounds"},
    {.name = NULL},
};

const struct command commands_history[] = {
    {"market candles", "CLASS REGION", "What a lot cost, over time",
     "  undercut market candles rtx-4090 eu-west --step 1h\n", candle_options, candles, 2, 2},
    {"market depth", "CLASS REGION", "The ladder of a lot, coarsely and a minute late",
     "  undercut market depth rtx-4090 eu-west\n", depth_options, depth, 2, 2},
    {"market stats", "CLASS REGION", "What a lot cost and how well it was served",
     "  undercut market stats rtx-4090 eu-west --hours 168\n", stats_options, stats, 2, 2},
    {"market cheapest", "", "The cheapest price per class and region now",
     "  undercut market cheapest --vram 40000\n", cheapest_options, cheapest, 0, 0},
    {"explain", "WORKLOAD", "Why a workload waits, and what would have won",
     "  undercut explain my-job\n", NULL, explain, 1, 1},
    {"ask explain", "CLASS REGION", "What became of your ask in recent rounds",
     "  undercut ask explain rtx-4090 eu-west\n", rounds_options, ask_explain, 2, 2},
    {"ask backtest", "CLASS REGION", "What another ask would have come to",
     "  undercut ask backtest rtx-4090 eu-west --price 0.29/hr\n", backtest_options, ask_backtest,
     2, 2},
    {.name = NULL},
};

static void query_option(struct buf *path, const struct args *args, const char *option,
                         const char *key)
{
    if (args_has(args, option))
        query_add(path, key, args_text(args, option));
}

/* "<base>?device_class=...": a lot by its class and region, and the options that say more. */
static struct buf lot_path(const char *base, const struct args *args)
{
    struct buf path = {.at = NULL};
    buf_add_c(&path, base);
    query_add(&path, "device_class", args->words[0]);
    query_add(&path, "region", args->words[1]);
    query_option(&path, args, "--block", "block_size");
    query_option(&path, args, "--tier", "tier");
    query_option(&path, args, "--trust", "trust");
    return path;
}

/* Makes the call and prints its body with --json, else through `print`. Frees the path. */
static int show_one(struct cli *cli, struct buf *path, bool is_public,
                    void (*print)(const json_t *answer))
{
    struct reply reply;
    buf_add(path, "", 1);
    int code = call_api(cli, &(struct call){.path = path->at, .is_public = is_public}, &reply);
    if (code == EXIT_OK && !cli->is_curl) {
        if (cli->is_json)
            printf("%.*s\n", STR_ARG(buf_str(&reply.body)));
        else
            print(reply.json);
    }
    reply_finish(&reply);
    buf_finish(path);
    return code;
}

static void usd_cell(struct table *table, const json_t *object, const char *key)
{
    char usd[40];
    bool has_value = json_is_integer(json_object_get(object, key));
    table_cell(table, "%s", has_value ? usd_format(json_i64(object, key, 0), usd) : "-");
}

static void number_cell(struct table *table, const json_t *object, const char *key)
{
    bool has_value = json_is_integer(json_object_get(object, key));
    if (has_value)
        table_cell(table, "%lld", (long long)json_i64(object, key, 0));
    else
        table_cell(table, "-");
}

/* ---- candles */

/* The closes from the oldest to the newest as eight heights; nothing traded is a blank. */
static void sparkline_print(const json_t *list)
{
    static const char *const heights[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    int64_t low = INT64_MAX, high = INT64_MIN;
    char low_usd[40], high_usd[40];
    size_t count = json_array_size(list);
    for (size_t i = 0; i < count; i++) {
        int64_t close = json_i64(json_array_get(list, i), "close_uusd_per_hour", -1);
        if (close >= 0 && close < low)
            low = close;
        if (close > high)
            high = close;
    }
    if (high < 0)
        return (void)puts("nothing traded in this lot; --trust, --tier and --block choose another");
    for (size_t i = count; i-- > 0;) {
        int64_t close = json_i64(json_array_get(list, i), "close_uusd_per_hour", -1);
        if (close < 0)
            fputs(" ", stdout);
        else
            fputs(heights[high == low ? 3 : (close - low) * 7 / (high - low)], stdout);
    }
    printf("  %s to %s\n", usd_format(low, low_usd), usd_format(high, high_usd));
}

static void candles_print(const json_t *answer)
{
    static const char *const titles[] = {"AT",       ">OPEN",   ">HIGH",  ">LOW", ">CLOSE",
                                         ">VWAP/HR", ">AWARDS", ">UNMET", NULL};
    const json_t *list = json_object_get(answer, "data"), *candle;
    struct table table;
    size_t i;
    sparkline_print(list);
    table_start(&table, titles);
    json_array_foreach (list, i, candle) {
        table_cell(&table, "%.*s", STR_ARG(json_str(candle, "at")));
        usd_cell(&table, candle, "open_uusd_per_hour");
        usd_cell(&table, candle, "high_uusd_per_hour");
        usd_cell(&table, candle, "low_uusd_per_hour");
        usd_cell(&table, candle, "close_uusd_per_hour");
        usd_cell(&table, candle, "vwap_uusd_per_hour");
        number_cell(&table, candle, "awards_count");
        number_cell(&table, candle, "unmet_count");
    }
    table_end(&table);
}

static int candles(struct cli *cli, const struct args *args)
{
    struct buf path = lot_path("/v1/market/candles", args);
    query_option(&path, args, "--step", "step");
    query_add(&path, "limit", args_has(args, "--count") ? args_text(args, "--count") : "60");
    return show_one(cli, &path, true, candles_print);
}

/* ---- depth */

static void percentiles_print(const json_t *answer, const char *key, const char *what)
{
    static const int percents[] = {10, 25, 50, 75, 90};
    const json_t *list = json_object_get(answer, key);
    char usd[40];
    if (!json_is_array(list)) {
        printf("%s: too few accounts\n", what);
        return;
    }
    printf("%s:", what);
    for (size_t i = 0; i < ARRAY_COUNT(percents); i++)
        printf("  p%d %s", percents[i],
               usd_format(json_integer_value(json_array_get(list, i)), usd));
    puts("");
}

static void bucket_print(const json_t *bucket, int64_t blocks_most)
{
    int64_t blocks = json_i64(bucket, "blocks_count", 0);
    if (json_is_integer(json_object_get(bucket, "edge_bp")))
        printf("up to +%2lld %%  ", (long long)(json_i64(bucket, "edge_bp", 0) / 100));
    else
        fputs("beyond       ", stdout);
    for (int64_t i = 0; i < (blocks * BAR_MAX + blocks_most - 1) / blocks_most; i++)
        fputs("█", stdout);
    printf(" %lld blocks of %lld accounts\n", (long long)blocks,
           (long long)json_i64(bucket, "accounts_count", 0));
}

static void depth_print(const json_t *answer)
{
    const json_t *buckets = json_object_get(answer, "buckets"), *bucket;
    int64_t blocks_most = 1;
    char usd[40] = "none";
    size_t i;
    if (json_is_integer(json_object_get(answer, "index_uusd_per_hour")))
        usd_format(json_i64(answer, "index_uusd_per_hour", 0), usd);
    printf("index %s in round %lld, at %.*s\n", usd, (long long)json_i64(answer, "round", 0),
           STR_ARG(json_str(answer, "at")));
    json_array_foreach (buckets, i, bucket)
        if (json_i64(bucket, "blocks_count", 0) > blocks_most)
            blocks_most = json_i64(bucket, "blocks_count", 0);
    json_array_foreach (buckets, i, bucket)
        bucket_print(bucket, blocks_most);
    percentiles_print(answer, "asks_uusd_per_hour", "asks");
    percentiles_print(answer, "reserves_uusd_per_hour", "reserves");
}

static int depth(struct cli *cli, const struct args *args)
{
    struct buf path = lot_path("/v1/market/depth", args);
    return show_one(cli, &path, true, depth_print);
}

/* ---- statistics, cheapest */

static void money_line(const json_t *answer, const char *key, const char *what)
{
    char usd[40];
    if (json_is_integer(json_object_get(answer, key)))
        printf("%-14s %s\n", what, usd_format(json_i64(answer, key, 0), usd));
}

static void seconds_line(const json_t *answer, const char *p50, const char *p90, const char *what)
{
    if (json_is_integer(json_object_get(answer, p50)))
        printf("%-14s p50 %.1f s, p90 %.1f s\n", what, (double)json_i64(answer, p50, 0) / 1000,
               (double)json_i64(answer, p90, 0) / 1000);
}

static void stats_print(const json_t *answer)
{
    money_line(answer, "index_uusd_per_hour", "index");
    if (json_is_array(json_object_get(answer, "prices_uusd_per_hour")))
        percentiles_print(answer, "prices_uusd_per_hour", "prices");
    money_line(answer, "vwap_uusd_per_hour", "settled");
    printf("%-14s %lld\n", "awards", (long long)json_i64(answer, "awards_count", 0));
    if (json_is_integer(json_object_get(answer, "fill_ratio_bp")))
        printf("%-14s %.1f %%\n", "filled", (double)json_i64(answer, "fill_ratio_bp", 0) / 100);
    seconds_line(answer, "fill_p50_ms", "fill_p90_ms", "to an award");
    seconds_line(answer, "start_p50_ms", "start_p90_ms", "to running");
    printf("%-14s %lld", "interrupted", (long long)json_i64(answer, "interruptions_count", 0));
    if (json_is_integer(json_object_get(answer, "interruptions_per_1000_block_hours")))
        printf(", %lld in 1000 block-hours",
               (long long)json_i64(answer, "interruptions_per_1000_block_hours", 0));
    puts("");
}

static int stats(struct cli *cli, const struct args *args)
{
    struct buf path = lot_path("/v1/market/stats", args);
    query_option(&path, args, "--hours", "hours");
    return show_one(cli, &path, true, stats_print);
}

static void cheapest_row(struct table *table, const json_t *row)
{
    table_cell(table, "%.*s", STR_ARG(json_str(row, "device_class")));
    table_cell(table, "%.*s", STR_ARG(json_str(row, "region")));
    usd_cell(table, row, "price_uusd_per_device_hour");
    table_cell(table, "%.*s", STR_ARG(json_str(row, "source")));
    number_cell(table, row, "vram_mib");
    table_cell(table, "%.*s", STR_ARG(json_str(row, "tier")));
}

static int cheapest(struct cli *cli, const struct args *args)
{
    static const char *const titles[] = {"CLASS", "REGION", ">NET/DEVICE-HR", "FROM", ">VRAM MIB",
                                         "TIER",  NULL};
    struct buf path = {.at = NULL};
    buf_add_c(&path, "/v1/market/cheapest");
    query_option(&path, args, "--region", "region");
    query_option(&path, args, "--class", "device_class");
    query_option(&path, args, "--vram", "vram_mib_min");
    query_option(&path, args, "--trust", "trust");
    return show_list(
        cli, &path,
        &(struct show){.titles = titles, .row = cheapest_row, .is_public = true, .is_whole = true});
}

/* ---- explain */

static void workload_explain_print(const json_t *answer)
{
    printf("%.*s: %.*s, %lld waiting\n", STR_ARG(json_str(answer, "name")),
           STR_ARG(json_str(answer, "state")),
           (long long)json_i64(answer, "replicas_auctioning", 0));
    explain_print(json_object_get(answer, "explain"));
}

static int explain(struct cli *cli, const struct args *args)
{
    struct buf path = {.at = NULL};
    buf_add_c(&path, "/v1/workloads/");
    url_add(&path, args->words[0]);
    buf_add_c(&path, "/explain");
    return show_one(cli, &path, false, workload_explain_print);
}

/* ---- asks */

static struct buf ask_path(const struct args *args, const char *what)
{
    struct buf path = {.at = NULL};
    buf_add_c(&path, "/v1/asks/");
    url_add(&path, args->words[0]);
    buf_add_c(&path, "/");
    url_add(&path, args->words[1]);
    buf_add_c(&path, what);
    return path;
}

static void devices_print(const json_t *devices)
{
    static const char *const reasons[] = {"leased", "silent", "opted_out", "floor_differs",
                                          "suspect"};
    printf("%lld of %lld devices are offered", (long long)json_i64(devices, "offered", 0),
           (long long)json_i64(devices, "devices_count", 0));
    for (size_t i = 0; i < ARRAY_COUNT(reasons); i++)
        if (json_i64(devices, reasons[i], 0) > 0)
            printf(", %lld %s", (long long)json_i64(devices, reasons[i], 0), reasons[i]);
    puts("");
}

static void ask_explain_print(const json_t *answer)
{
    static const char *const titles[] = {">ROUND", ">BLOCK", "TIER",   "FATE", ">SOLD",
                                         ">OF",    ">INDEX", ">SCORE", ">GAP", NULL};
    const json_t *rounds = json_object_get(answer, "rounds"), *round, *lot;
    struct table table;
    size_t i, j;
    devices_print(json_object_get(answer, "devices"));
    table_start(&table, titles);
    json_array_foreach (rounds, i, round) {
        json_array_foreach (json_object_get(round, "lots"), j, lot) {
            number_cell(&table, round, "round");
            number_cell(&table, lot, "block_size");
            table_cell(&table, "%.*s", STR_ARG(json_str(lot, "tier")));
            table_cell(&table, "%.*s", STR_ARG(json_str(lot, "fate")));
            number_cell(&table, lot, "sold_count");
            number_cell(&table, lot, "blocks_count");
            usd_cell(&table, lot, "index_uusd_per_hour");
            usd_cell(&table, lot, "score_uusd_per_hour");
            usd_cell(&table, lot, "gap_uusd_per_hour");
        }
    }
    table_end(&table);
}

static int ask_explain(struct cli *cli, const struct args *args)
{
    struct buf path = ask_path(args, "/explain");
    query_option(&path, args, "--rounds", "rounds");
    return show_one(cli, &path, false, ask_explain_print);
}

static void sum_row(struct table *table, const json_t *answer, const char *key)
{
    const json_t *sum = json_object_get(answer, key);
    table_cell(table, "%s", key);
    number_cell(table, sum, "rounds_count");
    number_cell(table, sum, "blocks_count");
    number_cell(table, sum, "sold_count");
    usd_cell(table, sum, "revenue_uusd_per_hour");
    number_cell(table, sum, "would_count");
    usd_cell(table, sum, "would_revenue_uusd_per_hour");
}

static void backtest_print(const json_t *answer)
{
    static const char *const titles[] = {"",        ">ROUNDS",     ">BLOCKS",   ">SOLD",
                                         ">USD/HR", ">WOULD SELL", ">WOULD/HR", NULL};
    struct table table;
    table_start(&table, titles);
    sum_row(&table, answer, "replayed");
    sum_row(&table, answer, "estimated");
    table_end(&table);
    fputs("replayed: rounds in which all asks are open; estimated: from the public index\n",
          stderr);
}

static int ask_backtest(struct cli *cli, const struct args *args)
{
    int64_t uusd;
    char number[24];
    const char *price = args_text(args, "--price");
    if (!price || !price_parse(price, &uusd))
        return fputs("undercut: say --price USD/hr\n", stderr), EXIT_USAGE;
    must(str_format(number, sizeof number, "%lld", (long long)uusd));
    struct buf path = ask_path(args, "/backtest");
    query_add(&path, "price_uusd_per_device_hour", number);
    query_option(&path, args, "--rounds", "rounds");
    return show_one(cli, &path, false, backtest_print);
}
