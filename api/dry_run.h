/* dry_run.h - what a posting would cost and where it would go, with nothing stored.
 *
 * loop thread. The state of the operation is a struct workload_order whose posting is made. It
 * speaks from market data that is old and coarse enough only (broker/market/outlook.h): nothing of
 * any live ask, bid or reserve shows in it.
 */
#ifndef UNDERCUT_API_DRY_RUN_H
#define UNDERCUT_API_DRY_RUN_H

#include "broker/io/flow.h"

/* clang-format off */
#define DRY_RUN_STEPS \
    {"dry_run", dry_run_load}, {"dry_run_judge", dry_run_judge}, {"dry_run_reply", dry_run_reply}
/* clang-format on */
/* Goes to DRY_RUN_STEPS; `change` is what the real thing would do. */
enum flow_next dry_run_start(struct flow *flow, const char *change);
enum flow_next dry_run_load(struct flow *flow);
enum flow_next dry_run_judge(struct flow *flow);
enum flow_next dry_run_reply(struct flow *flow);

#endif
