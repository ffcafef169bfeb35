/* pg.h - a throw-away PostgreSQL per test program, on a unix socket in a temporary directory.
 *
 * one thread. Started on first use, stopped by pid and removed at exit. Strings live to the end of
 * the program. Any failure ends the test program with a message: there is nothing to test without
 * it.
 */
#ifndef UNDERCUT_TESTS_LIB_PG_H
#define UNDERCUT_TESTS_LIB_PG_H

const char *pg_start(void); /* conninfo of a fresh, migrated database */
const char *pg_fresh(void); /* another one, cloned from the same template */
void pg_kill9(void);        /* postmaster and backends, at once */
void pg_restart(void);      /* after pg_kill9(): same data, recovered */
/* Runs statements without results on a database, e.g. to make a test's own table. */
void pg_execute(const char *conninfo, const char *sql);
/* First column of the first row as text, "" for none; static buffer. */
const char *pg_query_one(const char *conninfo, const char *sql);

#endif
