/* sweep.h - what time does to the market, each second after the round: silence, and ends that are
 * due.
 *
 * one blocking thread, the leader's. Every step is a transaction of its own behind the fence,
 * set-based and safe to repeat; deadlines are reckoned by the database's clock.
 *  - A node silent for node_unknown_ms is unknown (its meters pause from that instant), for
 *    node_lost_ms lost; silence counts from the leader's own start at the earliest. When
 *    node_freeze_pct of at least FREEZE_NODES_MIN nodes fell silent within 10 s of each other, it
 * is more likely that we are cut off: then no node is judged, for FREEZE_MAX_MS at most.
 *  - Noticed: leases on a machine, or on devices, that their owner takes back.
 *  - Cut: an interruption that is due (auction/tier.h), escrow, budget or max_duration reached (at
 *    the computed instant), a deadline passed, a workload whose owner wants it stopped, or which is
 *    degraded and shall stop then.
 *  - Closed: not acknowledged, start timed out, its node lost or retired, or cut and no final
 * receipt.
 *  - Ended: replicas that wait although their workload stops or its deadline passed.
 *  - Every minute what became of leases is folded into the nodes' record of failures.
 */
#ifndef UNDERCUT_MARKET_SWEEP_H
#define UNDERCUT_MARKET_SWEEP_H

#include "broker/market/leader.h"
#include "broker/market/office.h"

#define FREEZE_NODES_MIN 5
#define FREEZE_MAX_MS    300000
#define SUSPECT_MS       30000 /* how long a node that did not acknowledge rests */

struct sweep_report {
    bool is_frozen;
    int32_t unknown_count, lost_count, noticed_count, cut_count, closed_count, ended_count;
};

MUST_USE enum err_code sweep_run(struct office *office, const struct leader_config *config,
                                 struct sweep_report *ret_report);
/* The node's failure histories; every minute. */
MUST_USE enum err_code sweep_histories(struct office *office);

#endif
