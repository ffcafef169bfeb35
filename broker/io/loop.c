#include "broker/io/loop.h"

#include <errno.h>
#include <h2o/multithread.h>
#include <h2o/socket.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "broker/base/must.h"
#include "broker/io/timer.h"

#define HOOKS_MAX 16

struct loop {
    h2o_evloop_t *h2o;
    h2o_multithread_queue_t *queue;
    h2o_multithread_receiver_t inbox;
    struct timer_heap *timers;
    struct {
        void (*run)(void *data);
        void *data;
    } hooks[HOOKS_MAX];
    int hooks_count;
    bool is_touched;
    atomic_bool is_stopped;
};

struct posted {
    h2o_multithread_message_t message; /* first: h2o links messages by it */
    void (*run)(void *data);
    void *data;
};

static void inbox_read(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages)
{
    (void)receiver;
    while (!h2o_linklist_is_empty(messages)) {
        struct posted *posted = H2O_STRUCT_FROM_MEMBER(struct posted, message.link, messages->next);
        h2o_linklist_unlink(&posted->message.link);
        posted->run(posted->data);
        free(posted);
    }
}

struct loop *loop_create(void)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    must(loop != NULL);
    loop->h2o = h2o_evloop_create();
    loop->timers = timer_heap_create();
    loop->queue = h2o_multithread_create_queue(loop->h2o);
    h2o_multithread_register_receiver(loop->queue, &loop->inbox, inbox_read);
    return loop;
}

void loop_destroy(struct loop *loop)
{
    if (loop == NULL)
        return;
    h2o_evloop_run(loop->h2o, 0); /* what was posted still runs */
    h2o_multithread_unregister_receiver(loop->queue, &loop->inbox);
    h2o_multithread_destroy_queue(loop->queue);
    free(loop->queue); /* h2o's destroy leaves the struct itself */
    h2o_evloop_run(loop->h2o, 0); /* lets h2o free the sockets closed so far */
    if (h2o_linklist_is_empty(&loop->h2o->_timeouts)) /* else an h2o context still stands on it */
        h2o_evloop_destroy(loop->h2o);
    timer_heap_destroy(loop->timers);
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
        int32_t wait_ms = timer_heap_wait_ms(loop->timers);
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
    h2o_multithread_send_message(&loop->inbox, NULL);
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

void loop_touch(struct loop *loop)
{
    loop->is_touched = true;
}

void loop_post(struct loop *loop, void (*run)(void *data), void *data)
{
    struct posted *posted = malloc(sizeof(*posted));
    must(posted != NULL);
    *posted = (struct posted){.run = run, .data = data};
    h2o_multithread_send_message(&loop->inbox, &posted->message);
}
