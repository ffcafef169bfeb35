/* worker.h - the thread that tends one lease from its first step to its exit.
 *
 * The agent's loop decides that a lease should run or stop; the worker does the slow part. Ending a
 * worker leaves the container running: the next agent takes it up.
 */
#ifndef UNDERCUT_NODEAGENT_WORKER_H
#define UNDERCUT_NODEAGENT_WORKER_H

#include <stdbool.h>

#include "nodeagent/roster.h"
#include "nodeagent/runner.h"

struct worker;

struct worker_tools { /* what a worker works with; all of it outlives the worker */
    struct roster *roster;
    const struct runner *runner;
    struct logs *logs;
    const char *boot_id; /* the kernel's */
};

/* With the roster's lock held. `devices` (copied) are those of the lease. `container_id_or_null`:
 * take up what an earlier agent left. */
struct worker *worker_start(const struct worker_tools *tools, struct lease *lease,
                            const struct device *devices, size_t devices_count,
                            const char *container_id_or_null);
/* Any thread: look at lease->is_stop_wanted again. */
void worker_wake(struct worker *worker);
/* Without the lock: asks it to let go and waits; NULL is fine. */
void worker_end(struct worker *worker);

/* What an ended container means (pure). */
const char *worker_reason(const struct run_ended *ended, const char *stop_as);

#endif
