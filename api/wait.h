/* wait.h - a flow that waits for news: woken by the hub, looking at least each second, until a
 * time.
 *
 * loop thread. Use, with the wait embedded in the operation's state:
 *     api_wait_start() once, before the first look, so that no wake-up is missed in between;
 *     look (read the truth); if it is so, or api_wait_is_over(), answer;
 *     else return api_wait_rest() and go back to the look.
 * A wake-up during a look makes the rest fall through. A client that hangs up ends the wait.
 */
#ifndef UNDERCUT_API_WAIT_H
#define UNDERCUT_API_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/io/flow.h"
#include "broker/io/hub.h"
#include "broker/io/timer.h"

struct api_wait {
    struct flow *flow; /* NULL: not started */
    struct hub *hub;
    struct hub_waiter waiter;
    struct timer timer;
    int64_t until_mono_ms;
    bool is_woken, is_resting, is_gone;
};

/* `topic` is copied. The flow's deadline moves behind the wait. */
void api_wait_start(struct flow *flow, struct api_wait *wait, const char *topic,
                    int64_t timeout_ms);
/* Time is up, or nobody listens any more. */
bool api_wait_is_over(const struct api_wait *wait);
/* FLOW_WAIT for at most `most_ms`, or FLOW_NEXT when news came already. */
enum flow_next api_wait_rest(struct api_wait *wait, int64_t most_ms);

#endif
