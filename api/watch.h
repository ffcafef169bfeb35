/* watch.h - reading one workload, once or until it has become what the client waits for.
 *
 * loop thread. The state of an operation that uses it begins with a struct workload_watch; its
 * table holds WORKLOAD_WATCH_STEPS and, somewhere behind them, a row "answer", which finds `row`
 * filled.
 */
#ifndef UNDERCUT_API_WATCH_H
#define UNDERCUT_API_WATCH_H

#include "api/call.h"
#include "api/wait.h"
#include "broker/market/workload.h"

enum watch_goal {
    WATCH_ONCE = 1, /* as it is */
    WATCH_AWARDED,  /* no replica waits for an award */
    WATCH_RUNNING,  /* running, or ended */
    WATCH_ENDED,
};

struct workload_watch { /* the first member of the operation's state */
    struct workload_wanted wanted;
    enum watch_goal goal;
    int64_t timeout_ms;
    struct workload_get_out row; /* its texts live until the next look */
    struct db_call read;
    struct api_wait wait;
};

/* clang-format off */
#define WORKLOAD_WATCH_STEPS \
    {"look", watch_look}, {"seen", watch_seen}, {"rest", watch_rest}, {"again", watch_again}
/* clang-format on */
enum flow_next watch_look(struct flow *flow);
enum flow_next watch_seen(struct flow *flow);
enum flow_next watch_rest(struct flow *flow);
enum flow_next watch_again(struct flow *flow);

/* Whom a path segment means: an id, else a name. */
struct workload_wanted watch_wanted(struct flow *flow, struct str id_or_name);
/* The goal of a query; `otherwise` when it waits for nothing. */
enum watch_goal watch_goal_of(enum wait_for wait_for, enum watch_goal otherwise);
/* Begins to listen before something that may wake us is done; the id must be known. */
void watch_listen(struct flow *flow, struct workload_watch *watch);

#endif
