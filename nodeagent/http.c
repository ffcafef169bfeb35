/* http.c - libcurl behind one function.
 *
 * The happy path is: set the easy handle's options, drive it through a multi handle until it is
 * done, hand over status, body and signature header. The multi handle is there only because it can
 * be woken. Failure modes are: nobody listens, time runs out, the reply is too large, somebody cuts
 * the call.
 */
#include "nodeagent/http.h"

#include <curl/curl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/clock.h"

#define CONNECT_TIMEOUT_MS 5000L
#define POLL_MS            1000
#define SIGNATURE_HEADER   "undercut-signature:"

struct http_client {
    CURL *easy;
    CURLM *multi;
    atomic_bool is_cut;
    char ca_file[256];
};

static void options_set(struct http_client *client, const struct http_call *call,
                        struct http_reply *reply);
static void body_set(struct http_client *client, const struct http_call *call);
static struct curl_slist *headers_make(const struct http_call *call);
static enum http_outcome drive(struct http_client *client, const struct http_call *call,
                               struct http_reply *reply);
static size_t body_take(char *bytes, size_t size, size_t count, void *arg);
static size_t header_take(char *bytes, size_t size, size_t count, void *arg);

void http_start(void)
{
    must(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

struct http_client *http_client_create(void)
{
    struct http_client *client = calloc(1, sizeof(*client));
    must(client);
    client->easy = curl_easy_init();
    client->multi = curl_multi_init();
    must(client->easy && client->multi);
    return client;
}

void http_client_set_ca_file(struct http_client *client, const char *path)
{
    (void)str_format(client->ca_file, sizeof(client->ca_file), "%s", path);
}

void http_client_destroy(struct http_client *client)
{
    if (!client)
        return;
    curl_easy_cleanup(client->easy);
    curl_multi_cleanup(client->multi);
    free(client);
}

void http_client_cut(struct http_client *client)
{
    client->is_cut = true;
    curl_multi_wakeup(client->multi);
}

void http_client_cut_forget(struct http_client *client)
{
    client->is_cut = false;
}

void http_reply_finish(struct http_reply *reply)
{
    buf_finish(&reply->body);
}

enum http_outcome http_client_call(struct http_client *client, const struct http_call *call,
                                   struct http_reply *ret_reply)
{
    *ret_reply = (struct http_reply){0};
    options_set(client, call, ret_reply);
    body_set(client, call);
    struct curl_slist *headers = headers_make(call);
    curl_easy_setopt(client->easy, CURLOPT_HTTPHEADER, headers);

    must(curl_multi_add_handle(client->multi, client->easy) == CURLM_OK);
    enum http_outcome outcome = drive(client, call, ret_reply);
    must(curl_multi_remove_handle(client->multi, client->easy) == CURLM_OK);

    curl_easy_setopt(client->easy, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers);
    if (outcome != HTTP_ANSWERED)
        buf_finish(&ret_reply->body);
    return outcome;
}

static void options_set(struct http_client *client, const struct http_call *call,
                        struct http_reply *reply)
{
    CURL *easy = client->easy;
    curl_easy_reset(easy); /* keeps the connection */
    curl_easy_setopt(easy, CURLOPT_URL, call->url);
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, call->method);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)call->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "undercut-agent/" UNDERCUT_VERSION);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, body_take);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, reply);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, header_take);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, reply);
    if (client->ca_file[0])
        curl_easy_setopt(easy, CURLOPT_CAINFO, client->ca_file);
    if (call->socket_path_or_null) {
        curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, call->socket_path_or_null);
        curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* a proxy in the environment is not for this */
    }
}

static void body_set(struct http_client *client, const struct http_call *call)
{
    bool is_post = strcmp(call->method, "POST") == 0;
    if (!call->body.at && !is_post)
        return;
    curl_easy_setopt(client->easy, CURLOPT_POSTFIELDS, call->body.at ? call->body.at : "");
    curl_easy_setopt(client->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.len);
}

static struct curl_slist *headers_make(const struct http_call *call)
{
    /* Waiting for "100 Continue" would cost a round trip per larger body. */
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    list = curl_slist_append(list, "Content-Type: application/json");
    for (size_t i = 0; i < HTTP_HEADERS_MAX && call->headers[i]; i++)
        list = curl_slist_append(list, call->headers[i]);
    must(list);
    return list;
}

static enum http_outcome finished(struct http_client *client, CURLcode result,
                                  struct http_reply *reply)
{
    if (result != CURLE_OK) {
        (void)str_format(reply->why, sizeof(reply->why), "%s", curl_easy_strerror(result));
        return HTTP_FAILED;
    }
    long status = 0;
    curl_easy_getinfo(client->easy, CURLINFO_RESPONSE_CODE, &status);
    reply->status = (int)status;
    return HTTP_ANSWERED;
}

static enum http_outcome drive(struct http_client *client, const struct http_call *call,
                               struct http_reply *reply)
{
    int64_t started_mono_ms = clock_mono_ms();
    for (;;) {
        int running_count = 0;
        must(curl_multi_perform(client->multi, &running_count) == CURLM_OK);
        if (running_count == 0) {
            int left_count;
            CURLMsg *message = curl_multi_info_read(client->multi, &left_count);
            must(message && message->msg == CURLMSG_DONE);
            return finished(client, message->data.result, reply);
        }
        int64_t age_ms = clock_mono_ms() - started_mono_ms;
        bool is_cut = call->can_cut && client->is_cut;
        if (is_cut && age_ms >= call->cut_after_ms) {
            client->is_cut = false;
            return HTTP_CUT;
        }
        int wait_ms = is_cut ? (int)(call->cut_after_ms - age_ms) : POLL_MS;
        must(curl_multi_poll(client->multi, NULL, 0, wait_ms, NULL) == CURLM_OK);
    }
}

static size_t body_take(char *bytes, size_t size, size_t count, void *arg)
{
    struct http_reply *reply = arg;
    size_t len = size * count;
    if (reply->body.len + len > HTTP_REPLY_MAX)
        return 0; /* libcurl then ends the call with a write error */
    buf_add(&reply->body, bytes, len);
    return len;
}

static size_t header_take(char *bytes, size_t size, size_t count, void *arg)
{
    struct http_reply *reply = arg;
    struct str line = {.at = bytes, .len = size * count};
    size_t name_len = sizeof(SIGNATURE_HEADER) - 1;
    if (line.len > name_len && strncasecmp(line.at, SIGNATURE_HEADER, name_len) == 0) {
        struct str value = {.at = line.at + name_len, .len = line.len - name_len};
        while (value.len && (unsigned char)value.at[value.len - 1] < ' ')
            value.len--;
        value = str_trim(value);
        (void)str_format(reply->signature, sizeof(reply->signature), "%.*s", STR_ARG(value));
    }
    return line.len;
}
