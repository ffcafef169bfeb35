/* The happy path is: generated code puts one member's parameters into a sql_params, a lane or
 * session points libpq at them (or gathers many members into a sql_batch, one array per
 * parameter), and the PGresult that comes back is read in place through sql_get_x().
 * Failure modes are: a column whose size is not its type's, or a null where the annotation has no
 * `?`; both mean that annotation and database disagree, which the contract test exists to catch,
 * so they are bugs. Failed results become a sql_trouble by SQLSTATE.
 */
#include "broker/io/sql.h"

#include <endian.h>
#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "broker/io/sql_wire.h"

#define PG_EPOCH_US       946684800000000LL /* 2000-01-01 in microseconds since 1970 */
#define JSONB_VERSION     1
#define PARAMS_SIZE_USUAL 1024 /* one allocation holds most */
#define ARRAY_HEADER_SIZE \
    20 /* dimensions, has nulls, element oid, length, lower bound: int4 each */

enum { OID_BOOL = 16, OID_INT8 = 20, OID_INT4 = 23, OID_TIMESTAMPTZ = 1184 };
enum { OID_UUID = 2950, OID_JSONB = 3802 };

struct sql_result {
    PGresult *pg;
    atomic_int references; /* errands carry results from thread to thread */
};

const int sql_formats_binary[SQL_PARAMS_MAX] = {
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
};

static void add_i32(struct buf *to, uint32_t value)
{
    uint32_t big = htobe32(value);
    buf_add(to, &big, sizeof(big));
}

static void add_i64(struct buf *to, int64_t value)
{
    uint64_t big = htobe64((uint64_t)value);
    buf_add(to, &big, sizeof(big));
}

/* Opens the next parameter; its bytes are whatever is added before param_close(). */
static struct buf *param_open(struct sql_params *params)
{
    must(params->count < SQL_PARAMS_MAX);
    if (params->count == 0)
        buf_reserve(&params->bytes, PARAMS_SIZE_USUAL);
    params->offsets[params->count] = (int)params->bytes.len;
    return &params->bytes;
}

static void param_close(struct sql_params *params)
{
    int offset = params->offsets[params->count];
    params->lengths[params->count] = (int)params->bytes.len - offset;
    params->count++;
}

void sql_put_null(struct sql_params *params)
{
    param_open(params);
    params->lengths[params->count++] = -1;
}

void sql_put_bool(struct sql_params *params, bool value)
{
    buf_add(param_open(params), value ? "\1" : "\0", 1);
    param_close(params);
}

void sql_put_int4(struct sql_params *params, int32_t value)
{
    add_i32(param_open(params), (uint32_t)value);
    param_close(params);
}

void sql_put_int8(struct sql_params *params, int64_t value)
{
    add_i64(param_open(params), value);
    param_close(params);
}

void sql_put_uuid(struct sql_params *params, struct uuid value)
{
    buf_add(param_open(params), value.bytes, sizeof(value.bytes));
    param_close(params);
}

void sql_put_text(struct sql_params *params, struct str value)
{
    if (value.at == NULL) {
        sql_put_null(params);
        return;
    }
    buf_add_str(param_open(params), value);
    param_close(params);
}

void sql_put_jsonb(struct sql_params *params, struct str value)
{
    if (value.at == NULL) {
        sql_put_null(params);
        return;
    }
    struct buf *to = param_open(params);
    buf_add(to, &(char){JSONB_VERSION}, 1);
    buf_add_str(to, value);
    param_close(params);
}

void sql_put_timestamptz(struct sql_params *params, int64_t at_us)
{
    sql_put_int8(params, at_us - PG_EPOCH_US);
}

static void array_header(struct buf *to, size_t count, bool has_nulls, uint32_t element_oid)
{
    add_i32(to, count > 0 ? 1 : 0); /* an empty array has no dimension */
    add_i32(to, has_nulls ? 1 : 0);
    add_i32(to, element_oid);
    if (count > 0) {
        add_i32(to, (uint32_t)count);
        add_i32(to, 1);
    }
}

void sql_put_bool_array(struct sql_params *params, const bool *values, size_t count)
{
    struct buf *to = param_open(params);
    array_header(to, count, false, OID_BOOL);
    for (size_t i = 0; i < count; i++) {
        add_i32(to, 1);
        buf_add(to, values[i] ? "\1" : "\0", 1);
    }
    param_close(params);
}

void sql_put_int4_array(struct sql_params *params, const int32_t *values, size_t count)
{
    struct buf *to = param_open(params);
    array_header(to, count, false, OID_INT4);
    for (size_t i = 0; i < count; i++) {
        add_i32(to, 4);
        add_i32(to, (uint32_t)values[i]);
    }
    param_close(params);
}

static void put_i64_array(struct sql_params *params, const int64_t *values, size_t count,
                          int64_t epoch_us)
{
    struct buf *to = param_open(params);
    array_header(to, count, false, epoch_us != 0 ? OID_TIMESTAMPTZ : OID_INT8);
    for (size_t i = 0; i < count; i++) {
        add_i32(to, 8);
        add_i64(to, values[i] - epoch_us);
    }
    param_close(params);
}

void sql_put_int8_array(struct sql_params *params, const int64_t *values, size_t count)
{
    put_i64_array(params, values, count, 0);
}

void sql_put_timestamptz_array(struct sql_params *params, const int64_t *values_us, size_t count)
{
    put_i64_array(params, values_us, count, PG_EPOCH_US);
}

void sql_put_uuid_array(struct sql_params *params, const struct uuid *values, size_t count)
{
    struct buf *to = param_open(params);
    array_header(to, count, false, OID_UUID);
    for (size_t i = 0; i < count; i++) {
        add_i32(to, sizeof(values[i].bytes));
        buf_add(to, values[i].bytes, sizeof(values[i].bytes));
    }
    param_close(params);
}

static bool any_none(const struct str *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (values[i].at == NULL)
            return true;
    }
    return false;
}

static void put_slices(struct sql_params *params, const struct str *values, size_t count,
                       uint32_t element_oid)
{
    uint32_t prefix = element_oid == OID_JSONB ? 1 : 0;
    struct buf *to = param_open(params);
    array_header(to, count, any_none(values, count), element_oid);
    for (size_t i = 0; i < count; i++) {
        if (values[i].at == NULL) {
            add_i32(to, UINT32_MAX);
            continue;
        }
        add_i32(to, (uint32_t)values[i].len + prefix);
        buf_add(to, &(char){JSONB_VERSION}, prefix);
        buf_add_str(to, values[i]);
    }
    param_close(params);
}

void sql_put_text_array(struct sql_params *params, const struct str *values, size_t count,
                        uint32_t element_oid)
{
    put_slices(params, values, count, element_oid);
}

void sql_put_jsonb_array(struct sql_params *params, const struct str *values, size_t count)
{
    put_slices(params, values, count, OID_JSONB);
}

void sql_params_reset(struct sql_params *params)
{
    params->count = 0;
    params->bytes.len = 0;
}

void sql_params_finish(struct sql_params *params)
{
    buf_finish(&params->bytes);
    params->count = 0;
}

void sql_params_point(const struct sql_params *params, const char **ret_values, int *ret_lengths)
{
    for (int i = 0; i < params->count; i++) {
        bool is_null = params->lengths[i] < 0;
        /* An empty text must not look like a null, even in a buffer that was never allocated. */
        const char *at = params->bytes.at ? params->bytes.at + params->offsets[i] : "";
        ret_values[i] = is_null ? NULL : at;
        ret_lengths[i] = is_null ? 0 : params->lengths[i];
    }
}

void sql_batch_add(struct sql_batch *batch, const struct sql_statement *statement,
                   const struct sql_params *params)
{
    must(params->count == statement->params_count);
    for (int i = 0; i < params->count; i++) {
        struct buf *column = &batch->columns[i];
        if (column->len == 0)
            array_header(column, 1, false, statement->element_oids[i]);
        add_i32(column, (uint32_t)params->lengths[i]); /* -1 is a null here too */
        if (params->lengths[i] > 0)
            buf_add(column, params->bytes.at + params->offsets[i], (size_t)params->lengths[i]);
        batch->has_nulls[i] |= params->lengths[i] < 0;
    }
    batch->rows_count++;
}

void sql_batch_point(struct sql_batch *batch, const struct sql_statement *statement,
                     const char **ret_values, int *ret_lengths)
{
    for (int i = 0; i < statement->params_count; i++) {
        struct buf *column = &batch->columns[i];
        if (batch->rows_count == 0) {
            array_header(column, 0, false, statement->element_oids[i]);
        } else {
            uint32_t has_nulls = htobe32(batch->has_nulls[i] ? 1 : 0);
            uint32_t count = htobe32((uint32_t)batch->rows_count);
            memcpy(column->at + 4, &has_nulls, sizeof(has_nulls));
            memcpy(column->at + 12, &count, sizeof(count));
        }
        ret_values[i] = column->at;
        ret_lengths[i] = (int)column->len;
    }
}

void sql_batch_reset(struct sql_batch *batch)
{
    for (int i = 0; i < SQL_PARAMS_MAX; i++)
        batch->columns[i].len = 0;
    memset(batch->has_nulls, 0, sizeof(batch->has_nulls));
    batch->rows_count = 0;
}

void sql_batch_finish(struct sql_batch *batch)
{
    for (int i = 0; i < SQL_PARAMS_MAX; i++)
        buf_finish(&batch->columns[i]);
    batch->rows_count = 0;
}

struct sql_result *sql_result_of(PGresult *pg)
{
    struct sql_result *result = malloc(sizeof(*result));
    must(result != NULL);
    *result = (struct sql_result){.pg = pg, .references = 1};
    return result;
}

int sql_result_rows(const struct sql_result *result)
{
    return PQntuples(result->pg);
}

int64_t sql_result_affected(const struct sql_result *result)
{
    int64_t count = 0;
    return str_to_i64(str_of(PQcmdTuples(result->pg)), &count) ? count : 0;
}

void sql_result_retain(struct sql_result *result)
{
    result->references++;
}

void sql_result_release(struct sql_result *result)
{
    if (result == NULL || --result->references > 0)
        return;
    PQclear(result->pg);
    free(result);
}

bool sql_is_null(const struct sql_result *result, int row, int column)
{
    return PQgetisnull(result->pg, row, column) != 0;
}

/* The bytes of a fixed-size column, or NULL for a null. */
static const char *column_at(const struct sql_result *result, int row, int column, int size)
{
    if (PQgetisnull(result->pg, row, column))
        return NULL;
    must(PQgetlength(result->pg, row, column) == size);
    return PQgetvalue(result->pg, row, column);
}

bool sql_get_bool(const struct sql_result *result, int row, int column)
{
    const char *at = column_at(result, row, column, 1);
    return at != NULL && *at != 0;
}

int32_t sql_get_int4(const struct sql_result *result, int row, int column)
{
    uint32_t big = 0;
    const char *at = column_at(result, row, column, sizeof(big));
    if (at != NULL)
        memcpy(&big, at, sizeof(big));
    return (int32_t)be32toh(big);
}

int64_t sql_get_int8(const struct sql_result *result, int row, int column)
{
    uint64_t big = 0;
    const char *at = column_at(result, row, column, sizeof(big));
    if (at != NULL)
        memcpy(&big, at, sizeof(big));
    return (int64_t)be64toh(big);
}

int64_t sql_get_timestamptz(const struct sql_result *result, int row, int column)
{
    if (sql_is_null(result, row, column))
        return 0;
    int64_t pg_us = sql_get_int8(result, row, column);
    must(pg_us != INT64_MAX && pg_us != INT64_MIN); /* 'infinity' has no place in our tables */
    return pg_us + PG_EPOCH_US;
}

struct uuid sql_get_uuid(const struct sql_result *result, int row, int column)
{
    struct uuid value = {{0}};
    const char *at = column_at(result, row, column, sizeof(value.bytes));
    if (at != NULL)
        memcpy(value.bytes, at, sizeof(value.bytes));
    return value;
}

struct str sql_get_text(const struct sql_result *result, int row, int column)
{
    if (PQgetisnull(result->pg, row, column))
        return STR_NONE;
    return (struct str){.at = PQgetvalue(result->pg, row, column),
                        .len = (size_t)PQgetlength(result->pg, row, column)};
}

struct str sql_get_jsonb(const struct sql_result *result, int row, int column)
{
    struct str value = sql_get_text(result, row, column);
    if (value.at == NULL)
        return value;
    must(value.len > 0 && value.at[0] == JSONB_VERSION);
    return (struct str){.at = value.at + 1, .len = value.len - 1};
}

static bool sqlstate_is_any(const char *sqlstate, const char *const *prefixes)
{
    for (; *prefixes != NULL; prefixes++) {
        if (strncmp(sqlstate, *prefixes, strlen(*prefixes)) == 0)
            return true;
    }
    return false;
}

struct sql_trouble sql_trouble_of(const PGresult *pg)
{
    /* connection, rolled back (deadlock), resources, lock or statement time-out, shutting down, no
     * longer the primary, another plan shape after a migration */
    static const char *const busy[] = {"08",  "40",    "53",    "55P03", "57014",
                                       "57P", "25006", "0A000", NULL};
    /* another plan shape after a migration, shutting down, no longer the primary */
    static const char *const unfit[] = {"0A000", "57P", "25006", NULL};
    const char *sqlstate = PQresultErrorField(pg, PG_DIAG_SQLSTATE);
    const char *constraint = PQresultErrorField(pg, PG_DIAG_CONSTRAINT_NAME);
    const char *message = PQresultErrorField(pg, PG_DIAG_MESSAGE_PRIMARY);
    struct sql_trouble trouble = {.err = ERR_INTERNAL};
    if (sqlstate == NULL) /* libpq's own complaint: the connection is gone */
        sqlstate = "08006";
    if (sqlstate_is_any(sqlstate, busy))
        trouble.err = ERR_DATABASE_BUSY;
    trouble.is_connection_unfit = sqlstate_is_any(sqlstate, unfit);
    str_format(trouble.sqlstate, sizeof(trouble.sqlstate), "%s", sqlstate);
    str_format(trouble.constraint, sizeof(trouble.constraint), "%s", constraint ? constraint : "");
    str_format(trouble.message, sizeof(trouble.message), "%s", message ? message : "");
    return trouble;
}

static size_t prepared_slot(const struct sql_prepared *set, const struct sql_statement *statement)
{
    size_t slot = ((uintptr_t)statement >> 4) % SQL_PREPARED_SLOTS;
    for (size_t tries = 0; tries < SQL_PREPARED_SLOTS; tries++) {
        const struct sql_statement *held = set->slots[slot].statement;
        if (held == NULL || held == statement)
            return slot;
        slot = (slot + 1) % SQL_PREPARED_SLOTS;
    }
    must_not_reach(); /* more statements than slots: raise SQL_PREPARED_SLOTS */
}

bool sql_prepared_has(const struct sql_prepared *set, const struct sql_statement *statement)
{
    return set->slots[prepared_slot(set, statement)].is_prepared;
}

void sql_prepared_add(struct sql_prepared *set, const struct sql_statement *statement)
{
    size_t slot = prepared_slot(set, statement);
    set->slots[slot].statement = statement;
    set->slots[slot].is_prepared = true;
}

void sql_prepared_remove(struct sql_prepared *set, const struct sql_statement *statement)
{
    set->slots[prepared_slot(set, statement)].is_prepared = false;
}
