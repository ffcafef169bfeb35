/* The table of close reasons, what follows from it, and the page that is written from it.
 * `UPDATE=1 test_close_reasons` writes docs/close-reasons.md anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "billing/close_reason.h"

#define PAGE "docs/close-reasons.md"

static void every_reason_has_a_slug_of_its_own(void **state)
{
    (void)state;
    for (enum close_reason reason = CLOSE_NONE + 1; reason < CLOSE_REASON_COUNT; reason++) {
        const struct close_info *info = close_info(reason);
        assert_int_equal(close_reason_by_slug(str_of(info->slug)), reason);
        struct str sentence = str_of(info->sentence);
        assert_true(sentence.len > 20 && sentence.at[sentence.len - 1] == '.');
    }
    assert_int_equal(close_reason_by_slug(STR("")), CLOSE_NONE);
    assert_int_equal(close_reason_by_slug(STR("stopped")), CLOSE_NONE);
    assert_int_equal(close_reason_by_slug(STR_NONE), CLOSE_NONE);
}

static void only_what_is_the_owners_costs_anything_before_it_ran(void **state)
{
    (void)state;
    const struct close_times slow_start = {.has_run = false, .start_ms = PULL_FREE_MS + 90000};
    const struct close_times fast_start = {.has_run = false, .start_ms = 10};
    for (enum close_reason reason = CLOSE_NONE + 1; reason < CLOSE_REASON_COUNT; reason++) {
        bool is_own_stop = reason == CLOSE_STOPPED_BY_OWNER || reason == CLOSE_REPLACED;
        bool is_own_probe = reason == CLOSE_READINESS_FAILED;
        assert_int_equal(close_billable_ms(reason, &slow_start),
                         is_own_stop || is_own_probe ? 90000 : 0);
        assert_int_equal(close_billable_ms(reason, &fast_start),
                         is_own_stop ? OWNER_END_MIN_MS : 0);
    }
    assert_int_equal(close_billable_ms(CLOSE_NONE, &slow_start), 0);
}

static void what_ran_is_billed_except_when_the_broker_voids_it(void **state)
{
    (void)state;
    const struct close_times times = {
        .has_run = true,
        .start_ms = PULL_FREE_MS + 500,
        .run = {.receipt_healthy_ms = 3000, .broker_elapsed_ms = 4000, .cut_ms = METER_MS_MAX},
    };
    for (enum close_reason reason = CLOSE_NONE; reason < CLOSE_REASON_COUNT; reason++)
        assert_int_equal(close_billable_ms(reason, &times), reason == CLOSE_BROKER_VOID ? 0 : 3500);
}

static void a_lost_node_is_replaced_and_a_stop_is_final(void **state)
{
    (void)state;
    assert_true(close_retries(CLOSE_NODE_LOST, RESTART_NEVER));
    assert_false(close_retries(CLOSE_STOPPED_BY_OWNER, RESTART_ALWAYS));
    assert_false(close_retries(CLOSE_IMAGE_NOT_FOUND, RESTART_ALWAYS));
    assert_true(close_retries(CLOSE_IMAGE_PULL_FAILED, RESTART_NEVER));
    assert_false(close_retries(CLOSE_COMPLETED, RESTART_NEVER));
    assert_false(close_retries(CLOSE_COMPLETED, RESTART_ON_FAILURE));
    assert_true(close_retries(CLOSE_COMPLETED, RESTART_ALWAYS));
    assert_false(close_retries(CLOSE_COMMAND_FAILED, RESTART_NEVER));
    assert_true(close_retries(CLOSE_COMMAND_FAILED, RESTART_ON_FAILURE));
    assert_false(close_retries(CLOSE_FUNDS_EXHAUSTED, RESTART_ALWAYS));
}

static void failures_of_the_operator_and_no_others_count_against_the_node(void **state)
{
    (void)state;
    for (enum close_reason reason = CLOSE_NONE + 1; reason < CLOSE_REASON_COUNT; reason++) {
        bool is_operators = close_info(reason)->group == CLOSE_BY_OPERATOR;
        bool is_promised = reason == CLOSE_OPERATOR_RECLAIMED;
        assert_int_equal(close_info(reason)->reputation == CLOSE_REPUTATION_FAILURE,
                         is_operators && !is_promised);
    }
}

static void the_page_is_current(void **state)
{
    (void)state;
    struct buf wanted = {0}, found = {0};
    close_reasons_markdown(&wanted);
    if (getenv("UPDATE")) {
        FILE *out = fopen(PAGE, "wb");
        assert_non_null(out);
        assert_int_equal(fwrite(wanted.at, 1, wanted.len, out), wanted.len);
        assert_int_equal(fclose(out), 0);
    }
    FILE *in = fopen(PAGE, "rb");
    assert_non_null(in);
    buf_reserve(&found, wanted.len + 1);
    found.len = fread(found.at, 1, wanted.len + 1, in);
    fclose(in);
    assert_true(str_equal(buf_str(&wanted), buf_str(&found)));
    buf_finish(&wanted);
    buf_finish(&found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reason_has_a_slug_of_its_own),
        cmocka_unit_test(only_what_is_the_owners_costs_anything_before_it_ran),
        cmocka_unit_test(what_ran_is_billed_except_when_the_broker_voids_it),
        cmocka_unit_test(a_lost_node_is_replaced_and_a_stop_is_final),
        cmocka_unit_test(failures_of_the_operator_and_no_others_count_against_the_node),
        cmocka_unit_test(the_page_is_current),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
