/* logs.c - what a workload's containers wrote, while they run and after they ended.
 *
 * The happy path is: find the workload, read a page of chunks in the order of arrival, send it
 * piece by piece as the reader takes it, and go on until the log is drained; with `follow` rest
 * until the workload's topic wakes us, and end a moment after the workload has. Failure modes are:
 * a reader that hangs up (the stream is over), a wake-up that was lost (it looks by itself), a
 * database that does not answer (it tries again; without `follow` as well, since half a log that
 * looks whole is worse than a slow one), and a broker that shuts down (the stream ends).
 */
#include "api/call.h"

#include <stdlib.h>

#include "api/watch.h"
#include "broker/base/clock.h"
#include "broker/io/stream.h"
#include "broker/market/log.h"

#define PAGE          16
#define PIECE_BYTES   65536
#define HELD_BACK_MS  50
#define LOOK_EVERY_MS 1000
#define LATE_MS       2000 /* after the workload's end the last output may still be on its way */

struct log_stream {
    struct api_thread *thread;
    struct stream *stream;
    struct log_read_in in; /* after_* is the cursor */
    struct db_call read;
    struct hub_waiter waiter;
    struct timer timer;
    struct log_text text;
    struct buf out; /* rendered, and sent up to out_at */
    size_t out_at;
    bool is_ndjson, is_following;
    bool is_reading, is_woken, is_page_full, is_last;
};

static void log_look(struct log_stream *log)
{
    log->is_reading = true;
    log->is_woken = false;
    timer_disarm(&log->timer);
    log_read_submit(log->thread->db, &log->read, &log->in);
}

static void log_over(void *data)
{
    struct log_stream *log = data;
    hub_leave(log->thread->hub, &log->waiter);
    timer_disarm(&log->timer);
    db_call_finish(&log->read);
    log_text_finish(&log->text);
    buf_finish(&log->out);
    free(log);
}

static void log_end(struct log_stream *log)
{
    stream_end(log->stream); /* `gone` is not called behind this */
    log_over(log);
}

static void log_rest(struct log_stream *log, int64_t ms)
{
    if (log->is_woken)
        log_look(log);
    else
        timer_arm_in(log->thread->loop, &log->timer, ms);
}

/* Sends the next piece; behind the last one reads on, rests or ends. */
static void log_pump(struct log_stream *log)
{
    size_t left = log->out.len - log->out_at;
    if (left > 0) {
        struct str piece = {.at = log->out.at + log->out_at,
                            .len = left < PIECE_BYTES ? left : PIECE_BYTES};
        log->out_at += piece.len;
        stream_send(log->stream, piece); /* log_drained() goes on; a piece fits the queue */
        return;
    }
    log->out.len = log->out_at = 0;
    if (log->is_last)
        log_end(log);
    else if (log->is_page_full)
        log_look(log);
    else
        log_rest(log, log->read.err != ERR_OK ? LOOK_EVERY_MS / 4 : LOOK_EVERY_MS);
}

static void log_drained(void *data)
{
    struct log_stream *log = data;
    if (!log->is_reading && !timer_is_armed(&log->timer))
        log_pump(log);
}

static void log_add(struct log_stream *log, const struct log_read_out *chunk)
{
    if (log->is_ndjson)
        log_put_line(&log->out, chunk);
    else
        log_text_add(&log->text, chunk, &log->out);
}

/* Renders the page, moves the cursor, and decides whether it was the last. */
static void log_page(struct log_stream *log)
{
    struct log_read_out row = {.has_xact = false};
    int chunks = 0;
    for (int i = 0; i < log->read.row_count; i++) {
        log_read_get(&log->read, i, &row);
        if (!row.has_xact)
            break;
        log_add(log, &row);
        chunks++;
    }
    struct log_cursor cursor = log_cursor_behind(&row);
    log->in.after_xact = cursor.xact;
    log->in.after_lease_id = cursor.lease_id.u;
    log->in.after_offset = cursor.offset;
    log->is_page_full = chunks == PAGE;
    bool has_ended = row.ended_ms >= LATE_MS && !row.is_held_back;
    log->is_last = !log->is_page_full && (!log->is_following || has_ended);
    log->is_last = log->is_last || log->read.row_count == 0;
    if (log->is_last && !log->is_ndjson)
        log_text_end(&log->text, &log->out);
}

static void log_was_read(struct db_call *call)
{
    struct log_stream *log = call->data;
    log->is_reading = false;
    log->is_page_full = false;
    if (call->err == ERR_OK)
        log_page(log);
    log_pump(log);
}

static void log_woken(struct hub_waiter *waiter)
{
    struct log_stream *log = waiter->data;
    if (timer_is_armed(&log->timer))
        log_look(log);
    else
        log->is_woken = true;
}

static void log_rested(struct timer *timer)
{
    struct log_stream *log = timer->data;
    if (log->thread->world->is_draining)
        log_end(log);
    else
        log_look(log);
}

/* ---- the operation */

struct log_order {
    struct workload_watch watch; /* first */
    struct log_cursor after;
};

static enum flow_next logs_start(struct flow *flow)
{
    const struct workload_logs_path *path = api_call_of(flow)->path;
    const struct workload_logs_query *query = api_call_of(flow)->query;
    struct log_order *state = api_state(flow, sizeof(*state));
    if (query->after.at != NULL && !log_cursor_parse(query->after, &state->after)) {
        flow_field_error(flow, ERR_INVALID_FIELD, "?after", "format",
                         "must be the cursor of a line, unchanged");
        return FLOW_END;
    }
    state->watch.wanted = watch_wanted(flow, path->workload);
    state->watch.goal = WATCH_ONCE;
    return FLOW_NEXT;
}

static struct log_read_in first_page(const struct log_order *order,
                                     const struct workload_logs_query *query)
{
    return (struct log_read_in){
        .account_id = order->watch.wanted.account_id,
        .workload_id = order->watch.row.workload_id,
        .has_only_replica_index = query->has_replica,
        .only_replica_index = (int32_t)query->replica,
        .after_xact = order->after.xact,
        .after_lease_id = order->after.lease_id.u,
        .after_offset = order->after.offset,
        .limit_count = PAGE,
    };
}

static enum flow_next logs_answer(struct flow *flow)
{
    const struct api_call *call = api_call_of(flow);
    const struct workload_logs_query *query = call->query;
    const struct log_order *order = flow->state;
    char id[ID_TEXT_SIZE], topic[HUB_TOPIC_SIZE];
    struct log_stream *log = calloc(1, sizeof(*log));
    must(log != NULL);
    log->thread = call->thread;
    log->in = first_page(order, query);
    log->read = (struct db_call){.done = log_was_read, .data = log};
    log->waiter = (struct hub_waiter){.wake = log_woken, .data = log};
    log->timer = (struct timer){.fire = log_rested, .data = log};
    log->is_ndjson = query->format == WORKLOAD_LOGS_QUERY_FORMAT_NDJSON;
    log->is_following = query->follow;
    log->text.is_prefixed = order->watch.row.replicas > 1 && !query->has_replica;
    log->stream = api_stream_start(
        flow, log->is_ndjson ? "application/x-ndjson" : "text/plain; charset=utf-8", log_over, log);
    if (log->stream == NULL) {
        free(log);
        return FLOW_END;
    }
    must(str_format(topic, sizeof(topic), "workload:%s", uuid_text(log->in.workload_id, id)));
    hub_join(log->thread->hub, log->thread->loop, &log->waiter, topic);
    stream_on_drained(log->stream, log_drained);
    log_look(log);
    return FLOW_END;
}

const struct flow_step workload_logs_steps[] = {
    {"start", logs_start},
    WORKLOAD_WATCH_STEPS,
    {"answer", logs_answer},
    {0},
};
