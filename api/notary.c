#include "api/notary.h"

#include <stdlib.h>

#include "api/call.h"
#include "broker/io/loop.h"

struct notary {
    struct loop *loop;
    const struct ed25519_secret *key;
    struct notary_wait *waiting, **end;
};

static void wait_leave(void *data)
{
    struct notary_wait *wait = data;
    if (wait->notary == NULL)
        return;
    *wait->link = wait->next;
    if (wait->next != NULL)
        wait->next->link = wait->link;
    else
        wait->notary->end = wait->link;
    wait->notary = NULL;
}

/* Those of one round, which are nearly always all. */
static void sign_some(struct notary *notary)
{
    struct notary_wait *waits[PROMISE_BATCH_MAX];
    struct promise *promises[PROMISE_BATCH_MAX] = {NULL};
    size_t count = 0;
    int64_t round = notary->waiting->promise.round;
    for (struct notary_wait *next, *wait = notary->waiting; wait != NULL; wait = next) {
        next = wait->next;
        if (wait->promise.round != round || count == PROMISE_BATCH_MAX)
            continue;
        wait_leave(wait);
        promises[count] = &wait->promise;
        waits[count++] = wait;
    }
    promise_sign(promises, count, notary->key);
    for (size_t i = 0; i < count; i++)
        flow_resume(waits[i]->flow);
}

static void turn_end(void *data)
{
    struct notary *notary = data;
    while (notary->waiting != NULL)
        sign_some(notary);
}

struct notary *notary_create(struct loop *loop, const struct ed25519_secret *key)
{
    struct notary *notary = malloc(sizeof(*notary));
    must(notary != NULL);
    *notary = (struct notary){.loop = loop, .key = key};
    notary->end = &notary->waiting;
    loop_on_turn_end(loop, turn_end, notary);
    return notary;
}

void notary_destroy(struct notary *notary)
{
    if (notary == NULL)
        return;
    must(notary->waiting == NULL);
    loop_off_turn_end(notary->loop, notary);
    free(notary);
}

enum flow_next notary_sign(struct flow *flow, struct notary_wait *wait)
{
    struct notary *notary = api_call_of(flow)->thread->notary;
    wait->notary = notary;
    wait->flow = flow;
    wait->next = NULL;
    wait->link = notary->end;
    *notary->end = wait;
    notary->end = &wait->next;
    api_at_end(flow, wait_leave, wait);
    loop_touch(notary->loop);
    return FLOW_WAIT;
}
