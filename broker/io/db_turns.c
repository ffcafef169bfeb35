#include "broker/io/db_turns.h"

#include <pthread.h>
#include <stdlib.h>

#include "broker/base/must.h"
#include "broker/io/loop.h"

struct turn { /* of one statement */
    struct db_turns *turns;
    const struct sql_statement *statement;
    struct turn_seat *holder, *waiting;
    struct turn *next;
};

struct db_turns {
    pthread_mutex_t mutex; /* over everything here but is_asking */
    struct turn *all;
};

struct db_turns *db_turns_create(void)
{
    struct db_turns *turns = calloc(1, sizeof(*turns));
    must(turns != NULL);
    must(pthread_mutex_init(&turns->mutex, NULL) == 0);
    return turns;
}

void db_turns_destroy(struct db_turns *turns)
{
    if (turns == NULL)
        return;
    for (struct turn *next, *turn = turns->all; turn != NULL; turn = next) {
        must(turn->holder == NULL && turn->waiting == NULL);
        next = turn->next;
        free(turn);
    }
    pthread_mutex_destroy(&turns->mutex);
    free(turns);
}

void turn_seat_open(struct turn_seat *seat, struct db_turns *turns,
                    const struct sql_statement *statement, struct loop *loop)
{
    pthread_mutex_lock(&turns->mutex);
    struct turn *turn = turns->all;
    while (turn != NULL && turn->statement != statement)
        turn = turn->next;
    if (turn == NULL) {
        turn = calloc(1, sizeof(*turn));
        must(turn != NULL);
        *turn = (struct turn){.turns = turns, .statement = statement, .next = turns->all};
        turns->all = turn;
    }
    *seat = (struct turn_seat){.turn = turn, .loop = loop};
    pthread_mutex_unlock(&turns->mutex);
}

bool turn_take(struct turn_seat *seat)
{
    struct turn *turn = seat->turn;
    if (turn == NULL)
        return true;
    pthread_mutex_lock(&turn->turns->mutex);
    if (turn->holder == NULL)
        turn->holder = seat;
    bool is_mine = turn->holder == seat;
    if (!is_mine && !seat->is_asking) {
        struct turn_seat **end = &turn->waiting;
        while (*end != NULL)
            end = &(*end)->next;
        seat->next = NULL;
        *end = seat;
    }
    pthread_mutex_unlock(&turn->turns->mutex);
    seat->is_asking = true;
    return is_mine;
}

static void turn_loop(void *data)
{
    (void)data; /* a turn of the loop is all that is wanted: its hooks look again */
}

static void pass_on(struct turn *turn)
{
    turn->holder = turn->waiting;
    if (turn->holder == NULL)
        return;
    turn->waiting = turn->holder->next;
    /* Under the mutex, so that the seat cannot close and its loop end before this. */
    loop_post(turn->holder->loop, turn_loop, NULL);
}

void turn_give(struct turn_seat *seat)
{
    struct turn *turn = seat->turn;
    if (turn == NULL || !seat->is_asking)
        return;
    seat->is_asking = false;
    pthread_mutex_lock(&turn->turns->mutex);
    if (turn->holder == seat) {
        pass_on(turn);
    } else {
        struct turn_seat **link = &turn->waiting;
        while (*link != NULL && *link != seat)
            link = &(*link)->next;
        must(*link == seat);
        *link = seat->next;
    }
    pthread_mutex_unlock(&turn->turns->mutex);
}
