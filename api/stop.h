/* stop.h - stopping a workload from a flow: asked again as long as awards cross it.
 *
 * loop thread. stop_submit() in one step, stop_took() in the next; on STOP_AGAIN go back.
 */
#ifndef UNDERCUT_API_STOP_H
#define UNDERCUT_API_STOP_H

#include "api/call.h"
#include "broker/io/db.h"
#include "broker/market/workload.h"

struct workload_stopping {
    struct workload_stop_in order;
    struct sha256 message;
    struct db_call call;
    int passes_count;
    bool was_ended; /* before we asked */
    struct uuid workload_id;
};

enum stop_outcome { STOP_DONE = 1, STOP_AGAIN, STOP_NOT_FOUND, STOP_FAILED };

/* `wanted` by id or name; `reason` is a static slug. */
void stop_prepare(struct flow *flow, const struct workload_wanted *wanted, const char *reason,
                  struct workload_stopping *ret);
enum flow_next stop_submit(struct flow *flow, struct workload_stopping *stopping);
/* Wakes whoever is concerned. STOP_FAILED: `call` says why; the flow has not failed yet. */
enum stop_outcome stop_took(struct flow *flow, struct workload_stopping *stopping);

#endif
