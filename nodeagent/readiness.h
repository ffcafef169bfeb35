/* readiness.h - asks a container, again and again, whether it is ready.
 *
 * One thread per probed container. http_get and tcp connect from inside the container's network
 * namespace, which has no other way in; exec runs a command through the engine. A thread that
 * probes has joined the namespace for good and does nothing else.
 */
#ifndef UNDERCUT_NODEAGENT_READINESS_H
#define UNDERCUT_NODEAGENT_READINESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "broker/base/json.h"
#include "nodeagent/engine.h"

enum probe_kind { PROBE_HTTP_GET = 1, PROBE_TCP, PROBE_EXEC };

struct probe {
    enum probe_kind kind;
    int port;
    char path[512];
    int64_t period_ms;
    int failures_max; /* so many in a row before it was ever ready end the lease */
    json_t *command;  /* of PROBE_EXEC; owned */
};

/* From the manifest's `readiness`; false when it is none of the three kinds. */
MUST_USE bool probe_parse(struct str json, struct probe *ret_probe);
void probe_finish(struct probe *probe);

struct prober;

struct probe_result {
    bool is_known;      /* at least one answer */
    bool is_passing;    /* the last answer */
    int failures_count; /* in a row */
    bool has_given_up;  /* failures_max of them */
    char why[160];      /* of the last failure */
};

/* Takes over the probe. `wake_fd` (an eventfd) is written when the answer changes. */
struct prober *prober_start(struct probe *probe, const struct engine *engine,
                            const char *container_id, pid_t pid, int wake_fd);
struct probe_result prober_read(struct prober *prober);
void prober_stop(struct prober *prober); /* waits for the thread; NULL is fine */

#endif
