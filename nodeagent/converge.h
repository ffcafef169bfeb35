/* converge.h - brings this node from what it runs to what the broker wants.
 *
 * Loop thread; takes the roster's lock itself. Everything is level-triggered: each function may be
 * called again at any time and then does only what is still missing.
 */
#ifndef UNDERCUT_NODEAGENT_CONVERGE_H
#define UNDERCUT_NODEAGENT_CONVERGE_H

#include <stdbool.h>
#include <stdint.h>

#include "nodeagent/desired.h"
#include "nodeagent/inventory.h"
#include "nodeagent/receipts.h"
#include "nodeagent/worker.h"

struct converge {
    struct worker_tools tools; /* roster, runner, logs, boot id */
    const struct inventory *inventory;
    struct receipts *receipts;
    int64_t ignore_awards_pct; /* test hook: never acknowledge so many in a hundred */
    bool has_answer;           /* from here on, not listed means not wanted */
    int64_t receipt_interval_ms;
    int64_t receipt_due_mono_ms;
};

/* Once, at start: takes up the containers of an earlier agent and settles what it left half done.
 * False: the engine does not answer. */
MUST_USE bool converge_start(struct converge *converge);
/* After each verified answer. */
void converge_apply(struct converge *converge, const struct desired *desired);
/* Before each report, with the lock held: joins ended workers, forgets what is settled, and makes
 * the receipts that are due
 * - periodic ones, and final ones for what has exited. */
void converge_prepare(struct converge *converge);
/* Ends all workers; containers run on. */
void converge_end(struct converge *converge);

#endif
