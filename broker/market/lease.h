/* lease.h - the life of a lease: awarded -> starting -> running -> closing -> closed.
 *
 * The table below is the machine; each event is one batch statement of lease.sql, generated as
 *   lease_ack            the agent shows it as starting (its acknowledgement)
 *   lease_mark_running   the container is ready: the meter starts
 *   lease_interrupt      notice that it will be cut; no change of state
 *   lease_cut            the meter stops, the node is told to stop; why is decided here
 *   lease_close          what is owed is posted, devices are free, the replica ends or is auctioned
 * again beside lease_stage and lease_receipt, which change no state, and replica_end for replicas
 * without a lease. Every one is total and idempotent: a member that finds its lease elsewhere
 * (state, epoch, node) has no row in the answer. A row names whom to wake: lease_wake() does.
 *
 * Locks, everywhere: nodes, workloads, leases, replicas, devices, ledger accounts; each kind by id.
 * The statements run in either lane: x_submit() on a loop thread, x_run() on a blocking one.
 */
#ifndef UNDERCUT_MARKET_LEASE_H
#define UNDERCUT_MARKET_LEASE_H

#include "auction/tier.h"
#include "billing/close_reason.h"
#include "broker/base/fsm.h"
#include "gen/broker/market/lease.sql.h"

struct hub;

enum lease_state {
    LEASE_AWARDED = 1,
    LEASE_STARTING,
    LEASE_RUNNING,
    LEASE_CLOSING,
    LEASE_CLOSED,
    LEASE_STATE_COUNT
};
enum lease_event { LEASE_ACK = 1, LEASE_READY, LEASE_CUT, LEASE_CLOSE, LEASE_EVENT_COUNT };

extern const struct fsm lease_machine;
const char *lease_state_name(int state);

#define LEASE_ATTEMPTS_MAX   10 /* of a replica whose own command keeps failing */
#define LEASE_PULLS_MAX      3  /* of a replica whose image cannot be pulled */
#define LEASE_BACKOFF_MAX_MS 60000

/* What the close of a lease needs to know of its workload and replica. */
struct lease_facts {
    enum restart_policy restart;
    bool stops_on_interruption; /* on_interruption: stop */
    bool has_run;               /* running_at is set: there is something to interrupt */
    int32_t attempt;            /* of the replica, from 1 */
};

struct lease_plan {
    const char *pays;   /* "usage", "minimum", "start", "nothing" */
    const char *next;   /* "end", "retry" */
    bool excludes_node; /* for this replica, for good */
    bool is_failure;    /* counts against the node */
    int64_t backoff_ms; /* before the replica is auctioned again */
};

/* pure. What follows from a reason, by billing/close_reasons.def and the workload's wishes:
 *  - an operator's or the platform's fault retries at once, as often as it takes, with that node
 *    excluded (not after not_acknowledged: a suspect node rests for 30 s instead); so does an
 *    interruption with notice, which excludes nobody; either unless the workload stops on
 *    interruption and had run;
 *  - an image that cannot be pulled is tried on LEASE_PULLS_MAX nodes, each excluded after it, and
 *    is no failure of theirs: a registry that nobody reaches looks the same from every node;
 *  - what restart decides backs off 1, 2, 4 ... 60 s; a failure ends it after LEASE_ATTEMPTS_MAX,
 *    and so does a probe that never passes with restart: always.
 */
struct lease_plan lease_close_plan(enum close_reason reason, const struct lease_facts *facts);
/* "never", "on_failure", "always" as stored; anything else is a bug. */
enum restart_policy restart_policy_of(struct str name);

/* Fills the policy half of a close; the caller adds lease_id, epoch, exit_code and detail. */
void lease_plan_apply(const struct lease_plan *plan, enum close_reason reason,
                      struct lease_close_in *ret_in);

struct lease_noticed { /* a lease that will be interrupted */
    struct uuid lease_id;
    int32_t epoch;
    struct str tier;
    int32_t stop_grace_s;
};
/* pure. Its notice, as long as its tier promises; `reason` is what it will close with. */
struct lease_interrupt_in lease_notice(const struct tier_times *times, enum close_reason reason,
                                       const struct lease_noticed *lease);

/* Everybody who waits for news of a lease; a nil id is nobody. */
struct lease_parties {
    struct uuid workload_id, account_id, operator_account_id, node_id;
};
void lease_wake(struct hub *hub, const struct lease_parties *parties); /* NULL hub: nobody waits */

#endif
