/* events.c - what happens to an account: a stream of server-sent events, or a long poll.
 *
 * The happy path of a stream is: read what is behind the cursor, send it, rest until the account's
 * topic wakes it, and read again; what a running transaction still holds back is asked for again
 * soon. A long poll is the same as a flow that ends at the first event. Failure modes are: a client
 * that hangs up or reads too slowly (the stream is cut; it resumes with Last-Event-ID), a wake-up
 * that was lost (it looks by itself), a database that does not answer (it goes on trying: the
 * cursor has not moved), and a broker that shuts down (the stream ends).
 */
#include "api/call.h"

#include <stdlib.h>

#include "api/wait.h"
#include "broker/base/clock.h"
#include "broker/io/db.h"
#include "broker/io/stream.h"
#include "broker/market/event.h"

#define PAGE          16   /* events on their way to one reader at most */
#define HELD_BACK_MS  50   /* something is behind a running transaction */
#define LOOK_EVERY_MS 2000 /* wake-ups may get lost */
#define KEEPALIVE_MS  15000

static bool cursor_taken(struct flow *flow, const char *pointer, struct str text,
                         struct event_cursor *ret)
{
    if (event_cursor_parse(text, ret))
        return true;
    flow_field_error(flow, ERR_INVALID_FIELD, pointer, "format",
                     "must be the id of an event, or 0");
    return false;
}

static void topic_of(struct account_id account_id, char topic[HUB_TOPIC_SIZE])
{
    char id[ID_TEXT_SIZE];
    must(str_format(topic, HUB_TOPIC_SIZE, "account:%s", uuid_text(account_id.u, id)));
}

/* ---- a stream of server-sent events */

struct event_stream {
    struct api_thread *thread;
    struct stream *stream;
    struct event_read_in in; /* after_* is the cursor */
    struct db_call read;
    struct hub_waiter waiter;
    struct timer timer;
    int64_t spoke_mono_ms; /* when something was last sent */
    bool is_reading, is_woken;
};

static void stream_look(struct event_stream *events)
{
    events->is_reading = true;
    events->is_woken = false;
    timer_disarm(&events->timer);
    event_read_submit(events->thread->db, &events->read, &events->in);
}

static void stream_over(void *data)
{
    struct event_stream *events = data;
    hub_leave(events->thread->hub, &events->waiter);
    timer_disarm(&events->timer);
    db_call_finish(&events->read);
    free(events);
}

static void event_write(struct buf *to, const struct event_read_out *event)
{
    char id[EVENT_CURSOR_SIZE];
    struct json_out out;
    buf_add_format(to,
                   "id: %s\nevent: %.*s\ndata: ", event_cursor_text(event_cursor_behind(event), id),
                   STR_ARG(event->kind));
    json_out_start(&out, to);
    event_put(&out, event);
    buf_add_c(to, "\n\n");
}

/* Sends the rows that hold an event and moves the cursor; false: the reader was cut. */
static bool stream_page(struct event_stream *events, bool *ret_is_full, bool *ret_is_held_back)
{
    struct buf text = {.at = NULL};
    struct event_read_out row = {.has_xact = false};
    int sent = 0;
    for (int i = 0; i < events->read.row_count; i++) {
        event_read_get(&events->read, i, &row);
        if (!row.has_xact)
            break;
        event_write(&text, &row);
        sent++;
    }
    struct event_cursor cursor = event_cursor_behind(&row);
    *ret_is_full = sent == PAGE;
    *ret_is_held_back = row.is_held_back;
    if (!*ret_is_full && cursor.xact < row.horizon_xact) /* nothing else below the horizon */
        cursor = (struct event_cursor){.xact = row.horizon_xact};
    events->in.after_xact = cursor.xact;
    events->in.after_event_id = cursor.event_id;
    if (sent > 0)
        events->spoke_mono_ms = clock_mono_ms();
    bool is_there = stream_send(events->stream, buf_str(&text));
    buf_finish(&text);
    return is_there;
}

static void stream_rest(struct event_stream *events, bool is_held_back)
{
    if (events->is_woken)
        stream_look(events);
    else
        timer_arm_in(events->thread->loop, &events->timer,
                     is_held_back ? HELD_BACK_MS : LOOK_EVERY_MS);
}

static void stream_read(struct db_call *call)
{
    struct event_stream *events = call->data;
    bool is_full = false, is_held_back = false;
    events->is_reading = false;
    if (call->err == ERR_OK && !stream_page(events, &is_full, &is_held_back))
        return; /* cut: all is freed */
    if (!is_full)
        stream_rest(events, is_held_back);
    /* A full page waits until the reader has taken it: stream_drained() goes on. */
}

static void stream_drained(void *data)
{
    struct event_stream *events = data;
    if (!events->is_reading && !timer_is_armed(&events->timer))
        stream_look(events);
}

static void stream_woken(struct hub_waiter *waiter)
{
    struct event_stream *events = waiter->data;
    if (!events->is_reading && timer_is_armed(&events->timer))
        stream_look(events);
    else
        events->is_woken = true;
}

static void stream_rested(struct timer *timer)
{
    struct event_stream *events = timer->data;
    if (events->thread->world->is_draining) {
        stream_end(events->stream); /* `gone` is not called behind this */
        stream_over(events);
        return;
    }
    if (clock_mono_ms() - events->spoke_mono_ms >= KEEPALIVE_MS) {
        events->spoke_mono_ms = clock_mono_ms();
        if (!stream_send(events->stream, STR(": keepalive\n\n")))
            return;
    }
    stream_look(events);
}

static enum flow_next stream_begin(struct flow *flow, const struct event_read_in *in)
{
    struct api_call *call = api_call_of(flow);
    char topic[HUB_TOPIC_SIZE];
    struct event_stream *events = calloc(1, sizeof(*events));
    must(events != NULL);
    events->thread = call->thread;
    events->in = *in;
    events->read = (struct db_call){.done = stream_read, .data = events};
    events->waiter = (struct hub_waiter){.wake = stream_woken, .data = events};
    events->timer = (struct timer){.fire = stream_rested, .data = events};
    events->spoke_mono_ms = clock_mono_ms();
    events->stream = api_stream_start(flow, "text/event-stream", stream_over, events);
    if (events->stream == NULL) {
        free(events);
        return FLOW_END;
    }
    topic_of(call->principal.account_id, topic);
    hub_join(call->thread->hub, call->thread->loop, &events->waiter, topic);
    stream_on_drained(events->stream, stream_drained);
    if (stream_send(events->stream, STR("retry: 1000\n\n")))
        stream_look(events);
    return FLOW_END;
}

/* ---- the operation */

struct event_poll {
    struct event_read_in in;
    struct db_call horizon, read;
    struct api_wait wait;
    bool has_cursor, is_stream;
};

static enum flow_next poll_start(struct flow *flow)
{
    const struct api_call *call = api_call_of(flow);
    const struct event_stream_query *query = call->query;
    struct event_poll *state = api_state(flow, sizeof(*state));
    struct str last = api_header(flow, "last-event-id");
    struct event_cursor cursor = {.xact = 0};
    state->is_stream = api_accepts(flow, "text/event-stream");
    state->has_cursor = query->after.at != NULL || (state->is_stream && last.len > 0);
    if (query->after.at != NULL && !cursor_taken(flow, "?after", query->after, &cursor))
        return FLOW_END;
    if (state->is_stream && last.len > 0 && !cursor_taken(flow, "Last-Event-ID", last, &cursor))
        return FLOW_END;
    state->in = (struct event_read_in){
        .account_id = call->principal.account_id.u,
        .after_xact = cursor.xact,
        .after_event_id = cursor.event_id,
        .has_only_workload_id = query->has_workload_id,
        .only_workload_id = query->workload_id.u,
        .limit_count = state->is_stream ? PAGE : (int32_t)query->limit,
    };
    if (state->has_cursor)
        return flow_goto(flow, "begin");
    state->horizon.flow = flow;
    event_horizon_submit(call->thread->db, &state->horizon);
    return FLOW_WAIT;
}

static enum flow_next poll_from_now(struct flow *flow)
{
    struct event_poll *state = flow->state;
    struct event_horizon_out row;
    if (db_call_check(flow, &state->horizon) != ERR_OK)
        return FLOW_END;
    event_horizon_get(&state->horizon, 0, &row);
    state->in.after_xact = row.horizon_xact;
    return FLOW_NEXT;
}

static enum flow_next poll_begin(struct flow *flow)
{
    const struct event_stream_query *query = api_call_of(flow)->query;
    struct event_poll *state = flow->state;
    char topic[HUB_TOPIC_SIZE];
    if (state->is_stream)
        return stream_begin(flow, &state->in);
    topic_of(api_call_of(flow)->principal.account_id, topic);
    api_wait_start(flow, &state->wait, topic, query->wait_s * 1000);
    return FLOW_NEXT;
}

static enum flow_next poll_look(struct flow *flow)
{
    struct event_poll *state = flow->state;
    state->read.flow = flow;
    event_read_submit(api_call_of(flow)->thread->db, &state->read, &state->in);
    return FLOW_WAIT;
}

static enum flow_next poll_answer(struct flow *flow)
{
    struct event_poll *state = flow->state;
    struct event_read_out row = {.has_xact = false};
    char cursor[EVENT_CURSOR_SIZE];
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    json_array_open(out, "data");
    for (int i = 0; i < state->read.row_count; i++) {
        event_read_get(&state->read, i, &row);
        if (row.has_xact)
            event_put(out, &row);
    }
    json_array_close(out);
    struct event_cursor behind = event_cursor_behind(&row);
    if (!row.has_xact && behind.xact < state->in.after_xact) /* never backwards */
        behind = (struct event_cursor){.xact = state->in.after_xact,
                                       .event_id = state->in.after_event_id};
    json_put_c(out, "next_after", event_cursor_text(behind, cursor));
    json_object_close(out);
    return api_reply_json(flow, 200);
}

static enum flow_next poll_seen(struct flow *flow)
{
    struct event_poll *state = flow->state;
    struct event_read_out row;
    if (db_call_check(flow, &state->read) != ERR_OK)
        return FLOW_END;
    event_read_get(&state->read, 0, &row);
    if (row.has_xact)
        return poll_answer(flow);
    if (state->wait.is_gone)
        return flow_fail(flow, ERR_CANCELLED, "the client hung up");
    if (api_wait_is_over(&state->wait))
        return poll_answer(flow);
    return api_wait_rest(&state->wait, row.is_held_back ? HELD_BACK_MS : LOOK_EVERY_MS);
}

static enum flow_next poll_again(struct flow *flow)
{
    return flow_goto(flow, "look");
}

const struct flow_step event_stream_steps[] = {
    {"start", poll_start},
    {"from_now", poll_from_now},
    {"begin", poll_begin},
    {"look", poll_look},
    {"seen", poll_seen},
    {"again", poll_again},
    {0},
};
