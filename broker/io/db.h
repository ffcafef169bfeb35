/* db.h - PostgreSQL on the event loop: a pipelined read lane, and a write lane with group commit.
 *
 * loop thread. Statements come from sql_gen.py (see sql.h); C above L1 never sees SQL text.
 *  read lane   many PQsendQueryPrepared, ONE PQpipelineSync per loop turn.
 *  write lane  while a batch of a statement is in flight, calls of that statement collect; then ONE
 *              multi-row statement carries them all, those of other threads too (db_lanes.h).
 *              A call completes on the Sync, i.e. when
 *              durable. On an unexpected error the members are replayed one by one, each with its
 *              own Sync, so that one poisonous row fails alone.
 * A lost connection fails reads with ERR_DATABASE_BUSY; a write whose commit was sent and not
 * answered fails with ERR_DATABASE_BUSY as "outcome unknown" (is_unknown): idempotency keys
 * resolve it. Both lanes reconnect by themselves (200 ms) and refuse at once when more than
 * DB_QUEUE_MAX calls wait.
 */
#ifndef UNDERCUT_IO_DB_H
#define UNDERCUT_IO_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/err.h"
#include "broker/io/sql.h"

#define DB_QUEUE_MAX 4096
#define DB_BATCH_MAX 256

struct flow;
struct loop;
struct db;
struct db_errand;

struct db_call {
    struct flow *flow;                  /* resumed when done, unless `done` is set */
    void (*done)(struct db_call *call); /* called instead of resuming a flow */
    void *data;
    bool may_be_lent; /* to whom db_lend() named; a write of a batch statement */
    /* answers */
    enum err_code err; /* ERR_OK, ERR_DATABASE_BUSY, ERR_INTERNAL */
    bool is_unknown;   /* a write that may or may not have happened */
    bool was_lent;     /* and done there */
    char sqlstate[6];
    char constraint[64];       /* name of the violated constraint, "" if none */
    struct sql_result *result; /* shared by the members of a batch; refcounted */
    int row_first, row_count;  /* this call's rows within it */
    /* private */
    struct db_op *op;   /* NULL when not under way */
    bool is_registered; /* with its flow */
    struct db_call *next_of_flow;
};

/* `conninfo` is copied. Statements are prepared on connect, lazily per first use. */
struct db *db_create(struct loop *loop, const char *conninfo, const char *application_name);
/* Before the first write: calls that may be lent, all of one statement, are offered to `take` at
 * the end of their turn, as a list (db_errand.h). False: it takes none, and the write lane does. */
void db_lend(struct db *db, bool (*take)(void *taker, struct db_errand *errands), void *taker);
void db_destroy(struct db *db);
bool db_is_up(const struct db *db);

struct sql_trouble;
/* For the log: called for every failed statement, with the database's own words. */
void db_on_trouble(struct db *db,
                   void (*trouble)(void *data, const struct sql_statement *statement,
                                   const struct sql_trouble *trouble),
                   void *data);

/* Generated x_submit() functions call these; `params` are moved. With a flow and no `done`, the
 * call is registered with the flow, which frees the result at its end. Without a flow the owner
 * calls db_call_finish(). A dying flow never leaves a dangling call: the lane detaches it.
 * Completion never comes from inside these functions. A call starts zeroed (but for flow, done,
 * data) and may be used again once it is answered; its former result is released then. */
void db_read(struct db *db, struct db_call *call, const struct sql_statement *statement,
             struct sql_params *params);
void db_write(struct db *db, struct db_call *call, const struct sql_statement *statement,
              struct sql_params *params);
void db_call_finish(struct db_call *call);
/* In a step after the wait: ERR_OK, or flow_fail()s with the call's error and returns it. */
enum err_code db_call_check(struct flow *flow, struct db_call *call);

#endif
