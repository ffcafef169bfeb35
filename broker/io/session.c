/* The happy path is: prepare on first use, execute in binary; between session_pipe_open() and
 * session_pipe_flush() statements are only sent, and their answers are read together.
 * Failure modes are: a statement that the server refuses (one error per failure, and whatever was
 * sent behind it in the same pipe has not run), and a connection that is lost or unfit, after which
 * the session is broken and refuses everything.
 */
#include "broker/io/sql.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "broker/io/sql_wire.h"

#define PIPE_MAX 24 /* statements sent together */

struct session {
    PGconn *pg;
    struct sql_prepared prepared;
    struct sql_trouble last; /* of the latest failure */
    bool is_broken;
    bool is_piping;
    struct sql_result **sent[PIPE_MAX]; /* where the answers go */
    size_t sent_count;
    enum err_code pipe_err; /* of the first failure in this pipe */
};

static enum err_code pipe_drain(struct session *session);

/* A process that is paused inside a transaction must not keep its locks from its successor: the
 * server ends such a session, and with it the transaction. */
static const char session_options[] =
    "-c jit=off -c timezone=UTC -c idle_in_transaction_session_timeout=5000"
    " -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_bitmapscan=off";

struct session *session_open(const char *conninfo, const char *application_name, char *ret_why,
                             size_t why_size)
{
    static const char *const keywords[] = {"dbname",          "application_name", "options",
                                           "connect_timeout", "tcp_user_timeout", NULL};
    const char *const values[] = {conninfo, application_name, session_options, "5", "10000", NULL};
    PGconn *pg = PQconnectdbParams(keywords, values, /* expand_dbname= */ 1);
    if (PQstatus(pg) != CONNECTION_OK) {
        str_format(ret_why, why_size, "%s", PQerrorMessage(pg));
        PQfinish(pg);
        return NULL;
    }
    struct session *session = calloc(1, sizeof(*session));
    must(session != NULL);
    session->pg = pg;
    return session;
}

void session_close(struct session *session)
{
    if (session == NULL)
        return;
    PQfinish(session->pg);
    free(session);
}

bool session_is_broken(const struct session *session)
{
    return session->is_broken;
}

const char *session_constraint(const struct session *session)
{
    return session->last.constraint;
}

const char *session_sqlstate(const struct session *session)
{
    return session->last.sqlstate;
}

const char *session_why(const struct session *session)
{
    return session->last.message;
}

/* Notes why `pg_result` failed and releases it. */
static enum err_code session_fail(struct session *session, PGresult *pg_result)
{
    struct sql_trouble trouble = sql_trouble_of(pg_result);
    bool is_echo =
        strcmp(trouble.sqlstate, "25P02") == 0; /* the first failure is the one to keep */
    if (!is_echo)
        session->last = trouble;
    if (session->last.message[0] == '\0')
        str_format(session->last.message, sizeof(session->last.message), "%s",
                   PQerrorMessage(session->pg));
    PQclear(pg_result);
    if (PQstatus(session->pg) != CONNECTION_OK || session->last.is_connection_unfit)
        session->is_broken = true;
    return session->last.err;
}

static bool is_answer(const PGresult *pg_result)
{
    ExecStatusType status = PQresultStatus(pg_result);
    return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
}

/* Takes it over, for whoever wants it. */
static void result_give(PGresult *pg_result, struct sql_result **ret_result)
{
    if (ret_result != NULL)
        *ret_result = sql_result_of(pg_result);
    else
        PQclear(pg_result);
}

/* The first failure of a pipe is the one to keep: what was sent behind it did not run. */
static void pipe_fail(struct session *session, PGresult *pg_result)
{
    if (session->pipe_err == ERR_OK)
        session->pipe_err = session_fail(session, pg_result);
    else
        PQclear(pg_result);
    session->is_broken |= PQstatus(session->pg) != CONNECTION_OK;
}

static enum err_code session_prepare(struct session *session, const struct sql_statement *statement)
{
    if (sql_prepared_has(&session->prepared, statement))
        return ERR_OK;
    if (session->is_piping && pipe_drain(session) != ERR_OK)
        return session->pipe_err;
    PGresult *pg_result = PQprepare(session->pg, statement->name, statement->text,
                                    statement->params_count, statement->param_oids);
    if (PQresultStatus(pg_result) != PGRES_COMMAND_OK)
        return session_fail(session, pg_result);
    PQclear(pg_result);
    sql_prepared_add(&session->prepared, statement);
    return ERR_OK;
}

/* Reads the answers to all that was sent and leaves pipeline mode; a later sending enters it again.
 */
static enum err_code pipe_drain(struct session *session)
{
    bool is_open = PQpipelineStatus(session->pg) != PQ_PIPELINE_OFF;
    if (is_open && PQpipelineSync(session->pg) != 1)
        pipe_fail(session, NULL);
    for (size_t i = 0; i < session->sent_count && !session->is_broken; i++) {
        PGresult *pg_result = PQgetResult(session->pg);
        if (is_answer(pg_result))
            result_give(pg_result, session->sent[i]);
        else
            pipe_fail(session, pg_result);
        PQclear(PQgetResult(session->pg)); /* NULL: the end of this one's answer */
    }
    session->sent_count = 0;
    if (is_open && !session->is_broken) {
        PQclear(PQgetResult(session->pg)); /* the Sync's own */
        session->is_broken = PQexitPipelineMode(session->pg) != 1;
    }
    return session->pipe_err;
}

void session_pipe_open(struct session *session)
{
    must(!session->is_piping);
    session->is_piping = true;
    session->pipe_err = session->is_broken ? ERR_DATABASE_BUSY : ERR_OK;
}

void session_pipe_push(struct session *session)
{
    must(session->is_piping);
    if (session->pipe_err == ERR_OK && PQflush(session->pg) != 0)
        pipe_fail(session, NULL);
}

enum err_code session_pipe_flush(struct session *session)
{
    must(session->is_piping);
    enum err_code err = pipe_drain(session);
    session->is_piping = false;
    return err;
}

/* Room for one more, in pipeline mode; false: this pipe has failed. */
static bool pipe_make_room(struct session *session, struct sql_result **ret_result)
{
    must(session->sent_count < PIPE_MAX);
    if (session->pipe_err == ERR_OK && PQenterPipelineMode(session->pg) != 1)
        pipe_fail(session, NULL);
    if (session->pipe_err == ERR_OK)
        session->sent[session->sent_count++] = ret_result;
    return session->pipe_err == ERR_OK;
}

static enum err_code pipe_execute(struct session *session, const struct sql_statement *statement,
                                  const char *const *values, const int *lengths,
                                  struct sql_result **ret_result)
{
    if (ret_result != NULL)
        *ret_result = NULL;
    if (session->pipe_err == ERR_OK)
        session->pipe_err = session_prepare(session, statement);
    if (pipe_make_room(session, ret_result) &&
        PQsendQueryPrepared(session->pg, statement->name, statement->params_count, values, lengths,
                            sql_formats_binary, /* binary= */ 1) != 1)
        pipe_fail(session, NULL);
    return session->pipe_err;
}

static enum err_code pipe_command(struct session *session, const char *command)
{
    if (pipe_make_room(session, NULL) &&
        PQsendQueryParams(session->pg, command, 0, NULL, NULL, NULL, NULL, 1) != 1)
        pipe_fail(session, NULL);
    return session->pipe_err;
}

static enum err_code session_execute(struct session *session, const struct sql_statement *statement,
                                     const char *const *values, const int *lengths,
                                     struct sql_result **ret_result)
{
    if (session->is_piping)
        return pipe_execute(session, statement, values, lengths, ret_result);
    if (session->is_broken)
        return ERR_DATABASE_BUSY;
    enum err_code err = session_prepare(session, statement);
    if (err != ERR_OK)
        return err;
    PGresult *pg_result = PQexecPrepared(session->pg, statement->name, statement->params_count,
                                         values, lengths, sql_formats_binary, /* binary= */ 1);
    if (!is_answer(pg_result))
        return session_fail(session, pg_result);
    result_give(pg_result, ret_result);
    return ERR_OK;
}

enum err_code session_run(struct session *session, const struct sql_statement *statement,
                          struct sql_params *params, struct sql_result **ret_result)
{
    const char *values[SQL_PARAMS_MAX];
    int lengths[SQL_PARAMS_MAX];
    must(params->count == statement->params_count);
    sql_params_point(params, values, lengths);
    enum err_code err = session_execute(session, statement, values, lengths, ret_result);
    sql_params_finish(params);
    return err;
}

enum err_code session_run_batch(struct session *session, const struct sql_statement *statement,
                                struct sql_batch *batch, struct sql_result **ret_result)
{
    const char *values[SQL_PARAMS_MAX];
    int lengths[SQL_PARAMS_MAX];
    sql_batch_point(batch, statement, values, lengths);
    return session_execute(session, statement, values, lengths, ret_result);
}

static enum err_code session_command(struct session *session, const char *command)
{
    if (session->is_piping)
        return pipe_command(session, command);
    if (session->is_broken)
        return ERR_DATABASE_BUSY;
    PGresult *pg_result = PQexec(session->pg, command);
    /* COMMIT of a failed transaction answers ROLLBACK, which is success to libpq but not to us. */
    bool is_done = PQresultStatus(pg_result) == PGRES_COMMAND_OK &&
                   strcmp(PQcmdStatus(pg_result), command) == 0;
    if (is_done) {
        PQclear(pg_result);
        return ERR_OK;
    }
    if (PQresultStatus(pg_result) != PGRES_COMMAND_OK)
        return session_fail(session, pg_result);
    PQclear(pg_result);
    return ERR_INTERNAL;
}

bool session_plan_anew(struct session *session)
{
    PGresult *pg_result =
        PQexec(session->pg, "set plan_cache_mode = force_custom_plan; reset enable_seqscan;"
                            " reset enable_bitmapscan");
    bool is_done = PQresultStatus(pg_result) == PGRES_COMMAND_OK;
    PQclear(pg_result);
    session->is_broken |= !is_done;
    return is_done;
}

enum err_code session_begin(struct session *session)
{
    return session_command(session, "BEGIN");
}

enum err_code session_commit(struct session *session)
{
    must(!session->is_piping); /* whoever commits has seen the answers */
    return session_command(session, "COMMIT");
}

void session_rollback(struct session *session)
{
    if (session->is_piping)
        pipe_drain(session);
    session->is_piping = false;
    /* A rollback that fails leaves a connection nobody may go on with. */
    if (session_command(session, "ROLLBACK") != ERR_OK)
        session->is_broken = true;
}
