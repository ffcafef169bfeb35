/* bench_hello.c - the least a libh2o server can do: the limit that the API is measured against.
 *
 * One evloop per thread, SO_REUSEPORT, HTTP/1.1 only, a body of 13 bytes or as many as asked for.
 * Prints its port and serves until it is killed: bench_hello [threads [body_bytes]].
 */
#include <arpa/inet.h>
#include <h2o.h>
#include <h2o/socket.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define BODY_MAX 65536

static h2o_globalconf_t config;
static char body_text[BODY_MAX] = "Hello, world\n";
static size_t body_len = 13;

struct hello_thread {
    h2o_context_t context;
    h2o_accept_ctx_t accept;
    int fd;
};

static int hello_reply(h2o_handler_t *handler, h2o_req_t *req)
{
    static h2o_generator_t generator = {NULL, NULL};
    (void)handler;
    req->res.status = 200;
    req->res.reason = "OK";
    req->res.content_length = body_len;
    h2o_start_response(req, &generator);
    h2o_iovec_t body = h2o_iovec_init(body_text, body_len);
    h2o_send(req, &body, 1, H2O_SEND_STATE_FINAL);
    return 0;
}

static void hello_accept(h2o_socket_t *listener, const char *err)
{
    struct hello_thread *thread = listener->data;
    h2o_socket_t *sock;
    if (err != NULL)
        return;
    while ((sock = h2o_evloop_socket_accept(listener)) != NULL)
        h2o_accept(&thread->accept, sock);
}

static int hello_listen(uint16_t *port)
{
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(*port)};
    socklen_t len = sizeof(at);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(fd, 1024) != 0) {
        perror("bench_hello: listen");
        exit(1);
    }
    getsockname(fd, (struct sockaddr *)&at, &len);
    *port = ntohs(at.sin_port);
    return fd;
}

static void *hello_run(void *data)
{
    struct hello_thread *thread = data;
    h2o_evloop_t *loop = h2o_evloop_create();
    h2o_context_init(&thread->context, loop, &config);
    thread->accept.ctx = &thread->context;
    thread->accept.hosts = config.hosts;
    h2o_socket_t *listener = h2o_evloop_socket_create(loop, thread->fd, H2O_SOCKET_FLAG_DONT_READ);
    listener->data = thread;
    h2o_socket_read_start(listener, hello_accept);
    for (;;)
        h2o_evloop_run(loop, INT32_MAX);
    return NULL;
}

int main(int argc, char **argv)
{
    long threads = argc > 1 ? strtol(argv[1], NULL, 10) : 1;
    uint16_t port = 0;
    if (argc > 2)
        body_len = strtoul(argv[2], NULL, 10);
    if (threads < 1 || threads > 64 || body_len < 13 || body_len > BODY_MAX)
        return 2;
    for (size_t i = 13; i < body_len; i++)
        body_text[i] = '.';
    h2o_config_init(&config);
    config.http1.upgrade_to_http2 = 0;
    h2o_hostconf_t *host =
        h2o_config_register_host(&config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
    h2o_create_handler(path, sizeof(h2o_handler_t))->on_req = hello_reply;
    struct hello_thread *all = calloc((size_t)threads, sizeof(*all));
    for (long i = 0; i < threads; i++) {
        all[i].fd = hello_listen(&port);
        pthread_t id;
        pthread_create(&id, NULL, hello_run, &all[i]);
    }
    printf("listening on http://127.0.0.1:%d\n", port);
    fflush(stdout);
    for (;;)
        pause();
}
