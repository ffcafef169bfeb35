/* timer.h - deadlines as a heap over one h2o timeout (h2o 2.2.5 knows only duration classes).
 *
 * loop thread. The entry is embedded in its owner; arming an armed entry moves it.
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
    size_t heap_index;  /* 0 when not armed */
    struct loop *loop;
};

void timer_arm(struct loop *loop, struct timer *timer, int64_t at_mono_ms);
void timer_arm_in(struct loop *loop, struct timer *timer, int64_t delay_ms);
void timer_disarm(struct timer *timer); /* harmless when not armed */
bool timer_is_armed(const struct timer *timer);

#endif
