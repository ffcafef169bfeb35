#include "tests/agent/lib_serve.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MAX (256 * 1024 + 8192)
#define TICK_MS     50 /* how soon a connection notices the end */

struct serve {
    int listen_fd;
    int port;
    pthread_t thread;
    serve_answer *answer;
    void *arg;
    atomic_bool is_ending;
    atomic_int connections_count;
};

struct connection {
    struct serve *serve;
    int fd;
};

static void *accept_main(void *arg);
static void *connection_main(void *arg);

struct serve *serve_start(serve_answer *answer, void *arg)
{
    struct serve *serve = calloc(1, sizeof(*serve));
    must(serve);
    serve->answer = answer;
    serve->arg = arg;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    serve->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(serve->listen_fd >= 0);
    must(bind(serve->listen_fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    must(listen(serve->listen_fd, 64) == 0);
    must(getsockname(serve->listen_fd, (struct sockaddr *)&address, &size) == 0);
    serve->port = ntohs(address.sin_port);
    must(pthread_create(&serve->thread, NULL, accept_main, serve) == 0);
    return serve;
}

void serve_stop(struct serve *serve)
{
    serve->is_ending = true;
    shutdown(serve->listen_fd, SHUT_RDWR);
    pthread_join(serve->thread, NULL);
    close(serve->listen_fd);
    while (serve->connections_count > 0)
        (void)poll(NULL, 0, 1);
    free(serve);
}

int serve_port(const struct serve *serve)
{
    return serve->port;
}

static void *accept_main(void *arg)
{
    struct serve *serve = arg;
    int fd;
    while ((fd = accept4(serve->listen_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        struct connection *connection = malloc(sizeof(*connection));
        must(connection);
        *connection = (struct connection){.serve = serve, .fd = fd};
        pthread_t thread;
        serve->connections_count++;
        must(pthread_create(&thread, NULL, connection_main, connection) == 0);
        pthread_detach(thread);
    }
    return NULL;
}

static void header_take(struct request *request, struct str line, size_t *ret_body_len)
{
    struct str value = line;
    struct str name = str_cut(&value, ':');
    value = str_trim(value);
    int64_t number;
    if (name.len == 14 && strncasecmp(name.at, "Content-Length", 14) == 0 &&
        str_to_i64(value, &number))
        *ret_body_len = (size_t)number;
    if (str_equal_c(name, "Undercut-Boot"))
        (void)str_format(request->boot, sizeof(request->boot), "%.*s", STR_ARG(value));
    if (str_equal_c(name, "Undercut-Seq"))
        (void)str_format(request->seq, sizeof(request->seq), "%.*s", STR_ARG(value));
    if (str_equal_c(name, "Undercut-Signature"))
        (void)str_format(request->signature, sizeof(request->signature), "%.*s", STR_ARG(value));
}

static size_t head_parse(struct str head, struct request *request)
{
    size_t body_len = 0;
    struct str line = str_cut(&head, '\n');
    (void)str_cut(&line, ' ');
    struct str path = str_cut(&line, ' ');
    (void)str_format(request->path, sizeof(request->path), "%.*s", STR_ARG(path));
    while (head.len) {
        line = str_cut(&head, '\n');
        if (line.len && line.at[line.len - 1] == '\r')
            line.len--;
        header_take(request, line, &body_len);
    }
    return body_len;
}

/* False when the client is gone, or sends too much. */
static bool read_more(int fd, struct buf *io_bytes)
{
    char chunk[16384];
    ssize_t n = recv(fd, chunk, sizeof(chunk), 0);
    if (n > 0)
        buf_add(io_bytes, chunk, (size_t)n);
    return n > 0 && io_bytes->len < REQUEST_MAX;
}

static bool request_read(int fd, struct buf *bytes, struct request *ret_request)
{
    const char *end;
    while (!(end = bytes->len ? memmem(bytes->at, bytes->len, "\r\n\r\n", 4) : NULL))
        if (!read_more(fd, bytes))
            return false;
    size_t head_len = (size_t)(end - bytes->at) + 4;
    *ret_request = (struct request){0};
    size_t body_len = head_parse((struct str){.at = bytes->at, .len = head_len}, ret_request);
    while (bytes->len < head_len + body_len)
        if (!read_more(fd, bytes))
            return false;
    ret_request->body = (struct str){.at = bytes->at + head_len, .len = body_len};
    return true;
}

static void *connection_main(void *arg)
{
    struct connection connection = *(struct connection *)arg;
    struct serve *serve = connection.serve;
    free(arg);
    struct buf bytes = {0};
    struct request request;
    struct pollfd readable = {.fd = connection.fd, .events = POLLIN};
    bool is_open = true;
    while (is_open && !serve->is_ending) {
        if (poll(&readable, 1, TICK_MS) <= 0)
            continue;
        bytes.len = 0;
        is_open = request_read(connection.fd, &bytes, &request) &&
                  serve->answer(serve->arg, connection.fd, &request);
    }
    buf_finish(&bytes);
    close(connection.fd);
    serve->connections_count--;
    return NULL;
}
