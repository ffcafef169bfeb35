/* sql.h - what the statement generator's output is made of: statements, parameters, results.
 *
 * An .sql file beside its .c is a list of annotated statements:
 *     -- name: workload_get
 *     -- doc: One workload of an account.
 *     -- scope: account                  (then the text must filter on account_id = $1)
 *     -- in:  account_id uuid, workload_id uuid
 *     -- out: name text, state text, reserve_uusd_per_hour int8, ended_at timestamptz?
 *     select ... ;
 * `-- batch: true` marks a statement that carries many calls at once (writes; reads too with
 * `-- lane: read`, where the calls of one turn share one execution): every `in` is then declared
 * as its scalar type but the text uses arrays ($1::uuid[] ...) and returns `ord int4` (1-based
 * position of the member) as its FIRST column, ordered by it. A member without a row is legal
 * (row_count 0). `-- lane: read|write` overrules the guess (a text with insert, update, delete,
 * merge or `for share` goes to the write lane; the read lane's transactions are read-only).
 * Comment lines below a key go on with it. A batch with `scope: account` compares account_id with
 * its unnested column account_id.
 *
 * Types: bool int4 int8 uuid text bytea jsonb timestamptz, and T[] for non-batch parameters; `?` =
 * nullable. C types: bool int32_t int64_t struct uuid struct str(text, bytea, jsonb), and int64_t
 * microseconds since 1970 for timestamptz, whose C field is named `<column>_us` (`ended_at` ->
 * `ended_at_us`). A nullable int/bool/timestamptz/uuid column x comes with `bool has_x`
 * (`has_ended_at`); a nullable text is STR_NONE; a nullable in-field likewise (`has_x` false =
 * null). Array in-fields: `const T *x; size_t x_count`. For statement `foo` the generator emits
 * struct foo_in, struct foo_out, and
 *     void foo_submit(struct db *db, struct db_call *call, const struct foo_in *in);    async
 *     enum err_code foo_run(struct session *session, const struct foo_in *in,
 *                           struct sql_result **ret_result);                            blocking
 *     void foo_row(const struct sql_result *result, int row, struct foo_out *ret);      decode
 *     void foo_get(const struct db_call *call, int row, struct foo_out *ret);           of a call
 *     extern const struct sql_statement foo_statement;
 * (`#include "gen/<path>/<file>.sql.h"`; statements without `in` take no in-pointer; without `out`
 * have no row/get). Slices of a row point into the result. foo_run of a batch statement takes (in,
 * count). Everything goes in binary format.
 */
#ifndef UNDERCUT_IO_SQL_H
#define UNDERCUT_IO_SQL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/err.h"
#include "broker/base/id.h"
#include "broker/base/str.h"

#define SQL_PARAMS_MAX 40

struct sql_column {
    const char *name;
    uint32_t oid;
};

struct sql_statement {
    const char *name;
    const char *text;
    int params_count;
    uint32_t param_oids[SQL_PARAMS_MAX]; /* as prepared: array oids for a batch */
    int columns_count;
    const struct sql_column *columns;
    bool is_batch;
    bool is_write; /* goes to the write lane */
    bool is_account_scoped;
    const uint32_t *element_oids; /* batch: scalar oid of each parameter */
};

struct sql_params { /* one member's encoded parameters, binary, owned */
    int count;
    int lengths[SQL_PARAMS_MAX]; /* -1 = null */
    int offsets[SQL_PARAMS_MAX];
    struct buf bytes;
};

struct sql_result; /* a PGresult with a reference count */

int sql_result_rows(const struct sql_result *result);
int64_t sql_result_affected(const struct sql_result *result); /* rows that an update touched */
void sql_result_release(struct sql_result *result);           /* NULL is fine */
void sql_result_retain(struct sql_result *result);

/* Every statement of the program, for the contract test. */
extern const struct sql_statement *const sql_statements_all[];

struct session;
/* A blocking connection for the market, settle and tool threads. NULL on failure (ret_why says). */
struct session *session_open(const char *conninfo, const char *application_name, char *ret_why,
                             size_t why_size);
void session_close(struct session *session);
/* For a session whose few statements work on whole tables: from now on each execution is planned
 * for the tables as they are, where others plan once, by index. False: the session is broken. */
MUST_USE bool session_plan_anew(struct session *session);
bool session_is_broken(const struct session *session); /* reopen before further use */
/* BEGIN / COMMIT / ROLLBACK. A commit that gets no answer returns ERR_DATABASE_BUSY: outcome
 * unknown. */
enum err_code session_begin(struct session *session);
enum err_code session_commit(struct session *session);
void session_rollback(struct session *session);
/* One round trip for many statements: between the two, x_run() and session_begin() only send. A
 * result is there after the flush, so `ret_result` must live that long; until then it is NULL. The
 * flush returns the first failure: what was sent behind it has not run and leaves no result, what
 * ran before may have left one, and an open transaction is lost as after any failure. A rollback
 * ends a pipe that is open. session_pipe_push() lets the server begin with what was sent so far.
 */
void session_pipe_open(struct session *session);
void session_pipe_push(struct session *session);
MUST_USE enum err_code session_pipe_flush(struct session *session);
/* Violated constraint of the last failure, "" if none. */
const char *session_constraint(const struct session *session);
/* SQLSTATE and message of the last failure, for the log; never for a client. */
const char *session_sqlstate(const struct session *session);
const char *session_why(const struct session *session);

#endif
