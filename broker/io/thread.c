#include "broker/io/thread.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "broker/base/clock.h"
#include "broker/base/must.h"

struct worker {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    void (*run)(struct worker *worker, void *data);
    void *data;
    bool is_woken, is_stopping;
};

static void *worker_main(void *data)
{
    struct worker *worker = data;
    worker->run(worker, worker->data);
    return NULL;
}

struct worker *worker_start(const char *name, void (*run)(struct worker *worker, void *data),
                            void *data)
{
    struct worker *worker = calloc(1, sizeof(*worker));
    pthread_condattr_t attributes;
    must(worker != NULL);
    worker->run = run;
    worker->data = data;
    pthread_mutex_init(&worker->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&worker->cond, &attributes);
    pthread_condattr_destroy(&attributes);
    must(pthread_create(&worker->thread, NULL, worker_main, worker) == 0);
    pthread_setname_np(worker->thread, name); /* cut to 15 characters or refused: only for people */
    return worker;
}

void worker_wake(struct worker *worker)
{
    pthread_mutex_lock(&worker->mutex);
    worker->is_woken = true;
    pthread_cond_signal(&worker->cond);
    pthread_mutex_unlock(&worker->mutex);
}

/* The condition variable knows CLOCK_MONOTONIC only, our deadlines another monotonic clock. */
static struct timespec cond_deadline(int64_t wait_ms)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    int64_t at_ns = at.tv_nsec + wait_ms % 1000 * 1000000;
    at.tv_sec += (time_t)(wait_ms / 1000 + at_ns / 1000000000);
    at.tv_nsec = at_ns % 1000000000;
    return at;
}

bool worker_wait(struct worker *worker, int64_t until_mono_ms)
{
    int64_t wait_ms = until_mono_ms - clock_mono_ms();
    struct timespec at = cond_deadline(wait_ms > 0 ? wait_ms : 0);
    int rc = 0;
    pthread_mutex_lock(&worker->mutex);
    while (!worker->is_woken && !worker->is_stopping && rc == 0)
        rc = pthread_cond_timedwait(&worker->cond, &worker->mutex, &at);
    worker->is_woken = false;
    bool shall_go_on = !worker->is_stopping;
    pthread_mutex_unlock(&worker->mutex);
    return shall_go_on;
}

bool worker_should_stop(const struct worker *worker)
{
    struct worker *locked = (struct worker *)worker;
    pthread_mutex_lock(&locked->mutex);
    bool should_stop = locked->is_stopping;
    pthread_mutex_unlock(&locked->mutex);
    return should_stop;
}

void worker_stop(struct worker *worker)
{
    if (worker == NULL)
        return;
    pthread_mutex_lock(&worker->mutex);
    worker->is_stopping = true;
    pthread_cond_signal(&worker->cond);
    pthread_mutex_unlock(&worker->mutex);
    pthread_join(worker->thread, NULL);
    pthread_cond_destroy(&worker->cond);
    pthread_mutex_destroy(&worker->mutex);
    free(worker);
}
