/* db_inner.h - what db.c, db_read.c and db_write.c share; nobody else includes it.
 *
 * loop thread. An op is a call under way: it outlives its call when the owner gives up.
 */
#ifndef UNDERCUT_IO_DB_INNER_H
#define UNDERCUT_IO_DB_INNER_H

#include "broker/io/db.h"
#include "broker/io/db_errand.h"
#include "broker/io/pg_pipe.h"
#include "broker/io/sql_wire.h"
#include "broker/io/timer.h"

struct db_op {
    struct db_call *call; /* NULL: its owner has gone */
    const struct sql_statement *statement;
    struct sql_params params;
    struct db_op *next;
    struct db_op *mates; /* of a batch of reads that this op leads: the other calls, by `mates` */
    int mates_count;
    int tries_count;
};

struct op_queue {
    struct db_op *head, **tail;
    int count;
};

struct write_queue { /* of one statement */
    const struct sql_statement *statement;
    struct op_queue ops;
    struct write_queue *next;
};

enum flight_mode { FLIGHT_NONE, FLIGHT_BATCH, FLIGHT_EACH };

struct flight { /* the one set of writes under way */
    enum flight_mode mode;
    struct db_op *members[DB_BATCH_MAX];
    int members_count;
    int done_count;             /* of FLIGHT_EACH */
    bool is_due;                /* a replay that is not sent yet */
    struct sql_result *result;  /* of the batch, or of the member at done_count */
    struct sql_trouble trouble; /* likewise, when it failed */
    bool has_failed;
};

struct lane {
    struct pg_pipe *pipe;
    int64_t progress_mono_ms; /* last answer, or when something was sent into silence */
};

struct db {
    struct loop *loop;
    struct lane read, write;
    struct op_queue read_queue, read_sent;
    bool is_sync_each;                /* the next reads are sent under a Sync each */
    struct db_lanes *lanes;           /* NULL: this lane writes all by itself */
    struct write_queue *write_queues; /* round robin: the one just served goes to the end */
    int write_count;
    struct flight flight;
    bool (*take)(void *taker, struct db_errand *errands); /* NULL: nobody takes errands */
    void *taker;
    struct db_errand *lent, **lent_tail; /* in this turn */
    struct db_errand *away, **away_tail; /* likewise, to lanes elsewhere */
    struct sql_batch batch;
    struct op_queue refused;
    struct db_op *spare_ops;
    bool must_reset_read, must_reset_write;
    struct timer check;
    struct timer refuse; /* tells the refused, after the turn that refused them */
    void (*trouble)(void *data, const struct sql_statement *statement,
                    const struct sql_trouble *trouble);
    void *trouble_data;
};

void db_queue_init(struct op_queue *queue);
void db_queue_push(struct op_queue *queue, struct db_op *op);
struct db_op *db_queue_pop(struct op_queue *queue);
void db_queue_drop(struct db *db, struct op_queue *queue); /* fails them all as busy */

void db_op_release(struct db *db, struct db_op *op); /* without a word to its owner */
/* These two tell the owner, if there still is one, and give the op back. */
void db_op_succeed(struct db *db, struct db_op *op, struct sql_result *result, int row_first,
                   int row_count);
void db_op_fail(struct db *db, struct db_op *op, const struct sql_trouble *trouble);
void db_report(struct db *db, const struct sql_statement *statement,
               const struct sql_trouble *trouble);

/* Points libpq at one array per parameter of the members of a batch, or at a single op's. */
void db_members_point(struct db *db, struct db_op *const *members, int count,
                      const char **ret_values, int *ret_lengths);
/* Gives each member of a batch the rows that carry its 1-based position; consumes `result`. */
void db_members_succeed(struct db *db, struct db_op *const *members, int count,
                        struct sql_result *result);

/* db_errand.c */
void db_lent_push(struct db *db, struct db_op *op);
void db_lent_flush(struct db *db);
/* To the lane that is the statement's home, at the end of this turn. */
void db_write_route(struct db *db, struct db_op *op);
void db_away_flush(struct db *db);
void db_away_drop(struct db *db);

/* db_lanes.c */
struct db *db_lanes_home(struct db *db, const struct sql_statement *statement);

/* db_read.c */
extern const struct pg_pipe_events db_read_events;
void db_reads_flush(struct db *db);
void db_read_lost(void *data);

/* db_write.c */
extern const struct pg_pipe_events db_write_events;
void db_write_push(struct db *db, struct db_op *op);
void db_writes_flush(struct db *db);
void db_write_lost(void *data);
void db_writes_drop(struct db *db); /* what waits, not what is in flight */

#endif
