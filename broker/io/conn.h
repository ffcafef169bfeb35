/* conn.h - what we keep beside h2o's connection: who counts it, and whether its peer is still
 * there.
 *
 * loop thread. h2o stops reading while a request is served, so a hang-up goes unseen; conn_watch()
 * looks at the socket without reading from it, because a request without a body points into h2o's
 * input buffer, which reading could move.
 */
#ifndef UNDERCUT_IO_CONN_H
#define UNDERCUT_IO_CONN_H

#include <stdbool.h>

#include "broker/io/timer.h"

struct conn;
struct loop;
struct st_h2o_req_t;
struct st_h2o_socket_t;

struct conn {
    struct st_h2o_socket_t *sock;
    struct loop *loop;
    void (*closed)(struct conn *conn); /* before it is freed; may be NULL */
    void *owner;
    struct conn *next, **link; /* for the owner's list */
    bool is_busy;              /* a request is being served; the owner's to keep */
    void (*gone)(void *data);  /* while watched */
    void *gone_data;
    bool lets_pass;    /* the next sign of something, unseen */
    struct timer poll; /* while the peer's next request hides its hang-up */
};

/* Lives as long as the socket. */
struct conn *conn_attach(struct loop *loop, struct st_h2o_socket_t *sock,
                         void (*closed)(struct conn *conn), void *owner);
/* NULL for a request over something else, such as a test's loopback. */
struct conn *conn_of(struct st_h2o_req_t *req);
/* Calls `gone` once when the peer hangs up; replaces an earlier watch. */
void conn_watch(struct conn *conn, void (*gone)(void *data), void *data);
/* Keeps the poll for reading as it is while a request is served, which saves two system calls per
 * request; a hang-up only means that nothing follows on this connection. */
void conn_keep(struct conn *conn);
void conn_unwatch(struct conn *conn); /* before h2o reads again; harmless when not watched */

#endif
