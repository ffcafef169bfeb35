#include "tests/agent/lib_engine.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "broker/base/must.h"
#include "broker/base/str.h"
#include "tests/agent/lib_process.h"

struct fake_engine {
    char folder[64];
    char url[128];
    int listen_fd;
    pthread_t thread;
    pthread_mutex_t lock;
    const struct engine_row *rows;
    size_t rows_count;
    struct buf asked;
};

static void request_answer(struct fake_engine *engine, int fd, const char *request)
{
    const struct engine_row *row = NULL;
    for (size_t i = 0; i < engine->rows_count && !row; i++)
        if (strncmp(request, engine->rows[i].request, strlen(engine->rows[i].request)) == 0)
            row = &engine->rows[i];
    const char *body = row ? row->body : "{\"message\":\"the script has no such row\"}";
    struct buf reply = {0};
    buf_add_format(&reply,
                   "HTTP/1.1 %d Answer\r\nContent-Type: application/json\r\nConnection: close\r\n"
                   "Content-Length: %zu\r\n\r\n%s",
                   row ? row->status : 599, strlen(body), body);
    (void)send(fd, reply.at, reply.len, MSG_NOSIGNAL);
    buf_finish(&reply);
}

static void *engine_main(void *arg)
{
    struct fake_engine *engine = arg;
    int fd;
    while ((fd = accept4(engine->listen_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        char request[65536];
        size_t len = 0;
        size_t want = SIZE_MAX;
        while (len < want && len < sizeof(request) - 1) {
            ssize_t n = recv(fd, request + len, sizeof(request) - 1 - len, 0);
            if (n <= 0)
                break;
            len += (size_t)n;
            request[len] = '\0';
            const char *end = strstr(request, "\r\n\r\n");
            const char *length = strcasestr(request, "content-length: ");
            if (end)
                want = (size_t)(end - request) + 4 +
                       (length && length < end ? strtoul(length + 16, NULL, 10) : 0);
        }
        request[len] = '\0';
        pthread_mutex_lock(&engine->lock);
        buf_add_format(&engine->asked, "%s\n", request);
        pthread_mutex_unlock(&engine->lock);
        request_answer(engine, fd, request);
        close(fd);
    }
    return NULL;
}

struct fake_engine *fake_engine_start(const struct engine_row *rows, size_t count)
{
    struct fake_engine *engine = calloc(1, sizeof(*engine));
    must(engine);
    engine->rows = rows;
    engine->rows_count = count;
    folder_make_temporary(engine->folder);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    must(str_format(address.sun_path, sizeof(address.sun_path), "%s/engine.sock", engine->folder));
    must(str_format(engine->url, sizeof(engine->url), "unix://%s", address.sun_path));
    engine->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(engine->listen_fd >= 0);
    must(bind(engine->listen_fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    must(listen(engine->listen_fd, 8) == 0);
    must(pthread_mutex_init(&engine->lock, NULL) == 0);
    must(pthread_create(&engine->thread, NULL, engine_main, engine) == 0);
    return engine;
}

void fake_engine_stop(struct fake_engine *engine)
{
    shutdown(engine->listen_fd, SHUT_RDWR);
    pthread_join(engine->thread, NULL);
    close(engine->listen_fd);
    pthread_mutex_destroy(&engine->lock);
    buf_finish(&engine->asked);
    folder_remove(engine->folder);
    free(engine);
}

const char *fake_engine_url(const struct fake_engine *engine)
{
    return engine->url;
}

const char *fake_engine_asked(struct fake_engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    buf_reserve(&engine->asked, 1);
    engine->asked.at[engine->asked.len] = '\0';
    pthread_mutex_unlock(&engine->lock);
    return engine->asked.at;
}
