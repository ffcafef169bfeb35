/* What follows from the reason a lease closed: every reason against every wish of the workload. */
#include "broker/market/lease.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { NEVER = RESTART_NEVER, RETRY = RESTART_ON_FAILURE, ALWAYS = RESTART_ALWAYS };

static const struct plan_row {
    enum close_reason reason;
    int restart;
    bool stops_on_interruption, has_run;
    int32_t attempt;
    const char *pays, *next;
    bool excludes_node, is_failure;
    int64_t backoff_ms;
} rows[] = {
    /* clang-format off */
    {CLOSE_STOPPED_BY_OWNER, ALWAYS, false, true, 1, "minimum", "end", false, false, 0},
    {CLOSE_COMPLETED, RETRY, false, true, 1, "usage", "end", false, false, 0},
    {CLOSE_COMPLETED, ALWAYS, false, true, 1, "usage", "retry", false, false, 1000},
    {CLOSE_COMPLETED, ALWAYS, false, true, 99, "usage", "retry", false, false, 60000},
    {CLOSE_COMMAND_FAILED, NEVER, false, true, 1, "usage", "end", false, false, 0},
    {CLOSE_COMMAND_FAILED, RETRY, false, true, 1, "usage", "retry", false, false, 1000},
    {CLOSE_COMMAND_FAILED, RETRY, false, true, 3, "usage", "retry", false, false, 4000},
    {CLOSE_COMMAND_FAILED, RETRY, false, true, 9, "usage", "retry", false, false, 60000},
    {CLOSE_COMMAND_FAILED, RETRY, false, true, 10, "usage", "end", false, false, 0},
    {CLOSE_IMAGE_NOT_FOUND, ALWAYS, false, false, 1, "usage", "end", false, false, 0},
    {CLOSE_IMAGE_PULL_FAILED, NEVER, false, false, 1, "usage", "retry", true, false, 1000},
    {CLOSE_IMAGE_PULL_FAILED, ALWAYS, true, false, 2, "usage", "retry", true, false, 2000},
    {CLOSE_IMAGE_PULL_FAILED, ALWAYS, false, false, 3, "usage", "end", false, false, 0},
    {CLOSE_READINESS_FAILED, NEVER, false, false, 1, "start", "end", false, false, 0},
    {CLOSE_READINESS_FAILED, ALWAYS, false, false, 9, "start", "retry", false, false, 60000},
    {CLOSE_READINESS_FAILED, ALWAYS, false, false, 10, "start", "end", false, false, 0},
    {CLOSE_NODE_LOST, NEVER, false, true, 1, "usage", "retry", true, true, 0},
    {CLOSE_NODE_LOST, NEVER, false, true, 50, "usage", "retry", true, true, 0},
    {CLOSE_NODE_LOST, NEVER, true, true, 1, "usage", "end", true, true, 0},
    {CLOSE_NODE_LOST, NEVER, true, false, 1, "usage", "retry", true, true, 0},
    {CLOSE_NOT_ACKNOWLEDGED, NEVER, true, false, 1, "usage", "retry", false, true, 0},
    {CLOSE_CONTAINER_CREATE_FAILED, NEVER, false, false, 1, "usage", "retry", true, true, 0},
    {CLOSE_OPERATOR_RECLAIMED, NEVER, false, true, 1, "usage", "retry", false, false, 0},
    {CLOSE_OPERATOR_RECLAIMED, ALWAYS, true, true, 1, "usage", "end", false, false, 0},
    {CLOSE_PREEMPTED, NEVER, false, true, 50, "usage", "retry", false, false, 0},
    {CLOSE_PREEMPTED, ALWAYS, true, true, 1, "usage", "end", false, false, 0},
    {CLOSE_PREEMPTED, NEVER, true, false, 1, "usage", "retry", false, false, 0},
    {CLOSE_BROKER_VOID, NEVER, true, true, 1, "nothing", "retry", false, false, 0},
    {CLOSE_FUNDS_EXHAUSTED, ALWAYS, false, true, 1, "usage", "end", false, false, 0},
    {CLOSE_MAX_DURATION_REACHED, ALWAYS, false, true, 1, "usage", "end", false, false, 0},
    /* clang-format on */
};

static void the_plan_follows_the_reason_and_the_wishes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        const struct plan_row *row = &rows[i];
        const struct lease_facts facts = {.restart = (enum restart_policy)row->restart,
                                          .stops_on_interruption = row->stops_on_interruption,
                                          .has_run = row->has_run,
                                          .attempt = row->attempt};
        struct lease_plan plan = lease_close_plan(row->reason, &facts);
        bool is_same = strcmp(plan.pays, row->pays) == 0 && strcmp(plan.next, row->next) == 0 &&
                       plan.excludes_node == row->excludes_node &&
                       plan.is_failure == row->is_failure && plan.backoff_ms == row->backoff_ms;
        if (!is_same)
            fail_msg("row %zu, %s: %s %s excludes=%d failure=%d backoff=%lld", i,
                     close_info(row->reason)->slug, plan.pays, plan.next, plan.excludes_node,
                     plan.is_failure, (long long)plan.backoff_ms);
    }
}

static void every_reason_has_a_plan(void **state)
{
    (void)state;
    const struct lease_facts facts = {.restart = RESTART_ON_FAILURE, .attempt = 1};
    for (enum close_reason reason = CLOSE_NONE + 1; reason < CLOSE_REASON_COUNT; reason++) {
        struct lease_plan plan = lease_close_plan(reason, &facts);
        assert_true(strcmp(plan.next, "end") == 0 || strcmp(plan.next, "retry") == 0);
        assert_true(plan.backoff_ms == 0 || strcmp(plan.next, "retry") == 0);
    }
}

static void the_machine_is_one_way(void **state)
{
    (void)state;
    for (int from = LEASE_AWARDED; from < LEASE_STATE_COUNT; from++)
        for (int event = LEASE_ACK; event < LEASE_EVENT_COUNT; event++) {
            const struct fsm_row *row = fsm_find(&lease_machine, from, event);
            assert_true(row == NULL || row->to > from);
            assert_true((from != LEASE_CLOSED) ==
                        (fsm_find(&lease_machine, from, LEASE_CLOSE) != NULL));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_plan_follows_the_reason_and_the_wishes),
        cmocka_unit_test(every_reason_has_a_plan),
        cmocka_unit_test(the_machine_is_one_way),
    };
    return cmocka_run_group_tests_name("lease_plan", tests, NULL, NULL);
}
