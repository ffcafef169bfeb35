/* loop.h - one thread's event loop over libh2o's evloop: turn hooks, an inbox, and stopping.
 *
 * A loop belongs to the thread that runs it (another may create it before, and destroy it after);
 * only loop_post() and loop_stop() may be called from other threads meanwhile.
 * Nothing outside broker/io, broker/server.c and api/router.c includes h2o.h.
 */
#ifndef UNDERCUT_IO_LOOP_H
#define UNDERCUT_IO_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct st_h2o_evloop_t; /* h2o_evloop_t */
struct loop;

struct timer_heap;

struct loop *loop_create(void);
void loop_destroy(struct loop *loop);
struct st_h2o_evloop_t *loop_h2o(struct loop *loop);
struct timer_heap *loop_timers(struct loop *loop); /* for timer.c */
/* Runs until loop_stop(). Signals must be blocked in this thread. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop); /* any thread */

/* Called after each turn, in the order of registration: the place where batches are flushed. */
void loop_on_turn_end(struct loop *loop, void (*run)(void *data), void *data);
void loop_off_turn_end(struct loop *loop, void *data); /* forgets the hooks of this `data` */
/* What happens in a hook may need an earlier hook once more: this makes them all run again now. */
void loop_touch(struct loop *loop);

/* Memory that comes and goes with requests, LOOP_BLOCK_SIZE bytes, not zeroed: some blocks are kept
 * for the next ones. Loop thread. */
#define LOOP_BLOCK_SIZE (12 * 1024)
void *loop_block_take(struct loop *loop);
void loop_block_give(struct loop *loop, void *block);

/* Any thread: runs `run(data)` on the loop's thread, soon, in posting order. */
void loop_post(struct loop *loop, void (*run)(void *data), void *data);
/* When the loop no longer runs: runs what was posted, before what it is about is destroyed. */
void loop_run_posted(struct loop *loop);

#endif
