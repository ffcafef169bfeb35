/* event.h - what happened to an account's workloads, leases and nodes, as rows to resume behind.
 *
 * Statements: see event.sql; the functions here are pure. A cursor is "<xact>-<event_id>"; "0" is
 * the beginning. Rows below the horizon are settled: nothing can appear behind a cursor that was
 * read.
 */
#ifndef UNDERCUT_MARKET_EVENT_H
#define UNDERCUT_MARKET_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/json.h"
#include "gen/broker/market/event.sql.h"

#define EVENT_CURSOR_SIZE 48

struct event_cursor {
    int64_t xact;
    int64_t event_id;
};

MUST_USE bool event_cursor_parse(struct str text, struct event_cursor *ret_cursor);
const char *event_cursor_text(struct event_cursor cursor, char buf[EVENT_CURSOR_SIZE]);

/* One event as an object; the row must hold one. */
void event_put(struct json_out *out, const struct event_read_out *event);
/* Where to go on: behind the row's event, or at the horizon when the row holds none. */
struct event_cursor event_cursor_behind(const struct event_read_out *event);

#endif
