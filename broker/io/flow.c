/* The happy path is: steps run one after the other until one waits; what it waits for resumes the
 * flow; the last step ends it, and its memory goes with it. Failure modes are: a step that fails
 * (the end tells the client), a deadline that passes while it waits, and a client that hangs up,
 * after which the flow goes on without a request.
 */
#include "broker/io/flow.h"

#include <h2o.h>
#include <sanitizer/asan_interface.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/clock.h"
#include "broker/base/must.h"
#include "broker/io/db.h"
#include "broker/io/loop.h"

/* A block of the loop's: the flow and the first of its memory. */
struct home {
    struct flow flow;
    size_t used;
    _Alignas(max_align_t) char room[];
};

#define ROOM_SIZE (LOOP_BLOCK_SIZE - offsetof(struct home, room))

/* A chunk in the request's pool: the request dies, the chunk is disposed, the flow learns of it. */
struct death_notice {
    struct flow *flow; /* NULL once the flow has ended first */
};

static void death_notice_dispose(void *data)
{
    struct death_notice *notice = data;
    if (notice->flow == NULL)
        return;
    notice->flow->req = NULL;
    notice->flow->death_notice = NULL;
}

static void deadline_fired(struct timer *timer);

struct flow *flow_create(const struct flow_start *start)
{
    struct home *home = loop_block_take(start->loop);
    struct flow *flow = &home->flow;
    memset(home, 0, sizeof(*home));
    ASAN_POISON_MEMORY_REGION(home->room, ROOM_SIZE);
    h2o_mem_init_pool(&flow->pool);
    flow->req = start->req;
    flow->loop = start->loop;
    flow->thread = start->thread;
    flow->steps = start->steps;
    flow->on_end = start->on_end;
    flow->user = start->user;
    flow->request_id = request_id_new();
    flow->started_mono_us = clock_mono_us();
    flow->state = start->state_size > 0 ? flow_alloc(flow, start->state_size) : NULL;
    if (flow->req != NULL) {
        struct death_notice *notice =
            h2o_mem_alloc_shared(&flow->req->pool, sizeof(*notice), death_notice_dispose);
        notice->flow = flow;
        flow->death_notice = notice;
    }
    if (start->deadline_ms > 0) {
        flow->deadline = (struct timer){.fire = deadline_fired, .data = flow};
        timer_arm_in(flow->loop, &flow->deadline, start->deadline_ms);
    }
    return flow;
}

static void end(struct flow *flow)
{
    flow->is_ended = true;
    timer_disarm(&flow->deadline);
    if (flow->on_end != NULL)
        flow->on_end(flow);
    while (flow->calls != NULL) {
        struct db_call *call = flow->calls;
        flow->calls = call->next_of_flow;
        db_call_finish(call);
    }
    if (flow->death_notice != NULL)
        ((struct death_notice *)flow->death_notice)->flow = NULL;
    h2o_mem_clear_pool(&flow->pool);
    loop_block_give(flow->loop, flow);
}

/* True: the flow goes on at once with its next row. */
static bool run_step(struct flow *flow)
{
    const struct flow_step *step = &flow->steps[flow->step++];
    must(step->run != NULL); /* the last row has to return FLOW_END */
    flow->is_woken = false;
    enum flow_next next = step->run(flow);
    if (flow->err != ERR_OK || next == FLOW_END) {
        end(flow);
        return false;
    }
    must(next == FLOW_NEXT || next == FLOW_WAIT);
    if (next == FLOW_NEXT || flow->is_woken)
        return true;
    flow->is_waiting = true;
    flow->is_running = false;
    return false;
}

void flow_run(struct flow *flow)
{
    must(!flow->is_running);
    flow->is_running = true;
    flow->is_waiting = false;
    while (run_step(flow))
        ;
}

void flow_resume(struct flow *flow)
{
    if (flow->is_ended)
        return;
    if (flow->is_waiting)
        flow_run(flow);
    else
        flow->is_woken = true;
}

static void deadline_fired(struct timer *timer)
{
    struct flow *flow = timer->data;
    must(!flow->is_running);
    flow_fail(flow, ERR_DEADLINE, "step %s took too long",
              flow->steps[flow->step > 0 ? flow->step - 1 : 0].name);
    end(flow);
}

enum flow_next flow_fail(struct flow *flow, enum err_code err, const char *detail, ...)
{
    va_list args;
    flow->err = err;
    va_start(args, detail);
    vsnprintf(flow->detail, sizeof(flow->detail), detail, args);
    va_end(args);
    return FLOW_END;
}

void flow_field_error(struct flow *flow, enum err_code err, const char *pointer, const char *code,
                      const char *detail)
{
    if (flow->err == ERR_OK)
        flow->err = err;
    if (flow->detail[0] == '\0')
        (void)snprintf(flow->detail, sizeof(flow->detail), "%s: %s",
                       pointer[0] != '\0' ? pointer : "the body", detail);
    if (flow->field_errors_count == FLOW_FIELD_ERRORS_MAX)
        return;
    if (flow->field_errors == NULL)
        flow->field_errors =
            flow_alloc(flow, FLOW_FIELD_ERRORS_MAX * sizeof(flow->field_errors[0]));
    flow->field_errors[flow->field_errors_count++] = (struct flow_field_error){
        .pointer = flow_strdup(flow, str_of(pointer)),
        .code = code,
        .detail = flow_strdup(flow, str_of(detail)),
    };
}

enum flow_next flow_goto(struct flow *flow, const char *step_name)
{
    for (int i = 0; flow->steps[i].run != NULL; i++) {
        if (strcmp(flow->steps[i].name, step_name) == 0) {
            flow->step = i;
            return FLOW_NEXT;
        }
    }
    must_not_reach(); /* no row of that name */
}

void *flow_alloc(struct flow *flow, size_t size)
{
    struct home *home = (struct home *)flow;
    size_t taken = (size / sizeof(max_align_t) + 1) * sizeof(max_align_t); /* with a gap behind */
    if (taken > ROOM_SIZE - home->used)
        return memset(h2o_mem_alloc_pool(&flow->pool, size), 0, size);
    void *at = home->room + home->used;
    home->used += taken;
    ASAN_UNPOISON_MEMORY_REGION(at, size);
    return memset(at, 0, size);
}

char *flow_strdup(struct flow *flow, struct str text)
{
    char *copy = flow_alloc(flow, text.len + 1);
    if (text.len > 0)
        memcpy(copy, text.at, text.len);
    return copy;
}

const char *flow_printf(struct flow *flow, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    must(len >= 0);
    char *text = flow_alloc(flow, (size_t)len + 1);
    va_start(args, format);
    vsnprintf(text, (size_t)len + 1, format, args);
    va_end(args);
    return text;
}
