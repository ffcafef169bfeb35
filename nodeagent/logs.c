/* logs.c - streams of pieces, one thread that ships them.
 *
 * The happy path is: output is added as pieces; the thread takes what fits one call from all
 * streams, posts it, and takes off what the broker's next_offset covers. Failure modes are: no
 * broker (pieces wait, then are dropped and the gap is marked), a full quota (the rest is dropped
 * silently: the broker says so itself), an offset that the broker sees differently (ours follows).
 */
#include "nodeagent/logs.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "broker/base/clock.h"
#include "broker/base/json.h"
#include "broker/base/log.h"

#define PIECE_MAX       32768  /* bytes of one piece */
#define CALL_BYTES_MAX  131072 /* raw bytes of one call: base64 and names stay below 256 KiB */
#define CHUNKS_MAX      200
#define CALL_TIMEOUT_MS 15000
#define BATCH_MS        50 /* output that comes in drops is shipped in gulps */
#define RETRY_MS        1000
#define QUOTA_BYTES     (4 << 20)

struct piece {
    struct piece *next;
    enum log_kind kind;
    int64_t at_us;
    size_t len;
    char bytes[];
};

struct log_stream {
    struct log_stream *next;
    struct logs *logs;
    char lease_id[ID_TEXT_SIZE];
    int64_t epoch;
    struct piece *first;
    struct piece *last;
    size_t queued_bytes;
    size_t dropped_bytes; /* since the last mark */
    size_t sent_count;    /* pieces at the head that are in the running call */
    int64_t offset;       /* of the first piece */
    bool is_asking;       /* the offset is not known yet */
    bool is_full;
    bool is_closed;
};

struct logs {
    struct link *link;
    struct http_client *client; /* of the shipping thread */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* something to ship, or shipped, or ending */
    struct log_stream *streams;
    int64_t quota_bytes;
    bool is_ending;
};

static void *ship_main(void *arg);
static void sent_drop(struct logs *logs, const char *why);
static bool has_work(const struct logs *logs);
static size_t body_make(struct logs *logs, struct buf *to);
static void answer_apply(struct logs *logs, struct str answer);
static void streams_sweep(struct logs *logs);
static void wait_ms(struct logs *logs, int64_t timeout_ms);

struct logs *logs_create(struct link *link)
{
    struct logs *logs = calloc(1, sizeof(*logs));
    must(logs);
    logs->link = link;
    logs->client = link_client_create(link);
    logs->quota_bytes = QUOTA_BYTES;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    must(pthread_mutex_init(&logs->lock, NULL) == 0);
    must(pthread_cond_init(&logs->changed, &attr) == 0);
    must(pthread_create(&logs->thread, NULL, ship_main, logs) == 0);
    return logs;
}

static void stream_free(struct log_stream *stream)
{
    for (struct piece *piece; (piece = stream->first);) {
        stream->first = piece->next;
        free(piece);
    }
    free(stream);
}

void logs_destroy(struct logs *logs)
{
    if (!logs)
        return;
    pthread_mutex_lock(&logs->lock);
    logs->is_ending = true;
    pthread_cond_broadcast(&logs->changed);
    pthread_mutex_unlock(&logs->lock);
    http_client_cut(logs->client);
    pthread_join(logs->thread, NULL);
    for (struct log_stream *stream; (stream = logs->streams);) {
        logs->streams = stream->next;
        stream_free(stream);
    }
    http_client_destroy(logs->client);
    pthread_cond_destroy(&logs->changed);
    pthread_mutex_destroy(&logs->lock);
    free(logs);
}

void logs_set_quota(struct logs *logs, int64_t log_bytes_max)
{
    pthread_mutex_lock(&logs->lock);
    logs->quota_bytes = log_bytes_max;
    pthread_mutex_unlock(&logs->lock);
}

struct log_stream *log_stream_open(struct logs *logs, const char *lease_id, int64_t epoch,
                                   enum log_start start)
{
    struct log_stream *stream = calloc(1, sizeof(*stream));
    must(stream);
    stream->logs = logs;
    stream->epoch = epoch;
    stream->is_asking = start == LOG_RESUMED;
    must(str_format(stream->lease_id, sizeof(stream->lease_id), "%s", lease_id));
    pthread_mutex_lock(&logs->lock);
    stream->next = logs->streams;
    logs->streams = stream;
    pthread_mutex_unlock(&logs->lock);
    return stream;
}

static void piece_add(struct log_stream *stream, enum log_kind kind, const char *bytes, size_t len)
{
    struct piece *piece = malloc(sizeof(*piece) + len);
    must(piece);
    *piece = (struct piece){.kind = kind, .at_us = clock_now_us(), .len = len};
    memcpy(piece->bytes, bytes, len);
    if (stream->last)
        stream->last->next = piece;
    else
        stream->first = piece;
    stream->last = piece;
    stream->queued_bytes += len;
}

/* Says in the stream itself what is missing from it. */
static void gap_mark(struct log_stream *stream)
{
    char text[128];
    if (!stream->dropped_bytes)
        return;
    must(str_format(text, sizeof(text),
                    "%zu bytes of output were dropped because the broker could not take them",
                    stream->dropped_bytes));
    stream->dropped_bytes = 0;
    piece_add(stream, LOG_GAP, text, strlen(text));
}

void log_stream_add(struct log_stream *stream, enum log_kind kind, const char *bytes, size_t len)
{
    struct logs *logs = stream->logs;
    pthread_mutex_lock(&logs->lock);
    while (len && !stream->is_full) {
        size_t take = len < PIECE_MAX ? len : PIECE_MAX;
        if (stream->queued_bytes + take > LOGS_QUEUE_MAX) {
            stream->dropped_bytes += take;
        } else {
            gap_mark(stream);
            piece_add(stream, kind, bytes, take);
        }
        bytes += take;
        len -= take;
    }
    pthread_cond_broadcast(&logs->changed);
    pthread_mutex_unlock(&logs->lock);
}

void log_stream_flush(struct log_stream *stream, int64_t timeout_ms)
{
    struct logs *logs = stream->logs;
    int64_t until_mono_ms = clock_mono_ms() + timeout_ms;
    pthread_mutex_lock(&logs->lock);
    for (;;) {
        int64_t left_ms = until_mono_ms - clock_mono_ms();
        bool is_done = stream->is_full || (!stream->first && !stream->is_asking);
        if (is_done || left_ms <= 0 || logs->is_ending)
            break;
        wait_ms(logs, left_ms);
    }
    pthread_mutex_unlock(&logs->lock);
}

void log_stream_close(struct log_stream *stream)
{
    struct logs *logs = stream->logs;
    pthread_mutex_lock(&logs->lock);
    gap_mark(stream);
    stream->is_closed = true;
    pthread_cond_broadcast(&logs->changed);
    pthread_mutex_unlock(&logs->lock);
}

/* With the lock held. */
static void wait_ms(struct logs *logs, int64_t timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + timeout_ms % 1000 * 1000000;
    until.tv_sec += timeout_ms / 1000 + ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    (void)pthread_cond_timedwait(&logs->changed, &logs->lock, &until);
}

static void *ship_main(void *arg)
{
    struct logs *logs = arg;
    pthread_mutex_lock(&logs->lock);
    while (!logs->is_ending) {
        if (!has_work(logs)) {
            streams_sweep(logs);
            wait_ms(logs, RETRY_MS);
            continue;
        }
        wait_ms(logs, BATCH_MS);
        struct buf body = {0};
        struct buf answer = {0};
        char why[256];
        size_t chunks_count = body_make(logs, &body);
        pthread_mutex_unlock(&logs->lock);

        struct http_call call = link_call("logs", buf_str(&body), CALL_TIMEOUT_MS);
        call.can_cut = true;
        enum link_outcome outcome =
            chunks_count ? link_post(logs->link, logs->client, &call, &answer, why) : LINK_CUT;

        pthread_mutex_lock(&logs->lock);
        if (outcome == LINK_OK) {
            answer_apply(logs, buf_str(&answer));
        } else if (outcome == LINK_REFUSED && !str_starts_with(str_of(why), STR("401"))) {
            sent_drop(logs, why);
        } else if (outcome != LINK_CUT) {
            char quoted[256];
            log_event(LOG_WARN, "logs_delayed", "why=%s",
                      log_quote(str_of(why), quoted, sizeof(quoted)));
            wait_ms(logs, RETRY_MS);
        }
        streams_sweep(logs);
        pthread_cond_broadcast(&logs->changed);
        buf_finish(&body);
        buf_finish(&answer);
    }
    pthread_mutex_unlock(&logs->lock);
    return NULL;
}

static void stream_fill(struct log_stream *stream);

/* The broker understood and said no for good: the same bytes again would get the same answer. */
static void sent_drop(struct logs *logs, const char *why)
{
    char quoted[256];
    log_event(LOG_WARN, "logs_refused", "why=%s", log_quote(str_of(why), quoted, sizeof(quoted)));
    for (struct log_stream *stream = logs->streams; stream; stream = stream->next)
        if (stream->sent_count || stream->is_asking)
            stream_fill(stream);
}

static bool has_work(const struct logs *logs)
{
    for (const struct log_stream *stream = logs->streams; stream; stream = stream->next)
        if (!stream->is_full && (stream->first || stream->is_asking))
            return true;
    return false;
}

/* Standard base64 is the URL form with two other digits, and padding. */
static void base64_add(struct buf *to, const char *bytes, size_t len)
{
    buf_reserve(to, 4 * ((len + 2) / 3) + 1);
    char *text = to->at + to->len;
    size_t text_len = base64url_encode((const uint8_t *)bytes, len, text);
    for (size_t i = 0; i < text_len; i++)
        text[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
    to->len += text_len;
    for (; text_len % 4; text_len++)
        buf_add_c(to, "=");
}

static void chunk_emit(struct json_out *out, const struct log_stream *stream, int64_t offset,
                       const struct piece *piece_or_null)
{
    static const char *const kinds[] = {[LOG_OUT] = "out", [LOG_ERR] = "err", [LOG_GAP] = "gap"};
    struct buf text = {0};
    if (piece_or_null)
        base64_add(&text, piece_or_null->bytes, piece_or_null->len);
    json_object_open(out, NULL);
    json_put_c(out, "lease_id", stream->lease_id);
    json_put_i64(out, "epoch", stream->epoch);
    json_put_i64(out, "offset", offset);
    json_put_c(out, "stream", kinds[piece_or_null ? piece_or_null->kind : LOG_GAP]);
    json_put_i64(out, "at_us", piece_or_null ? piece_or_null->at_us : clock_now_us());
    json_put_str(out, "data", piece_or_null ? buf_str(&text) : STR(""));
    json_object_close(out);
    buf_finish(&text);
}

/* As many pieces from the head of each stream as fit one call; returns how many chunks. */
static size_t body_make(struct logs *logs, struct buf *to)
{
    struct json_out out;
    size_t bytes = 0;
    size_t chunks_count = 0;
    json_out_start(&out, to);
    json_object_open(&out, NULL);
    json_array_open(&out, "chunks");
    for (struct log_stream *stream = logs->streams; stream; stream = stream->next) {
        stream->sent_count = 0;
        if (stream->is_full || chunks_count == CHUNKS_MAX)
            continue;
        if (stream->is_asking) {
            chunk_emit(&out, stream, 0, NULL);
            chunks_count++;
            continue;
        }
        int64_t offset = stream->offset;
        for (const struct piece *piece = stream->first; piece; piece = piece->next) {
            /* Besides its bytes a chunk costs its names, so that many drops count as well. */
            bytes += piece->len + 192;
            if (bytes > CALL_BYTES_MAX || chunks_count == CHUNKS_MAX)
                break;
            chunk_emit(&out, stream, offset, piece);
            offset += (int64_t)piece->len;
            stream->sent_count++;
            chunks_count++;
        }
    }
    json_array_close(&out);
    json_object_close(&out);
    return chunks_count;
}

static void piece_drop_first(struct log_stream *stream)
{
    struct piece *piece = stream->first;
    stream->first = piece->next;
    if (!stream->first)
        stream->last = NULL;
    stream->queued_bytes -= piece->len;
    free(piece);
}

static void stream_fill(struct log_stream *stream)
{
    stream->is_full = true;
    stream->is_asking = false;
    while (stream->first)
        piece_drop_first(stream);
}

/* Takes off what is covered. An answer beyond what was sent means that the stream was longer than
 * we knew: nothing is taken off, and the pieces go again behind it. */
static void stream_advance(struct log_stream *stream, int64_t next_offset)
{
    int64_t sent_end = stream->offset;
    const struct piece *piece = stream->first;
    for (size_t i = 0; i < stream->sent_count; i++, piece = piece->next)
        sent_end += (int64_t)piece->len;
    if (!stream->is_asking && next_offset <= sent_end)
        while (stream->sent_count > 0 &&
               stream->offset + (int64_t)stream->first->len <= next_offset) {
            stream->offset += (int64_t)stream->first->len;
            piece_drop_first(stream);
            stream->sent_count--;
        }
    stream->is_asking = false;
    stream->sent_count = 0;
    stream->offset = next_offset;
}

static void answer_apply(struct logs *logs, struct str answer)
{
    char why[128];
    json_t *json = json_parse(answer, why, sizeof(why));
    const json_t *leases = json_object_get(json, "leases");
    for (struct log_stream *stream = logs->streams; stream; stream = stream->next) {
        if (!stream->sent_count && !stream->is_asking)
            continue;
        const json_t *found = NULL;
        for (size_t i = 0; i < json_array_size(leases) && !found; i++)
            if (str_equal_c(json_str(json_array_get(leases, i), "lease_id"), stream->lease_id))
                found = json_array_get(leases, i);
        int64_t next_offset = json_i64(found, "next_offset", -1);
        if (next_offset >= 0)
            stream_advance(stream, next_offset);
        /* A lease that the broker does not name is none of its business any more. */
        if (!found || json_bool(found, "is_full", false) || next_offset >= logs->quota_bytes)
            stream_fill(stream);
    }
    json_decref(json);
}

static void streams_sweep(struct logs *logs)
{
    struct log_stream **at = &logs->streams;
    while (*at) {
        struct log_stream *stream = *at;
        bool is_done = stream->is_closed && (!stream->first || stream->is_full);
        if (is_done) {
            *at = stream->next;
            stream_free(stream);
        } else {
            at = &stream->next;
        }
    }
}
