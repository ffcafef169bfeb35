/* fsm.h - a state machine as rows: from, event, to, why. Code, log line and diagram are one table.
 *
 * pure. States and events are small ints (enums of the owner); 0 is invalid everywhere.
 */
#ifndef UNDERCUT_BASE_FSM_H
#define UNDERCUT_BASE_FSM_H

#include <stddef.h>

#include "broker/base/str.h"

struct fsm_row {
    int from;
    int event;
    int to;
    const char *why; /* a sentence; becomes the log line's why= and the diagram's label */
};

struct fsm {
    const char *name;
    const struct fsm_row *rows;
    size_t rows_count;
    const char *(*state_name)(int state);
    const char *(*event_name)(int event);
};

/* The row for (from, event), or NULL: there is no such road. */
const struct fsm_row *fsm_find(const struct fsm *machine, int from, int event);
/* Appends a Mermaid stateDiagram-v2 of the table. */
void fsm_mermaid(const struct fsm *machine, struct buf *to);

#endif
