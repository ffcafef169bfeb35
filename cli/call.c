/* call.c - libcurl behind call.h, and nowhere else in this program.
 *
 * The happy path is: build the request, send it, collect the body (or pass it on as it comes),
 * parse it. Failure modes are: no connection or a lost answer (a POST, PUT or GET is tried again
 * with the same Idempotency-Key, three times in all), a problem document (printed; its code becomes
 * the exit code), an interrupt (EXIT_INTERRUPTED, nothing printed: the caller knows what to say), a
 * deadline.
 */
#include "cli/call.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "broker/base/hash.h"

#define TRIES_MAX 3
#define BODY_MAX  (64 << 20)

volatile sig_atomic_t interrupts_count;

struct transfer {
    const struct call *call;
    struct reply *reply;
    CURL *curl;
    sig_atomic_t interrupts_before;
};

void url_add(struct buf *to, const char *text)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~";
    for (; *text; text++) {
        if (strchr(plain, *text))
            buf_add(to, text, 1);
        else
            buf_add_format(to, "%%%02X", (unsigned)(unsigned char)*text);
    }
}

void query_add(struct buf *to, const char *name, const char *value)
{
    bool has_query = to->at && memchr(to->at, '?', to->len);
    buf_add_c(to, has_query ? "&" : "?");
    url_add(to, name);
    buf_add_c(to, "=");
    url_add(to, value);
}

int exit_of_slug(struct str slug)
{
    static const struct {
        const char *slug;
        int code;
    } rows[] = {
        {"not_found", EXIT_NOT_FOUND},
        {"unauthenticated", EXIT_AUTH},
        {"token_expired", EXIT_AUTH},
        {"forbidden_scope", EXIT_AUTH},
        {"conflict", EXIT_CONFLICT},
        {"name_taken", EXIT_CONFLICT},
        {"ask_mismatch", EXIT_CONFLICT},
        {"bid_closed", EXIT_CONFLICT},
        {"bid_won", EXIT_CONFLICT},
        {"block_committed", EXIT_CONFLICT},
        {"node_revoked", EXIT_CONFLICT},
        {"epoch_stale", EXIT_CONFLICT},
        {"precondition_failed", EXIT_CONFLICT},
        {"idempotency_key_reused", EXIT_CONFLICT},
        {"unplaceable", EXIT_NO_CAPACITY},
        {"no_capacity_at_price", EXIT_NO_CAPACITY},
        {"insufficient_funds", EXIT_FUNDS},
        {"funds_exhausted", EXIT_FUNDS},
        {"budget_reached", EXIT_FUNDS},
        {"request_timeout", EXIT_TIMEOUT},
        {"deadline_exceeded", EXIT_TIMEOUT},
        {"deadline_passed", EXIT_TIMEOUT},
        {"max_duration_reached", EXIT_TIMEOUT},
        {"malformed_request", EXIT_USAGE},
        {"invalid_field", EXIT_USAGE},
        {"not_supported_yet", EXIT_USAGE},
        {"tier_closed", EXIT_USAGE},
        {"body_too_large", EXIT_USAGE},
        {"unsupported_media_type", EXIT_USAGE},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        if (str_equal_c(slug, rows[i].slug))
            return rows[i].code;
    return EXIT_GENERIC;
}

static size_t body_take(char *bytes, size_t size, size_t count, void *data)
{
    struct transfer *transfer = data;
    size_t len = size * count;
    long status = 0;
    curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &status);
    if (transfer->call->sink && status / 100 == 2)
        return transfer->call->sink(transfer->call->sink_data,
                                    (struct str){.at = bytes, .len = len})
                   ? len
                   : 0;
    if (transfer->reply->body.len + len > BODY_MAX)
        return 0;
    buf_add(&transfer->reply->body, bytes, len);
    return len;
}

static int is_interrupted(void *data, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    const struct transfer *transfer = data;
    return interrupts_count > transfer->interrupts_before;
}

static void quote_for_shell(const char *text, size_t len)
{
    putchar('\'');
    for (size_t i = 0; i < len; i++)
        if (text[i] == '\'')
            fputs("'\\''", stdout);
        else
            putchar(text[i]);
    putchar('\'');
}

/* The key stays out of it: whoever pastes the line has it in the environment. */
static void curl_print(const struct cli *cli, const struct call *call)
{
    const char *method = call->method ? call->method : "GET";
    printf("curl -sS%s", call->sink ? "N" : "");
    if (strcmp(method, "GET"))
        printf(" -X %s", method);
    if (!call->is_public)
        fputs(" -H \"Authorization: Bearer $UNDERCUT_API_KEY\"", stdout);
    if (call->accept)
        printf(" -H 'Accept: %s'", call->accept);
    if (!strcmp(method, "POST"))
        fputs(" -H \"Idempotency-Key: $(cat /proc/sys/kernel/random/uuid)\"", stdout);
    if (call->body.at) {
        printf(" -H 'Content-Type: %s'",
               call->content_type ? call->content_type : "application/json");
        fputs(" --data-binary ", stdout);
        quote_for_shell(call->body.at, call->body.len);
    }
    putchar(' ');
    struct buf url = {.at = NULL};
    buf_add_format(&url, "%s%s", cli->settings.url, call->path);
    quote_for_shell(url.at, url.len);
    putchar('\n');
    buf_finish(&url);
}

static struct curl_slist *headers_make(const struct cli *cli, const struct call *call,
                                       const char *idempotency_key)
{
    struct curl_slist *list = NULL;
    struct buf line = {.at = NULL};
    const char *method = call->method ? call->method : "GET";
    struct {
        const char *name, *value;
        bool is_wanted;
    } rows[] = {
        {"Accept", call->accept ? call->accept : "application/json", true},
        {"Content-Type", call->content_type ? call->content_type : "application/json",
         call->body.at != NULL},
        {"Idempotency-Key", idempotency_key, !strcmp(method, "POST")},
        {"Authorization: Bearer", cli->settings.api_key,
         !call->is_public && cli->settings.api_key[0]},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        if (!rows[i].is_wanted)
            continue;
        line.len = 0;
        const char *join = strchr(rows[i].name, ':') ? " " : ": ";
        buf_add_format(&line, "%s%s%s", rows[i].name, join, rows[i].value);
        buf_add(&line, "", 1);
        list = curl_slist_append(list, line.at);
    }
    buf_finish(&line);
    return list;
}

static CURLcode send_once(const struct cli *cli, const struct call *call, const char *key,
                          struct reply *reply)
{
    struct transfer transfer = {.call = call,
                                .reply = reply,
                                .curl = curl_easy_init(),
                                .interrupts_before = interrupts_count};
    struct curl_slist *headers = headers_make(cli, call, key);
    struct buf url = {.at = NULL};
    CURL *curl = transfer.curl;
    must(curl != NULL);
    buf_add_format(&url, "%s%s", cli->settings.url, call->path);
    buf_add(&url, "", 1);
    long timeout_ms = call->timeout_ms == 0 ? 40000 : (long)call->timeout_ms;
    curl_easy_setopt(curl, CURLOPT_URL, url.at);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, 10000L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout_ms < 0 ? 0L : timeout_ms);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "undercut/" UNDERCUT_VERSION);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, call->method ? call->method : "GET");
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, body_take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, is_interrupted);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    if (call->body.at) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.len);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call->body.at);
    }
    reply->body.len = 0;
    CURLcode code = curl_easy_perform(curl);
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    reply->status = (int)status;
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    buf_finish(&url);
    return code;
}

/* Is the detail just the first fault once more? */
static bool is_told_by_faults(struct str detail, const json_t *faults)
{
    struct str first = json_str(json_array_get(faults, 0), "detail");
    return first.len && first.len <= detail.len &&
           !memcmp(detail.at + detail.len - first.len, first.at, first.len);
}

/* Prints what the API said: title, detail, each field's fault, and what to do next. */
static void problem_print(const struct reply *reply)
{
    const json_t *p = reply->json;
    struct str title = json_str(p, "title"), detail = json_str(p, "detail");
    if (!title.at) {
        fprintf(stderr, "undercut: the broker answered %d\n", reply->status);
        return;
    }
    fprintf(stderr, "undercut: %.*s [%.*s]\n", STR_ARG(title), STR_ARG(json_str(p, "code")));
    const json_t *faults = json_object_get(p, "errors");
    if (detail.len && !is_told_by_faults(detail, faults))
        fprintf(stderr, "  %.*s\n", STR_ARG(detail));
    size_t i;
    const json_t *fault;
    json_array_foreach (faults, i, fault)
        fprintf(stderr, "  %.*s: %.*s\n", STR_ARG(json_str(fault, "pointer")),
                STR_ARG(json_str(fault, "detail")));
    struct str suggestion = json_str(p, "suggestion");
    if (suggestion.len)
        fprintf(stderr, "  %.*s\n", STR_ARG(suggestion));
    struct str request = json_str(p, "request_id");
    if (reply->status >= 500 && request.len)
        fprintf(stderr, "  request: %.*s\n", STR_ARG(request));
}

static int exit_of_reply(const struct reply *reply)
{
    struct str slug = json_str(reply->json, "code");
    int code = slug.at ? exit_of_slug(slug) : EXIT_GENERIC;
    if (code != EXIT_GENERIC)
        return code;
    switch (reply->status) {
    case 400:
    case 422:
        return EXIT_USAGE;
    case 401:
    case 403:
        return EXIT_AUTH;
    case 402:
        return EXIT_FUNDS;
    case 404:
        return EXIT_NOT_FOUND;
    case 409:
    case 412:
        return EXIT_CONFLICT;
    case 408:
    case 504:
        return EXIT_TIMEOUT;
    default:
        return EXIT_GENERIC;
    }
}

static bool is_worth_retrying(const struct call *call, CURLcode code, int status)
{
    if (call->sink)
        return false;
    bool was_lost = code == CURLE_COULDNT_CONNECT || code == CURLE_GOT_NOTHING ||
                    code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR;
    return was_lost || (code == CURLE_OK && (status == 503 || status == 502));
}

int call_api(const struct cli *cli, const struct call *call, struct reply *ret_reply)
{
    *ret_reply = (struct reply){.status = 0};
    if (cli->is_curl)
        return curl_print(cli, call), EXIT_OK;
    if (!call->is_public && !cli->settings.api_key[0]) {
        fputs("undercut: no API key: run `undercut login`, or set UNDERCUT_API_KEY\n", stderr);
        return EXIT_AUTH;
    }
    uint8_t random[16];
    char key[33];
    random_bytes(random, sizeof random);
    hex_encode(random, sizeof random, key);
    CURLcode code = CURLE_OK;
    for (int try = 1; try <= TRIES_MAX; try++) {
        code = send_once(cli, call, key, ret_reply);
        if (try == TRIES_MAX || !is_worth_retrying(call, code, ret_reply->status))
            break;
        nanosleep(&(struct timespec){.tv_nsec = 250000000L * try}, NULL);
    }
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return EXIT_INTERRUPTED;
    char why[128];
    if (ret_reply->body.len)
        ret_reply->json = json_parse(buf_str(&ret_reply->body), why, sizeof why);
    if (code == CURLE_OK && ret_reply->status / 100 == 2)
        return EXIT_OK;
    if (call->sink && code == CURLE_WRITE_ERROR)
        return EXIT_OK; /* the sink has seen enough */
    if (code != CURLE_OK) {
        if (!call->is_quiet)
            fprintf(stderr, "undercut: %s: %s\n", cli->settings.url, curl_easy_strerror(code));
        return code == CURLE_OPERATION_TIMEDOUT ? EXIT_TIMEOUT : EXIT_GENERIC;
    }
    if (!call->is_quiet)
        problem_print(ret_reply);
    return exit_of_reply(ret_reply);
}

void reply_finish(struct reply *reply)
{
    buf_finish(&reply->body);
    json_decref(reply->json);
    *reply = (struct reply){.status = 0};
}

void calls_start(void)
{
    must(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

void calls_finish(void)
{
    curl_global_cleanup();
}
