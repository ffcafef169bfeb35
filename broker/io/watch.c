#include "broker/io/watch.h"

#include <fcntl.h>
#include <h2o/socket.h>
#include <stdlib.h>

#include "broker/base/must.h"
#include "broker/io/loop.h"

struct watch {
    h2o_socket_t *sock;
    void (*readable)(void *data);
    void (*writable)(void *data);
    void *data;
};

static void on_readable(h2o_socket_t *sock, const char *err)
{
    (void)err; /* the library that owns the descriptor finds out by reading */
    struct watch *watch = sock->data;
    watch->readable(watch->data);
}

static void on_writable(h2o_socket_t *sock, const char *err)
{
    (void)err;
    struct watch *watch = sock->data;
    watch->writable(watch->data);
}

struct watch *watch_create(struct loop *loop, int fd, void (*readable)(void *data),
                           void (*writable)(void *data), void *data)
{
    int own_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own_fd < 0)
        return NULL;
    struct watch *watch = malloc(sizeof(*watch));
    must(watch != NULL);
    *watch = (struct watch){.readable = readable, .writable = writable, .data = data};
    watch->sock = h2o_evloop_socket_create(loop_h2o(loop), own_fd, H2O_SOCKET_FLAG_DONT_READ);
    watch->sock->data = watch;
    h2o_socket_read_start(watch->sock, on_readable);
    return watch;
}

void watch_want_write(struct watch *watch)
{
    if (!h2o_socket_is_writing(watch->sock))
        h2o_socket_notify_write(watch->sock, on_writable);
}

void watch_destroy(struct watch *watch)
{
    if (watch == NULL)
        return;
    /* An empty input points into memory of the thread that made the socket, and that thread may
     * have ended: nothing was ever read into it, so it is begun anew on this one. */
    h2o_buffer_init(&watch->sock->input, &h2o_socket_buffer_prototype);
    h2o_socket_close(
        watch->sock); /* h2o frees it at the end of the turn, so callbacks may do this */
    free(watch);
}
