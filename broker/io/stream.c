#include "broker/io/stream.h"

#include <h2o.h>
#include <sys/socket.h>

#include "broker/base/must.h"
#include "broker/io/conn.h"

/* Lives in the request's pool, so it goes when the request does, however that comes about. */
struct stream {
    h2o_generator_t generator; /* first: h2o hands it back */
    h2o_req_t *req;
    struct conn *conn; /* NULL: cannot be watched */
    struct buf sending, queued;
    bool is_sending, is_ending, is_over;
    void (*gone)(void *data);
    void (*drained)(void *data); /* NULL: nobody asked */
    void *data;
};

static void send_next(struct stream *stream);

static void stream_dispose(void *data)
{
    struct stream *stream = data;
    bool is_known = stream->is_over || stream->is_ending;
    stream->is_over = true;
    if (stream->conn != NULL)
        conn_unwatch(stream->conn);
    buf_finish(&stream->sending);
    buf_finish(&stream->queued);
    if (!is_known)
        stream->gone(stream->data);
}

/* After this the owner may not touch the stream any more; h2o frees it when it has closed. */
static void stream_cut(void *data)
{
    struct stream *stream = data;
    h2o_req_t *req = stream->req;
    stream->is_over = true;
    if (stream->conn != NULL) {
        conn_unwatch(stream->conn);
        shutdown(h2o_socket_get_fd(stream->conn->sock), SHUT_RDWR); /* ends a send that is stuck */
    }
    if (!stream->is_ending) /* an owner that has ended it cares no more */
        stream->gone(stream->data);
    req->http1_is_persistent = 0;
    if (!stream->is_sending)
        h2o_send(req, NULL, 0, H2O_SEND_STATE_ERROR);
}

static void on_proceed(h2o_generator_t *generator, h2o_req_t *req)
{
    struct stream *stream = (struct stream *)generator;
    stream->is_sending = false;
    stream->sending.len = 0;
    if (stream->is_over)
        h2o_send(req, NULL, 0, H2O_SEND_STATE_ERROR);
    else if (stream->queued.len > 0 || stream->is_ending)
        send_next(stream);
    else if (stream->drained != NULL)
        stream->drained(stream->data);
}

static void on_stop(h2o_generator_t *generator, h2o_req_t *req)
{
    (void)generator, (void)req; /* the disposal that follows says it all */
}

struct stream *stream_start(h2o_req_t *req, void (*gone)(void *data), void *data)
{
    struct stream *stream = h2o_mem_alloc_shared(&req->pool, sizeof(*stream), stream_dispose);
    *stream = (struct stream){
        .generator = {.proceed = on_proceed, .stop = on_stop},
        .req = req,
        .conn = conn_of(req),
        .gone = gone,
        .data = data,
    };
    if (stream->conn != NULL)
        conn_watch(stream->conn, stream_cut, stream);
    h2o_start_response(req, &stream->generator);
    return stream;
}

/* At most one send is under way; its bytes stay where they are until h2o asks for more. */
static void send_next(struct stream *stream)
{
    struct buf empty = stream->sending;
    stream->sending = stream->queued;
    stream->queued = empty;
    h2o_iovec_t bytes = {.base = stream->sending.at, .len = stream->sending.len};
    stream->is_sending = true;
    if (stream->is_ending && stream->conn != NULL)
        conn_unwatch(stream->conn);
    stream->is_over = stream->is_ending;
    h2o_send(stream->req, &bytes, bytes.len > 0 ? 1 : 0,
             stream->is_ending ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
}

bool stream_send(struct stream *stream, struct str bytes)
{
    must(!stream->is_over && !stream->is_ending);
    if (bytes.len == 0)
        return true;
    if (stream->queued.len + bytes.len > STREAM_QUEUE_BYTES_MAX) {
        stream_cut(stream);
        return false;
    }
    buf_add_str(&stream->queued, bytes);
    if (!stream->is_sending)
        send_next(stream);
    return true;
}

void stream_on_drained(struct stream *stream, void (*drained)(void *data))
{
    stream->drained = drained;
}

void stream_end(struct stream *stream)
{
    must(!stream->is_over && !stream->is_ending);
    stream->is_ending = true;
    if (!stream->is_sending)
        send_next(stream);
}

struct hangup { /* in the request's pool */
    struct conn *conn;
    h2o_req_t *req;
    void (*gone)(void *data);
    void *data;
};

static void hangup_dispose(void *data)
{
    struct hangup *hangup = data;
    if (hangup->conn->gone_data == hangup) /* else a stream has taken the connection over */
        conn_unwatch(hangup->conn);
}

static void hangup_seen(void *data)
{
    struct hangup *hangup = data;
    hangup->req->http1_is_persistent = 0;
    if (hangup->req->res.status == 0) /* not answered yet */
        hangup->gone(hangup->data);
}

bool stream_watch_hangup(h2o_req_t *req, void (*gone)(void *data), void *data)
{
    struct conn *conn = conn_of(req);
    if (conn == NULL)
        return false;
    struct hangup *hangup = h2o_mem_alloc_shared(&req->pool, sizeof(*hangup), hangup_dispose);
    *hangup = (struct hangup){.conn = conn, .req = req, .gone = gone, .data = data};
    conn_watch(conn, hangup_seen, hangup);
    return true;
}
