/* node_seq.h - which signed calls of a node have been taken: a window of 64 over its sequence
 * numbers.
 *
 * seq_window_*: pure. node_seq_take(): any thread, one table per process behind a mutex held for a
 * few instructions. Sync and logs share one rising counter and may overtake each other, so a number
 * is good if it is at most 63 below the highest and was not seen. The highest one is also stored
 * (nodes.seq, some seconds late), which lets a new process start its window there. After that gap,
 * what a replay can do is bounded by the level-triggered protocol: receipts only rise and closed
 * leases stay closed.
 */
#ifndef UNDERCUT_MARKET_NODE_SEQ_H
#define UNDERCUT_MARKET_NODE_SEQ_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/id.h"
#include "broker/base/must.h"

struct seq_window {
    int64_t top;   /* the highest number taken */
    uint64_t seen; /* bit i: top - i was taken */
};

struct seq_window seq_window_from(int64_t stored_top);
/* True, and remembered, when `seq` is new and not too far behind. */
MUST_USE bool seq_window_take(struct seq_window *window, int64_t seq);
/* Another process has taken numbers up to `top`. */
void seq_window_raise(struct seq_window *window, int64_t top);

struct node_seq_stored { /* as nodes has it */
    struct uuid boot;    /* nil: no call yet */
    int64_t seq;
};

/* True when this call may be served. A start (boot) that another one followed here is refused. */
MUST_USE bool node_seq_take(struct node_id node_id, const struct node_seq_stored *stored,
                            struct uuid boot, int64_t seq);

#endif
