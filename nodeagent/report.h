/* report.h - the body of a sync: what this node is, asks, runs and has signed.
 *
 * pure. The caller holds the roster's lock.
 */
#ifndef UNDERCUT_NODEAGENT_REPORT_H
#define UNDERCUT_NODEAGENT_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "nodeagent/config.h"
#include "nodeagent/inventory.h"
#include "nodeagent/receipts.h"
#include "nodeagent/roster.h"

struct pricer;

struct report {
    const char *known_version; /* desired_version last heard; "" at first */
    int64_t hold_ms;
    const struct config *config;
    const json_t *open_or_null;    /* what the last answer let it bid on; see bids.h */
    struct pricer *pricer_or_null; /* NULL: the prices of the configuration stand */
    const struct inventory *inventory;
    bool has_inventory; /* send the whole of it */
    const struct roster *roster;
    const struct receipts *receipts;
};

void report_emit(const struct report *report, struct buf *to);

#endif
