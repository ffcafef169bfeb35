#include "api/wait.h"

#include "api/call.h"
#include "broker/base/clock.h"
#include "broker/io/stream.h"

#define ANSWER_MS 5000 /* what is left for the last look and the answer */

static void resume(struct api_wait *wait)
{
    wait->is_resting = false;
    timer_disarm(&wait->timer);
    flow_resume(wait->flow);
}

static void woken(struct hub_waiter *waiter)
{
    struct api_wait *wait = waiter->data;
    if (wait->is_resting)
        resume(wait);
    else
        wait->is_woken = true;
}

static void rested(struct timer *timer)
{
    resume(timer->data);
}

static void client_gone(void *data)
{
    struct api_wait *wait = data;
    wait->is_gone = true;
    if (wait->is_resting)
        resume(wait);
}

static void leave(void *data)
{
    struct api_wait *wait = data;
    hub_leave(wait->hub, &wait->waiter);
    timer_disarm(&wait->timer);
    wait->is_resting = false;
}

void api_wait_start(struct flow *flow, struct api_wait *wait, const char *topic, int64_t timeout_ms)
{
    must(wait->flow == NULL);
    wait->flow = flow;
    wait->hub = api_call_of(flow)->thread->hub;
    wait->until_mono_ms = clock_mono_ms() + timeout_ms;
    wait->waiter = (struct hub_waiter){.wake = woken, .data = wait};
    wait->timer = (struct timer){.fire = rested, .data = wait};
    hub_join(wait->hub, flow->loop, &wait->waiter, topic);
    api_at_end(flow, leave, wait);
    api_extend_deadline(flow, timeout_ms + ANSWER_MS);
    if (flow->req != NULL)
        stream_watch_hangup(flow->req, client_gone, wait);
}

bool api_wait_is_over(const struct api_wait *wait)
{
    return wait->is_gone || wait->flow->req == NULL || clock_mono_ms() >= wait->until_mono_ms;
}

enum flow_next api_wait_rest(struct api_wait *wait, int64_t most_ms)
{
    int64_t left_ms = wait->until_mono_ms - clock_mono_ms();
    if (wait->is_woken || left_ms <= 0) {
        wait->is_woken = false;
        return FLOW_NEXT;
    }
    wait->is_resting = true;
    timer_arm_in(wait->flow->loop, &wait->timer, left_ms < most_ms ? left_ms : most_ms);
    return FLOW_WAIT;
}
