#include "broker/io/db_inner.h"

#include <libpq-fe.h>

#include "broker/base/clock.h"

#define TRIES_MAX 64 /* a read is aborted by a neighbour at most this often */

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

static bool read_send(struct db *db, struct db_op *op)
{
    const char *values[SQL_PARAMS_MAX];
    int lengths[SQL_PARAMS_MAX];
    sql_params_point(&op->params, values, lengths);
    if (db->read_sent.count == 0)
        db->read.progress_mono_ms = clock_mono_ms();
    db_queue_push(&db->read_sent, op);
    return pg_pipe_send(db->read.pipe, op->statement, values, lengths, op);
}

void db_reads_flush(struct db *db)
{
    if (db->read_queue.head == NULL || !pg_pipe_is_up(db->read.pipe))
        return;
    bool is_sync_each = db->is_sync_each;
    int sent_count = 0;
    db->is_sync_each = false;
    for (struct db_op *op; (op = db_queue_pop(&db->read_queue)) != NULL;) {
        if (op->call == NULL) { /* nobody waits for it any more */
            db_op_release(db, op);
            continue;
        }
        /* After a failure here the loss has been dealt with, and the rest waits for the next time.
         * */
        if (!read_send(db, op) || (is_sync_each && !pg_pipe_sync(db->read.pipe, NULL)))
            return;
        sent_count++;
    }
    if (sent_count > 0 && !is_sync_each && !pg_pipe_sync(db->read.pipe, NULL))
        return;
}

static void read_failed(struct db *db, struct db_op *op, PGresult *result)
{
    struct sql_trouble trouble = sql_trouble_of(result);
    PQclear(result);
    db->must_reset_read |= trouble.is_connection_unfit;
    db_report(db, op->statement, &trouble);
    db_op_fail(db, op, &trouble);
}

static void read_answered(void *data, void *token, PGresult *pg_result)
{
    struct db *db = data;
    struct db_op *op = db_queue_pop(&db->read_sent);
    must(op == token);
    db->read.progress_mono_ms = clock_mono_ms();
    ExecStatusType status = PQresultStatus(pg_result);
    if (status == PGRES_PIPELINE_ABORTED && op->tries_count++ < TRIES_MAX) {
        PQclear(pg_result);
        db->is_sync_each = true;
        db_queue_push(&db->read_queue, op);
        return;
    }
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        read_failed(db, op, pg_result);
        return;
    }
    struct sql_result *result = sql_result_of(pg_result);
    db_op_succeed(db, op, result, 0, sql_result_rows(result));
    sql_result_release(result);
}

void db_read_lost(void *data)
{
    struct db *db = data;
    db_queue_drop(db, &db->read_sent);
}
