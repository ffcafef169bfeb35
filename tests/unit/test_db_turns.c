/* Turns between lanes: one at a time per statement, in order, and none is lost. */
#include "broker/io/db_turns.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/io/loop.h"
#include "broker/io/sql.h"

#define LANES  4
#define ROUNDS 2000

static const struct sql_statement some = {.name = "some"}, other = {.name = "other"};

static void a_turn_goes_round_in_the_order_of_asking(void **state)
{
    (void)state;
    struct db_turns *turns = db_turns_create();
    struct loop *loop = loop_create();
    struct turn_seat a, b, c, elsewhere, alone = {.turn = NULL};
    turn_seat_open(&a, turns, &some, loop);
    turn_seat_open(&b, turns, &some, loop);
    turn_seat_open(&c, turns, &some, loop);
    turn_seat_open(&elsewhere, turns, &other, loop);
    assert_true(turn_take(&alone));
    assert_true(turn_take(&a) && turn_take(&a) && turn_take(&elsewhere));
    assert_false(turn_take(&b) || turn_take(&c) || turn_take(&b));
    turn_give(&a);
    assert_false(turn_take(&a) || turn_take(&c));
    assert_true(turn_take(&b));
    turn_give(&c); /* no longer wants it */
    turn_give(&b);
    assert_true(turn_take(&a));
    turn_give(&a);
    turn_give(&a);
    assert_true(turn_take(&c));
    turn_give(&c);
    turn_give(&elsewhere);
    loop_destroy(loop);
    db_turns_destroy(turns);
}

struct lane {
    struct loop *loop;
    struct turn_seat seat;
    int *shared_count; /* guarded by the turn alone */
    int left_count;
    pthread_t id;
};

static void lane_turn(void *data)
{
    struct lane *lane = data;
    if (lane->left_count == 0 || !turn_take(&lane->seat))
        return;
    ++*lane->shared_count;
    turn_give(&lane->seat);
    if (--lane->left_count == 0)
        loop_stop(lane->loop);
    else
        loop_touch(lane->loop);
}

static void *lane_run(void *data)
{
    struct lane *lane = data;
    loop_run(lane->loop);
    return NULL;
}

static void whoever_waits_is_woken(void **state)
{
    (void)state;
    struct db_turns *turns = db_turns_create();
    struct lane lanes[LANES];
    int shared_count = 0;
    for (int i = 0; i < LANES; i++) {
        struct lane *lane = &lanes[i];
        *lane = (struct lane){
            .loop = loop_create(), .shared_count = &shared_count, .left_count = ROUNDS};
        turn_seat_open(&lane->seat, turns, &some, lane->loop);
        loop_on_turn_end(lane->loop, lane_turn, lane);
    }
    for (int i = 0; i < LANES; i++)
        assert_int_equal(pthread_create(&lanes[i].id, NULL, lane_run, &lanes[i]), 0);
    for (int i = 0; i < LANES; i++)
        assert_int_equal(pthread_join(lanes[i].id, NULL), 0);
    assert_int_equal(shared_count, LANES * ROUNDS);
    for (int i = 0; i < LANES; i++)
        loop_destroy(lanes[i].loop);
    db_turns_destroy(turns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_turn_goes_round_in_the_order_of_asking),
        cmocka_unit_test(whoever_waits_is_woken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
