/* bids.h - direct bids: what this node says for the workloads that it may bid on.
 *
 * pure. The broker's answers list them (`direct_workloads`); the next report bids the node's floor
 * on each, devices times the price of their class. The list is the broker's whole truth: what is no
 * longer in it is no longer bid on, and a bid that expired there is placed again.
 */
#ifndef UNDERCUT_NODEAGENT_BIDS_H
#define UNDERCUT_NODEAGENT_BIDS_H

#include "broker/base/json.h"
#include "nodeagent/config.h"

#define BIDS_MAX 64

/* Writes "takes_bids" and "bids" into the open object; nothing when the operator wants none.
 * `open_or_null` is the list of the last answer. */
void bids_emit(struct json_out *out, const struct config *config, const json_t *open_or_null,
               const struct config_price *prices, size_t prices_count);

#endif
