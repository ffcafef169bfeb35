/* cmd_workload.c - run, apply, plan, ps, get, logs, stop, wait, events, leases.
 *
 * The happy path is: one call, one table. `run` strings together post, stages, output and the end.
 * Failure modes are: whatever the API refuses (printed by call_api), and for `run` an interrupt
 * (asks once whether to stop it; without an answer it goes on without us) and its deadline
 * (stopped).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/clock.h"
#include "cli/call.h"
#include "cli/explain.h"
#include "cli/manifest.h"
#include "cli/show.h"
#include "cli/table.h"
#include "cli/watch.h"

static command_run run, apply, plan, ps, get, logs, stop, wait_for, events, leases;

static const struct option ps_options[] = {
    {.name = "--all", .letter = 'a', .help = "also those that have ended"},
    {.name = "--label", .letter = 'l', .value = "K=V", .help = "only with this label"},
    {.name = "--quiet", .letter = 'q', .help = "ids alone"},
    {.name = NULL},
};
static const struct option apply_options[] = {
    {.name = "--file",
     .letter = 'f',
     .value = "FILE",
     .help = "manifest in YAML or JSON; - is stdin"},
    {.name = "--name", .value = "NAME", .help = "when the manifest has none"},
    {.name = "--wait", .help = "until it runs"},
    {.name = "--dry-run", .help = "say what would change"},
    {.name = NULL},
};
static const struct option logs_options[] = {
    {.name = "--follow", .letter = 'f', .help = "stay until it has ended"},
    {.name = "--replica", .value = "N", .help = "of one replica only"},
    {.name = NULL},
};
static const struct option wait_options[] = {
    {.name = "--for", .value = "STATE", .help = "running or ended (default)"},
    {.name = "--timeout", .value = "TIME", .help = "give up with exit code 8 (default 10m)"},
    {.name = NULL},
};
static const struct option events_options[] = {
    {.name = "--workload", .value = "ID", .help = "only of this workload"},
    {.name = "--after", .value = "CURSOR", .help = "behind this event; 0 is the beginning"},
    {.name = "--follow", .letter = 'f', .help = "stay and print what comes"},
    {.name = NULL},
};
static const struct option leases_options[] = {
    {.name = "--operator", .help = "leases on our nodes instead of those we pay for"},
    {.name = "--state", .value = "STATE", .help = "awarded, starting, running, closing, closed"},
    {.name = NULL},
};

const struct command commands_workload[] = {
    {"run", "[OPTIONS] IMAGE [-- COMMAND...]", "Run an image: auction, start, output, exit code",
     "  undercut run --gpu rtx-4090 --max 0.40/hr docker.io/library/busybox:1.36 -- nvidia-smi\n"
     "  undercut run --cpu 2 --memory 2048 --max 0.05 --duration 10m alpine -- sh -c 'echo hi'\n"
     "  undercut run -d --gpu rtx-4090 --gpu rtx-3090 --region eu-west --max 0.35 my/image\n",
     manifest_options, run, 1, -1},
    {"apply", "-f FILE", "Make a workload be what the file says; safe to repeat",
     "  undercut apply -f workload.yaml\n  undercut apply -f - --name trainer < workload.json\n",
     apply_options, apply, 0, 0},
    {"plan", "-f FILE", "What apply would change and what it may cost; exit code 10 when anything",
     "  undercut plan -f workload.yaml\n", apply_options, plan, 0, 0},
    {"ps", "[-a]", "List workloads", "  undercut ps -a --label team=ml\n", ps_options, ps, 0, 0},
    {"get", "WORKLOAD", "One workload with its leases", "  undercut get trainer --json\n", NULL,
     get, 1, 1},
    {"logs", "[-f] WORKLOAD", "Output of its containers", "  undercut logs -f trainer\n",
     logs_options, logs, 1, 1},
    {"stop", "WORKLOAD...", "Stop it; the bill stops with it", "  undercut stop trainer\n", NULL,
     stop, 1, -1},
    {"wait", "WORKLOAD", "Wait until it runs or has ended",
     "  undercut wait trainer --for running --timeout 2m\n", wait_options, wait_for, 1, 1},
    {"events", "[-f]", "What happens to workloads, leases and nodes", "  undercut events -f\n",
     events_options, events, 0, 0},
    {"leases", "[WORKLOAD]", "List leases", "  undercut leases trainer\n", leases_options, leases,
     0, 1},
    {.name = NULL},
};

static struct buf workload_path(const char *workload, const char *query)
{
    struct buf path = {.at = NULL};
    buf_add_c(&path, "/v1/workloads/");
    url_add(&path, workload);
    buf_add_c(&path, query);
    buf_add(&path, "", 1);
    return path;
}

static int stop_one(const struct cli *cli, const char *workload)
{
    struct buf path = workload_path(workload, "");
    struct reply reply;
    int code = call_api(cli, &(struct call){.method = "DELETE", .path = path.at}, &reply);
    if (code == EXIT_OK && cli->is_json && reply.body.len)
        printf("%.*s\n", STR_ARG(buf_str(&reply.body)));
    else if (code == EXIT_OK && !cli->is_curl)
        fprintf(stderr, reply.status == 204 ? "%s had ended already\n" : "%s is stopping\n",
                workload);
    reply_finish(&reply);
    buf_finish(&path);
    return code;
}

static int detach(const struct watch *watch)
{
    fprintf(stderr,
            "%s goes on without us. Come back with:\n  undercut logs -f %s\n"
            "  undercut stop %s\n",
            watch->name, watch->name, watch->name);
    return EXIT_INTERRUPTED;
}

/* Ctrl-C: asks once; a second one, or nobody to ask, leaves the workload running. */
static int run_interrupted(struct watch *watch)
{
    char question[128];
    (void)str_format(question, sizeof question, "\nStop %s?", watch->name);
    if (!cli_confirm(watch->cli, question, false))
        return detach(watch);
    int code = stop_one(watch->cli, watch->workload_id);
    if (code == EXIT_OK)
        code = watch_until_ended(watch);
    return code == EXIT_OK ? EXIT_INTERRUPTED : code;
}

static int run_watch(struct watch *watch)
{
    int code = watch_until_running(watch);
    if (code == EXIT_TIMEOUT) {
        watch_stage(watch, "timeout", "not running in time: stopping it");
        int stopped = stop_one(watch->cli, watch->workload_id);
        return stopped == EXIT_OK ? EXIT_TIMEOUT : stopped;
    }
    if (code == EXIT_OK && !watch->cli->is_json)
        code = watch_output(watch->cli, watch->workload_id, watch->replicas > 1 ? -1 : 0, true);
    if (code == EXIT_OK)
        code = watch_until_ended(watch);
    return code == EXIT_INTERRUPTED ? run_interrupted(watch) : code;
}

static int run_dry(const struct cli *cli, struct reply *reply)
{
    char hold[40], wallet[40], price[40];
    if (cli->is_json)
        return printf("%.*s\n", STR_ARG(buf_str(&reply->body))) < 0;
    printf("hold %s of %s in the wallet%s\n",
           usd_format(json_i64(reply->json, "hold_uusd", 0), hold),
           usd_format(json_i64(reply->json, "wallet_uusd", 0), wallet),
           json_bool(reply->json, "is_affordable", false) ? "" : ": NOT ENOUGH");
    struct table table;
    static const char *const columns[] = {"REGION",    "CLASS", ">BLOCK", "TRUST",
                                          ">PRICE/HR", "FROM",  NULL};
    table_start(&table, columns);
    size_t i;
    const json_t *lot;
    json_array_foreach (json_object_get(reply->json, "lots"), i, lot) {
        table_cell(&table, "%.*s", STR_ARG(json_str(lot, "region")));
        table_cell(&table, "%.*s", STR_ARG(json_str(lot, "device_class")));
        table_cell(&table, "%lld", (long long)json_i64(lot, "block_size", 1));
        table_cell(&table, "%.*s", STR_ARG(json_str(lot, "trust")));
        table_cell(&table, "%s", usd_format(json_i64(lot, "price_uusd_per_hour", 0), price));
        table_cell(&table, "%.*s", STR_ARG(json_str(lot, "source")));
    }
    table_end(&table);
    return EXIT_OK;
}

static int run(struct cli *cli, const struct args *args)
{
    struct buf manifest = {.at = NULL};
    char why[256];
    bool is_dry = args_has(args, "--dry-run");
    int64_t timeout_s = 0;
    const char *timeout = args_text(args, "--timeout");
    bool is_good = manifest_of_args(args, &manifest, why);
    if (is_good && timeout && !duration_parse(timeout, &timeout_s))
        is_good = !str_format(why, sizeof why, "--timeout is a time such as 90s or 5m");
    if (!is_good) {
        fprintf(stderr, "undercut: %s\n", why);
        buf_finish(&manifest);
        return EXIT_USAGE;
    }
    struct reply reply;
    int64_t before_ms = clock_mono_ms();
    int code =
        call_api(cli,
                 &(struct call){.method = "POST",
                                .body = buf_str(&manifest),
                                .path = is_dry ? "/v1/workloads?dry_run=true" : "/v1/workloads"},
                 &reply);
    struct watch watch;
    if (code == EXIT_OK && !cli->is_curl && is_dry) {
        code = run_dry(cli, &reply);
    } else if (code == EXIT_OK && !cli->is_curl && args_has(args, "--detach")) {
        struct str id = json_str(reply.json, "workload_id");
        printf("%.*s\n", STR_ARG(cli->is_json ? buf_str(&reply.body) : id));
    } else if (code == EXIT_OK && !cli->is_curl) {
        char hold[40];
        watch_start(&watch, cli, reply.json);
        watch.started_mono_ms = before_ms;
        watch.give_up_mono_ms = timeout_s ? before_ms + 1000 * timeout_s : 0;
        watch_stage(&watch, "posted", "%s (%s), %s held", watch.name, watch.workload_id,
                    usd_format(json_i64(reply.json, "escrow_uusd", 0), hold));
        code = run_watch(&watch);
    }
    reply_finish(&reply);
    buf_finish(&manifest);
    return code;
}

static int apply_file(struct cli *cli, const struct args *args, bool is_dry, bool is_plan)
{
    const char *path = args_text(args, "--file"), *name = args_text(args, "--name");
    struct manifest_file file;
    char why[256];
    if (!path)
        return fputs("undercut: say -f FILE\n", stderr), EXIT_USAGE;
    if (!manifest_read(path, &file, why)) {
        fprintf(stderr, "undercut: %s: %s\n", path, why);
        return buf_finish(&file.text), EXIT_USAGE;
    }
    if (!name)
        name = file.name;
    if (!*name) {
        fprintf(stderr, "undercut: %s has no name: say --name NAME\n", path);
        return buf_finish(&file.text), EXIT_USAGE;
    }
    struct buf url =
        workload_path(name, is_dry                     ? "?dry_run=true"
                            : args_has(args, "--wait") ? "?wait_for=running&timeout_s=120"
                                                       : "");
    struct reply reply;
    int code = call_api(cli,
                        &(struct call){.method = "PUT",
                                       .path = url.at,
                                       .timeout_ms = 140000,
                                       .body = buf_str(&file.text),
                                       .content_type = file.is_yaml ? "application/yaml" : NULL},
                        &reply);
    if (code == EXIT_OK && !cli->is_curl) {
        struct str change = json_str(reply.json, "change");
        bool is_same = str_equal_c(change, "none");
        struct str state = json_str(json_object_get(reply.json, "workload"), "state");
        if (cli->is_json)
            printf("%.*s\n", STR_ARG(buf_str(&reply.body)));
        else
            printf("%s: %s%.*s%s%.*s\n", name, is_dry && !is_same ? "would be " : "",
                   STR_ARG(is_same ? STR("unchanged") : change), state.at ? ", " : "",
                   STR_ARG(state));
        if (is_plan && !cli->is_json)
            explain_print(json_object_get(json_object_get(reply.json, "dry_run"), "explain"));
        if (is_plan && !is_same)
            code = EXIT_CHANGES;
    }
    reply_finish(&reply);
    buf_finish(&url);
    buf_finish(&file.text);
    return code;
}

static int apply(struct cli *cli, const struct args *args)
{
    return apply_file(cli, args, args_has(args, "--dry-run"), false);
}

static int plan(struct cli *cli, const struct args *args)
{
    return apply_file(cli, args, true, true);
}

/* "running", or "running, out in 25s" for what has its notice. */
static void state_cell(struct table *table, const json_t *object)
{
    char left[16];
    const char *interrupt_at = json_str(object, "interrupt_at").at;
    bool is_leaving = interrupt_at && !json_str(object, "closed_at").at;
    table_cell(table, "%.*s%s%s", STR_ARG(json_str(object, "state")), is_leaving ? ", out in " : "",
               is_leaving ? left_format(interrupt_at, left) : "");
}

static void workload_row(struct table *table, const json_t *w)
{
    char price[40], spent[40], age[16];
    table_cell(table, "%.*s", STR_ARG(json_str(w, "name")));
    state_cell(table, w);
    table_cell(table, "%lld/%lld", (long long)json_i64(w, "replicas_running", 0),
               (long long)json_i64(w, "replicas", 0));
    table_cell(table, "%.*s", STR_ARG(json_str(w, "status_reason")));
    table_cell(table, "%s", usd_format(json_i64(w, "reserve_uusd_per_hour", 0), price));
    table_cell(table, "%s", usd_format(json_i64(w, "spent_uusd", 0), spent));
    table_cell(table, "%s", age_format(json_str(w, "created_at").at, age));
    table_cell(table, "%.*s", STR_ARG(json_str(w, "image")));
}

static const struct show workload_show = {
    .titles = (const char *const[]){"NAME", "STATE", ">RUNNING", "REASON", ">MAX/HR", ">SPENT",
                                    ">AGE", "IMAGE", NULL},
    .row = workload_row,
};

static bool is_live(const json_t *workload)
{
    return !json_bool(workload, "terminal", false);
}

static int ps(struct cli *cli, const struct args *args)
{
    struct buf path = {.at = NULL};
    buf_add_c(&path, "/v1/workloads");
    if (args_has(args, "--label"))
        query_add(&path, "label", args_text(args, "--label"));
    struct show show = workload_show;
    show.is_wanted = args_has(args, "--all") ? NULL : is_live;
    show.id_key = args_has(args, "--quiet") ? "workload_id" : NULL;
    return show_list(cli, &path, &show);
}

/* With the fee for who pays, without it for who earns: the API names them gross and net. */
static void lease_cells(struct table *table, const json_t *l, bool is_operator)
{
    char price[40], sum[40];
    int64_t ms = json_i64(l, "billed_ms", 0);
    const char *price_key = is_operator ? "price_uusd_per_hour" : "gross_uusd_per_hour";
    table_cell(table, "%.*s", STR_ARG(json_str(l, "lease_id")));
    table_cell(table, "%lld", (long long)json_i64(l, "replica_index", 0));
    state_cell(table, l);
    table_cell(table, "%.*s", STR_ARG(json_str(l, "close_reason")));
    table_cell(table, "%.*s", STR_ARG(json_str(l, "region")));
    table_cell(table, "%.*s%s", STR_ARG(json_str(l, "device_class")),
               json_bool(l, "is_simulated", false) ? " (simulated)" : "");
    table_cell(table, "%s", usd_format(json_i64(l, price_key, 0), price));
    table_cell(table, "%lld.%01llds", (long long)(ms / 1000), (long long)(ms % 1000 / 100));
    table_cell(table, "%s",
               usd_format(json_i64(l, is_operator ? "net_uusd" : "gross_uusd", 0), sum));
    if (json_is_integer(json_object_get(l, "exit_code")))
        table_cell(table, "%lld", (long long)json_i64(l, "exit_code", 0));
    else
        table_cell(table, "%s", "");
}

static void lease_row(struct table *table, const json_t *lease)
{
    lease_cells(table, lease, false);
}

static void lease_row_of_operator(struct table *table, const json_t *lease)
{
    lease_cells(table, lease, true);
}

static const struct show lease_show = {
    .titles = (const char *const[]){"LEASE", ">REPLICA", "STATE", "REASON", "REGION", "CLASS",
                                    ">PRICE/HR", ">BILLED", ">COST", ">EXIT", NULL},
    .row = lease_row,
};

static const struct show operator_show = {
    .titles = (const char *const[]){"LEASE", ">REPLICA", "STATE", "REASON", "REGION", "CLASS",
                                    ">NET/HR", ">BILLED", ">EARNED", ">EXIT", NULL},
    .row = lease_row_of_operator,
};

static int get(struct cli *cli, const struct args *args)
{
    struct buf path = workload_path(args->words[0], "?expand=leases");
    struct reply reply;
    int code = call_api(cli, &(struct call){.path = path.at}, &reply);
    if (code == EXIT_OK && cli->is_json) {
        printf("%.*s\n", STR_ARG(buf_str(&reply.body)));
    } else if (code == EXIT_OK && !cli->is_curl) {
        struct table table;
        table_start(&table, workload_show.titles);
        workload_row(&table, reply.json);
        table_end(&table);
        size_t i;
        const json_t *lease, *all = json_object_get(reply.json, "leases");
        if (json_array_size(all)) {
            putchar('\n');
            table_start(&table, lease_show.titles);
            json_array_foreach (all, i, lease)
                lease_row(&table, lease);
            table_end(&table);
        }
    }
    reply_finish(&reply);
    buf_finish(&path);
    return code;
}

static int logs(struct cli *cli, const struct args *args)
{
    int64_t replica = -2; /* all, without saying which */
    const char *wanted = args_text(args, "--replica");
    if (wanted && (!str_to_i64(str_of(wanted), &replica) || replica < 0))
        return fputs("undercut: --replica is a number from 0\n", stderr), EXIT_USAGE;
    return watch_output(cli, args->words[0], replica, args_has(args, "--follow"));
}

static int stop(struct cli *cli, const struct args *args)
{
    int worst = EXIT_OK;
    for (int i = 0; i < args->words_count; i++) {
        int code = stop_one(cli, args->words[i]);
        worst = code != EXIT_OK ? code : worst;
    }
    return worst;
}

static int wait_for(struct cli *cli, const struct args *args)
{
    const char *state = args_text(args, "--for"), *timeout = args_text(args, "--timeout");
    int64_t timeout_s = 600;
    if (!state)
        state = "ended";
    if (timeout && !duration_parse(timeout, &timeout_s))
        return fputs("undercut: --timeout: not a time\n", stderr), EXIT_USAGE;
    int64_t deadline_ms = clock_mono_ms() + 1000 * timeout_s;
    for (;;) {
        int64_t left_ms = deadline_ms - clock_mono_ms();
        if (left_ms <= 0)
            return EXIT_TIMEOUT;
        char query[80];
        (void)str_format(query, sizeof query, "?wait_for=%s&timeout_s=%d", state,
                         (int)(left_ms > 60000 ? 60 : left_ms / 1000 + 1));
        struct buf path = workload_path(args->words[0], query);
        struct reply reply;
        int code = call_api(cli, &(struct call){.path = path.at, .timeout_ms = 90000}, &reply);
        bool is_terminal = json_bool(reply.json, "terminal", false);
        bool is_running = str_equal_c(json_str(reply.json, "state"), "running");
        bool is_done = code != EXIT_OK || cli->is_curl || is_terminal ||
                       (is_running && !strcmp(state, "running"));
        if (is_done && code == EXIT_OK && cli->is_json && !cli->is_curl)
            printf("%.*s\n", STR_ARG(buf_str(&reply.body)));
        if (is_terminal && str_equal_c(json_str(reply.json, "state"), "failed"))
            code = exit_of_slug(json_str(reply.json, "status_reason"));
        reply_finish(&reply);
        buf_finish(&path);
        if (is_done)
            return code;
    }
}

static void event_print(const struct cli *cli, const json_t *event)
{
    char *text = json_dumps(cli->is_json ? event : json_object_get(event, "data"), JSON_COMPACT);
    must(text != NULL);
    if (!cli->is_json)
        printf("%.*s  %-20.*s ", STR_ARG(json_str(event, "at")), STR_ARG(json_str(event, "kind")));
    print_clean(str_of(text));
    putchar('\n');
    free(text);
}

static int events(struct cli *cli, const struct args *args)
{
    char after[128] = "0";
    bool is_following = args_has(args, "--follow");
    if (args_has(args, "--after"))
        (void)str_format(after, sizeof after, "%s", args_text(args, "--after"));
    for (;;) {
        struct buf path = {.at = NULL};
        buf_add_c(&path, "/v1/events");
        query_add(&path, "after", after);
        query_add(&path, "wait_s", is_following ? "25" : "0");
        if (args_has(args, "--workload"))
            query_add(&path, "workload_id", args_text(args, "--workload"));
        buf_add(&path, "", 1);
        struct reply reply;
        int code = call_api(cli, &(struct call){.path = path.at}, &reply);
        const json_t *event, *data = json_object_get(reply.json, "data");
        size_t i, count = json_array_size(data);
        json_array_foreach (data, i, event)
            event_print(cli, event);
        fflush(stdout);
        struct str next = json_str(reply.json, "next_after");
        if (next.at)
            (void)str_format(after, sizeof after, "%.*s", STR_ARG(next));
        reply_finish(&reply);
        buf_finish(&path);
        if (code != EXIT_OK || cli->is_curl || (!is_following && count == 0))
            return code;
    }
}

static int leases(struct cli *cli, const struct args *args)
{
    struct buf path = {.at = NULL};
    char id[64];
    if (args->words_count == 1) { /* the filter takes ids, people give names */
        struct buf one = workload_path(args->words[0], "");
        struct reply reply;
        struct cli quiet = *cli;
        quiet.is_curl = false;
        int code = call_api(&quiet, &(struct call){.path = one.at}, &reply);
        (void)str_format(id, sizeof id, "%.*s", STR_ARG(json_str(reply.json, "workload_id")));
        reply_finish(&reply);
        buf_finish(&one);
        if (code != EXIT_OK)
            return code;
    }
    buf_add_c(&path, "/v1/leases");
    if (args->words_count == 1)
        query_add(&path, "workload_id", id);
    if (args_has(args, "--operator"))
        query_add(&path, "role", "operator");
    if (args_has(args, "--state"))
        query_add(&path, "state", args_text(args, "--state"));
    return show_list(cli, &path, args_has(args, "--operator") ? &operator_show : &lease_show);
}
