/* slots.h - rows of one kind, each with an id, at numbers that stay while they live.
 *
 * pure apart from malloc. A row is `stride` bytes long; its id stands apart, because sorting and
 * clearing read rows and seldom an id. A row's number, the slot, is below KEY_INDEX_MAX and is used
 * again after a drop. Finding an id costs a probe or two of an open-addressing table (linear
 * probing, deletion by shifting back: Knuth, TAOCP volume 3, 6.4). Ids come from the broker, so
 * nobody can make them collide. Everything grows by a quarter, so that little lies idle;
 * slots_reserve() makes it exact.
 */
#ifndef UNDERCUT_AUCTION_SLOTS_H
#define UNDERCUT_AUCTION_SLOTS_H

#include <stddef.h>
#include <stdint.h>

#include "broker/base/id.h"
#include "broker/base/must.h"

#define SLOT_NONE UINT32_MAX

struct slots {
    struct uuid *ids;
    char *rows;
    uint32_t *table; /* 8 bits of the id's hash above slot + 1; or 0 */
    uint32_t stride;
    uint32_t live_count;
    uint32_t used_count; /* slots ever used: rows beyond are not written */
    uint32_t rows_cap, table_cap;
    uint32_t free_first; /* of the dropped ones, each holding the next in its id; SLOT_NONE: none */
};

void slots_start(struct slots *slots, uint32_t stride);
void slots_reserve(struct slots *slots, uint32_t count);
uint32_t slots_find(const struct slots *slots, struct uuid id); /* SLOT_NONE: it is not there */
uint32_t slots_add(struct slots *slots, struct uuid id);        /* not there yet; all else zero */
void slots_drop(struct slots *slots, uint32_t slot);            /* zeroes the row */
void slots_fetch(const struct slots *slots);                    /* into the cache, all of it */
size_t slots_bytes(const struct slots *slots);
void slots_finish(struct slots *slots);

static inline void *slots_row(const struct slots *slots, uint32_t slot)
{
    return slots->rows + (size_t)slot * slots->stride;
}

#endif
