#include "broker/market/node_seq.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_BITS 64
#define SLOTS_FIRST 256 /* a power of two */

struct slot {
    struct node_id node_id; /* nil: empty */
    struct uuid boot;
    struct uuid past_boot; /* the one before, in case its end is not stored yet */
    struct seq_window window;
};

static struct {
    pthread_mutex_t lock;
    struct slot *slots;
    size_t slots_count; /* at most half of them in use */
    size_t used_count;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct seq_window seq_window_from(int64_t stored_top)
{
    return (struct seq_window){.top = stored_top, .seen = 1};
}

void seq_window_raise(struct seq_window *window, int64_t top)
{
    if (top <= window->top)
        return;
    int64_t by = top - window->top;
    window->seen = (by < WINDOW_BITS ? window->seen << by : 0) | 1;
    window->top = top;
}

bool seq_window_take(struct seq_window *window, int64_t seq)
{
    if (seq > window->top) {
        seq_window_raise(window, seq);
        return true;
    }
    int64_t behind = window->top - seq;
    if (seq < 1 || behind >= WINDOW_BITS || (window->seen >> behind & 1))
        return false;
    window->seen |= (uint64_t)1 << behind;
    return true;
}

/* Where the node is, or the empty slot where it would go. */
static struct slot *slot_find(struct slot *slots, size_t count, struct node_id node_id)
{
    size_t at;
    memcpy(&at, node_id.u.bytes + 8, sizeof(at)); /* the random half of the id */
    for (at &= count - 1;; at = (at + 1) & (count - 1)) {
        if (uuid_is_nil(slots[at].node_id.u) || uuid_equal(slots[at].node_id.u, node_id.u))
            return &slots[at];
    }
}

static void table_grow(void)
{
    size_t count = table.slots_count ? table.slots_count * 2 : SLOTS_FIRST;
    struct slot *slots = calloc(count, sizeof(*slots));
    must(slots);
    for (size_t i = 0; i < table.slots_count; i++) {
        if (!uuid_is_nil(table.slots[i].node_id.u))
            *slot_find(slots, count, table.slots[i].node_id) = table.slots[i];
    }
    free(table.slots);
    table.slots = slots;
    table.slots_count = count;
}

static bool take_locked(struct node_id node_id, const struct node_seq_stored *stored,
                        struct uuid boot, int64_t seq)
{
    if (2 * (table.used_count + 1) > table.slots_count)
        table_grow();
    struct slot *slot = slot_find(table.slots, table.slots_count, node_id);
    bool is_empty = uuid_is_nil(slot->node_id.u);
    if (!is_empty && uuid_equal(boot, slot->past_boot))
        return false;

    int64_t stored_seq = uuid_equal(boot, stored->boot) ? stored->seq : 0;
    if (is_empty || !uuid_equal(boot, slot->boot)) {
        table.used_count += is_empty ? 1 : 0;
        *slot = (struct slot){
            .node_id = node_id,
            .boot = boot,
            .past_boot = slot->boot,
            .window = seq_window_from(stored_seq),
        };
    }
    seq_window_raise(&slot->window, stored_seq);
    return seq_window_take(&slot->window, seq);
}

bool node_seq_take(struct node_id node_id, const struct node_seq_stored *stored, struct uuid boot,
                   int64_t seq)
{
    must(!uuid_is_nil(node_id.u));
    must(pthread_mutex_lock(&table.lock) == 0);
    bool is_taken = take_locked(node_id, stored, boot, seq);
    must(pthread_mutex_unlock(&table.lock) == 0);
    return is_taken;
}
