/* shelf.h - supply as it was read a moment ago, for taking now without reading it again.
 *
 * one thread (the leader's). Between two readings the leader alone sells devices, so what it
 * sold is struck off here; what others do is caught elsewhere: an ask that arrives drops the
 * shelf (the freeze sees it), a node or device that went away is refused by the guards of the
 * commit, and what came free is missed for SHELF_MS at most, unless somebody goes unserved: then
 * supply is read anew.
 */
#ifndef UNDERCUT_MARKET_SHELF_H
#define UNDERCUT_MARKET_SHELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/id.h"
#include "broker/base/str.h"

#define SHELF_MS 200

struct sql_result;
struct supply_query;

struct shelf {
    struct sql_result *rows; /* NULL: empty */
    struct buf key;          /* the regions and classes that were asked for */
    int64_t read_mono_ms;
    struct uuid *sold; /* devices, ascending */
    size_t sold_count, sold_max;
};

/* The rows that answer `query`, retained for the caller; NULL when they have to be read. */
struct sql_result *shelf_rows(struct shelf *shelf, const struct supply_query *query);
/* Keeps what was just read. */
void shelf_put(struct shelf *shelf, const struct supply_query *query, struct sql_result *rows);
void shelf_strike(struct shelf *shelf, const struct uuid *device_ids, size_t count);
bool shelf_is_sold(const struct shelf *shelf, const struct uuid *device_id);
void shelf_drop(struct shelf *shelf);   /* empties, keeps the memory */
void shelf_finish(struct shelf *shelf); /* frees */

#endif
