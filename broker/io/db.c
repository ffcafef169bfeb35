/* The happy path is: a call becomes an op in the read queue or in its statement's write queue; at
 * the end of the loop's turn all queued reads are sent under one Sync, unless two such are in
 * flight, and, when no write is, one statement's collected calls as one flight. Rows of a batch go
 * back to the members by `ord`. Failure modes are: a failing read aborts its neighbours in the
 * pipeline (they are sent again, each under its own Sync); a failing batch is replayed member by
 * member; a lost or stuck connection fails what was in flight (writes as unknown), and what waits
 * when it stays down; queues have a maximum.
 */
#include "broker/io/db.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/clock.h"
#include "broker/base/must.h"
#include "broker/io/db_inner.h"
#include "broker/io/flow.h"
#include "broker/io/loop.h"

#define READ_STUCK_MS    5000
#define WRITE_STUCK_MS   10000 /* the server's own statement_timeout answers before */
#define DOWN_PATIENCE_MS 2000
#define CHECK_MS         250
/* Every statement is written for one plan, by index, and replanning costs more than running most of
 * them; a plan made while a table was empty must not scan it when it is full. */
#define SESSION_OPTIONS                                    \
    "-c jit=off -c timezone=UTC -c statement_timeout=4500" \
    " -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_bitmapscan=off"

static void turn_end(void *data);
static void check_health(struct timer *timer);
static void refuse_waiting(struct timer *timer);

void db_queue_init(struct op_queue *queue)
{
    queue->head = NULL;
    queue->tail = &queue->head;
    queue->count = 0;
}

void db_queue_push(struct op_queue *queue, struct db_op *op)
{
    op->next = NULL;
    *queue->tail = op;
    queue->tail = &op->next;
    queue->count++;
}

struct db_op *db_queue_pop(struct op_queue *queue)
{
    struct db_op *op = queue->head;
    if (op == NULL)
        return NULL;
    queue->head = op->next;
    if (queue->head == NULL)
        queue->tail = &queue->head;
    queue->count--;
    return op;
}

static struct op_queue queue_take(struct op_queue *queue)
{
    struct op_queue all = *queue;
    if (all.head == NULL)
        all.tail = &all.head; /* never used: the taker only pops */
    db_queue_init(queue);
    return all;
}

void db_op_release(struct db *db, struct db_op *op)
{
    sql_params_finish(&op->params);
    op->next = db->spare_ops;
    db->spare_ops = op;
}

static struct db_op *op_create(struct db *db, struct db_call *call,
                               const struct sql_statement *statement, struct sql_params *params)
{
    struct db_op *op = db->spare_ops;
    must(params->count == statement->params_count);
    if (op != NULL)
        db->spare_ops = op->next;
    else
        op = malloc(sizeof(*op));
    must(op != NULL);
    op->call = call;
    op->statement = statement;
    op->params = *params;
    op->next = op->mates = NULL;
    op->mates_count = op->tries_count = 0;
    *params = (struct sql_params){.count = 0};
    return op;
}

/* Tells the owner, if there still is one, and gives the op back. */
static void op_complete(struct db *db, struct db_op *op)
{
    struct db_call *call = op->call;
    db_op_release(db, op);
    if (call == NULL)
        return;
    call->op = NULL;
    if (call->done != NULL) {
        call->done(call);
    } else if (call->flow != NULL) {
        if (--call->flow->calls_pending_count == 0)
            flow_resume(call->flow);
    }
}

void db_op_succeed(struct db *db, struct db_op *op, struct sql_result *result, int row_first,
                   int row_count)
{
    if (op->call != NULL) {
        sql_result_retain(result);
        op->call->result = result;
        op->call->row_first = row_first;
        op->call->row_count = row_count;
    }
    op_complete(db, op);
}

void db_op_fail(struct db *db, struct db_op *op, const struct sql_trouble *trouble)
{
    struct db_call *call = op->call;
    if (call != NULL) {
        call->err = trouble->err;
        memcpy(call->sqlstate, trouble->sqlstate, sizeof(call->sqlstate));
        memcpy(call->constraint, trouble->constraint, sizeof(call->constraint));
    }
    op_complete(db, op);
}

void db_members_point(struct db *db, struct db_op *const *members, int count,
                      const char **ret_values, int *ret_lengths)
{
    const struct sql_statement *statement = members[0]->statement;
    if (!statement->is_batch) {
        sql_params_point(&members[0]->params, ret_values, ret_lengths);
        return;
    }
    sql_batch_reset(&db->batch);
    for (int i = 0; i < count; i++)
        sql_batch_add(&db->batch, statement, &members[i]->params);
    sql_batch_point(&db->batch, statement, ret_values, ret_lengths);
}

void db_members_succeed(struct db *db, struct db_op *const *members, int count,
                        struct sql_result *result)
{
    int rows_count = sql_result_rows(result), row = 0;
    for (int i = 0; i < count; i++) {
        int first = row;
        while (row < rows_count && sql_get_int4(result, row, 0) == i + 1)
            row++;
        db_op_succeed(db, members[i], result, first, row - first);
    }
    must(row == rows_count); /* a statement that does not order by ord, or invents positions */
    sql_result_release(result);
}

void db_report(struct db *db, const struct sql_statement *statement,
               const struct sql_trouble *trouble)
{
    if (db->trouble != NULL)
        db->trouble(db->trouble_data, statement, trouble);
}

struct db *db_create(struct loop *loop, const char *conninfo, const char *application_name)
{
    struct db *db = calloc(1, sizeof(*db));
    must(db != NULL);
    db->loop = loop;
    db_queue_init(&db->read_queue);
    db_queue_init(&db->read_sent);
    db_queue_init(&db->refused);
    db->lent_tail = &db->lent;
    db->away_tail = &db->away;
    struct pg_pipe_config config = {
        .conninfo = conninfo,
        .application_name = application_name,
        .options = SESSION_OPTIONS " -c default_transaction_read_only=on",
        .events = &db_read_events,
        .data = db,
    };
    db->read.pipe = pg_pipe_create(loop, &config);
    config.options = SESSION_OPTIONS;
    config.events = &db_write_events;
    db->write.pipe = pg_pipe_create(loop, &config);
    db->check = (struct timer){.fire = check_health, .data = db};
    db->refuse = (struct timer){.fire = refuse_waiting, .data = db};
    timer_arm_in(loop, &db->check, CHECK_MS);
    loop_on_turn_end(loop, turn_end, db);
    return db;
}

void db_queue_drop(struct db *db, struct op_queue *queue)
{
    struct op_queue all = queue_take(queue);
    for (struct db_op *op; (op = db_queue_pop(&all)) != NULL;)
        db_op_fail(db, op, &(struct sql_trouble){.err = ERR_DATABASE_BUSY});
}

void db_lend(struct db *db, bool (*take)(void *taker, struct db_errand *errands), void *taker)
{
    db->take = take;
    db->taker = taker;
}

void db_destroy(struct db *db)
{
    if (db == NULL)
        return;
    loop_off_turn_end(db->loop, db);
    timer_disarm(&db->check);
    timer_disarm(&db->refuse);
    must(db->lanes == NULL); /* parted */
    db->take = NULL;
    db_lent_flush(db);
    db_away_drop(db);
    db_read_lost(db);
    db_write_lost(db);
    db_queue_drop(db, &db->read_queue);
    db_writes_drop(db);
    db_queue_drop(db, &db->refused);
    pg_pipe_destroy(db->read.pipe);
    pg_pipe_destroy(db->write.pipe);
    for (struct write_queue *next, *queue = db->write_queues; queue != NULL; queue = next) {
        next = queue->next;
        free(queue);
    }
    for (struct db_op *next, *op = db->spare_ops; op != NULL; op = next) {
        next = op->next;
        free(op);
    }
    sql_batch_finish(&db->batch);
    free(db);
}

bool db_is_up(const struct db *db)
{
    return pg_pipe_is_up(db->read.pipe) && pg_pipe_is_up(db->write.pipe);
}

void db_on_trouble(struct db *db,
                   void (*trouble)(void *data, const struct sql_statement *statement,
                                   const struct sql_trouble *trouble),
                   void *data)
{
    db->trouble = trouble;
    db->trouble_data = data;
}

static struct db_op *call_start(struct db *db, struct db_call *call,
                                const struct sql_statement *statement, struct sql_params *params)
{
    must(call->op == NULL); /* still under way */
    sql_result_release(call->result);
    call->result = NULL;
    call->err = ERR_OK;
    call->is_unknown = call->was_lent = false;
    call->sqlstate[0] = call->constraint[0] = '\0';
    call->row_first = call->row_count = 0;
    if (call->flow != NULL && !call->is_registered) {
        call->is_registered = true;
        call->next_of_flow = call->flow->calls;
        call->flow->calls = call;
    }
    if (call->flow != NULL && call->done == NULL)
        call->flow->calls_pending_count++;
    call->op = op_create(db, call, statement, params);
    return call->op;
}

/* Not from inside the submitting function, and not at this turn's end either: an owner that tries
 * again at once must not keep the loop from turning. */
static void refuse(struct db *db, struct db_op *op)
{
    db_queue_push(&db->refused, op);
    if (!timer_is_armed(&db->refuse))
        timer_arm_in(db->loop, &db->refuse, 0);
}

static void refuse_waiting(struct timer *timer)
{
    struct db *db = timer->data;
    db_queue_drop(db, &db->refused);
}

static bool lane_is_open(const struct lane *lane, int waiting_count)
{
    return waiting_count < DB_QUEUE_MAX && pg_pipe_down_ms(lane->pipe) < DOWN_PATIENCE_MS;
}

void db_read(struct db *db, struct db_call *call, const struct sql_statement *statement,
             struct sql_params *params)
{
    struct db_op *op = call_start(db, call, statement, params);
    if (!lane_is_open(&db->read, db->read_queue.count + db->read_sent.count)) {
        refuse(db, op);
        return;
    }
    db_queue_push(&db->read_queue, op);
    loop_touch(db->loop);
}

void db_write(struct db *db, struct db_call *call, const struct sql_statement *statement,
              struct sql_params *params)
{
    struct db_op *op = call_start(db, call, statement, params);
    if (!lane_is_open(&db->write, db->write_count)) {
        refuse(db, op);
        return;
    }
    if (call->may_be_lent && db->take != NULL)
        db_lent_push(db, op);
    else
        db_write_route(db, op);
    loop_touch(db->loop);
}

void db_call_finish(struct db_call *call)
{
    if (call->op != NULL) {
        call->op->call = NULL;
        call->op = NULL;
    }
    sql_result_release(call->result);
    call->result = NULL;
}

enum err_code db_call_check(struct flow *flow, struct db_call *call)
{
    if (call->err == ERR_DATABASE_BUSY && call->is_unknown)
        flow_fail(flow, call->err, "The database went away before it confirmed the change");
    else if (call->err != ERR_OK)
        flow_fail(flow, call->err, "%s", "");
    return call->err;
}

static void turn_end(void *data)
{
    struct db *db = data;
    if (db->must_reset_read)
        pg_pipe_reset(db->read.pipe);
    if (db->must_reset_write)
        pg_pipe_reset(db->write.pipe);
    db->must_reset_read = db->must_reset_write = false;
    db_lent_flush(db);
    db_away_flush(db);
    db_reads_flush(db);
    db_writes_flush(db);
}

static bool is_stuck(const struct lane *lane, bool has_sent, int64_t stuck_ms)
{
    return has_sent && clock_mono_ms() - lane->progress_mono_ms > stuck_ms;
}

static void check_health(struct timer *timer)
{
    struct db *db = timer->data;
    bool is_writing = db->flight.mode != FLIGHT_NONE && !db->flight.is_due;
    timer_arm_in(db->loop, &db->check, CHECK_MS);
    if (is_stuck(&db->read, db->read_sent.count > 0, READ_STUCK_MS))
        pg_pipe_reset(db->read.pipe);
    if (is_stuck(&db->write, is_writing, WRITE_STUCK_MS))
        pg_pipe_reset(db->write.pipe);
    if (pg_pipe_down_ms(db->read.pipe) >= DOWN_PATIENCE_MS)
        db_queue_drop(db, &db->read_queue);
    if (pg_pipe_down_ms(db->write.pipe) >= DOWN_PATIENCE_MS)
        db_writes_drop(db);
}
