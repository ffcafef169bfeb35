/* Every annotated statement is prepared on a freshly migrated database; what PostgreSQL then says
 * about its parameters and columns has to be what the annotations say. Drift is a red test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>

#include "broker/io/sql.h"
#include "tests/lib/pg.h"

static PGconn *conn;

static bool params_agree(const struct sql_statement *statement, const PGresult *described)
{
    bool do_agree = PQnparams(described) == statement->params_count;
    for (int i = 0; do_agree && i < statement->params_count; i++)
        do_agree = PQparamtype(described, i) == statement->param_oids[i];
    if (!do_agree)
        print_error("%s: its parameters differ from 'in:'\n", statement->name);
    return do_agree;
}

static bool columns_agree(const struct sql_statement *statement, const PGresult *described)
{
    if (PQnfields(described) != statement->columns_count) {
        print_error("%s: returns %d columns, 'out:' has %d\n", statement->name,
                    PQnfields(described), statement->columns_count);
        return false;
    }
    bool do_agree = true;
    for (int i = 0; i < statement->columns_count; i++) {
        const struct sql_column *column = &statement->columns[i];
        if (strcmp(PQfname(described, i), column->name) == 0 &&
            PQftype(described, i) == column->oid)
            continue;
        print_error("%s: column %d is %s of type oid %u, 'out:' has %s of %u\n", statement->name,
                    i + 1, PQfname(described, i), PQftype(described, i), column->name, column->oid);
        do_agree = false;
    }
    return do_agree;
}

static bool statement_agrees(const struct sql_statement *statement)
{
    PGresult *prepared = PQprepare(conn, statement->name, statement->text, statement->params_count,
                                   statement->param_oids);
    bool is_prepared = PQresultStatus(prepared) == PGRES_COMMAND_OK;
    PQclear(prepared);
    if (!is_prepared) {
        print_error("%s: %s", statement->name, PQerrorMessage(conn));
        return false;
    }
    PGresult *described = PQdescribePrepared(conn, statement->name);
    bool do_agree = PQresultStatus(described) == PGRES_COMMAND_OK;
    do_agree = params_agree(statement, described) && do_agree;
    do_agree = columns_agree(statement, described) && do_agree;
    PQclear(described);
    return do_agree;
}

static void every_statement_is_what_its_annotations_say(void **state)
{
    (void)state;
    int wrong_count = 0, count = 0;
    for (; sql_statements_all[count] != NULL; count++)
        wrong_count += statement_agrees(sql_statements_all[count]) ? 0 : 1;
    print_message("%d statements, %d wrong\n", count, wrong_count);
    assert_int_equal(wrong_count, 0);
}

static void account_scoped_statements_take_the_account_first(void **state)
{
    enum { OID_UUID = 2950 };
    (void)state;
    for (int i = 0; sql_statements_all[i] != NULL; i++) {
        const struct sql_statement *statement = sql_statements_all[i];
        const uint32_t *oids =
            statement->is_batch ? statement->element_oids : statement->param_oids;
        if (statement->is_account_scoped)
            assert_int_equal(oids[0], OID_UUID);
    }
}

static int connect_fresh(void **state)
{
    (void)state;
    conn = PQconnectdb(pg_start());
    return PQstatus(conn) == CONNECTION_OK ? 0 : -1;
}

static int disconnect(void **state)
{
    (void)state;
    PQfinish(conn);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_statement_is_what_its_annotations_say),
        cmocka_unit_test(account_scoped_statements_take_the_account_first),
    };
    return cmocka_run_group_tests_name("contract", tests, connect_fresh, disconnect);
}
