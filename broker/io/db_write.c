/* The happy path is: calls collect per statement; a flight takes one statement's calls, goes out
 * as one multi-row statement under one Sync (or as single statements with a Sync each), and
 * completes its members when the Sync is answered, which is when they are durable.
 * Failure modes are: a batch that fails for what may be one member's fault is replayed member by
 * member at the end of the turn; a flight lost with its connection fails as unknown, except what
 * the server had refused before or what was not sent yet.
 */
#include "broker/io/db_inner.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/clock.h"
#include "broker/io/loop.h"

#define BYTES_MAX (4 * 1024 * 1024) /* of one flight, approximately */
#define EACH_MAX  64                /* single writes in one flight */

static void write_answered(void *data, void *token, PGresult *pg_result);
static void write_synced(void *data, void *token);
static void prepare_failed(void *data, const struct sql_statement *statement,
                           const struct sql_trouble *trouble);

const struct pg_pipe_events db_write_events = {
    .answered = write_answered,
    .synced = write_synced,
    .lost = db_write_lost,
    .trouble = prepare_failed,
};

static void prepare_failed(void *data, const struct sql_statement *statement,
                           const struct sql_trouble *trouble)
{
    db_report(data, statement, trouble);
}

static struct write_queue *write_queue_of(struct db *db, const struct sql_statement *statement)
{
    struct write_queue **link = &db->write_queues;
    for (; *link != NULL; link = &(*link)->next) {
        if ((*link)->statement == statement)
            return *link;
    }
    struct write_queue *queue = calloc(1, sizeof(*queue));
    must(queue != NULL);
    queue->statement = statement;
    db_queue_init(&queue->ops);
    *link = queue;
    return queue;
}

void db_write_push(struct db *db, struct db_op *op)
{
    db_queue_push(&write_queue_of(db, op->statement)->ops, op);
    db->write_count++;
}

static void flight_clear_result(struct flight *flight)
{
    sql_result_release(flight->result);
    flight->result = NULL;
    flight->has_failed = false;
}

/* The next statement that has something to write; it goes to the end of the round. */
static struct write_queue *next_ready(struct db *db)
{
    struct write_queue **link = &db->write_queues;
    while (*link != NULL && (*link)->ops.head == NULL)
        link = &(*link)->next;
    struct write_queue *queue = *link;
    if (queue == NULL)
        return NULL;
    *link = queue->next;
    queue->next = NULL;
    while (*link != NULL)
        link = &(*link)->next;
    *link = queue;
    return queue;
}

static void flight_fill(struct db *db, struct write_queue *queue)
{
    struct flight *flight = &db->flight;
    bool is_batch = queue->statement->is_batch;
    int members_max = is_batch ? DB_BATCH_MAX : EACH_MAX;
    size_t bytes = 0;
    flight->members_count = flight->done_count = 0;
    while (queue->ops.head != NULL && flight->members_count < members_max && bytes < BYTES_MAX) {
        struct db_op *op = db_queue_pop(&queue->ops);
        db->write_count--;
        if (op->call == NULL) { /* its owner gave up before it was sent: it has not happened */
            db_op_release(db, op);
            continue;
        }
        bytes += op->params.bytes.len;
        flight->members[flight->members_count++] = op;
    }
    if (flight->members_count > 0)
        flight->mode = is_batch ? FLIGHT_BATCH : FLIGHT_EACH;
}

static bool write_send(struct db *db, struct db_op *const *members, int count, void *token)
{
    const char *values[SQL_PARAMS_MAX];
    int lengths[SQL_PARAMS_MAX];
    db_members_point(db, members, count, values, lengths);
    return pg_pipe_send(db->write.pipe, members[0]->statement, values, lengths, token) &&
           pg_pipe_sync(db->write.pipe, token);
}

/* On a failure in here db_write_lost() has emptied the flight. */
static void flight_send(struct db *db)
{
    struct flight *flight = &db->flight;
    flight->is_due = false;
    db->write.progress_mono_ms = clock_mono_ms();
    if (flight->mode == FLIGHT_BATCH) {
        (void)write_send(db, flight->members, flight->members_count, flight);
        return;
    }
    int count = flight->members_count;
    for (int i = 0; i < count; i++) {
        if (!write_send(db, &flight->members[i], 1, flight))
            return;
    }
}

void db_writes_flush(struct db *db)
{
    struct flight *flight = &db->flight;
    for (;;) {
        bool can_fill = flight->mode == FLIGHT_NONE;
        if (!pg_pipe_is_up(db->write.pipe) || !(can_fill || flight->is_due))
            return;
        struct write_queue *queue = can_fill ? next_ready(db) : NULL;
        if (can_fill && queue == NULL)
            return;
        if (can_fill)
            flight_fill(db, queue);
        if (flight->mode != FLIGHT_NONE)
            flight_send(db);
    }
}

static void write_answered(void *data, void *token, PGresult *pg_result)
{
    struct db *db = data;
    struct flight *flight = &db->flight;
    must(token == flight && flight->mode != FLIGHT_NONE);
    db->write.progress_mono_ms = clock_mono_ms();
    ExecStatusType status = PQresultStatus(pg_result);
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
        flight->result = sql_result_of(pg_result);
        return;
    }
    /* The statement failed, or the commit did, after its rows had come. */
    flight_clear_result(flight);
    flight->has_failed = true;
    flight->trouble = sql_trouble_of(pg_result);
    db->must_reset_write |= flight->trouble.is_connection_unfit;
    db_report(db, flight->members[flight->done_count]->statement, &flight->trouble);
    PQclear(pg_result);
}

static void batch_succeed(struct db *db, struct flight *flight)
{
    struct sql_result *result = flight->result;
    flight->result = NULL;
    flight->mode = FLIGHT_NONE;
    db_members_succeed(db, flight->members, flight->members_count, result);
}

static void batch_fail(struct db *db, struct flight *flight)
{
    bool may_be_one_members_fault =
        flight->trouble.err != ERR_DATABASE_BUSY || strncmp(flight->trouble.sqlstate, "40", 2) == 0;
    if (flight->members_count > 1 && may_be_one_members_fault) {
        flight_clear_result(flight);
        flight->mode = FLIGHT_EACH;
        flight->is_due = true; /* nothing is sent from inside an event */
        return;
    }
    flight->mode = FLIGHT_NONE;
    for (int i = 0; i < flight->members_count; i++)
        db_op_fail(db, flight->members[i], &flight->trouble);
    flight_clear_result(flight);
}

static void each_synced(struct db *db, struct flight *flight)
{
    struct db_op *op = flight->members[flight->done_count++];
    struct sql_result *result = flight->result;
    struct sql_trouble trouble = flight->trouble;
    bool has_failed = flight->has_failed;
    flight->result = NULL;
    flight->has_failed = false;
    if (flight->done_count == flight->members_count)
        flight->mode = FLIGHT_NONE;
    if (has_failed)
        db_op_fail(db, op, &trouble);
    else
        db_op_succeed(db, op, result, 0, sql_result_rows(result));
    sql_result_release(result);
}

static void write_synced(void *data, void *token)
{
    struct db *db = data;
    struct flight *flight = token;
    db->write.progress_mono_ms = clock_mono_ms();
    must(flight->has_failed || flight->result != NULL);
    if (flight->mode == FLIGHT_EACH)
        each_synced(db, flight);
    else if (flight->has_failed)
        batch_fail(db, flight);
    else
        batch_succeed(db, flight);
    loop_touch(db->loop); /* what collected meanwhile can go */
}

static void flight_drop(struct db *db, bool is_unknown)
{
    struct flight *flight = &db->flight;
    int first = flight->done_count, count = flight->members_count;
    flight_clear_result(flight);
    flight->mode = FLIGHT_NONE;
    flight->is_due = false;
    for (int i = first; i < count; i++) {
        struct db_op *op = flight->members[i];
        if (op->call != NULL)
            op->call->is_unknown = is_unknown;
        db_op_fail(db, op, &(struct sql_trouble){.err = ERR_DATABASE_BUSY});
    }
}

void db_write_lost(void *data)
{
    struct db *db = data;
    struct flight *flight = &db->flight;
    bool was_refused = flight->has_failed && flight->mode == FLIGHT_BATCH;
    if (flight->mode != FLIGHT_NONE &&
        !flight->is_due) /* what is due waits for the next connection */
        flight_drop(db, /* is_unknown= */ !was_refused);
}

void db_writes_drop(struct db *db)
{
    if (db->flight.is_due)
        flight_drop(db, /* is_unknown= */ false);
    for (struct write_queue *queue = db->write_queues; queue != NULL; queue = queue->next) {
        db->write_count -= queue->ops.count;
        db_queue_drop(db, &queue->ops);
    }
}
