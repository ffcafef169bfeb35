/* cmd_account.c - login, balance, ledger, key, token, admin, doctor.
 *
 * The happy path is: one call, one table. `login` stores what it has checked. `admin check` and
 * `admin make-key` need the database rather than the API: undercut-migrate and undercutd do them.
 * Failure modes are: what the API refuses, and a config file that cannot be written.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "broker/base/clock.h"
#include "cli/call.h"
#include "cli/show.h"

static command_run login, balance, ledger, key_ls, key_create, key_rm, token;
static command_run admin_credit, admin_check, admin_make_key, doctor;

static const struct option login_options[] = {
    {.name = "--new", .value = "NAME", .help = "open an account and use its first key"},
    {.name = "--email", .value = "ADDRESS", .help = "with --new"},
    {.name = "--test", .help = "with --new: a test account, which may use simulated hardware"},
    {.name = NULL},
};
static const struct option key_options[] = {
    {.name = "--scopes",
     .value = "A,B",
     .help = "of the new key (default workloads:read,workloads:write)"},
    {.name = "--expires", .value = "TIME", .help = "good for so long (default for ever)"},
    {.name = NULL},
};
static const struct option token_options[] = {
    {.name = "--scopes", .value = "A,B", .help = "fewer than the key's own"},
    {.name = "--ttl", .value = "TIME", .help = "at most 10m"},
    {.name = NULL},
};
static const struct option credit_options[] = {
    {.name = "--memo", .value = "TEXT", .help = "why"},
    {.name = NULL},
};
static const struct option database_options[] = {
    {.name = "--database", .value = "CONNINFO", .help = "else UNDERCUT_DATABASE_URL"},
    {.name = NULL},
};

const struct command commands_account[] = {
    {"login", "[--new NAME]", "Store an API key (asked for, or from stdin) after checking it",
     "  undercut login --url https://broker.example\n  undercut login --new \"Ada's lab\"\n"
     "  echo \"$KEY\" | undercut login --context ci\n",
     login_options, login, 0, 0},
    {"balance", "", "Wallet, escrow, burn and run-way", "  undercut balance\n", NULL, balance, 0,
     0},
    {"ledger", "", "Your ledger entries, newest first", "  undercut ledger\n", NULL, ledger, 0, 0},
    {"key ls", "", "API keys, without their secrets", "  undercut key ls\n", NULL, key_ls, 0, 0},
    {"key create", "NAME", "Create an API key; its secret is printed once",
     "  undercut key create ci --scopes workloads:read,workloads:write --expires 90d\n",
     key_options, key_create, 1, 1},
    {"key rm", "KEY", "Revoke an API key; its tokens work up to 10 min more",
     "  undercut key rm key_01j...\n", NULL, key_rm, 1, 1},
    {"token", "", "Exchange the key for a short-lived token", "  undercut token --ttl 5m\n",
     token_options, token, 0, 0},
    {"admin credit", "ACCOUNT USD", "Credit an account (scope admin)",
     "  undercut admin credit acct_01j... 25.00 --memo 'welcome'\n", credit_options, admin_credit,
     2, 2},
    {"admin check", "", "Violated invariants of the database, if any", "  undercut admin check\n",
     database_options, admin_check, 0, 0},
    {"admin make-key", "", "An operator's key with every scope, straight from the database",
     "  undercut admin make-key --database dbname=undercut\n", database_options, admin_make_key, 0,
     0},
    {"doctor", "", "Check the way to the broker: address, clock, key, scopes",
     "  undercut doctor\n", NULL, doctor, 0, 0},
    {.name = NULL},
};

static void scopes_put(struct json_out *out, const char *scopes)
{
    struct str rest = str_of(scopes);
    json_array_open(out, "scopes");
    while (rest.at)
        json_put_str(out, NULL, str_trim(str_cut(&rest, ',')));
    json_array_close(out);
}

/* Reads one line from stdin; on a terminal without echo. */
static bool secret_read(const char *question, char *to, size_t size)
{
    struct termios before;
    bool has_terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &before) == 0;
    if (has_terminal) {
        struct termios silent = before;
        silent.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
        fputs(question, stderr);
    }
    bool is_good = fgets(to, (int)size, stdin) != NULL;
    if (has_terminal) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
        fputc('\n', stderr);
    }
    if (is_good)
        to[strcspn(to, "\r\n")] = '\0';
    return is_good && to[0];
}

static int account_open(struct cli *cli, const struct args *args)
{
    struct buf body = {.at = NULL};
    struct json_out out;
    json_out_start(&out, &body);
    json_object_open(&out, NULL);
    json_put_c(&out, "name", args_text(args, "--new"));
    if (args_has(args, "--email"))
        json_put_c(&out, "email", args_text(args, "--email"));
    if (args_has(args, "--test"))
        json_put_c(&out, "mode", "test");
    json_object_close(&out);
    struct reply reply;
    int code = call_api(
        cli,
        &(struct call){
            .method = "POST", .path = "/v1/accounts", .body = buf_str(&body), .is_public = true},
        &reply);
    struct str secret = json_str(json_object_get(reply.json, "api_key"), "secret");
    if (code == EXIT_OK && !cli->is_curl)
        must(str_format(cli->settings.api_key, sizeof cli->settings.api_key, "%.*s",
                        STR_ARG(secret)));
    reply_finish(&reply);
    buf_finish(&body);
    return code;
}

static int login(struct cli *cli, const struct args *args)
{
    int code = EXIT_OK;
    if (args_has(args, "--new"))
        code = account_open(cli, args);
    else if (!cli->is_curl &&
             !secret_read("API key: ", cli->settings.api_key, sizeof cli->settings.api_key))
        return fputs("undercut: no key given: pipe one in, or open an account with --new NAME\n",
                     stderr),
               EXIT_USAGE;
    if (code != EXIT_OK || (cli->is_curl && args_has(args, "--new")))
        return code;
    struct reply reply;
    code = call_api(cli, &(struct call){.path = "/v1/account"}, &reply);
    char why[256];
    if (code == EXIT_OK && !cli->is_curl) {
        if (!settings_store(&cli->settings, why)) {
            fprintf(stderr, "undercut: %s\n", why);
            code = EXIT_GENERIC;
        } else if (cli->is_json) {
            printf("%.*s\n", STR_ARG(buf_str(&reply.body)));
        } else {
            printf("%.*s\n", STR_ARG(json_str(reply.json, "account_id")));
            fprintf(stderr, "logged in as %.*s at %s; key stored in %s (context %s)\n",
                    STR_ARG(json_str(reply.json, "name")), cli->settings.url, cli->settings.path,
                    cli->settings.current);
        }
    }
    reply_finish(&reply);
    return code;
}

static int balance(struct cli *cli, const struct args *args)
{
    (void)args;
    static const struct {
        const char *key, *title;
    } rows[] = {{"wallet_uusd", "wallet"},
                {"escrow_uusd", "held in escrow"},
                {"payable_uusd", "earned, not paid out"},
                {"bond_uusd", "bond"},
                {"burn_uusd_per_hour", "burning per hour"}};
    struct reply reply;
    int code = call_api(cli, &(struct call){.path = "/v1/balance"}, &reply);
    if (code == EXIT_OK && cli->is_json) {
        printf("%.*s\n", STR_ARG(buf_str(&reply.body)));
    } else if (code == EXIT_OK && !cli->is_curl) {
        char usd[40];
        for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
            printf("%-22s %14s\n", rows[i].title,
                   usd_format(json_i64(reply.json, rows[i].key, 0), usd));
        int64_t runway_s = json_i64(reply.json, "runway_s", -1);
        if (runway_s >= 0)
            printf("%-22s %8lldh %02lldm\n", "run-way", (long long)(runway_s / 3600),
                   (long long)(runway_s / 60 % 60));
    }
    reply_finish(&reply);
    return code;
}

static void entry_row(struct table *table, const json_t *entry)
{
    char usd[40];
    table_cell(table, "%.*s", STR_ARG(json_str(entry, "created_at")));
    table_cell(table, "%lld", (long long)json_i64(entry, "journal_id", 0));
    table_cell(table, "%.*s", STR_ARG(json_str(entry, "kind")));
    table_cell(table, "%.*s", STR_ARG(json_str(entry, "ledger_account")));
    table_cell(table, "%s", usd_format(json_i64(entry, "amount_uusd", 0), usd));
    table_cell(table, "%.*s", STR_ARG(json_str(entry, "memo")));
}

static int ledger(struct cli *cli, const struct args *args)
{
    (void)args;
    static const char *const titles[] = {"AT",      ">JOURNAL", "KIND", "ACCOUNT",
                                         ">AMOUNT", "MEMO",     NULL};
    struct buf path = {.at = NULL};
    buf_add_c(&path, "/v1/ledger/entries");
    return show_list(cli, &path, &(struct show){.titles = titles, .row = entry_row});
}

static void key_row(struct table *table, const json_t *key)
{
    char age[16], scopes[256] = "";
    size_t i;
    const json_t *scope;
    json_array_foreach (json_object_get(key, "scopes"), i, scope) {
        size_t len = strlen(scopes);
        (void)str_format(scopes + len, sizeof scopes - len, "%s%s", i ? "," : "",
                         json_string_value(scope));
    }
    bool is_revoked = json_is_string(json_object_get(key, "revoked_at"));
    table_cell(table, "%.*s", STR_ARG(json_str(key, "key_id")));
    table_cell(table, "%.*s", STR_ARG(json_str(key, "name")));
    table_cell(table, "%s", is_revoked ? "revoked" : "good");
    table_cell(table, "%.*s", STR_ARG(json_str(key, "expires_at")));
    table_cell(table, "%s", age_format(json_str(key, "created_at").at, age));
    table_cell(table, "%s", scopes);
}

static int key_ls(struct cli *cli, const struct args *args)
{
    (void)args;
    static const char *const titles[] = {"KEY", "NAME", "STATE", "EXPIRES", ">AGE", "SCOPES", NULL};
    struct buf path = {.at = NULL};
    buf_add_c(&path, "/v1/api-keys");
    return show_list(cli, &path, &(struct show){.titles = titles, .row = key_row});
}

/* POST whose answer holds a secret under `key`: it alone goes to stdout. */
static int secret_make(struct cli *cli, const char *path, const struct buf *body, const char *key)
{
    struct reply reply;
    int code = call_api(cli, &(struct call){.method = "POST", .path = path, .body = buf_str(body)},
                        &reply);
    if (code == EXIT_OK && !cli->is_curl)
        printf("%.*s\n", STR_ARG(cli->is_json ? buf_str(&reply.body) : json_str(reply.json, key)));
    reply_finish(&reply);
    return code;
}

static int key_create(struct cli *cli, const struct args *args)
{
    const char *scopes = args_text(args, "--scopes"), *expires = args_text(args, "--expires");
    int64_t expires_s;
    struct buf body = {.at = NULL};
    struct json_out out;
    json_out_start(&out, &body);
    json_object_open(&out, NULL);
    json_put_c(&out, "name", args->words[0]);
    scopes_put(&out, scopes ? scopes : "workloads:read,workloads:write");
    if (expires && duration_parse(expires, &expires_s))
        json_put_i64(&out, "expires_in_s", expires_s);
    else if (expires)
        return buf_finish(&body), fputs("undercut: --expires: not a time\n", stderr), EXIT_USAGE;
    json_object_close(&out);
    int code = secret_make(cli, "/v1/api-keys", &body, "secret");
    buf_finish(&body);
    return code;
}

static int key_rm(struct cli *cli, const struct args *args)
{
    struct buf path = {.at = NULL};
    buf_add_c(&path, "/v1/api-keys/");
    url_add(&path, args->words[0]);
    buf_add(&path, "", 1);
    struct reply reply;
    int code = call_api(cli, &(struct call){.method = "DELETE", .path = path.at}, &reply);
    if (code == EXIT_OK && !cli->is_curl)
        fputs("revoked within 10 s; tokens made from it work until they expire, 10 min at most\n",
              stderr);
    reply_finish(&reply);
    buf_finish(&path);
    return code;
}

static int token(struct cli *cli, const struct args *args)
{
    const char *scopes = args_text(args, "--scopes"), *ttl = args_text(args, "--ttl");
    int64_t ttl_s;
    struct buf body = {.at = NULL};
    struct json_out out;
    json_out_start(&out, &body);
    json_object_open(&out, NULL);
    if (scopes)
        scopes_put(&out, scopes);
    if (ttl && duration_parse(ttl, &ttl_s))
        json_put_i64(&out, "ttl_s", ttl_s);
    else if (ttl)
        return buf_finish(&body), fputs("undercut: --ttl: not a time\n", stderr), EXIT_USAGE;
    json_object_close(&out);
    int code = secret_make(cli, "/v1/tokens", &body, "access_token");
    buf_finish(&body);
    return code;
}

static int admin_credit(struct cli *cli, const struct args *args)
{
    int64_t uusd;
    char usd[40];
    if (!price_parse(args->words[1], &uusd) || strchr(args->words[1], '/')) {
        fprintf(stderr, "undercut: '%s' is not an amount\n", args->words[1]);
        return EXIT_USAGE;
    }
    struct buf body = {.at = NULL};
    struct json_out out;
    json_out_start(&out, &body);
    json_object_open(&out, NULL);
    json_put_c(&out, "account_id", args->words[0]);
    json_put_i64(&out, "amount_uusd", uusd);
    if (args_has(args, "--memo"))
        json_put_c(&out, "memo", args_text(args, "--memo"));
    json_object_close(&out);
    struct reply reply;
    int code = call_api(
        cli, &(struct call){.method = "POST", .path = "/v1/admin/credits", .body = buf_str(&body)},
        &reply);
    if (code == EXIT_OK && cli->is_json)
        printf("%.*s\n", STR_ARG(buf_str(&reply.body)));
    else if (code == EXIT_OK && !cli->is_curl)
        printf("journal %lld: %s to %s\n", (long long)json_i64(reply.json, "journal_id", 0),
               usd_format(uusd, usd), args->words[0]);
    reply_finish(&reply);
    buf_finish(&body);
    return code;
}

/* `program` lies beside this one, or in PATH. */
static int sibling_exec(const struct args *args, const char *program, const char *word)
{
    char path[4096], self[4096];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    self[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(self, '/');
    bool has_sibling =
        slash && str_format(path, sizeof path, "%.*s/%s", (int)(slash - self), self, program) &&
        access(path, X_OK) == 0;
    const char *database = args_text(args, "--database");
    if (database)
        setenv("UNDERCUT_DATABASE_URL", database, 1);
    execlp(has_sibling ? path : program, program, word, (char *)NULL);
    fprintf(stderr, "undercut: %s: %s\n", program, strerror(errno));
    return EXIT_GENERIC;
}

static int admin_check(struct cli *cli, const struct args *args)
{
    (void)cli;
    return sibling_exec(args, "undercut-migrate", "check");
}

static int admin_make_key(struct cli *cli, const struct args *args)
{
    (void)cli;
    return sibling_exec(args, "undercutd", "--make-admin-key");
}

static bool doctor_say(bool is_good, const char *what, const char *advice)
{
    printf("%-4s %s\n", is_good ? "ok" : "BAD", what);
    if (!is_good)
        printf("     %s\n", advice);
    return is_good;
}

static int doctor(struct cli *cli, const struct args *args)
{
    (void)args;
    struct reply reply;
    char text[256];
    int64_t before_us = clock_mono_us();
    int code = call_api(cli, &(struct call){.path = "/readyz", .is_public = true, .is_quiet = true},
                        &reply);
    if (cli->is_curl)
        return code;
    int64_t round_trip_us = clock_mono_us() - before_us;
    (void)str_format(text, sizeof text, "broker at %s answers in %lld.%lld ms", cli->settings.url,
                     (long long)(round_trip_us / 1000), (long long)(round_trip_us % 1000 / 100));
    bool is_good =
        doctor_say(reply.status != 0, text, "Check the URL (--url, UNDERCUT_URL) and the network.");
    if (is_good)
        is_good &= doctor_say(code == EXIT_OK, "broker is ready",
                              "Its database is down; it will come back by itself.");
    reply_finish(&reply);
    is_good &=
        doctor_say(cli->settings.api_key[0] != '\0', "an API key is set", "Run `undercut login`.");
    if (!is_good)
        return EXIT_GENERIC;
    code = call_api(cli, &(struct call){.path = "/v1/account", .is_quiet = true}, &reply);
    (void)str_format(text, sizeof text, "the key belongs to %.*s",
                     STR_ARG(json_str(reply.json, code == EXIT_OK ? "name" : "code")));
    is_good &= doctor_say(code == EXIT_OK, text, "Run `undercut login` with a key that is good.");
    reply_finish(&reply);
    static const char *const reads[] = {"/v1/workloads?limit=1", "/v1/balance",
                                        "/v1/nodes?limit=1"};
    static const char *const scopes[] = {"workloads:read", "money:read", "nodes:read"};
    for (size_t i = 0; i < ARRAY_COUNT(reads); i++) {
        code = call_api(cli, &(struct call){.path = reads[i], .is_quiet = true}, &reply);
        (void)str_format(text, sizeof text, "the key has scope %s", scopes[i]);
        is_good &= doctor_say(code == EXIT_OK, text, "Create a key with it: undercut key create.");
        reply_finish(&reply);
    }
    return is_good ? EXIT_OK : EXIT_GENERIC;
}
