/* The happy path is: submit copies the request into a job and wakes the worker; the worker adds it
 * to its curl multi handle; when it is done the job travels to the asker's loop, where `done` is
 * called. Failure modes are: no address, no connection, no answer in time, an answer too long:
 * is_ok is false, and is_unknown says whether anything had been sent. At the end, what is pending
 * fails so.
 */
#include "broker/io/http_out.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/must.h"
#include "broker/io/loop.h"

#define POLL_MS    1000
#define CONNECT_MS 5000

struct job {
    struct job *next;
    struct loop *loop;
    CURL *curl;
    struct curl_slist *headers;
    struct buf request_body, response_body;
    int64_t response_max;
    bool is_too_long;
    struct http_out_reply reply;
    char why[CURL_ERROR_SIZE];
    void (*done)(void *data, const struct http_out_reply *reply);
    void *data;
};

struct http_out {
    pthread_t thread;
    CURLM *multi;
    pthread_mutex_t mutex;
    struct job *submitted; /* newest first */
    bool is_stopping;
    struct job *running; /* worker thread */
};

static void *work(void *data);

struct http_out *http_out_create(void)
{
    must(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    struct http_out *out = calloc(1, sizeof(*out));
    must(out != NULL);
    out->multi = curl_multi_init();
    must(out->multi != NULL);
    pthread_mutex_init(&out->mutex, NULL);
    must(pthread_create(&out->thread, NULL, work, out) == 0);
    pthread_setname_np(out->thread, "http_out");
    return out;
}

void http_out_destroy(struct http_out *out)
{
    if (out == NULL)
        return;
    pthread_mutex_lock(&out->mutex);
    out->is_stopping = true;
    pthread_mutex_unlock(&out->mutex);
    curl_multi_wakeup(out->multi);
    pthread_join(out->thread, NULL);
    curl_multi_cleanup(out->multi);
    pthread_mutex_destroy(&out->mutex);
    free(out);
}

static size_t take_body(char *bytes, size_t size, size_t count, void *data)
{
    struct job *job = data;
    size_t len = size * count;
    if ((int64_t)(job->response_body.len + len) > job->response_max) {
        job->is_too_long = true;
        return 0; /* curl gives up */
    }
    buf_add(&job->response_body, bytes, len);
    return len;
}

static void job_configure(struct job *job, const struct http_out_request *request)
{
    CURL *curl = job->curl;
    for (const char *const *header = request->headers; header != NULL && *header != NULL; header++)
        job->headers = curl_slist_append(job->headers, *header);
    job->headers = curl_slist_append(job->headers, "Expect:"); /* no waiting for 100-continue */
    curl_easy_setopt(curl, CURLOPT_PRIVATE, job);
    curl_easy_setopt(curl, CURLOPT_URL, request->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, job->why);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, job);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, job->headers);
    if (job->request_body.len > 0) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, job->request_body.at);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)job->request_body.len);
    }
    if (strcmp(request->method, "HEAD") == 0)
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
}

void http_out_submit(struct http_out *out, struct loop *loop,
                     const struct http_out_request *request,
                     void (*done)(void *data, const struct http_out_reply *reply), void *data)
{
    struct job *job = calloc(1, sizeof(*job));
    must(job != NULL);
    job->loop = loop;
    job->done = done;
    job->data = data;
    job->response_max = request->response_max;
    job->curl = curl_easy_init();
    must(job->curl != NULL);
    buf_add_str(&job->request_body, request->body);
    job_configure(job, request);
    pthread_mutex_lock(&out->mutex);
    job->next = out->submitted;
    out->submitted = job;
    pthread_mutex_unlock(&out->mutex);
    curl_multi_wakeup(out->multi);
}

static void job_deliver(void *data)
{
    struct job *job = data;
    job->done(job->data, &job->reply);
    buf_finish(&job->request_body);
    buf_finish(&job->response_body);
    free(job);
}

/* Worker thread: judges the outcome and sends the job home. */
static void job_end(struct job *job, CURLcode code)
{
    long status = 0, request_size = 0;
    curl_easy_getinfo(job->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(job->curl, CURLINFO_REQUEST_SIZE, &request_size);
    job->reply.is_ok = code == CURLE_OK;
    job->reply.is_unknown = code != CURLE_OK && request_size > 0;
    job->reply.status = (int)status;
    job->reply.body = buf_str(&job->response_body);
    if (code != CURLE_OK)
        job->reply.why = job->is_too_long      ? "the answer is too long"
                         : job->why[0] != '\0' ? job->why
                                               : curl_easy_strerror(code);
    curl_easy_cleanup(job->curl);
    curl_slist_free_all(job->headers);
    loop_post(job->loop, job_deliver, job);
}

static void running_remove(struct http_out *out, struct job *job)
{
    struct job **link = &out->running;
    while (*link != job)
        link = &(*link)->next;
    *link = job->next;
}

/* False: the worker shall stop. */
static bool take_submitted(struct http_out *out)
{
    pthread_mutex_lock(&out->mutex);
    struct job *job = out->submitted;
    bool shall_go_on = !out->is_stopping;
    out->submitted = NULL;
    pthread_mutex_unlock(&out->mutex);
    for (struct job *next; job != NULL; job = next) {
        next = job->next;
        job->next = out->running;
        out->running = job;
        curl_multi_add_handle(out->multi, job->curl);
    }
    return shall_go_on;
}

static void end_finished(struct http_out *out)
{
    int left = 0;
    for (CURLMsg *message; (message = curl_multi_info_read(out->multi, &left)) != NULL;) {
        struct job *job = NULL;
        CURLcode code = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &job);
        curl_multi_remove_handle(out->multi, message->easy_handle);
        running_remove(out, job);
        job_end(job, code);
    }
}

static void *work(void *data)
{
    struct http_out *out = data;
    int running_count = 0;
    while (take_submitted(out)) {
        curl_multi_perform(out->multi, &running_count);
        end_finished(out);
        curl_multi_poll(out->multi, NULL, 0, POLL_MS, NULL);
    }
    while (out->running != NULL) {
        struct job *job = out->running;
        out->running = job->next;
        curl_multi_remove_handle(out->multi, job->curl);
        job_end(job, CURLE_ABORTED_BY_CALLBACK);
    }
    return NULL;
}
