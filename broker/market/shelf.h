/* shelf.h - supply as it was read a moment ago, for taking now without reading it again.
 *
 * one thread (the leader's). Between two readings the leader alone sells devices, so what it
 * sold is struck off here; what others do is caught elsewhere: an ask that arrives drops the
 * shelf (the freeze sees it), a node or device that went away is refused by the guards of the
 * commit, and what came free is missed until the next reading, unless somebody goes unserved: then
 * supply is read at once. While somebody takes now, each second's turn reads anew
 * (supply_restock()), so that nobody who takes now waits for a reading.
 */
#ifndef UNDERCUT_MARKET_SHELF_H
#define UNDERCUT_MARKET_SHELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/id.h"
#include "broker/base/str.h"

#define SHELF_PLACES_MAX 256
#define SHELF_MS         2000  /* older rows serve nobody; a turn comes each second */
#define SHELF_WANTED_MS  60000 /* nobody took now for that long: no more reading ahead */

struct stock;
struct supply_query;

struct shelf {
    struct stock *stock; /* NULL: empty */
    struct buf key;      /* the regions and classes that were asked for */
    int64_t read_mono_ms, wanted_mono_ms;
};

struct shelf_places {
    struct str regions[SHELF_PLACES_MAX], classes[SHELF_PLACES_MAX]; /* of the shelf's key */
    size_t regions_count, classes_count;
};

/* What answers `query`, retained for the caller; NULL when it has to be read. */
struct stock *shelf_take(struct shelf *shelf, const struct supply_query *query);
/* Keeps what was just read. */
void shelf_put(struct shelf *shelf, const struct supply_query *query, struct stock *stock);
/* What was asked for last, as far as there is room. False: not worth reading ahead. */
MUST_USE bool shelf_wants(const struct shelf *shelf, struct shelf_places *ret_places);
/* What was sold goes from what stands there. */
void shelf_strike(struct shelf *shelf, const struct uuid *device_ids, size_t count);
void shelf_drop(struct shelf *shelf);   /* empties, but knows what was asked for */
void shelf_finish(struct shelf *shelf); /* frees */

#endif
