#include "broker/io/db_errand.h"

#include <stdlib.h>
#include <string.h>

#include "broker/io/db_inner.h"
#include "broker/io/loop.h"

enum err_code db_errands_run(struct session *session, const struct db_errand *errands,
                             struct sql_result **ret_result)
{
    const struct sql_statement *statement = errands->op->statement;
    struct sql_batch batch = {.rows_count = 0};
    for (const struct db_errand *errand = errands; errand != NULL; errand = errand->next)
        sql_batch_add(&batch, statement, &errand->op->params);
    enum err_code err = session_run_batch(session, statement, &batch, ret_result);
    sql_batch_finish(&batch);
    return err;
}

/* Back on the loop. */
static void errand_end(void *data)
{
    struct db_errand *errand = data;
    struct db *db = errand->db;
    struct db_op *op = errand->op;
    if (errand->end == ERRAND_DONE) {
        if (op->call != NULL)
            op->call->was_lent = true;
        db_op_succeed(db, op, errand->result, errand->row_first, errand->row_count);
    } else if (errand->end == ERRAND_UNKNOWN) {
        if (op->call != NULL)
            op->call->is_unknown = true;
        db_op_fail(db, op, &(struct sql_trouble){.err = ERR_DATABASE_BUSY});
    } else {
        db_write_route(db, op);
    }
    sql_result_release(errand->result);
    free(errand);
    loop_touch(db->loop);
}

void db_errands_return(struct db_errand *errands, enum errand_end end, struct sql_result *result)
{
    bool has_rows = errands != NULL && end == ERRAND_DONE;
    int rows_count = has_rows ? sql_result_rows(result) : 0, row = 0, place = 1;
    for (struct db_errand *next, *errand = errands; errand != NULL; errand = next, place++) {
        next = errand->next;
        errand->end = end;
        errand->row_first = row;
        while (row < rows_count && sql_get_int4(result, row, 0) == place)
            row++;
        errand->row_count = row - errand->row_first;
        if (end == ERRAND_DONE) {
            sql_result_retain(result);
            errand->result = result;
        }
        loop_post(errand->db->loop, errand_end, errand);
    }
    must(row == rows_count);
}

/* The loop's side ---------------------------------------------------------------------------*/

static struct db_errand *errand_create(struct db *db, struct db_op *op)
{
    struct db_errand *errand = calloc(1, sizeof(*errand));
    must(errand != NULL && op->statement->is_batch);
    *errand = (struct db_errand){.db = db, .op = op};
    return errand;
}

void db_lent_push(struct db *db, struct db_op *op)
{
    struct db_errand *errand = errand_create(db, op);
    *db->lent_tail = errand;
    db->lent_tail = &errand->next;
}

void db_lent_flush(struct db *db)
{
    struct db_errand *errands = db->lent;
    db->lent = NULL;
    db->lent_tail = &db->lent;
    if (errands == NULL || (db->take != NULL && db->take(db->taker, errands)))
        return;
    for (struct db_errand *next, *errand = errands; errand != NULL; errand = next) {
        next = errand->next;
        db_write_route(db, errand->op);
        free(errand);
    }
}

/* To the home lane and back -----------------------------------------------------------------*/

void db_write_route(struct db *db, struct db_op *op)
{
    struct db *home = db_lanes_home(db, op->statement);
    if (home == db) {
        db_write_push(db, op);
        return;
    }
    struct db_errand *errand = errand_create(db, op);
    errand->home = home;
    *db->away_tail = errand;
    db->away_tail = &errand->next;
}

/* On the owner's loop. */
static void errand_come_back(void *data)
{
    struct db_errand *errand = data;
    struct db *db = errand->db;
    struct db_call *at_home = &errand->at_home, *call = errand->op->call;
    if (at_home->err == ERR_OK) {
        db_op_succeed(db, errand->op, at_home->result, at_home->row_first, at_home->row_count);
    } else {
        struct sql_trouble trouble = {.err = at_home->err};
        memcpy(trouble.sqlstate, at_home->sqlstate, sizeof(trouble.sqlstate));
        memcpy(trouble.constraint, at_home->constraint, sizeof(trouble.constraint));
        if (call != NULL)
            call->is_unknown = at_home->is_unknown;
        db_op_fail(db, errand->op, &trouble);
    }
    db_call_finish(at_home);
    free(errand);
    loop_touch(db->loop);
}

/* On the home's loop, like errands_arrive(). */
static void errand_go_back(struct db_call *at_home)
{
    struct db_errand *errand = at_home->data;
    loop_post(errand->db->loop, errand_come_back, errand);
}

static void errands_arrive(void *data)
{
    for (struct db_errand *next, *errand = data; errand != NULL; errand = next) {
        next = errand->next;
        errand->at_home = (struct db_call){.done = errand_go_back, .data = errand};
        db_write(errand->home, &errand->at_home, errand->op->statement, &errand->op->params);
    }
}

/* Takes those of the same home as the first, but for what nobody waits for any more. */
static struct db_errand *away_take(struct db *db)
{
    struct db *home = db->away->home;
    struct db_errand *taken = NULL, **taken_tail = &taken, **link = &db->away;
    while (*link != NULL) {
        struct db_errand *errand = *link;
        if (errand->home != home) {
            link = &errand->next;
            continue;
        }
        *link = errand->next;
        errand->next = NULL;
        if (errand->op->call == NULL) {
            db_op_release(db, errand->op);
            free(errand);
        } else {
            *taken_tail = errand;
            taken_tail = &errand->next;
        }
    }
    db->away_tail = link;
    return taken;
}

void db_away_flush(struct db *db)
{
    while (db->away != NULL) {
        struct db *home = db->away->home;
        struct db_errand *errands = away_take(db);
        if (errands != NULL)
            loop_post(home->loop, errands_arrive, errands);
    }
}

void db_away_drop(struct db *db)
{
    for (struct db_errand *next, *errand = db->away; errand != NULL; errand = next) {
        next = errand->next;
        db_op_fail(db, errand->op, &(struct sql_trouble){.err = ERR_DATABASE_BUSY});
        free(errand);
    }
    db->away = NULL;
    db->away_tail = &db->away;
}
