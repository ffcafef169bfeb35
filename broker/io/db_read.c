#include "broker/io/db_inner.h"

#include <libpq-fe.h>

#include "broker/base/clock.h"

#define TRIES_MAX 64 /* a read is aborted by a neighbour at most this often */
/* One that PostgreSQL works on and one that it finds when it is done. What comes meanwhile gathers:
 * small batches, sent at once, would cost it more and be no sooner answered. */
#define FLIGHTS_MAX 2

static void read_answered(void *data, void *token, PGresult *pg_result);
static void prepare_failed(void *data, const struct sql_statement *statement,
                           const struct sql_trouble *trouble);

const struct pg_pipe_events db_read_events = {
    .answered = read_answered,
    .lost = db_read_lost,
    .trouble = prepare_failed,
};

static void prepare_failed(void *data, const struct sql_statement *statement,
                           const struct sql_trouble *trouble)
{
    db_report(data, statement, trouble);
}

/* An op and its mates, as they lie in a batch; returns how many. */
static int members_of(struct db_op *lead, struct db_op *ret_members[DB_BATCH_MAX])
{
    int count = 0;
    for (struct db_op *op = lead; op != NULL; op = op->mates)
        ret_members[count++] = op;
    return count;
}

/* Back to waiting, each for itself. */
static void members_wait_again(struct db *db, struct db_op *lead)
{
    struct db_op *members[DB_BATCH_MAX];
    int count = members_of(lead, members);
    for (int i = 0; i < count; i++) {
        members[i]->mates = NULL;
        members[i]->mates_count = 0;
        db_queue_push(&db->read_queue, members[i]);
    }
}

static bool read_send(struct db *db, struct db_op *lead)
{
    const char *values[SQL_PARAMS_MAX];
    int lengths[SQL_PARAMS_MAX];
    struct db_op *members[DB_BATCH_MAX];
    db_members_point(db, members, members_of(lead, members), values, lengths);
    if (db->read_sent.count == 0)
        db->read.progress_mono_ms = clock_mono_ms();
    db_queue_push(&db->read_sent, lead);
    return pg_pipe_send(db->read.pipe, lead->statement, values, lengths, lead);
}

/* Calls of one batch statement gather behind the first of them; false: `op` leads or goes alone. */
static bool read_join(struct op_queue *leads, struct db_op *op)
{
    if (!op->statement->is_batch)
        return false;
    for (struct db_op *lead = leads->head; lead != NULL; lead = lead->next) {
        if (lead->statement != op->statement || lead->mates_count + 1 >= DB_BATCH_MAX)
            continue;
        op->mates = lead->mates;
        lead->mates = op;
        lead->mates_count++;
        return true;
    }
    return false;
}

static void reads_gather(struct db *db, bool is_sync_each, struct op_queue *leads)
{
    db_queue_init(leads);
    for (struct db_op *op; (op = db_queue_pop(&db->read_queue)) != NULL;) {
        if (op->call == NULL) /* nobody waits for it any more */
            db_op_release(db, op);
        else if (is_sync_each || !read_join(leads, op))
            db_queue_push(leads, op);
    }
}

void db_reads_flush(struct db *db)
{
    struct op_queue leads;
    if (db->read_queue.head == NULL || !pg_pipe_is_up(db->read.pipe) ||
        pg_pipe_syncs_due(db->read.pipe) >= FLIGHTS_MAX)
        return;
    bool is_sync_each = db->is_sync_each, is_up = true;
    int sent_count = 0;
    db->is_sync_each = false;
    reads_gather(db, is_sync_each, &leads);
    for (struct db_op *lead; (lead = db_queue_pop(&leads)) != NULL;) {
        /* After a failure the loss has been dealt with, and the rest waits for the next time. */
        if (!is_up) {
            members_wait_again(db, lead);
            continue;
        }
        is_up = read_send(db, lead) && (!is_sync_each || pg_pipe_sync(db->read.pipe, NULL));
        sent_count++;
    }
    if (is_up && sent_count > 0 && !is_sync_each && !pg_pipe_sync(db->read.pipe, NULL))
        return; /* lost, and dealt with */
}

static void read_failed(struct db *db, struct db_op *op, PGresult *result)
{
    struct sql_trouble trouble = sql_trouble_of(result);
    PQclear(result);
    db->must_reset_read |= trouble.is_connection_unfit;
    db_report(db, op->statement, &trouble);
    db_op_fail(db, op, &trouble);
}

static void read_succeeded(struct db *db, struct db_op *op, struct sql_result *result)
{
    struct db_op *members[DB_BATCH_MAX];
    if (op->statement->is_batch) {
        db_members_succeed(db, members, members_of(op, members), result);
        return;
    }
    db_op_succeed(db, op, result, 0, sql_result_rows(result));
    sql_result_release(result);
}

static void read_answered(void *data, void *token, PGresult *pg_result)
{
    struct db *db = data;
    struct db_op *op = db_queue_pop(&db->read_sent);
    must(op == token);
    db->read.progress_mono_ms = clock_mono_ms();
    ExecStatusType status = PQresultStatus(pg_result);
    bool is_neighbours_fault = status == PGRES_PIPELINE_ABORTED && op->tries_count++ < TRIES_MAX;
    bool is_good = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
    if (is_neighbours_fault || (!is_good && op->mates != NULL)) {
        PQclear(pg_result);
        db->is_sync_each = true;
        members_wait_again(db, op);
    } else if (!is_good) {
        read_failed(db, op, pg_result);
    } else {
        read_succeeded(db, op, sql_result_of(pg_result));
    }
}

void db_read_lost(void *data)
{
    struct db *db = data;
    const struct sql_trouble trouble = {.err = ERR_DATABASE_BUSY};
    struct db_op *members[DB_BATCH_MAX];
    struct op_queue sent = db->read_sent;
    if (sent.head == NULL)
        return;
    db_queue_init(&db->read_sent);
    for (struct db_op *lead; (lead = db_queue_pop(&sent)) != NULL;) {
        int count = members_of(lead, members);
        for (int i = 0; i < count; i++)
            db_op_fail(db, members[i], &trouble);
    }
}
