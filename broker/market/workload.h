/* workload.h - what a tenant wants run: posting it with money behind it, showing it, stopping it.
 *
 * Statements: see workload.sql; x_submit() on a loop thread, x_run() on a blocking one. The other
 * functions are pure unless they say otherwise. workload_list's rows are read with
 * workload_get_row(): same columns.
 */
#ifndef UNDERCUT_MARKET_WORKLOAD_H
#define UNDERCUT_MARKET_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/hash.h"
#include "broker/base/id.h"
#include "broker/base/json.h"
#include "gen/broker/market/workload.sql.h"

struct hub;
struct session;

#define WORKLOAD_HOLD_MS    600000 /* what is held when posting: at most this much of its run */
#define WORKLOAD_PASSES_MAX 8      /* how often a stop that awards keep crossing is tried */

/* The message that a stop is in the market's arrivals: SHA-256 of "undercut/cancel/v1|<id or
 * name>". */
struct sha256 workload_cancel_message(struct str id_or_name);

/* The members of a workload, in an object that is open; manifest last. */
void workload_put(struct json_out *out, const struct workload_get_out *workload);
bool workload_is_terminal(const struct workload_get_out *workload);

/* Tells those who wait for the account's events and for this workload. */
void workload_wake(struct hub *hub, struct account_id account_id, struct workload_id workload_id);

/* Blocking: finishes what workload_stop began and something cut short, e.g. the broker's death
 * between replacing a workload and cutting the old one's leases, or an award that crossed the stop.
 * For the market's sweep. */
MUST_USE enum err_code workload_finish_stops(struct session *session, struct hub *hub,
                                             int *ret_count);

#endif
