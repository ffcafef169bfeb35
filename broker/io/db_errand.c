#include "broker/io/db_errand.h"

#include <stdlib.h>

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
        db_write_push(db, op);
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

void db_lent_push(struct db *db, struct db_op *op)
{
    struct db_errand *errand = calloc(1, sizeof(*errand));
    must(errand != NULL && op->statement->is_batch);
    *errand = (struct db_errand){.db = db, .op = op};
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
        db_write_push(db, errand->op);
        free(errand);
    }
}
