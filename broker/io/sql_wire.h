/* sql_wire.h - PostgreSQL's binary format: parameters in, columns out, and batches as arrays.
 *
 * loop thread or one blocking thread; nothing here is shared. Used by generated code, session.c and
 * db.c only. Instants are microseconds since 1970 on our side and since 2000 on PostgreSQL's.
 */
#ifndef UNDERCUT_IO_SQL_WIRE_H
#define UNDERCUT_IO_SQL_WIRE_H

#include "broker/base/must.h"
#include "broker/io/sql.h"

struct pg_result; /* PGresult */

void sql_put_null(struct sql_params *params);
void sql_put_bool(struct sql_params *params, bool value);
void sql_put_int4(struct sql_params *params, int32_t value);
void sql_put_int8(struct sql_params *params, int64_t value);
void sql_put_uuid(struct sql_params *params, struct uuid value);
void sql_put_text(struct sql_params *params, struct str value);  /* none -> null; bytea too */
void sql_put_jsonb(struct sql_params *params, struct str value); /* none -> null */
void sql_put_timestamptz(struct sql_params *params, int64_t at_us);

void sql_put_bool_array(struct sql_params *params, const bool *values, size_t count);
void sql_put_int4_array(struct sql_params *params, const int32_t *values, size_t count);
void sql_put_int8_array(struct sql_params *params, const int64_t *values, size_t count);
void sql_put_uuid_array(struct sql_params *params, const struct uuid *values, size_t count);
void sql_put_text_array(struct sql_params *params, const struct str *values, size_t count,
                        uint32_t element_oid);
void sql_put_jsonb_array(struct sql_params *params, const struct str *values, size_t count);
void sql_put_timestamptz_array(struct sql_params *params, const int64_t *values_us, size_t count);

void sql_params_reset(struct sql_params *params); /* empties, keeps the memory */
void sql_params_finish(struct sql_params *params);
/* Pointers and lengths as libpq wants them; arrays of SQL_PARAMS_MAX. Valid until params change. */
void sql_params_point(const struct sql_params *params, const char **ret_values, int *ret_lengths);

bool sql_is_null(const struct sql_result *result, int row, int column);
/* Null gives zero or STR_NONE. A column of another size than its type's is a bug. */
bool sql_get_bool(const struct sql_result *result, int row, int column);
int32_t sql_get_int4(const struct sql_result *result, int row, int column);
int64_t sql_get_int8(const struct sql_result *result, int row, int column);
struct uuid sql_get_uuid(const struct sql_result *result, int row, int column);
struct str sql_get_text(const struct sql_result *result, int row, int column);
struct str sql_get_jsonb(const struct sql_result *result, int row, int column);
int64_t sql_get_timestamptz(const struct sql_result *result, int row, int column);

/* Many members' parameters turned into one array per parameter. */
struct sql_batch {
    size_t rows_count;
    struct buf columns[SQL_PARAMS_MAX];
    bool has_nulls[SQL_PARAMS_MAX];
};

void sql_batch_add(struct sql_batch *batch, const struct sql_statement *statement,
                   const struct sql_params *params);
/* Writes the array headers; arrays of SQL_PARAMS_MAX as above. */
void sql_batch_point(struct sql_batch *batch, const struct sql_statement *statement,
                     const char **ret_values, int *ret_lengths);
void sql_batch_reset(struct sql_batch *batch); /* empties, keeps the memory */
void sql_batch_finish(struct sql_batch *batch);

/* All parameters and results are binary: SQL_PARAMS_MAX ones for libpq. */
extern const int sql_formats_binary[SQL_PARAMS_MAX];

struct sql_result *sql_result_of(struct pg_result *pg); /* takes it over; one reference */

/* What a failed result means for the caller. */
struct sql_trouble {
    enum err_code err; /* ERR_DATABASE_BUSY when a retry may help, else ERR_INTERNAL */
    char sqlstate[6];
    char constraint[64];
    char message[256];
    bool is_connection_unfit; /* its plans or statements are stale: reconnect */
};
struct sql_trouble sql_trouble_of(const struct pg_result *pg);

/* Which statements a connection has prepared, by pointer (open addressing). */
#define SQL_PREPARED_SLOTS 1024
struct sql_prepared {
    struct {
        const struct sql_statement *statement;
        bool is_prepared;
    } slots[SQL_PREPARED_SLOTS];
};
bool sql_prepared_has(const struct sql_prepared *set, const struct sql_statement *statement);
void sql_prepared_add(struct sql_prepared *set, const struct sql_statement *statement);
void sql_prepared_remove(struct sql_prepared *set, const struct sql_statement *statement);

struct session;
/* `params` are consumed; `ret_result` may be NULL when nothing is wanted of it. */
MUST_USE enum err_code session_run(struct session *session, const struct sql_statement *statement,
                                   struct sql_params *params, struct sql_result **ret_result);
MUST_USE enum err_code session_run_batch(struct session *session,
                                         const struct sql_statement *statement,
                                         struct sql_batch *batch, struct sql_result **ret_result);

#endif
