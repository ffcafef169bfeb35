/* lease.h - a lease as this node knows it, and the roads between its states.
 *
 * pure. lease_step() is the one function that changes `state`. What must survive a kill of the
 * agent is written by lease_emit() and read by lease_read(); manifest and secrets are not: the
 * broker sends them again with its first answer.
 */
#ifndef UNDERCUT_NODEAGENT_LEASE_H
#define UNDERCUT_NODEAGENT_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/fsm.h"
#include "broker/base/json.h"
#include "nodeagent/desired.h"
#include "nodeagent/meter.h"

enum lease_state {
    LEASE_ACCEPTED = 1, /* known; nothing was started */
    LEASE_PULLING,      /* the image is being found or fetched */
    LEASE_CREATING,     /* a container may exist; it may even run already */
    LEASE_PROBING,      /* the container runs; it was never ready yet */
    LEASE_RUNNING,      /* it was ready: healthy time counts */
    LEASE_STOPPING,     /* SIGTERM is sent, SIGKILL follows */
    LEASE_EXITED,       /* no process of it runs; the end is known */
    LEASE_FORGOTTEN,    /* the broker knows the end; the record goes */
};

enum lease_event {
    LEASE_BEGIN = 1,
    LEASE_REFUSE,
    LEASE_IMAGE_READY,
    LEASE_IMAGE_FAILED,
    LEASE_STARTED,
    LEASE_START_FAILED,
    LEASE_READY,
    LEASE_NEVER_READY,
    LEASE_STOP,
    LEASE_END,
    LEASE_VANISH,
    LEASE_RESTART,
    LEASE_RELEASE,
};

struct lease {
    char lease_id[ID_TEXT_SIZE];
    int64_t epoch;
    enum lease_state state;
    struct desired_lease order; /* order.json is NULL from a restart until the first answer */
    struct meter meter;
    char boot_id[40]; /* of the kernel under which the meter's marks were made */
    bool was_ready;
    bool was_noticed;      /* its interruption was announced to the container */
    char container_id[80]; /* empty until made */
    char image_id[80];     /* "sha256:..." of its configuration */
    int64_t stop_grace_ms;
    int64_t memory_mib;
    char *readiness;  /* JSON text of the manifest's probe, or NULL; owned */
    char stop_as[24]; /* the reason to report when our stop ended it */
    char reason[24];  /* why it exited */
    bool has_exit_code;
    int exit_code;
    char detail[257];
    int64_t final_receipt_seq; /* 0: not made yet */
    /* not kept: */
    bool is_listed; /* in the broker's last answer */
    bool is_stop_wanted;
    bool is_notice_wanted;
    bool is_over;          /* its worker has returned */
    int64_t saved_mono_ms; /* when the meter was last journaled */
    struct worker *worker; /* the thread that tends it, or NULL; owned by the agent */
};

struct lease *lease_create(const char *lease_id, int64_t epoch);
void lease_destroy(struct lease *lease); /* NULL is fine */

/* Takes over what the broker wants; keeps the parts that outlive a restart. */
void lease_take_order(struct lease *lease, const struct desired_lease *order);

/* The row taken, or NULL: there is no such road and nothing changed. */
const struct fsm_row *lease_step(struct lease *lease, enum lease_event event);
extern const struct fsm lease_fsm;
const char *lease_state_name(enum lease_state state);
/* What the broker is told: "starting", "running" or "exited". A lease that is being stopped and
 * never was ready stays "starting", because "running" starts the meter. */
const char *lease_report_state(const struct lease *lease);
const char *lease_stage(enum lease_state state); /* "pulling" ...; NULL when there is none */

void lease_emit(const struct lease *lease, struct buf *to);
/* NULL when the record is not one of ours. */
struct lease *lease_read(struct str json);

#endif
