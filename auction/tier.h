/* tier.h - who may be interrupted, for whom, in which order, and with how much notice.
 *
 * pure, integers only. Lots clear in the order of the tiers: guaranteed, flexible, spot. A lease of
 * the last one may have to leave for a winner of a higher one, once it has run for its tenure; the
 * owner of the machine may take it back from any but the first. Whoever is interrupted is told
 * `notice_ms` before its end.
 *
 * What happens in a notice: SIGTERM comes when the grace that the manifest asked for is all that is
 * left of the notice, SIGKILL when the notice is over. So nobody has less than the notice, and who
 * wants all of it as grace says so with stop_grace_s. The meter stops at SIGTERM.
 */
#ifndef UNDERCUT_AUCTION_TIER_H
#define UNDERCUT_AUCTION_TIER_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/str.h"

enum tier { TIER_NONE = 0, TIER_GUARANTEED, TIER_FLEXIBLE, TIER_SPOT }; /* in order of clearing */

/* TIER_NONE for anything else than "guaranteed", "flexible", "spot". */
enum tier tier_of(struct str name);
const char *tier_name(enum tier tier);

struct tier_times {
    int64_t spot_notice_ms, flexible_notice_ms;
    int64_t tenure_ms; /* a spot lease that has run for less is left alone by winners */
};

struct tier_notice {
    int64_t notice_ms; /* from the notice to SIGKILL */
    int64_t grace_ms;  /* from SIGTERM to SIGKILL; at most notice_ms */
};
/* Of a lease of this tier whose manifest asks for `stop_grace_ms`. Guaranteed leases have the
 * notice of flexible ones: nobody may interrupt them, but a machine that leaves says so first. */
struct tier_notice tier_notice_for(const struct tier_times *times, enum tier tier,
                                   int64_t stop_grace_ms);

struct tier_holder { /* the lease that holds a block */
    enum tier tier;
    bool is_running;
    bool is_preempted; /* it has its notice already, for another winner */
    bool is_reclaimed; /* its owner takes the machine back: nobody wins it */
    int64_t running_at_us;
};
/* Whether a winner of `tier` may have the block. One that still starts keeps it: an award that was
 * undone before it ran would have cost its tenant a pull for nothing. */
bool tier_may_evict(const struct tier_times *times, enum tier tier,
                    const struct tier_holder *holder, int64_t now_us);

struct tier_victim {
    int64_t r_uusd_per_device_hour; /* the net reserve of its workload, per device */
    int64_t running_at_us;
};
/* Below 0: `a` goes first. Lowest reserve first, of equals the youngest. */
int tier_eviction_order(const struct tier_victim *a, const struct tier_victim *b);

/* What waiting for an occupied block is worth, as part of its score: the usual price for the length
 * of the notice, rounded up. Public and no function of any ask; so a free block goes before an
 * occupied one that costs the same, and nobody is interrupted for nothing. */
int64_t tier_wait_adder(int64_t usual_uusd_per_hour, int64_t notice_ms);

#endif
