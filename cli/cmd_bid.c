/* cmd_bid.c - direct bids: what a node may bid on, placing, changing, withdrawing, one's own. */
#include <stdio.h>

#include "cli/call.h"
#include "cli/show.h"

static command_run bid_open, bid_ls, bid_place, bid_rm;

static const struct option place_options[] = {
    {.name = "--node", .value = "NODE", .help = "the node whose block it commits"},
    {.name = "--price", .value = "USD/hr", .help = "for the whole block, fee not included"},
    {.name = NULL},
};
static const struct option rm_options[] = {
    {.name = "--node", .value = "NODE", .help = "the node that bid"},
    {.name = NULL},
};

const struct command commands_bid[] = {
    {"bid open", "NODE", "Workloads that a node may bid on", "  undercut bid open node_01j...\n",
     NULL, bid_open, 1, 1},
    {"bid ls", "", "Your direct bids", "  undercut bid ls\n", NULL, bid_ls, 0, 0},
    {"bid place", "WORKLOAD", "Bid a sealed price on a workload, or change it; commits a block",
     "  undercut bid place wl_01j... --node node_01j... --price 0.31/hr\n", place_options,
     bid_place, 1, 1},
    {"bid rm", "WORKLOAD", "Withdraw a bid; the block returns to its lots",
     "  undercut bid rm wl_01j... --node node_01j...\n", rm_options, bid_rm, 1, 1},
    {.name = NULL},
};

static void open_row(struct table *table, const json_t *workload)
{
    char usd[40];
    int64_t bid = json_i64(workload, "bid_uusd_per_hour", -1);
    table_cell(table, "%.*s", STR_ARG(json_str(workload, "workload_id")));
    table_cell(table, "%.*s", STR_ARG(json_str(workload, "device_class")));
    table_cell(table, "%lld", (long long)json_i64(workload, "block_size", 0));
    table_cell(table, "%lld", (long long)json_i64(workload, "wanted", 0));
    table_cell(table, "%.*s", STR_ARG(json_str(workload, "tier")));
    table_cell(table, "%lld", (long long)json_i64(workload, "memory_mib", 0));
    table_cell(table, "%lld", (long long)json_i64(workload, "max_duration_s", 0));
    table_cell(table, "%s", bid < 0 ? "" : usd_format(bid, usd));
}

static int bid_open(struct cli *cli, const struct args *args)
{
    static const char *const titles[] = {"WORKLOAD", "CLASS",        ">DEVICES",  ">WANTED", "TIER",
                                         ">MEMORY",  ">SECONDS MAX", ">YOUR BID", NULL};
    struct buf path = {.at = NULL};
    buf_add_c(&path, "/v1/nodes/");
    url_add(&path, args->words[0]);
    buf_add_c(&path, "/direct-workloads");
    return show_list(cli, &path,
                     &(struct show){.titles = titles, .row = open_row, .is_whole = true});
}

static void bid_row(struct table *table, const json_t *bid)
{
    char usd[40], age[16];
    table_cell(table, "%.*s", STR_ARG(json_str(bid, "workload_id")));
    table_cell(table, "%.*s", STR_ARG(json_str(bid, "node_id")));
    table_cell(table, "%s", usd_format(json_i64(bid, "price_uusd_per_hour", 0), usd));
    table_cell(table, "%.*s", STR_ARG(json_str(bid, "state")));
    table_cell(table, "%s", age_format(json_str(bid, "updated_at").at, age));
}

static int bid_ls(struct cli *cli, const struct args *args)
{
    (void)args;
    static const char *const titles[] = {"WORKLOAD", "NODE", ">USD/HR", "STATE", ">CHANGED", NULL};
    struct buf path = {.at = NULL};
    buf_add_c(&path, "/v1/bids");
    return show_list(cli, &path, &(struct show){.titles = titles, .row = bid_row});
}

/* "/v1/nodes/NODE/bids/WORKLOAD"; false when no node was named. */
static bool bid_path(const struct args *args, struct buf *to)
{
    const char *node = args_text(args, "--node");
    if (node == NULL) {
        fputs("undercut: which node? say --node NODE; `undercut node ls` lists yours\n", stderr);
        return false;
    }
    buf_add_c(to, "/v1/nodes/");
    url_add(to, node);
    buf_add_c(to, "/bids/");
    url_add(to, args->words[0]);
    buf_add(to, "", 1);
    return true;
}

static int bid_send(struct cli *cli, const struct call *call, const char *said)
{
    struct reply reply;
    int code = call_api(cli, call, &reply);
    if (code == EXIT_OK && !cli->is_curl) {
        if (cli->is_json && reply.body.len)
            printf("%.*s\n", STR_ARG(buf_str(&reply.body)));
        else
            fprintf(stderr, "%s\n", said);
    }
    reply_finish(&reply);
    return code;
}

static int bid_place(struct cli *cli, const struct args *args)
{
    int64_t uusd;
    const char *price = args_text(args, "--price");
    if (price == NULL || !price_parse(price, &uusd)) {
        fputs("undercut: at which price? say --price USD/hr, for the whole block\n", stderr);
        return EXIT_USAGE;
    }
    struct buf body = {.at = NULL}, path = {.at = NULL};
    buf_add_format(&body, "{\"price_uusd_per_hour\":%lld}", (long long)uusd);
    const struct call call = {.method = "PUT", .body = buf_str(&body)};
    int code = EXIT_USAGE;
    if (bid_path(args, &path)) {
        struct call placed = call;
        placed.path = path.at;
        code = bid_send(cli, &placed, "counts from the next round on; its block is committed");
    }
    buf_finish(&body);
    buf_finish(&path);
    return code;
}

static int bid_rm(struct cli *cli, const struct args *args)
{
    struct buf path = {.at = NULL};
    int code = EXIT_USAGE;
    if (bid_path(args, &path))
        code = bid_send(cli, &(struct call){.method = "DELETE", .path = path.at}, "withdrawn");
    buf_finish(&path);
    return code;
}
