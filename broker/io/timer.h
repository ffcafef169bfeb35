/* timer.h - deadlines as a binary heap that bounds each wait of the loop.
 *
 * loop thread. The entry is embedded in its owner; arming an armed entry moves it. h2o's own
 * timeouts are duration classes on the wall clock, so they serve h2o only; ours follow the
 * monotonic clock. Equal deadlines fire in the order of arming.
 */
#ifndef UNDERCUT_IO_TIMER_H
#define UNDERCUT_IO_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

struct timer {
    void (*fire)(struct timer *timer); /* disarmed before the call */
    void *data;
    int64_t at_mono_ms; /* private from here on */
    uint64_t sequence;
    size_t heap_index; /* 0 when not armed */
    struct loop *loop;
};

void timer_arm(struct loop *loop, struct timer *timer, int64_t at_mono_ms);
void timer_arm_in(struct loop *loop, struct timer *timer, int64_t delay_ms);
void timer_disarm(struct timer *timer); /* harmless when not armed */
bool timer_is_armed(const struct timer *timer);

/* For loop.c. */
struct timer_heap;
struct timer_heap *timer_heap_create(void);
void timer_heap_destroy(struct timer_heap *heap);
int32_t timer_heap_wait_ms(
    const struct timer_heap *heap);            /* until the next is due; INT32_MAX: none */
void timer_heap_fire(struct timer_heap *heap); /* those that are due now */

#endif
