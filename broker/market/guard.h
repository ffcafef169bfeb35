/* guard.h - the last look before a commit: does everything that won still stand?
 *
 * one blocking thread, inside the round's transaction. Locks nodes, workloads, leases that would
 * have to leave, replicas and devices - in that order, as everywhere - and compares them with what
 * the clearing was made from. What does not stand is marked (is_gone, is_out), so that the round
 * can be cleared again without it.
 */
#ifndef UNDERCUT_MARKET_GUARD_H
#define UNDERCUT_MARKET_GUARD_H

#include "broker/market/round.h"
#include "gen/broker/market/guard.sql.h"

struct guard {
    struct session *session;
    struct round_clearing *clearing;
    struct demands *demands;
    int64_t round;
    struct sql_result *replicas; /* award_lock_replicas: locked ones, by workload and index */
    struct sql_result *holders;  /* award_lock_holders: who would have to leave; NULL: nobody */
};

/* Says how much it took out; gives each award its turn among its workload's replicas. May be called
 * again after another clearing. */
MUST_USE enum err_code guard_awards(struct guard *guard, uint32_t *ret_refused_count);
/* The locked lease that holds a device. False: it left meanwhile, or must not be pre-empted. */
bool guard_holder(const struct guard *guard, const struct uuid *lease_id,
                  struct award_lock_holders_out *ret_row);
void guard_finish(struct guard *guard);

#endif
