#include "tests/lib/until.h"

#include <stddef.h>

#include "broker/io/loop.h"
#include "broker/io/timer.h"

struct wait {
    struct loop *loop;
    bool (*is_so)(void *data);
    void *data;
    struct timer limit, poll;
    bool has_come, is_over;
};

static void ask(void *data)
{
    struct wait *wait = data;
    if (wait->is_over || wait->is_so == NULL || !wait->is_so(wait->data))
        return;
    wait->has_come = wait->is_over = true;
    loop_stop(wait->loop);
}

static void limit_reached(struct timer *timer)
{
    struct wait *wait = timer->data;
    wait->is_over = true;
    loop_stop(wait->loop);
}

/* What other threads change wakes no loop, so there is a turn at least every few milliseconds. */
static void poll_again(struct timer *timer)
{
    struct wait *wait = timer->data;
    timer_arm_in(wait->loop, &wait->poll, 5);
}

bool until(struct loop *loop, bool (*is_so)(void *data), void *data, int64_t limit_ms)
{
    struct wait wait = {.loop = loop, .is_so = is_so, .data = data};
    wait.limit = (struct timer){.fire = limit_reached, .data = &wait};
    wait.poll = (struct timer){.fire = poll_again, .data = &wait};
    loop_on_turn_end(loop, ask, &wait);
    timer_arm_in(loop, &wait.limit, limit_ms);
    timer_arm_in(loop, &wait.poll, 1);
    loop_run(loop);
    timer_disarm(&wait.limit);
    timer_disarm(&wait.poll);
    loop_off_turn_end(loop, &wait);
    return wait.has_come;
}

void turn_for(struct loop *loop, int64_t ms)
{
    (void)until(loop, NULL, NULL, ms);
}
