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

#define WORKLOAD_PASSES_MAX 8 /* how often a stop that awards keep crossing is tried */

struct workload_wanted {
    struct uuid account_id;
    bool has_workload_id; /* else by name */
    struct uuid workload_id;
    struct str name;
};

/* The message of a stop among the arrivals: SHA-256 of "undercut/cancel/v1|<id or name>". */
struct sha256 workload_cancel_message(struct str id_or_name);

/* The members of a workload, in an object that is open; manifest last. */
void workload_put(struct json_out *out, const struct workload_get_out *workload);
bool workload_is_terminal(const struct workload_get_out *workload);

/* Tells those who wait for the account's events. */
void account_wake(struct hub *hub, struct account_id account_id);
/* Likewise, and those who wait for this workload. */
void workload_wake(struct hub *hub, struct account_id account_id, struct workload_id workload_id);

#endif
