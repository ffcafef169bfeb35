/* The flow engine and the timer heap under it, without a server: a request is just its pool. */
#include "tests/lib/test.h"

#include <h2o.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/clock.h"
#include "broker/io/db.h"
#include "broker/io/flow.h"
#include "broker/io/loop.h"
#include "gen/tests/lib/io_probe.sql.h"
#include "tests/lib/pg.h"
#include "tests/lib/until.h"

struct trace {
    char text[512];
    struct flow *waiting; /* the flow that a step left waiting */
    enum err_code err;
    char detail[128];
    bool had_req, has_ended;
    int rounds;
    struct db *db;
};

struct state { /* of the flows below */
    struct db_call first, second;
    int64_t sum;
};

static struct loop *loop;

static struct trace *trace_of(struct flow *flow)
{
    return flow->user;
}

static void say(struct flow *flow, const char *word)
{
    struct trace *trace = trace_of(flow);
    size_t len = strlen(trace->text);
    str_format(trace->text + len, sizeof(trace->text) - len, "%s ", word);
}

static enum flow_next one(struct flow *flow)
{
    say(flow, "one");
    return FLOW_NEXT;
}

static enum flow_next two(struct flow *flow)
{
    say(flow, "two");
    return FLOW_NEXT;
}

static enum flow_next wait(struct flow *flow)
{
    say(flow, "wait");
    trace_of(flow)->waiting = flow;
    return FLOW_WAIT;
}

static enum flow_next wait_but_done_already(struct flow *flow)
{
    say(flow, "sync");
    flow_resume(flow);
    return FLOW_WAIT;
}

static enum flow_next give_up(struct flow *flow)
{
    say(flow, "fail");
    return flow_fail(flow, ERR_CONFLICT, "lost to %s", "another");
}

static enum flow_next find_fault(struct flow *flow)
{
    flow_field_error(flow, ERR_INVALID_FIELD, "/name", "required", "The name is missing.");
    flow_field_error(flow, ERR_NOT_SUPPORTED_YET, "/gpu", "unknown", "No such field.");
    return FLOW_NEXT; /* the error that is set ends the flow all the same */
}

static enum flow_next thrice(struct flow *flow)
{
    return ++trace_of(flow)->rounds < 3 ? flow_goto(flow, "one") : FLOW_NEXT;
}

static enum flow_next over(struct flow *flow)
{
    say(flow, "over");
    return FLOW_END;
}

static void note_end(struct flow *flow)
{
    struct trace *trace = trace_of(flow);
    trace->has_ended = true;
    trace->err = flow->err;
    trace->had_req = flow->req != NULL;
    str_format(trace->detail, sizeof(trace->detail), "%s", flow->detail);
    if (flow->field_errors_count == 2)
        str_format(trace->detail, sizeof(trace->detail), "%s %s; %s", flow->field_errors[0].pointer,
                   flow->field_errors[1].code, flow->detail);
}

static struct flow *start(const struct flow_step *steps, struct trace *trace, h2o_req_t *req,
                          int64_t deadline_ms)
{
    struct flow *flow = flow_create(&(struct flow_start){
        .req = req,
        .loop = loop,
        .steps = steps,
        .state_size = sizeof(struct state),
        .deadline_ms = deadline_ms,
        .on_end = note_end,
        .user = trace,
    });
    return flow;
}

static bool has_ended(void *data)
{
    return ((struct trace *)data)->has_ended;
}

static void rows_run_in_order_and_a_wait_goes_on_with_the_next(void **state)
{
    static const struct flow_step steps[] = {
        {"one", one}, {"wait", wait}, {"two", two}, {"over", over}, {0}};
    struct trace trace = {0};
    (void)state;
    flow_run(start(steps, &trace, NULL, 0));
    assert_string_equal(trace.text, "one wait ");
    assert_false(trace.has_ended);
    flow_resume(trace.waiting);
    assert_string_equal(trace.text, "one wait two over ");
    assert_int_equal(trace.err, ERR_OK);
}

static void a_synchronous_completion_falls_through(void **state)
{
    static const struct flow_step steps[] = {
        {"sync", wait_but_done_already}, {"one", one}, {"wait", wait}, {"over", over}, {0}};
    struct trace trace = {0};
    (void)state;
    flow_run(start(steps, &trace, NULL, 0));
    assert_string_equal(trace.text, "sync one wait "); /* and did not wake the later wait */
    flow_resume(trace.waiting);
    assert_string_equal(trace.text, "sync one wait over ");
}

static void a_failure_ends_the_flow_with_its_words(void **state)
{
    static const struct flow_step steps[] = {{"fail", give_up}, {"two", two}, {0}};
    struct trace trace = {0};
    (void)state;
    flow_run(start(steps, &trace, NULL, 0));
    assert_string_equal(trace.text, "fail ");
    assert_int_equal(trace.err, ERR_CONFLICT);
    assert_string_equal(trace.detail, "lost to another");
}

static void field_errors_collect_and_the_first_names_the_error(void **state)
{
    static const struct flow_step steps[] = {{"find", find_fault}, {"two", two}, {0}};
    struct trace trace = {0};
    (void)state;
    flow_run(start(steps, &trace, NULL, 0));
    assert_int_equal(trace.err, ERR_INVALID_FIELD);
    assert_string_equal(trace.detail, "/name unknown; /name: The name is missing.");
    assert_string_equal(trace.text, "");
}

static void goto_rewinds_to_a_named_row(void **state)
{
    static const struct flow_step steps[] = {{"one", one}, {"thrice", thrice}, {"over", over}, {0}};
    struct trace trace = {0};
    (void)state;
    flow_run(start(steps, &trace, NULL, 0));
    assert_string_equal(trace.text, "one one one over ");
}

static void a_dying_request_leaves_the_flow_running_without_it(void **state)
{
    static const struct flow_step steps[] = {{"wait", wait}, {"two", two}, {"over", over}, {0}};
    struct trace trace = {0};
    h2o_req_t *req = calloc(1, sizeof(*req));
    (void)state;
    h2o_mem_init_pool(&req->pool);
    flow_run(start(steps, &trace, req, 0));
    assert_ptr_equal(trace.waiting->req, req);
    h2o_mem_clear_pool(&req->pool);
    free(req);
    assert_null(trace.waiting->req);
    flow_resume(trace.waiting);
    assert_string_equal(trace.text, "wait two over ");
    assert_false(trace.had_req);
}

static void a_flow_that_ends_first_is_not_told_of_the_death(void **state)
{
    static const struct flow_step steps[] = {{"over", over}, {0}};
    struct trace trace = {0};
    h2o_req_t *req = calloc(1, sizeof(*req));
    (void)state;
    h2o_mem_init_pool(&req->pool);
    flow_run(start(steps, &trace, req, 1000));
    assert_true(trace.had_req);
    h2o_mem_clear_pool(&req->pool); /* asan would see a notice to a freed flow */
    free(req);
}

static void a_deadline_ends_a_waiting_flow(void **state)
{
    static const struct flow_step steps[] = {{"one", one}, {"wait", wait}, {"over", over}, {0}};
    struct trace trace = {0};
    (void)state;
    flow_run(start(steps, &trace, NULL, 20));
    assert_true(until(loop, has_ended, &trace, 2000));
    assert_int_equal(trace.err, ERR_DEADLINE);
    assert_string_equal(trace.detail, "step wait took too long");
}

static enum flow_next ask_twice(struct flow *flow)
{
    struct state *op = flow->state;
    op->first.flow = op->second.flow = flow;
    probe_divide_submit(trace_of(flow)->db, &op->first, &(struct probe_divide_in){.divisor = 2});
    probe_divide_submit(trace_of(flow)->db, &op->second, &(struct probe_divide_in){.divisor = 5});
    return FLOW_WAIT;
}

static enum flow_next add_up(struct flow *flow)
{
    struct state *op = flow->state;
    struct probe_divide_out out;
    if (db_call_check(flow, &op->first) != ERR_OK || db_call_check(flow, &op->second) != ERR_OK)
        return FLOW_END;
    probe_divide_get(&op->first, 0, &out);
    op->sum += out.quotient;
    probe_divide_get(&op->second, 0, &out);
    op->sum += out.quotient;
    if (++trace_of(flow)->rounds < 3) /* the same calls serve again */
        return flow_goto(flow, "ask");
    say(flow, flow_printf(flow, "%lld", (long long)op->sum));
    return FLOW_END;
}

static enum flow_next ask_wrongly(struct flow *flow)
{
    struct state *op = flow->state;
    op->first.flow = flow;
    probe_divide_submit(trace_of(flow)->db, &op->first, &(struct probe_divide_in){.divisor = 0});
    return FLOW_WAIT;
}

static enum flow_next ask_slowly(struct flow *flow)
{
    struct state *op = flow->state;
    op->first.flow = op->second.flow = flow;
    probe_sleep_submit(trace_of(flow)->db, &op->first, &(struct probe_sleep_in){.ms = 150});
    probe_divide_submit(trace_of(flow)->db, &op->second, &(struct probe_divide_in){.divisor = 5});
    return FLOW_WAIT;
}

static void several_calls_of_a_step_resume_it_once_all_are_there(void **state)
{
    static const struct flow_step steps[] = {{"ask", ask_twice}, {"add up", add_up}, {0}};
    struct trace trace = {.db = *state};
    flow_run(start(steps, &trace, NULL, 5000));
    assert_true(until(loop, has_ended, &trace, 5000));
    assert_int_equal(trace.err, ERR_OK);
    assert_string_equal(trace.text, "210 ");
}

static void a_failed_call_fails_the_flow(void **state)
{
    static const struct flow_step steps[] = {{"ask", ask_wrongly}, {"add up", add_up}, {0}};
    struct trace trace = {.db = *state};
    flow_run(start(steps, &trace, NULL, 5000));
    assert_true(until(loop, has_ended, &trace, 5000));
    assert_int_equal(trace.err, ERR_INTERNAL);
    assert_string_equal(trace.detail, "");
}

static void a_deadline_detaches_the_calls_in_flight(void **state)
{
    static const struct flow_step slow[] = {{"ask", ask_slowly}, {"add up", add_up}, {0}};
    static const struct flow_step quick[] = {{"ask", ask_twice}, {"add up", add_up}, {0}};
    struct trace trace = {.db = *state}, next = {.db = *state};
    flow_run(start(slow, &trace, NULL, 30));
    assert_true(until(loop, has_ended, &trace, 5000));
    assert_int_equal(trace.err, ERR_DEADLINE);
    flow_run(start(quick, &next, NULL, 5000)); /* behind the orphans on the same connection */
    assert_true(until(loop, has_ended, &next, 5000));
    assert_string_equal(next.text, "210 ");
}

/* ---- timers ---- */

#define TIMERS_COUNT 500

struct ring {
    struct timer timers[TIMERS_COUNT];
    int fired[TIMERS_COUNT];
    int fired_count;
};

static void ring_fired(struct timer *timer)
{
    struct ring *ring = timer->data;
    assert_false(timer_is_armed(timer));
    ring->fired[ring->fired_count++] = (int)(timer - ring->timers);
}

static bool has_fired(void *data)
{
    struct ring *ring = data;
    for (int i = 0; i < TIMERS_COUNT; i++) {
        if (timer_is_armed(&ring->timers[i]))
            return false;
    }
    return true;
}

static void timers_fire_in_order_of_deadline_then_of_arming(void **state)
{
    struct ring *ring = calloc(1, sizeof(*ring));
    unsigned seed = 12345;
    int64_t now_ms = clock_mono_ms();
    (void)state;
    for (int round = 0; round < 2; round++) { /* the second moves each of them */
        for (int i = 0; i < TIMERS_COUNT; i++) {
            seed = seed * 1103515245u + 12345u;
            ring->timers[i].fire = ring_fired;
            ring->timers[i].data = ring;
            timer_arm(loop, &ring->timers[i], now_ms + (int64_t)(seed >> 16) % 60);
        }
    }
    for (int i = 0; i < TIMERS_COUNT; i += 3)
        timer_disarm(&ring->timers[i]);
    timer_disarm(&ring->timers[0]); /* harmless */
    assert_true(until(loop, has_fired, ring, 5000));
    assert_int_equal(ring->fired_count, TIMERS_COUNT - (TIMERS_COUNT + 2) / 3);
    for (int i = 0; i < ring->fired_count; i++) {
        assert_int_not_equal(ring->fired[i] % 3, 0);
        if (i == 0)
            continue;
        struct timer *a = &ring->timers[ring->fired[i - 1]], *b = &ring->timers[ring->fired[i]];
        assert_true(a->at_mono_ms <= b->at_mono_ms);
        assert_true(a->at_mono_ms < b->at_mono_ms || a < b);
    }
    free(ring);
}

static void a_timer_fires_no_earlier_than_asked(void **state)
{
    struct ring *ring = calloc(1, sizeof(*ring));
    int64_t before_us = clock_mono_us();
    (void)state;
    ring->timers[0] = (struct timer){.fire = ring_fired, .data = ring};
    timer_arm_in(loop, &ring->timers[0], 30);
    assert_true(until(loop, has_fired, ring, 5000));
    assert_true(clock_mono_us() - before_us >= 29000); /* the deadline was rounded down to its ms */
    assert_int_equal(ring->fired_count, 1);
    free(ring);
}

static bool is_up(void *data)
{
    return db_is_up(data);
}

static int open_all(void **state)
{
    loop = loop_create();
    *state = db_create(loop, pg_start(), "test");
    return until(loop, is_up, *state, 5000) ? 0 : -1;
}

static int close_all(void **state)
{
    db_destroy(*state);
    loop_destroy(loop);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_run_in_order_and_a_wait_goes_on_with_the_next),
        cmocka_unit_test(a_synchronous_completion_falls_through),
        cmocka_unit_test(a_failure_ends_the_flow_with_its_words),
        cmocka_unit_test(field_errors_collect_and_the_first_names_the_error),
        cmocka_unit_test(goto_rewinds_to_a_named_row),
        cmocka_unit_test(a_dying_request_leaves_the_flow_running_without_it),
        cmocka_unit_test(a_flow_that_ends_first_is_not_told_of_the_death),
        cmocka_unit_test(a_deadline_ends_a_waiting_flow),
        cmocka_unit_test(several_calls_of_a_step_resume_it_once_all_are_there),
        cmocka_unit_test(a_failed_call_fails_the_flow),
        cmocka_unit_test(a_deadline_detaches_the_calls_in_flight),
        cmocka_unit_test(timers_fire_in_order_of_deadline_then_of_arming),
        cmocka_unit_test(a_timer_fires_no_earlier_than_asked),
    };
    return cmocka_run_group_tests_name("io_flow", tests, open_all, close_all);
}
