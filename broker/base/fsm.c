#include "broker/base/fsm.h"

const struct fsm_row *fsm_find(const struct fsm *machine, int from, int event)
{
    for (size_t i = 0; i < machine->rows_count; i++)
        if (machine->rows[i].from == from && machine->rows[i].event == event)
            return &machine->rows[i];
    return NULL;
}

/* Mermaid ends a label at ';' and '#', so they become commas. */
static void label_add(struct buf *to, const char *label)
{
    for (const char *c = label; *c; c++)
        buf_add(to, *c == ';' || *c == '#' || *c == '\n' ? "," : c, 1);
}

void fsm_mermaid(const struct fsm *machine, struct buf *to)
{
    buf_add_c(to, "stateDiagram-v2\n");
    for (size_t i = 0; i < machine->rows_count; i++) {
        const struct fsm_row *row = &machine->rows[i];
        buf_add_format(to, "    %s --> %s: %s, ", machine->state_name(row->from),
                       machine->state_name(row->to), machine->event_name(row->event));
        label_add(to, row->why);
        buf_add_c(to, "\n");
    }
}
