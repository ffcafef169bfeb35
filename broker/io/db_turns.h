/* db_turns.h - one batch of a statement under way per process, whichever thread's lane carries it.
 *
 * any thread. Batches of the same statement lock the same rows (a wallet, for one), so two at once
 * wait for each other on the server and each carries half: threads take turns instead, in the order
 * in which they asked, and what waits grows into one larger batch.
 */
#ifndef UNDERCUT_IO_DB_TURNS_H
#define UNDERCUT_IO_DB_TURNS_H

#include <stdbool.h>

struct db_turns;
struct loop;
struct sql_statement;
struct turn;

/* One lane's place in the order for one statement; zeroed, it needs no turn. */
struct turn_seat {
    struct turn *turn; /* NULL: always free */
    struct loop *loop; /* turns once more when the seat's turn has come */
    struct turn_seat *next;
    bool is_asking; /* the owner's own note: it waits or holds */
};

struct db_turns *db_turns_create(void);
void db_turns_destroy(struct db_turns *turns); /* after every lane that used it */

void turn_seat_open(struct turn_seat *seat, struct db_turns *turns,
                    const struct sql_statement *statement, struct loop *loop);
/* False: it has been noted, and the loop turns again when the turn has come. */
bool turn_take(struct turn_seat *seat);
/* Passes the turn on, or gives up waiting for it; harmless without one. */
void turn_give(struct turn_seat *seat);

#endif
