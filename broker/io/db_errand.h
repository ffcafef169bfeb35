/* db_errand.h - calls of a batch statement that another thread executes.
 *
 * Either a taker does, inside its own transaction: the loop's thread lends a turn's calls as a list
 * (db_lend() in db.h) to a taker on any thread, which runs them as one execution in its blocking
 * session, commits, and gives the list back. What was not done goes into the write lane. Or the
 * write lane of another loop does, which is the statement's home (db_lanes.h): it carries them as
 * if they were its own. Each call then completes on its loop as if the loop's lane had carried it.
 * Between taking and giving back an errand belongs to the taker, which must give back each one it
 * took before its loop's db is destroyed.
 */
#ifndef UNDERCUT_IO_DB_ERRAND_H
#define UNDERCUT_IO_DB_ERRAND_H

#include "broker/base/must.h"
#include "broker/io/db.h"
#include "broker/io/sql.h"

struct db_op;

enum errand_end {
    ERRAND_DONE = 1, /* durable; its rows are in the result */
    ERRAND_NOT_DONE, /* nothing has happened */
    ERRAND_UNKNOWN,  /* the commit was sent and not answered */
};

struct db_errand {
    struct db_errand *next;
    /* private */
    struct db *db;
    struct db_op *op;
    enum errand_end end;
    struct sql_result *result;
    int row_first, row_count;
    struct db *home;        /* NULL: a taker's */
    struct db_call at_home; /* what the home's lane answers */
};

/* One execution for a list of the same statement; its rows carry the 1-based places of the list.
 * In a pipe the result is there after its flush. */
enum err_code db_errands_run(struct session *session, const struct db_errand *errands,
                             struct sql_result **ret_result);
/* NULL errands are fine. `result` is that of db_errands_run() where they are done, and stays the
 * caller's. */
void db_errands_return(struct db_errand *errands, enum errand_end end, struct sql_result *result);

#endif
