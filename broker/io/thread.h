/* thread.h - a named thread with an inbox, for the blocking roles (market, settle, sweep).
 *
 * any thread. Wakes coalesce: a worker that is told ten times while busy runs once more.
 */
#ifndef UNDERCUT_IO_THREAD_H
#define UNDERCUT_IO_THREAD_H

#include <stdbool.h>
#include <stdint.h>

struct worker;

/* `run` is the thread's body; it loops on worker_wait() until that says stop. */
struct worker *worker_start(const char *name, void (*run)(struct worker *worker, void *data),
                            void *data);
void worker_wake(struct worker *worker);
/* Sleeps until woken or `until_mono_ms`. False: the worker shall stop. */
bool worker_wait(struct worker *worker, int64_t until_mono_ms);
bool worker_should_stop(const struct worker *worker);
void worker_stop(struct worker *worker); /* asks and joins */

#endif
