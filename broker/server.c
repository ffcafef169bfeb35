/* The happy path is: each thread accepts from its own SO_REUSEPORT listener, h2o parses, our
 * handler checks the raw head and hands the request to the hooks.
 * Failure modes are: too many connections (503 and closed), no descriptors left (the listener rests
 * for REST_MS instead of spinning), a request that h2o or strict_check() refuses (a problem, and
 * closed; what h2o's parser cannot read at all gets h2o's own plain 400), a slow writer (h2o's
 * request timeout), a slow reader (TCP_USER_TIMEOUT, inherited from the listener).
 */
#include "broker/server.h"

#include <errno.h>
#include <h2o.h>
#include <h2o/http1.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "api/problem.h"
#include "broker/base/clock.h"
#include "broker/base/must.h"
#include "broker/io/conn.h"
#include "broker/io/loop.h"
#include "broker/io/strict.h"
#include "broker/io/timer.h"

#define BACKLOG            1024
#define ACCEPTS_PER_TURN   32
#define REST_MS            100
#define BODY_MAX_DEFAULT   (256 * 1024)
#define REQUEST_MS_DEFAULT 10000
#define READER_MS_DEFAULT  15000
#define THREADS_MAX        64
#define CLOSE_TURNS_MAX    100

struct server_thread {
    struct server *server;
    int index;
    struct loop *loop;
    h2o_context_t context;
    h2o_accept_ctx_t accept;
    h2o_socket_t *listener;
    struct timer rest;  /* until the listener listens again */
    struct conn *conns; /* loop thread */
    atomic_int conns_count, requests_count;
    pthread_t id;
};

struct server {
    struct server_hooks hooks;
    h2o_globalconf_t config;
    int body_max, connections_max, threads_count, port;
    bool is_running;
    struct buf overloaded; /* the whole 503 for one connection too many */
    struct server_thread threads[THREADS_MAX];
};

struct handler { /* h2o's struct with ours behind it */
    h2o_handler_t super;
    struct server *server;
};

/* In the request's pool: counts it out when it is disposed. */
struct request_note {
    struct server_thread *thread;
    struct conn *conn;
};

static int on_request(h2o_handler_t *handler, h2o_req_t *req);
static void on_setup_error(h2o_filter_t *filter, h2o_req_t *req, h2o_ostream_t **slot);
static void on_accept(h2o_socket_t *listener, const char *err);
static void on_rested(struct timer *timer);

static int listen_on(const struct server_config *config, const char *service, char *ret_why,
                     size_t why_size)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *address = NULL;
    int on = 1, reader_ms = config->reader_ms > 0 ? config->reader_ms : READER_MS_DEFAULT;
    int rc = getaddrinfo(config->listen_host, service, &hints, &address);
    if (rc != 0) {
        str_format(ret_why, why_size, "%s: %s", config->listen_host, gai_strerror(rc));
        return -1;
    }
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool is_listening =
        fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0 &&
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &reader_ms, sizeof(reader_ms)) == 0 &&
        bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0;
    freeaddrinfo(address);
    if (is_listening)
        return fd;
    str_format(ret_why, why_size, "%s port %s: %s", config->listen_host, service,
               strerrordesc_np(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

static int port_of(int fd)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    must(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    return h2o_socket_getport((struct sockaddr *)&address);
}

static void configure_h2o(struct server *server, const struct server_config *config)
{
    h2o_globalconf_t *h2o = &server->config;
    h2o_config_init(h2o);
    h2o->server_name = h2o_iovec_init(H2O_STRLIT("undercut"));
    h2o->http1.upgrade_to_http2 = 0;
    h2o->http1.req_timeout =
        (uint64_t)(config->request_ms > 0 ? config->request_ms : REQUEST_MS_DEFAULT);
    h2o->max_request_entity_size = (size_t)server->body_max;
    h2o_hostconf_t *host =
        h2o_config_register_host(h2o, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
    struct handler *handler = (struct handler *)h2o_create_handler(path, sizeof(*handler));
    handler->super.on_req = on_request;
    handler->server = server;
    /* What h2o refuses before any handler passes through the fallback path's filters. */
    h2o_create_filter(&host->fallback_path, sizeof(h2o_filter_t))->on_setup_ostream =
        on_setup_error;
}

/* `id` comes back as the header wants it. */
static void write_problem(struct buf *to, enum err_code err, const char *detail,
                          char id[ID_TEXT_SIZE])
{
    const struct problem problem = {
        .err = err, .detail = detail, .request_id = request_id_text(request_id_new(), id)};
    problem_write(&problem, to);
}

static void add_request_id(h2o_req_t *req, const char *id)
{
    h2o_iovec_t copy = h2o_strdup(&req->pool, id, SIZE_MAX);
    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("request-id"), 0, "Request-Id",
                          copy.base, copy.len);
}

static void write_overloaded(struct buf *to)
{
    struct buf body = {0};
    char id[ID_TEXT_SIZE]; /* one text for all: nobody can tell these apart, nor needs to */
    write_problem(&body, ERR_OVERLOADED, "Too many connections are open.", id);
    buf_add_format(to,
                   "HTTP/1.1 503 Service Unavailable\r\nContent-Type: " PROBLEM_CONTENT_TYPE
                   "\r\nRequest-Id: %s\r\nRetry-After: 1\r\nConnection: close\r\n"
                   "Content-Length: %zu\r\n\r\n%.*s",
                   id, body.len, STR_ARG(buf_str(&body)));
    buf_finish(&body);
}

static void thread_open(struct server *server, int index, int fd)
{
    struct server_thread *thread = &server->threads[index];
    thread->server = server;
    thread->index = index;
    thread->loop = loop_create();
    h2o_context_init(&thread->context, loop_h2o(thread->loop), &server->config);
    thread->accept = (h2o_accept_ctx_t){.ctx = &thread->context, .hosts = server->config.hosts};
    thread->rest = (struct timer){.fire = on_rested, .data = thread};
    thread->listener =
        h2o_evloop_socket_create(loop_h2o(thread->loop), fd, H2O_SOCKET_FLAG_DONT_READ);
    thread->listener->data = thread;
    h2o_socket_read_start(thread->listener, on_accept);
    server->threads_count = index + 1;
}

struct server *server_create(const struct server_config *config, const struct server_hooks *hooks,
                             char *ret_why, size_t why_size)
{
    char service[16];
    struct server *server = calloc(1, sizeof(*server));
    must(server != NULL && config->threads >= 1 && config->threads <= THREADS_MAX);
    server->hooks = *hooks;
    server->body_max = config->body_max > 0 ? config->body_max : BODY_MAX_DEFAULT;
    server->connections_max = config->connections_max;
    server->port = config->port;
    signal(SIGPIPE, SIG_IGN); /* h2o writes without MSG_NOSIGNAL */
    configure_h2o(server, config);
    write_overloaded(&server->overloaded);
    for (int i = 0; i < config->threads; i++) {
        str_format(service, sizeof(service), "%d", server->port);
        int fd = listen_on(config, service, ret_why, why_size);
        if (fd < 0) {
            server_destroy(server);
            return NULL;
        }
        server->port = port_of(fd); /* the first one chooses, the others share it */
        thread_open(server, i, fd);
    }
    return server;
}

int server_port(const struct server *server)
{
    return server->port;
}

struct loop *server_loop(struct server *server, int index)
{
    must(index < server->threads_count);
    return server->threads[index].loop;
}

int server_requests_count(const struct server *server)
{
    int count = 0;
    for (int i = 0; i < server->threads_count; i++)
        count += server->threads[i].requests_count;
    return count;
}

int server_connections_count(const struct server *server)
{
    int count = 0;
    for (int i = 0; i < server->threads_count; i++)
        count += server->threads[i].conns_count;
    return count;
}

static void on_conn_closed(struct conn *conn)
{
    struct server_thread *thread = conn->owner;
    *conn->link = conn->next;
    if (conn->next != NULL)
        conn->next->link = conn->link;
    thread->conns_count--;
}

static void conn_add(struct server_thread *thread, h2o_socket_t *sock)
{
    struct conn *conn = conn_attach(thread->loop, sock, on_conn_closed, thread);
    conn->next = thread->conns;
    conn->link = &thread->conns;
    if (conn->next != NULL)
        conn->next->link = &conn->next;
    thread->conns = conn;
    thread->conns_count++;
}

static void turn_away(const struct server *server, h2o_socket_t *sock)
{
    /* One try is enough: a fresh socket's buffer is empty. */
    (void)!write(h2o_socket_get_fd(sock), server->overloaded.at, server->overloaded.len);
    h2o_socket_close(sock);
}

static void on_accept(h2o_socket_t *listener, const char *err)
{
    struct server_thread *thread = listener->data;
    (void)err;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        h2o_socket_t *sock = h2o_evloop_socket_accept(listener);
        if (sock == NULL && (errno == EMFILE || errno == ENFILE || errno == ENOMEM)) {
            h2o_socket_read_stop(listener); /* level-triggered: it would spin until one is free */
            timer_arm_in(thread->loop, &thread->rest, REST_MS);
        }
        if (sock == NULL)
            return;
        if (thread->conns_count >= thread->server->connections_max) {
            turn_away(thread->server, sock);
            continue;
        }
        conn_add(thread, sock);
        h2o_accept(&thread->accept, sock);
    }
}

static void on_rested(struct timer *timer)
{
    struct server_thread *thread = timer->data;
    if (thread->listener != NULL)
        h2o_socket_read_start(thread->listener, on_accept);
}

static void on_request_disposed(void *data)
{
    struct request_note *note = data;
    note->thread->requests_count--;
    if (note->conn == NULL)
        return;
    note->conn->is_busy = false;
    conn_unwatch(note->conn); /* h2o reads on */
}

static struct server_thread *thread_of(struct server *server, const h2o_req_t *req)
{
    struct server_thread *thread =
        H2O_STRUCT_FROM_MEMBER(struct server_thread, context, req->conn->ctx);
    must(thread->server == server);
    return thread;
}

static void send_problem(h2o_req_t *req, enum err_code err, const char *detail)
{
    struct buf body = {0};
    char id[ID_TEXT_SIZE];
    write_problem(&body, err, detail, id);
    add_request_id(req, id);
    req->res.status = err_info(err)->http_status;
    req->res.reason = err_info(err)->title;
    req->res.content_length = body.len;
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL,
                   H2O_STRLIT(PROBLEM_CONTENT_TYPE));
    h2o_send_inline(req, body.at, body.len);
    buf_finish(&body);
}

static int on_request(h2o_handler_t *super, h2o_req_t *req)
{
    struct server *server = ((struct handler *)super)->server;
    struct server_thread *thread = thread_of(server, req);
    struct request_note *note =
        h2o_mem_alloc_shared(&req->pool, sizeof(*note), on_request_disposed);
    *note = (struct request_note){.thread = thread, .conn = conn_of(req)};
    thread->requests_count++;
    if (note->conn != NULL) {
        note->conn->is_busy = true;
        conn_keep(note->conn);
    }
    enum err_code err = ERR_OK;
    const char *detail = "";
    if (strict_check(req, (size_t)server->body_max, &err, &detail))
        server->hooks.handle(server->hooks.data, thread->index, req);
    else if (server->hooks.refuse != NULL)
        server->hooks.refuse(server->hooks.data, thread->index, req, err, detail);
    else
        send_problem(req, err, detail);
    return 0;
}

struct error_stream {
    h2o_ostream_t super;
    struct str body; /* in the request's pool */
};

static void error_send(h2o_ostream_t *super, h2o_req_t *req, h2o_iovec_t *bufs, size_t bufs_count,
                       h2o_send_state_t state)
{
    struct error_stream *stream = (struct error_stream *)super;
    h2o_iovec_t body = {.base = (char *)stream->body.at, .len = stream->body.len};
    bool has_body = bufs_count > 0; /* none for HEAD */
    (void)bufs;
    h2o_ostream_send_next(super, req, &body, has_body ? 1 : 0, state);
}

static void on_setup_error(h2o_filter_t *filter, h2o_req_t *req, h2o_ostream_t **slot)
{
    struct buf body = {0};
    (void)filter;
    bool is_too_large = req->res.status == 413;
    char id[ID_TEXT_SIZE];
    write_problem(&body, is_too_large ? ERR_BODY_TOO_LARGE : ERR_MALFORMED_REQUEST,
                  is_too_large ? "The body exceeds the limit."
                               : "The framing of the body, or the expectation, is not valid.",
                  id);
    add_request_id(req, id);
    struct error_stream *stream =
        (struct error_stream *)h2o_add_ostream(req, sizeof(*stream), slot);
    h2o_iovec_t copy = h2o_strdup(&req->pool, body.at, body.len);
    buf_finish(&body);
    stream->super.do_send = error_send;
    stream->body = (struct str){.at = copy.base, .len = copy.len};
    req->res.content_length = copy.len;
    if (!is_too_large)
        req->res.status = 400;
    h2o_set_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE,
                   H2O_STRLIT(PROBLEM_CONTENT_TYPE), 1);
    h2o_setup_next_ostream(req, &stream->super.next);
}

static void stop_listening(struct server_thread *thread)
{
    timer_disarm(&thread->rest);
    if (thread->listener != NULL)
        h2o_socket_close(thread->listener);
    thread->listener = NULL;
}

static void close_conns(struct server_thread *thread, bool also_busy)
{
    for (struct conn *conn = thread->conns; conn != NULL; conn = conn->next) {
        if (also_busy || !conn->is_busy)
            shutdown(h2o_socket_get_fd(conn->sock), SHUT_RDWR); /* h2o sees EOF and closes */
    }
}

static void *thread_run(void *data)
{
    struct server_thread *thread = data;
    loop_run(thread->loop);
    /* Connections end on their own thread, because h2o's buffers are the thread's. */
    stop_listening(thread);
    close_conns(thread, /* also_busy= */ true);
    for (int turn = 0; thread->conns != NULL && turn < CLOSE_TURNS_MAX; turn++)
        h2o_evloop_run(loop_h2o(thread->loop), 10);
    return NULL;
}

void server_run(struct server *server)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the threads inherit: signals are main's */
    for (int i = 0; i < server->threads_count; i++) {
        must(pthread_create(&server->threads[i].id, NULL, thread_run, &server->threads[i]) == 0);
        pthread_setname_np(server->threads[i].id, "http");
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    server->is_running = true;
}

static void thread_drain(void *data)
{
    struct server_thread *thread = data;
    stop_listening(thread);
    h2o_context_request_shutdown(&thread->context); /* answers from now on say Connection: close */
    close_conns(thread, /* also_busy= */ false);
}

int server_drain(struct server *server, int64_t ms)
{
    int64_t until_mono_ms = clock_mono_ms() + ms;
    for (int i = 0; i < server->threads_count; i++)
        loop_post(server->threads[i].loop, thread_drain, &server->threads[i]);
    do
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    while (server_requests_count(server) > 0 && clock_mono_ms() < until_mono_ms);
    return server_requests_count(server);
}

void server_stop(struct server *server)
{
    if (!server->is_running)
        return;
    for (int i = 0; i < server->threads_count; i++)
        loop_stop(server->threads[i].loop);
    for (int i = 0; i < server->threads_count; i++)
        pthread_join(server->threads[i].id, NULL);
    server->is_running = false;
}

void server_destroy(struct server *server)
{
    if (server == NULL)
        return;
    server_stop(server);
    /* A request that nobody answered holds its connection, that its context, and that the rest. It
     * stays, then; the process is about to end anyway. */
    bool is_held = server_connections_count(server) > 0;
    for (int i = 0; i < server->threads_count && !is_held; i++) {
        stop_listening(&server->threads[i]);
        /* A drain that took less than a second has left h2o's own timer for it standing. */
        h2o_timeout_unlink(&server->threads[i].context.http2._graceful_shutdown_timeout);
        h2o_context_dispose(&server->threads[i].context);
        loop_destroy(server->threads[i].loop);
    }
    buf_finish(&server->overloaded);
    if (is_held)
        return;
    h2o_config_dispose(&server->config);
    free(server);
}
