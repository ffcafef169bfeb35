/* The happy path is: h2o's loop polls and runs what came, then timers fire, then the turn's hooks
 * run until none of them touched the loop. Failure modes are: a poll cut short by a signal (tried
 * again), and memory or descriptors that are gone (a must()).
 */
#include "broker/io/loop.h"

#include <errno.h>
#include <h2o/socket.h>
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "broker/base/must.h"
#include "broker/io/timer.h"
#include "broker/io/watch.h"

#define HOOKS_MAX  16
#define BLOCKS_MAX 128 /* kept */

struct block { /* while nobody has it; the rest is out of bounds then */
    struct block *next;
};

struct posted {
    struct posted *next;
    void (*run)(void *data);
    void *data;
};

struct loop {
    h2o_evloop_t *h2o;
    struct timer_heap *timers;
    struct {
        void (*run)(void *data);
        void *data;
    } hooks[HOOKS_MAX];
    int hooks_count;
    struct block *blocks;
    int blocks_count;
    bool is_touched;
    atomic_bool is_stopped;
    /* The inbox is ours, not h2o's: h2o would read its pipe into a buffer that belongs to the
     * thread that created it, and a loop is created by another thread than the one that runs it. */
    int inbox_fd;
    struct watch *inbox_watch;
    pthread_mutex_t inbox_mutex;
    struct posted *inbox, **inbox_tail;
};

static void inbox_read(void *data)
{
    struct loop *loop = data;
    eventfd_t count;
    (void)eventfd_read(loop->inbox_fd, &count);
    pthread_mutex_lock(&loop->inbox_mutex);
    struct posted *posted = loop->inbox;
    loop->inbox = NULL;
    loop->inbox_tail = &loop->inbox;
    pthread_mutex_unlock(&loop->inbox_mutex);
    for (struct posted *next; posted != NULL; posted = next) {
        next = posted->next;
        posted->run(posted->data);
        free(posted);
    }
}

static void inbox_writable(void *data)
{
    (void)data; /* never asked for */
}

struct loop *loop_create(void)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    must(loop != NULL);
    loop->h2o = h2o_evloop_create();
    loop->timers = timer_heap_create();
    loop->inbox_tail = &loop->inbox;
    pthread_mutex_init(&loop->inbox_mutex, NULL);
    loop->inbox_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    must(loop->inbox_fd >= 0);
    loop->inbox_watch = watch_create(loop, loop->inbox_fd, inbox_read, inbox_writable, loop);
    must(loop->inbox_watch != NULL);
    return loop;
}

void loop_run_posted(struct loop *loop)
{
    inbox_read(loop);
}

void loop_destroy(struct loop *loop)
{
    if (loop == NULL)
        return;
    loop_run_posted(loop);
    watch_destroy(loop->inbox_watch);
    close(loop->inbox_fd);
    pthread_mutex_destroy(&loop->inbox_mutex);
    h2o_evloop_run(loop->h2o, 0);                     /* lets h2o free the sockets closed so far */
    if (h2o_linklist_is_empty(&loop->h2o->_timeouts)) /* else an h2o context still stands on it */
        h2o_evloop_destroy(loop->h2o);
    timer_heap_destroy(loop->timers);
    while (loop->blocks != NULL)
        free(loop_block_take(loop));
    free(loop);
}

h2o_evloop_t *loop_h2o(struct loop *loop)
{
    return loop->h2o;
}

struct timer_heap *loop_timers(struct loop *loop)
{
    return loop->timers;
}

static void run_hooks(struct loop *loop)
{
    do {
        loop->is_touched = false;
        for (int i = 0; i < loop->hooks_count; i++)
            loop->hooks[i].run(loop->hooks[i].data);
    } while (loop->is_touched);
}

void loop_run(struct loop *loop)
{
    run_hooks(loop); /* for what was submitted before the loop ran */
    while (!loop->is_stopped) {
        /* What our timers and hooks wrote has completions pending that no poll would report. */
        bool is_pending =
            loop->h2o->_pending_as_client != NULL || loop->h2o->_pending_as_server != NULL;
        int32_t wait_ms = is_pending ? 0 : timer_heap_wait_ms(loop->timers);
        if (h2o_evloop_run(loop->h2o, wait_ms) != 0)
            must(errno == EINTR);
        timer_heap_fire(loop->timers);
        run_hooks(loop);
    }
    loop->is_stopped = false; /* a test runs its loop in several goes */
}

void loop_stop(struct loop *loop)
{
    loop->is_stopped = true;
    (void)eventfd_write(loop->inbox_fd, 1);
}

void loop_on_turn_end(struct loop *loop, void (*run)(void *data), void *data)
{
    must(loop->hooks_count < HOOKS_MAX);
    loop->hooks[loop->hooks_count].run = run;
    loop->hooks[loop->hooks_count++].data = data;
}

void loop_off_turn_end(struct loop *loop, void *data)
{
    int kept_count = 0;
    for (int i = 0; i < loop->hooks_count; i++) {
        if (loop->hooks[i].data != data)
            loop->hooks[kept_count++] = loop->hooks[i];
    }
    loop->hooks_count = kept_count;
}

void *loop_block_take(struct loop *loop)
{
    struct block *block = loop->blocks;
    if (block == NULL) {
        block = malloc(LOOP_BLOCK_SIZE);
        must(block != NULL);
        return block;
    }
    ASAN_UNPOISON_MEMORY_REGION(block, LOOP_BLOCK_SIZE);
    loop->blocks = block->next;
    loop->blocks_count--;
    return block;
}

void loop_block_give(struct loop *loop, void *data)
{
    struct block *block = data;
    ASAN_UNPOISON_MEMORY_REGION(block, LOOP_BLOCK_SIZE);
    if (loop->blocks_count == BLOCKS_MAX) {
        free(block);
        return;
    }
    block->next = loop->blocks;
    loop->blocks = block;
    loop->blocks_count++;
    ASAN_POISON_MEMORY_REGION(block, LOOP_BLOCK_SIZE);
}

void loop_touch(struct loop *loop)
{
    loop->is_touched = true;
}

void loop_post(struct loop *loop, void (*run)(void *data), void *data)
{
    struct posted *posted = malloc(sizeof(*posted));
    must(posted != NULL);
    *posted = (struct posted){.run = run, .data = data};
    pthread_mutex_lock(&loop->inbox_mutex);
    bool is_first = loop->inbox == NULL;
    *loop->inbox_tail = posted;
    loop->inbox_tail = &posted->next;
    pthread_mutex_unlock(&loop->inbox_mutex);
    if (is_first)
        (void)eventfd_write(loop->inbox_fd, 1);
}
