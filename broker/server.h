/* server.h - HTTP/1.1 on N threads: listeners, h2o contexts, limits, and a graceful end.
 *
 * Created, run, drained and stopped by the main thread; hooks run on the loop threads. HTTP/2 is
 * off, because this h2o lacks the fixes against rapid reset. A request reaches `handle` only after
 * strict_check() found it good. SIGPIPE is ignored from server_create() on.
 */
#ifndef UNDERCUT_SERVER_H
#define UNDERCUT_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/err.h"

struct loop;
struct server;
struct st_h2o_req_t;

struct server_config {
    const char *listen_host; /* numeric address */
    int port;                /* 0: any free one */
    int threads;             /* at least 1 */
    int connections_max;     /* per thread; one more is answered with 503 and closed */
    int body_max;            /* bytes; 0: 256 KiB */
    int request_ms;          /* a request must have arrived in full within this; 0: 10 s */
    int reader_ms;           /* an answer nobody reads is given up after this; 0: 15 s */
};

struct server_hooks {
    void (*handle)(void *data, int thread_index, struct st_h2o_req_t *req);
    /* Answers with a problem; NULL: the server does. */
    void (*refuse)(void *data, int thread_index, struct st_h2o_req_t *req, enum err_code err,
                   const char *detail);
    void *data;
};

/* Binds and makes the loops, but does not run them yet. NULL: `ret_why` says what failed. */
struct server *server_create(const struct server_config *config, const struct server_hooks *hooks,
                             char *ret_why, size_t why_size);
int server_port(const struct server *server);
/* For what else lives on thread `index`; usable before server_run() and after server_stop(). */
struct loop *server_loop(struct server *server, int index);
int server_requests_count(const struct server *server); /* in progress; any thread */
int server_connections_count(const struct server *server);
void server_run(struct server *server); /* starts the threads and returns */
/* Stops listening, closes idle connections, and waits at most `ms` for the rest.
 * Returns the number of requests still in progress. Streams have to be ended by their owners. */
int server_drain(struct server *server, int64_t ms);
void server_stop(struct server *server); /* ends the threads; harmless when they do not run */
void server_destroy(
    struct server *server); /* closes what is open; what lives on the loops goes before */

#endif
