/* cmd_market.c - node, ask, round, price, class, region, clear.
 *
 * The happy path is: one call, one table. `clear` calls nobody: it clears lots from stdin with the
 * same pure code as the market, so anyone can check a round at home.
 * Failure modes are: what the API refuses, and for `clear` a text that is no lot.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "auction/lots_json.h"
#include "cli/call.h"
#include "cli/show.h"

static command_run node_ls, node_rm, node_reclaim, node_resume, node_token, ask_ls, ask_set, ask_rm,
    round_ls, round_show;
static command_run price, class_ls, region_ls, lots_clear;

static const struct option token_options[] = {
    {.name = "--region", .value = "REGION", .help = "the node must be there"},
    {.name = "--expires", .value = "TIME", .help = "good for so long (default 1h)"},
    {.name = NULL},
};
static const struct option reclaim_options[] = {
    {.name = "--lease", .value = "LEASE", .help = "only the devices that this lease holds"},
    {.name = NULL},
};
static const struct option ask_options[] = {
    {.name = "--tiers", .value = "TIERS", .help = "sell these only, e.g. spot or flexible,spot"},
    {.name = "--spot", .value = "PCT", .help = "of the price asked for spot (default 100)"},
    {.name = NULL},
};
static const struct option round_options[] = {
    {.name = "--region", .value = "REGION", .help = "only lots of this region"},
    {.name = "--class", .value = "CLASS", .help = "only lots of this device class"},
    {.name = "--awarded", .help = "only rounds with at least one award"},
    {.name = NULL},
};
static const struct option price_options[] = {
    {.name = "--region", .value = "REGION", .help = "only this region"},
    {.name = "--class", .value = "CLASS", .help = "only this device class"},
    {.name = NULL},
};

const struct command commands_market[] = {
    {"node ls", "", "List your nodes", "  undercut node ls\n", NULL, node_ls, 0, 0},
    {"node rm", "NODE", "Retire a node; its leases go elsewhere",
     "  undercut node rm node_01j...\n", NULL, node_rm, 1, 1},
    {"node reclaim", "NODE", "Take a machine back; what runs there leaves with notice",
     "  undercut node reclaim node_01j...\n  undercut node reclaim node_01j... --lease "
     "lse_01j...\n",
     reclaim_options, node_reclaim, 1, 1},
    {"node resume", "NODE", "Sell a reclaimed machine again",
     "  undercut node resume node_01j...\n", NULL, node_resume, 1, 1},
    {"node token", "", "A one-time token for enrolling a machine",
     "  undercut-agent enrol --url https://... --token $(undercut node token --region eu-west)\n",
     token_options, node_token, 0, 0},
    {"ask ls", "", "Your standing asks", "  undercut ask ls\n", NULL, ask_ls, 0, 0},
    {"ask set", "CLASS REGION USD/hr", "Sell devices of a class in a region from this price on",
     "  undercut ask set rtx-4090 eu-west 0.31/hr\n"
     "  undercut ask set rtx-4090 eu-west 0.31/hr --spot 70 --tiers spot\n",
     ask_options, ask_set, 3, 3},
    {"ask rm", "CLASS REGION", "Withdraw an ask; running leases go on",
     "  undercut ask rm rtx-4090 eu-west\n", NULL, ask_rm, 2, 2},
    {"round ls", "", "Recent rounds", "  undercut round ls --awarded --region eu-west\n",
     round_options, round_ls, 0, 0},
    {"round show", "[ROUND]", "One round lot by lot; without a number the last that awarded",
     "  undercut round show 118\n  undercut round show --json | jq .record_sha256\n", NULL,
     round_show, 0, 1},
    {"price", "", "What each lot last cost", "  undercut price --class rtx-4090\n", price_options,
     price, 0, 0},
    {"class ls", "", "Device classes that are traded", "  undercut class ls\n", NULL, class_ls, 0,
     0},
    {"region ls", "", "Regions", "  undercut region ls\n", NULL, region_ls, 0, 0},
    {"clear", "< LOTS", "Clear lots from stdin, as a round would; calls nobody",
     "  undercut clear < lots.json\n", NULL, lots_clear, 0, 0},
    {.name = NULL},
};

static struct buf path_of(const char *base, const char *a, const char *b)
{
    struct buf path = {.at = NULL};
    buf_add_c(&path, base);
    url_add(&path, a);
    if (b) {
        buf_add_c(&path, "/");
        url_add(&path, b);
    }
    buf_add(&path, "", 1);
    return path;
}

/* A call whose answer needs no table: `said` goes to stderr, --json prints the body. */
static int call_simple(struct cli *cli, const struct call *call, const char *said)
{
    struct reply reply;
    int code = call_api(cli, call, &reply);
    if (code == EXIT_OK && !cli->is_curl) {
        if (cli->is_json && reply.body.len)
            printf("%.*s\n", STR_ARG(buf_str(&reply.body)));
        else if (said)
            fprintf(stderr, "%s\n", said);
    }
    reply_finish(&reply);
    return code;
}

/* Why a device is not offered; NULL: it is. */
static const char *device_obstacle(const json_t *node, const json_t *device)
{
    if (!str_equal_c(json_str(node, "state"), "live"))
        return "not live";
    if (!json_bool(node, "is_opted_in", false))
        return "opted out";
    if (json_str(node, "reclaimed_at").at || json_bool(device, "is_reclaimed", false))
        return "reclaimed";
    if (!json_bool(device, "is_present", false))
        return "gone";
    if (!json_str(device, "class").at)
        return "no class";
    if (str_equal_c(json_str(device, "ask_status"), "mismatch"))
        return "mismatch"; /* as the agent's status calls it */
    return str_equal_c(json_str(device, "ask_status"), "none") ? "no ask" : NULL;
}

/* "yes", "no: why", or how many are and why the others are not. */
static void sells_cell(struct table *table, const json_t *node)
{
    const json_t *devices = json_object_get(node, "devices"), *device;
    size_t i, offered = 0, count = json_array_size(devices);
    const char *why = count ? NULL : "no devices";
    json_array_foreach (devices, i, device) {
        const char *obstacle = device_obstacle(node, device);
        offered += obstacle == NULL;
        why = why ? why : obstacle;
    }
    if (why && offered)
        table_cell(table, "%zu of %zu: %s", offered, count, why);
    else
        table_cell(table, why ? "no: %s" : "yes", why);
}

static void node_row(struct table *table, const json_t *node)
{
    const json_t *devices = json_object_get(node, "devices"), *device;
    size_t i, busy = 0;
    char age[16];
    json_array_foreach (devices, i, device)
        busy += json_is_string(json_object_get(device, "lease_id"));
    struct str class = json_str(json_array_get(devices, 0), "class");
    bool is_reclaimed = json_str(node, "reclaimed_at").at != NULL;
    table_cell(table, "%.*s", STR_ARG(json_str(node, "node_id")));
    table_cell(table, "%.*s", STR_ARG(json_str(node, "name")));
    table_cell(table, "%.*s", STR_ARG(json_str(node, "region")));
    table_cell(table, "%.*s%s", STR_ARG(json_str(node, "state")),
               is_reclaimed ? ", reclaimed" : "");
    table_cell(table, "%.*s", STR_ARG(json_str(node, "trust")));
    sells_cell(table, node);
    table_cell(table, "%zu of %zu leased", busy, json_array_size(devices));
    table_cell(table, "%.*s", STR_ARG(class));
    table_cell(table, "%s", age_format(json_str(node, "last_seen_at").at, age));
}

static int node_ls(struct cli *cli, const struct args *args)
{
    (void)args;
    static const char *const titles[] = {"NODE",  "NAME",    "REGION", "STATE", "TRUST",
                                         "SELLS", "DEVICES", "CLASS",  ">SEEN", NULL};
    struct buf path = {.at = NULL};
    buf_add_c(&path, "/v1/nodes");
    return show_list(cli, &path, &(struct show){.titles = titles, .row = node_row});
}

static int node_rm(struct cli *cli, const struct args *args)
{
    if (!cli->is_curl && !cli_confirm(cli, "Retire this node? Its leases go elsewhere.", true))
        return EXIT_GENERIC;
    struct buf path = path_of("/v1/nodes/", args->words[0], NULL);
    int code = call_simple(cli, &(struct call){.method = "DELETE", .path = path.at}, "retired");
    buf_finish(&path);
    return code;
}

static int node_reclaim(struct cli *cli, const struct args *args)
{
    const char *lease = args_text(args, "--lease");
    struct buf path = path_of("/v1/nodes/", args->words[0], "reclaim"), body = {.at = NULL};
    struct json_out out;
    json_out_start(&out, &body);
    json_object_open(&out, NULL);
    if (lease)
        json_put_c(&out, "lease_id", lease);
    json_object_close(&out);
    struct reply reply;
    int code = call_api(
        cli, &(struct call){.method = "POST", .path = path.at, .body = buf_str(&body)}, &reply);
    if (code == EXIT_OK && cli->is_json)
        printf("%.*s\n", STR_ARG(buf_str(&reply.body)));
    else if (code == EXIT_OK && !cli->is_curl)
        fprintf(stderr,
                "reclaimed; leases that leave with notice: %lld; see them with undercut "
                "leases --operator\n",
                (long long)json_i64(reply.json, "leases_count", 0));
    reply_finish(&reply);
    buf_finish(&body);
    buf_finish(&path);
    return code;
}

static int node_resume(struct cli *cli, const struct args *args)
{
    struct buf path = path_of("/v1/nodes/", args->words[0], "reclaim");
    struct reply reply;
    int code = call_api(cli, &(struct call){.method = "DELETE", .path = path.at}, &reply);
    if (code == EXIT_OK && cli->is_json)
        printf("%.*s\n", STR_ARG(buf_str(&reply.body)));
    else if (code == EXIT_OK && !cli->is_curl)
        fprintf(
            stderr,
            "for sale again; leases that leave all the same, with their notice: %lld; that stay, "
            "having had none: %lld\n",
            (long long)json_i64(reply.json, "leases_leaving_count", 0),
            (long long)json_i64(reply.json, "leases_staying_count", 0));
    reply_finish(&reply);
    buf_finish(&path);
    return code;
}

static int node_token(struct cli *cli, const struct args *args)
{
    const char *expires = args_text(args, "--expires"), *region = args_text(args, "--region");
    int64_t expires_s = 3600;
    if (expires && !duration_parse(expires, &expires_s))
        return fputs("undercut: --expires: not a time\n", stderr), EXIT_USAGE;
    struct buf body = {.at = NULL};
    struct json_out out;
    json_out_start(&out, &body);
    json_object_open(&out, NULL);
    json_put_i64(&out, "expires_in_s", expires_s);
    if (region)
        json_put_c(&out, "region", region);
    json_object_close(&out);
    struct reply reply;
    int code = call_api(
        cli, &(struct call){.method = "POST", .path = "/v1/node-tokens", .body = buf_str(&body)},
        &reply);
    if (code == EXIT_OK && !cli->is_curl)
        printf("%.*s\n",
               STR_ARG(cli->is_json ? buf_str(&reply.body) : json_str(reply.json, "token")));
    reply_finish(&reply);
    buf_finish(&body);
    return code;
}

static void ask_row(struct table *table, const json_t *ask)
{
    char usd[40], age[16];
    table_cell(table, "%.*s", STR_ARG(json_str(ask, "class")));
    table_cell(table, "%.*s", STR_ARG(json_str(ask, "region")));
    table_cell(table, "%s", usd_format(json_i64(ask, "price_uusd_per_device_hour", 0), usd));
    table_cell(table, "%lld%%", (long long)json_i64(ask, "spot_multiplier_bp", 0) / 100);
    struct buf tiers = {.at = NULL};
    size_t i;
    const json_t *tier;
    json_array_foreach (json_object_get(ask, "tiers"), i, tier)
        buf_add_format(&tiers, "%s%s", i ? "," : "", json_string_value(tier));
    table_cell(table, "%.*s", STR_ARG(buf_str(&tiers)));
    buf_finish(&tiers);
    table_cell(table, "%s", age_format(json_str(ask, "updated_at").at, age));
}

static int ask_ls(struct cli *cli, const struct args *args)
{
    (void)args;
    static const char *const titles[] = {"CLASS",    "REGION", ">USD/DEVICE-HR", ">SPOT", "TIERS",
                                         ">CHANGED", NULL};
    struct buf path = {.at = NULL};
    buf_add_c(&path, "/v1/asks");
    return show_list(cli, &path,
                     &(struct show){.titles = titles, .row = ask_row, .is_whole = true});
}

/* What is not said is left to the API. False: it was said wrongly. */
static bool ask_body(const struct args *args, int64_t uusd, struct buf *to)
{
    struct json_out out;
    struct str tiers = str_of(args_text(args, "--tiers"));
    int64_t spot_pct = 100;
    if (args_has(args, "--spot") && (!str_to_i64(str_of(args_text(args, "--spot")), &spot_pct) ||
                                     spot_pct < 1 || spot_pct > 100)) {
        fputs("undercut: --spot: a percentage from 1 to 100\n", stderr);
        return false;
    }
    json_out_start(&out, to);
    json_object_open(&out, NULL);
    json_put_i64(&out, "price_uusd_per_device_hour", uusd);
    if (args_has(args, "--spot"))
        json_put_i64(&out, "spot_multiplier_bp", spot_pct * 100);
    if (tiers.at) {
        json_array_open(&out, "tiers");
        while (tiers.at)
            json_put_str(&out, NULL, str_cut(&tiers, ','));
        json_array_close(&out);
    }
    json_object_close(&out);
    return true;
}

static int ask_set(struct cli *cli, const struct args *args)
{
    int64_t uusd;
    if (!price_parse(args->words[2], &uusd) || uusd == 0) {
        fprintf(
            stderr,
            "undercut: '%s' is not a price; say USD per device-hour above 0, e.g. 0.31/hr; to sell "
            "no more: undercut ask rm\n",
            args->words[2]);
        return EXIT_USAGE;
    }
    struct buf body = {.at = NULL}, path = path_of("/v1/asks/", args->words[0], args->words[1]);
    bool is_good = ask_body(args, uusd, &body);
    int code =
        !is_good
            ? EXIT_USAGE
            : call_simple(cli,
                          &(struct call){.method = "PUT", .path = path.at, .body = buf_str(&body)},
                          "standing from the next round on");
    buf_finish(&body);
    buf_finish(&path);
    return code;
}

static int ask_rm(struct cli *cli, const struct args *args)
{
    struct buf path = path_of("/v1/asks/", args->words[0], args->words[1]);
    int code = call_simple(cli, &(struct call){.method = "DELETE", .path = path.at}, "withdrawn");
    buf_finish(&path);
    return code;
}

static void round_row(struct table *table, const json_t *round)
{
    char age[16];
    table_cell(table, "%lld", (long long)json_i64(round, "round", 0));
    table_cell(table, "%.*s", STR_ARG(json_str(round, "kind")));
    table_cell(table, "%.*s", STR_ARG(json_str(round, "state")));
    table_cell(table, "%lld", (long long)json_i64(round, "arrivals_count", 0));
    table_cell(table, "%zu", json_array_size(json_object_get(round, "lots")));
    table_cell(table, "%lld", (long long)json_i64(round, "awards_count", 0));
    table_cell(table, "%s", age_format(json_str(round, "frozen_at").at, age));
}

static int round_ls(struct cli *cli, const struct args *args)
{
    static const char *const titles[] = {">ROUND", "KIND",    "STATE", ">ARRIVALS",
                                         ">LOTS",  ">AWARDS", ">AGE",  NULL};
    struct buf path = {.at = NULL};
    buf_add_c(&path, "/v1/rounds");
    if (args_has(args, "--region"))
        query_add(&path, "region", args_text(args, "--region"));
    if (args_has(args, "--class"))
        query_add(&path, "device_class", args_text(args, "--class"));
    if (args_has(args, "--awarded"))
        query_add(&path, "awarded", "true");
    return show_list(cli, &path,
                     &(struct show){.titles = titles,
                                    .row = round_row,
                                    .is_public = !cli->settings.api_key[0],
                                    .items_max = 20});
}

static void usd_cell(struct table *table, const json_t *object, const char *key)
{
    char usd[40];
    bool has_value = json_is_integer(json_object_get(object, key));
    table_cell(table, "%s", has_value ? usd_format(json_i64(object, key, 0), usd) : "-");
}

static void ladder_print(const json_t *ladder)
{
    static const char *const supply_titles[] = {">RANK",  "NODE",       ">ASK",   ">ADDER",
                                                ">SCORE", ">THRESHOLD", ">PRICE", NULL};
    static const char *const demand_titles[] = {"WORKLOAD", ">NET RESERVE", ">WANTED", ">AWARDED",
                                                NULL};
    struct table table;
    size_t i;
    const json_t *row;
    table_start(&table, supply_titles);
    json_array_foreach (json_object_get(ladder, "supply"), i, row) {
        table_cell(&table, "%lld", (long long)json_i64(row, "rank", 0));
        table_cell(&table, "%.*s", STR_ARG(json_str(row, "node_id")));
        usd_cell(&table, row, "ask_uusd_per_hour");
        usd_cell(&table, row, "adder_uusd_per_hour");
        usd_cell(&table, row, "score_uusd_per_hour");
        usd_cell(&table, row, "threshold_uusd_per_hour");
        usd_cell(&table, row, "price_uusd_per_hour");
    }
    table_end(&table);
    table_start(&table, demand_titles);
    json_array_foreach (json_object_get(ladder, "demand"), i, row) {
        table_cell(&table, "%.*s", STR_ARG(json_str(row, "workload_id")));
        usd_cell(&table, row, "net_reserve_uusd_per_hour");
        table_cell(&table, "%lld", (long long)json_i64(row, "wanted", 0));
        table_cell(&table, "%lld", (long long)json_i64(row, "awarded", 0));
    }
    table_end(&table);
}

/* A workload that was cleared by itself, as the auditor sees it. */
static void direct_print(const json_t *direct)
{
    static const char *const titles[] = {"NODE",     "KIND",       ">PRICE", ">ADDER",
                                         ">LATENCY", ">THRESHOLD", ">PAID",  NULL};
    struct table table;
    size_t i;
    const json_t *row;
    char usd[40];
    printf("\n%.*s by itself, x%lld %.*s: %lld wanted at up to %s net\n",
           STR_ARG(json_str(direct, "workload_id")), (long long)json_i64(direct, "block_size", 1),
           STR_ARG(json_str(direct, "tier")), (long long)json_i64(direct, "wanted", 0),
           usd_format(json_i64(direct, "net_reserve_uusd_per_hour", 0), usd));
    table_start(&table, titles);
    json_array_foreach (json_object_get(direct, "candidates"), i, row) {
        table_cell(&table, "%.*s", STR_ARG(json_str(row, "node_id")));
        table_cell(&table, "%.*s", STR_ARG(json_str(row, "kind")));
        usd_cell(&table, row, "price_uusd_per_hour");
        usd_cell(&table, row, "adder_uusd_per_hour");
        usd_cell(&table, row, "latency_uusd_per_hour");
        usd_cell(&table, row, "threshold_uusd_per_hour");
        usd_cell(&table, row, "paid_uusd_per_hour");
    }
    table_end(&table);
}

/* Awards beyond those of lots are of workloads that were cleared by themselves, which the round
 * shows to auditors only: without a word on them they would seem to be missing. */
static void directs_print(const json_t *round, int64_t sold_count)
{
    size_t i;
    const json_t *direct, *list = json_object_get(round, "directs");
    int64_t others_count = json_i64(round, "awards_count", 0) - sold_count;
    json_array_foreach (list, i, direct)
        direct_print(direct);
    if (!list && others_count > 0)
        printf("\nawards of workloads cleared by themselves: %lld; shown with scope audit\n",
               (long long)others_count);
}

static void round_print(const json_t *round)
{
    size_t i;
    int64_t sold_count = 0;
    const json_t *lot;
    printf("round %lld (%.*s, %.*s): %lld arrivals, %lld awards\n",
           (long long)json_i64(round, "round", 0), STR_ARG(json_str(round, "kind")),
           STR_ARG(json_str(round, "state")), (long long)json_i64(round, "arrivals_count", 0),
           (long long)json_i64(round, "awards_count", 0));
    printf("record %.*s\n", STR_ARG(json_str(round, "record_sha256")));
    json_array_foreach (json_object_get(round, "lots"), i, lot) {
        char index[40] = "none";
        if (json_is_integer(json_object_get(lot, "index_uusd_per_hour")))
            usd_format(json_i64(lot, "index_uusd_per_hour", 0), index);
        printf("\n%.*s %.*s x%lld %.*s (%.*s): %lld sold, index %s\n",
               STR_ARG(json_str(lot, "region")), STR_ARG(json_str(lot, "device_class")),
               (long long)json_i64(lot, "block_size", 1), STR_ARG(json_str(lot, "tier")),
               STR_ARG(json_str(lot, "trust")), (long long)json_i64(lot, "sold_count", 0), index);
        const json_t *ladder = json_object_get(lot, "ladder");
        if (ladder)
            ladder_print(ladder);
        sold_count += json_i64(lot, "sold_count", 0);
    }
    directs_print(round, sold_count);
}

/* The number of the last round that awarded something; 0 when there is none. */
static int round_last(struct cli *cli, int64_t *ret_round)
{
    struct reply reply;
    int code = call_api(cli,
                        &(struct call){.path = "/v1/rounds?awarded=true&limit=1",
                                       .is_public = !cli->settings.api_key[0]},
                        &reply);
    const json_t *first = json_array_get(json_object_get(reply.json, "data"), 0);
    *ret_round = json_i64(first, "round", 0);
    if (code == EXIT_OK && !*ret_round && !cli->is_curl)
        fputs("undercut: no round has awarded anything yet\n", stderr);
    reply_finish(&reply);
    return code;
}

static int round_show(struct cli *cli, const struct args *args)
{
    int64_t number;
    if (args->words_count == 0) {
        int code = round_last(cli, &number);
        if (code != EXIT_OK || cli->is_curl || !number)
            return code != EXIT_OK || cli->is_curl ? code : EXIT_NOT_FOUND;
    } else if (!str_to_i64(str_of(args->words[0]), &number)) {
        return fputs("undercut: a round is a number\n", stderr), EXIT_USAGE;
    }
    char path[64];
    must(str_format(path, sizeof path, "/v1/rounds/%lld", (long long)number));
    struct reply reply;
    int code =
        call_api(cli, &(struct call){.path = path, .is_public = !cli->settings.api_key[0]}, &reply);
    if (code == EXIT_OK && cli->is_json)
        printf("%.*s\n", STR_ARG(buf_str(&reply.body)));
    else if (code == EXIT_OK && !cli->is_curl)
        round_print(reply.json);
    reply_finish(&reply);
    return code;
}

static void price_row(struct table *table, const json_t *row)
{
    table_cell(table, "%.*s", STR_ARG(json_str(row, "region")));
    table_cell(table, "%.*s", STR_ARG(json_str(row, "device_class")));
    table_cell(table, "%lld", (long long)json_i64(row, "block_size", 1));
    table_cell(table, "%.*s", STR_ARG(json_str(row, "tier")));
    table_cell(table, "%.*s", STR_ARG(json_str(row, "trust")));
    usd_cell(table, row, "price_uusd_per_hour");
    table_cell(table, "%.*s", STR_ARG(json_str(row, "source")));
}

static int price(struct cli *cli, const struct args *args)
{
    static const char *const titles[] = {"REGION", "CLASS",         ">BLOCK", "TIER",
                                         "TRUST",  ">NET/BLOCK-HR", "FROM",   NULL};
    struct buf path = {.at = NULL};
    buf_add_c(&path, "/v1/prices");
    if (args_has(args, "--region"))
        query_add(&path, "region", args_text(args, "--region"));
    if (args_has(args, "--class"))
        query_add(&path, "device_class", args_text(args, "--class"));
    return show_list(
        cli, &path,
        &(struct show){.titles = titles, .row = price_row, .is_public = true, .is_whole = true});
}

static void class_row(struct table *table, const json_t *class)
{
    table_cell(table, "%.*s", STR_ARG(json_str(class, "class")));
    table_cell(table, "%.*s", STR_ARG(json_str(class, "vendor")));
    table_cell(table, "%lld", (long long)json_i64(class, "vram_mib", 0));
    table_cell(table, "%lld", (long long)json_i64(class, "vcpu_min", 0));
    table_cell(table, "%lld", (long long)json_i64(class, "memory_mib_min", 0));
    usd_cell(table, class, "catalogue_uusd_per_hour");
}

static int class_ls(struct cli *cli, const struct args *args)
{
    (void)args;
    static const char *const titles[] = {"CLASS",       "VENDOR",        ">VRAM MIB", ">VCPU",
                                         ">MEMORY MIB", ">CATALOGUE/HR", NULL};
    struct buf path = {.at = NULL};
    buf_add_c(&path, "/v1/device-classes");
    return show_list(
        cli, &path,
        &(struct show){.titles = titles, .row = class_row, .is_public = true, .is_whole = true});
}

static void region_row(struct table *table, const json_t *region)
{
    table_cell(table, "%.*s", STR_ARG(json_str(region, "region")));
    table_cell(table, "%.*s", STR_ARG(json_str(region, "title")));
    table_cell(table, "%.*s", STR_ARG(json_str(region, "country")));
}

static int region_ls(struct cli *cli, const struct args *args)
{
    (void)args;
    static const char *const titles[] = {"REGION", "TITLE", "COUNTRY", NULL};
    struct buf path = {.at = NULL};
    buf_add_c(&path, "/v1/regions");
    return show_list(
        cli, &path,
        &(struct show){.titles = titles, .row = region_row, .is_public = true, .is_whole = true});
}

static int lots_clear(struct cli *cli, const struct args *args)
{
    (void)cli, (void)args;
    struct buf text = {.at = NULL}, out = {.at = NULL};
    char chunk[65536], why[256];
    size_t got;
    while ((got = fread(chunk, 1, sizeof chunk, stdin)) > 0 && text.len <= LOTS_JSON_TEXT_MAX)
        buf_add(&text, chunk, got);
    bool is_good =
        text.len <= LOTS_JSON_TEXT_MAX && lots_json_clear(buf_str(&text), &out, why, sizeof why);
    if (text.len > LOTS_JSON_TEXT_MAX)
        must(str_format(why, sizeof why, "over %d bytes", LOTS_JSON_TEXT_MAX));
    if (is_good)
        printf("%.*s\n", STR_ARG(buf_str(&out)));
    else
        fprintf(stderr, "undercut: %s\n", why);
    buf_finish(&text);
    buf_finish(&out);
    return is_good ? EXIT_OK : EXIT_USAGE;
}
