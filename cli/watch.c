/* watch.c - long polls turned into lines.
 *
 * The happy path is: awarded, starting, running, then output until the workload has ended, then the
 * bill. Failure modes are: an end before it ever ran (the reason decides the exit code), a lost
 * connection (resumed behind the last cursor), an interrupt and a deadline (the caller decides).
 */
#include "cli/watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "broker/base/clock.h"
#include "cli/table.h"

#define LOST_CONNECTIONS_MAX 20
#define POLL_MS              10000

void watch_start(struct watch *watch, const struct cli *cli, const json_t *workload)
{
    *watch = (struct watch){.cli = cli, .started_mono_ms = clock_mono_ms(), .after = "0"};
    (void)str_format(watch->workload_id, sizeof watch->workload_id, "%.*s",
                     STR_ARG(json_str(workload, "workload_id")));
    (void)str_format(watch->name, sizeof watch->name, "%.*s", STR_ARG(json_str(workload, "name")));
    watch->replicas = json_i64(workload, "replicas", 1);
}

void watch_stage(const struct watch *watch, const char *stage, const char *format, ...)
{
    if (watch->cli->is_json)
        return;
    int64_t ms = clock_mono_ms() - watch->started_mono_ms;
    const char *bold = watch->cli->has_color ? "\033[1m" : "";
    const char *plain = watch->cli->has_color ? "\033[0m" : "";
    char line[512];
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    for (char *p = line; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 127)
            *p = '?';
    fprintf(stderr, "%4lld.%02llds %s%-10s%s %s\n", (long long)(ms / 1000),
            (long long)(ms % 1000 / 10), bold, stage, plain, line);
}

static void lease_event_print(const struct watch *watch, const char *stage, const json_t *data)
{
    char price[40], who[32] = "";
    if (watch->replicas > 1)
        (void)str_format(who, sizeof who,
                         "replica %lld: ", (long long)json_i64(data, "replica_index", 0));
    struct str region = json_str(data, "region"), class = json_str(data, "class");
    struct str reason = json_str(data, "reason"), detail = json_str(data, "detail");
    if (!strcmp(stage, "awarded"))
        watch_stage(watch, stage, "%s%.*s %.*s at %s/hr before the fee%s", who, STR_ARG(region),
                    STR_ARG(class), usd_format(json_i64(data, "price_uusd_per_hour", 0), price),
                    json_bool(data, "is_simulated", false) ? " (simulated)" : "");
    else if (!strcmp(stage, "closed"))
        watch_stage(watch, stage, "%s%.*s%s%.*s, %s", who, STR_ARG(reason), detail.len ? ": " : "",
                    STR_ARG(detail), usd_format(json_i64(data, "gross_uusd", 0), price));
    else
        watch_stage(watch, stage, "%s%.*s", who, STR_ARG(region));
}

static void event_take(struct watch *watch, const json_t *event)
{
    struct str kind = json_str(event, "kind");
    const json_t *data = json_object_get(event, "data");
    char stage[32];
    struct str rest = kind, noun = str_cut(&rest, '.');
    (void)str_format(stage, sizeof stage, "%.*s", STR_ARG(rest));
    if (str_equal_c(noun, "lease")) {
        watch->is_awarded |= !strcmp(stage, "awarded");
        lease_event_print(watch, stage, data);
    } else if (str_equal_c(noun, "workload")) {
        watch->is_running = !strcmp(stage, "running") || !strcmp(stage, "degraded");
        watch->is_terminal = !strcmp(stage, "stopped") || !strcmp(stage, "failed");
        if (!strcmp(stage, "auctioning")) {
            watch->is_awarded = false;
            watch_stage(watch, stage, "again: looking for another node");
        }
    }
}

/* Once: what never wins would else be waited for in silence. */
static void waiting_hint(struct watch *watch)
{
    if (!watch->is_awarded && !watch->is_hinted)
        watch_stage(watch, "waiting", "no round has awarded it yet; why: undercut explain %s",
                    watch->name);
    watch->is_hinted = true;
}

int watch_until_running(struct watch *watch)
{
    int code = EXIT_OK;
    while (code == EXIT_OK && !watch->is_running && !watch->is_terminal) {
        int64_t left_ms = watch->give_up_mono_ms - clock_mono_ms();
        if (watch->give_up_mono_ms && left_ms <= 0)
            return EXIT_TIMEOUT;
        char wait[16];
        int64_t wait_s = POLL_MS / 1000;
        if (watch->give_up_mono_ms && left_ms < POLL_MS)
            wait_s = left_ms / 1000 + 1;
        (void)str_format(wait, sizeof wait, "%d", (int)wait_s);
        struct buf path = {.at = NULL};
        buf_add_c(&path, "/v1/events");
        query_add(&path, "workload_id", watch->workload_id);
        query_add(&path, "after", watch->after);
        query_add(&path, "wait_s", wait);
        buf_add(&path, "", 1);
        struct reply reply;
        code = call_api(watch->cli, &(struct call){.path = path.at}, &reply);
        size_t i;
        const json_t *event, *events = json_object_get(reply.json, "data");
        json_array_foreach (events, i, event)
            event_take(watch, event);
        if (code == EXIT_OK && json_array_size(events) == 0)
            waiting_hint(watch);
        struct str after = json_str(reply.json, "next_after");
        if (after.at)
            (void)str_format(watch->after, sizeof watch->after, "%.*s", STR_ARG(after));
        reply_finish(&reply);
        buf_finish(&path);
    }
    return code;
}

struct output {
    struct buf line;
    char after[200];
    bool has_prefix; /* more than one replica may speak */
};

/* Standard base64 in place of a JSON text that is no UTF-8. */
static void base64_write(FILE *to, struct str text)
{
    char *url = malloc(text.len + 1);
    uint8_t *bytes = malloc(text.len + 1);
    must(url && bytes);
    size_t len = 0;
    for (size_t i = 0; i < text.len && text.at[i] != '='; i++)
        url[len++] = text.at[i] == '+' ? '-' : text.at[i] == '/' ? '_' : text.at[i];
    ptrdiff_t size = base64url_decode((struct str){.at = url, .len = len}, bytes, text.len);
    if (size > 0)
        fwrite(bytes, 1, (size_t)size, to);
    free(url);
    free(bytes);
}

static void log_line_take(struct output *output, struct str line)
{
    char why[128];
    json_t *json = json_parse(line, why, sizeof why);
    if (!json)
        return;
    struct str stream = json_str(json, "stream"), data = json_str(json, "data");
    struct str encoded = json_str(json, "data_base64"), cursor = json_str(json, "cursor");
    FILE *to = str_equal_c(stream, "out") ? stdout : stderr;
    if (str_equal_c(stream, "gap"))
        fprintf(to, "undercut: %.*s\n", STR_ARG(data));
    else if (output->has_prefix)
        fprintf(to, "[%lld] ", (long long)json_i64(json, "replica", 0));
    if (data.at && !str_equal_c(stream, "gap"))
        fwrite(data.at, 1, data.len, to);
    else if (encoded.at)
        base64_write(to, encoded);
    fflush(to);
    if (cursor.at)
        (void)str_format(output->after, sizeof output->after, "%.*s", STR_ARG(cursor));
    json_decref(json);
}

static bool output_take(void *data, struct str bytes)
{
    struct output *output = data;
    buf_add_str(&output->line, bytes);
    struct str rest = buf_str(&output->line);
    for (const char *end; rest.len && (end = memchr(rest.at, '\n', rest.len));) {
        struct str line = {.at = rest.at, .len = (size_t)(end - rest.at)};
        if (line.len)
            log_line_take(output, line);
        rest.at += line.len + 1;
        rest.len -= line.len + 1;
    }
    memmove(output->line.at, rest.at, rest.len);
    output->line.len = rest.len;
    return true;
}

/* Is it over, or did the connection break? */
static bool workload_is_terminal(const struct cli *cli, const char *workload)
{
    struct buf path = {.at = NULL};
    buf_add_c(&path, "/v1/workloads/");
    url_add(&path, workload);
    buf_add(&path, "", 1);
    struct reply reply;
    int code = call_api(cli, &(struct call){.path = path.at, .is_quiet = true}, &reply);
    bool is_terminal = code == EXIT_OK && json_bool(reply.json, "terminal", false);
    reply_finish(&reply);
    buf_finish(&path);
    return is_terminal;
}

static int output_once(const struct cli *cli, struct output *output, const char *base,
                       bool is_following)
{
    struct buf path = {.at = NULL};
    buf_add_c(&path, base);
    if (output->after[0])
        query_add(&path, "after", output->after);
    buf_add(&path, "", 1);
    struct reply reply;
    int code = call_api(cli,
                        &(struct call){.path = path.at,
                                       .accept = "application/x-ndjson",
                                       .sink = output_take,
                                       .sink_data = output,
                                       .is_quiet = is_following && output->after[0],
                                       .timeout_ms = is_following ? -1 : 60000},
                        &reply);
    reply_finish(&reply);
    buf_finish(&path);
    output->line.len = 0;
    return code;
}

int watch_output(const struct cli *cli, const char *workload, int64_t replica, bool is_following)
{
    struct buf base = {.at = NULL};
    struct output output = {.has_prefix = replica == -1};
    char index[24];
    buf_add_c(&base, "/v1/workloads/");
    url_add(&base, workload);
    buf_add_c(&base, "/logs");
    query_add(&base, "format", "ndjson");
    if (is_following)
        query_add(&base, "follow", "true");
    (void)str_format(index, sizeof index, "%lld", (long long)(replica < 0 ? 0 : replica));
    if (replica >= 0)
        query_add(&base, "replica", index);
    buf_add(&base, "", 1);
    int code = EXIT_OK;
    for (int lost = 0; lost < LOST_CONNECTIONS_MAX; lost++) {
        code = output_once(cli, &output, base.at, is_following);
        bool may_go_on = is_following && !cli->is_curl && (code == EXIT_OK || code == EXIT_GENERIC);
        if (!may_go_on || workload_is_terminal(cli, workload))
            break;
        nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    }
    if (code == EXIT_OK && is_following && !cli->is_curl) /* what came between the two questions */
        code = output_once(cli, &output, base.at, false);
    buf_finish(&output.line);
    buf_finish(&base);
    return code;
}

/* The latest lease of each replica tells how it ended; the list is newest or oldest first. */
static int exit_of_leases(const json_t *workload)
{
    int64_t best = 0;
    size_t i;
    const json_t *lease;
    int64_t epochs[100] = {0}, codes[100] = {0};
    json_array_foreach (json_object_get(workload, "leases"), i, lease) {
        int64_t index = json_i64(lease, "replica_index", 0), epoch = json_i64(lease, "epoch", 0);
        if (index < 0 || index >= 100 || epoch < epochs[index])
            continue;
        epochs[index] = epoch;
        codes[index] = json_i64(lease, "exit_code", 0);
    }
    for (i = 0; i < 100 && !best; i++)
        best = codes[i];
    return (int)(best & 0xff);
}

int watch_until_ended(struct watch *watch)
{
    struct buf path = {.at = NULL};
    buf_add_format(&path, "/v1/workloads/%s?expand=leases&wait_for=ended&timeout_s=60",
                   watch->workload_id);
    buf_add(&path, "", 1);
    int code;
    for (bool is_terminal = false; !is_terminal;) {
        struct reply reply;
        code = call_api(watch->cli, &(struct call){.path = path.at, .timeout_ms = 90000}, &reply);
        is_terminal = code != EXIT_OK || json_bool(reply.json, "terminal", false);
        if (code == EXIT_OK && is_terminal) {
            struct str reason = json_str(reply.json, "status_reason");
            char spent[40];
            bool has_failed = str_equal_c(json_str(reply.json, "state"), "failed");
            code = exit_of_leases(reply.json);
            if (has_failed && code == EXIT_OK)
                code = exit_of_slug(reason);
            watch_stage(watch, has_failed ? "failed" : "ended", "%.*s, %s in all", STR_ARG(reason),
                        usd_format(json_i64(reply.json, "spent_uusd", 0), spent));
            if (watch->cli->is_json)
                printf("%.*s\n", STR_ARG(buf_str(&reply.body)));
        }
        reply_finish(&reply);
    }
    buf_finish(&path);
    return code;
}
