#include "broker/io/conn.h"

#include <errno.h>
#include <h2o.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "broker/base/must.h"
#include "broker/io/loop.h"

#define POLL_MS 250

static void on_close(void *data)
{
    struct conn *conn = data;
    timer_disarm(&conn->poll);
    if (conn->closed != NULL)
        conn->closed(conn);
    free(conn);
}

static void has_gone(struct conn *conn)
{
    void (*gone)(void *data) = conn->gone;
    void *data = conn->gone_data;
    conn_unwatch(conn);
    gone(data);
}

static void on_poll(struct timer *timer)
{
    struct conn *conn = timer->data;
    struct pollfd look = {.fd = h2o_socket_get_fd(conn->sock), .events = POLLRDHUP};
    if (poll(&look, 1, 0) > 0)
        has_gone(conn);
    else
        timer_arm_in(conn->loop, &conn->poll, POLL_MS);
}

struct conn *conn_attach(struct loop *loop, h2o_socket_t *sock, void (*closed)(struct conn *conn),
                         void *owner)
{
    struct conn *conn = calloc(1, sizeof(*conn));
    must(conn != NULL);
    *conn = (struct conn){.sock = sock, .loop = loop, .closed = closed, .owner = owner};
    conn->poll = (struct timer){.fire = on_poll, .data = conn};
    sock->on_close.cb = on_close;
    sock->on_close.data = conn;
    return conn;
}

struct conn *conn_of(h2o_req_t *req)
{
    if (req->conn == NULL || req->conn->callbacks->get_socket == NULL)
        return NULL;
    h2o_socket_t *sock = req->conn->callbacks->get_socket(req->conn);
    return sock != NULL && sock->on_close.cb == on_close ? sock->on_close.data : NULL;
}

static void on_something(h2o_socket_t *sock, const char *err)
{
    struct conn *conn = sock->on_close.data;
    char byte;
    if (err == NULL && conn->lets_pass) {
        conn->lets_pass = false;
        return;
    }
    ssize_t got = recv(h2o_socket_get_fd(sock), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    bool is_quiet = got < 0 && (errno == EAGAIN || errno == EINTR);
    if (err == NULL && is_quiet)
        return;
    if (err != NULL || got <= 0) {
        has_gone(conn);
        return;
    }
    /* The next request is in the kernel's buffer and stays there: readable for ever, so no longer
     * asked for; a hang-up behind it shows in poll(). */
    h2o_socket_read_stop(sock);
    timer_arm_in(conn->loop, &conn->poll, POLL_MS);
}

void conn_watch(struct conn *conn, void (*gone)(void *data), void *data)
{
    conn->gone = gone;
    conn->gone_data = data;
    conn->lets_pass = false;
    h2o_socket_dont_read(conn->sock, 1);
    h2o_socket_read_start(conn->sock, on_something);
}

static void ignore(void *data)
{
    (void)data; /* the answer's write will fail */
}

void conn_keep(struct conn *conn)
{
    conn_watch(conn, ignore, NULL);
    /* What shows first is nearly always the next request, behind the answer that was just written:
     * h2o reads it in this very turn. Anything else shows again in the next. */
    conn->lets_pass = true;
}

void conn_unwatch(struct conn *conn)
{
    if (conn->gone == NULL)
        return;
    conn->gone = NULL;
    timer_disarm(&conn->poll);
    h2o_socket_read_stop(conn->sock);
    h2o_socket_dont_read(conn->sock, 0);
}
