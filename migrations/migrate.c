/* migrate.c - undercut-migrate: brings a database to the schema of this release.
 *
 * The happy path is: list NNNN_what.sql in order, compare with schema_migrations, and run each new
 * file in a transaction of its own with its row. Without --apply it only says what it would do.
 * Failure modes are: an applied file whose text has changed or vanished (refused: nothing runs), a
 * file that fails (its transaction is rolled back, the ones before it stay), a second migrator (it
 * waits on an advisory lock and then finds nothing to do).
 *
 * `check` lists violated invariants: it needs the database and not the broker, so it lives here.
 */
#include <dirent.h>
#include <errno.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/base/hash.h"
#include "broker/base/str.h"

#define FILES_MAX     1000
#define DIR_INSTALLED "/usr/share/undercut/migrations"
#define LOCK_KEY      "hashtext('undercut/migrate')"

static const char usage[] =
    "usage: undercut-migrate [--database CONNINFO] [--dir DIR] [--apply]\n"
    "       undercut-migrate [--database CONNINFO] check\n"
    "\n"
    "Without --apply it prints what it would do. CONNINFO defaults to $UNDERCUT_DATABASE_URL,\n"
    "DIR to ./migrations or /usr/share/undercut/migrations. `check` prints violated invariants,\n"
    "one per line, and exits 1 when there are any.\n";

struct options {
    const char *database;
    const char *dir;
    bool apply;
    const char *verb; /* NULL: migrate */
};

struct migration {
    char name[128];
    char sha256[65];
    struct buf text;
};

NORETURN static void give_up(const char *what, const char *detail)
{
    fprintf(stderr, "undercut-migrate: %s: %s\n", what, detail);
    exit(1);
}

/* Runs one command or query; its failure ends the program, and the server rolls back. */
static PGresult *run(PGconn *pg, const char *sql, const char *const *values, int count)
{
    PGresult *result =
        count == 0 ? PQexec(pg, sql) : PQexecParams(pg, sql, count, NULL, values, NULL, NULL, 0);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        PQclear(result);
        give_up("the database said", PQerrorMessage(pg));
    }
    return result;
}

static void run_only(PGconn *pg, const char *sql)
{
    PQclear(run(pg, sql, NULL, 0));
}

static int is_migration(const struct dirent *entry)
{
    const char *name = entry->d_name;
    size_t len = strlen(name);
    if (len < 10 || len >= sizeof((struct migration *)0)->name || strcmp(name + len - 4, ".sql"))
        return 0;
    return strspn(name, "0123456789") == 4 && name[4] == '_';
}

static void migration_read(const char *dir, struct migration *m)
{
    char path[4096];
    if (!str_format(path, sizeof path, "%s/%s", dir, m->name))
        give_up("path too long", dir);
    FILE *file = fopen(path, "rb");
    if (!file)
        give_up(path, strerror(errno));
    char chunk[65536];
    size_t got;
    while ((got = fread(chunk, 1, sizeof chunk, file)) > 0)
        buf_add(&m->text, chunk, got);
    fclose(file);
    struct sha256 sum = sha256_of(m->text.at, m->text.len);
    hex_encode(sum.bytes, sizeof sum.bytes, m->sha256);
    buf_add(&m->text, "", 1); /* PQexec wants a C string */
}

static size_t migrations_list(const char *dir, struct migration **ret_all)
{
    struct dirent **entries;
    int count = scandir(dir, &entries, is_migration, alphasort);
    if (count < 0)
        give_up(dir, strerror(errno));
    if (count == 0 || count > FILES_MAX)
        give_up(dir, "no NNNN_what.sql files here, or too many");
    struct migration *all = calloc((size_t)count, sizeof *all);
    must(all != NULL);
    for (int i = 0; i < count; i++) {
        must(str_format(all[i].name, sizeof all[i].name, "%s", entries[i]->d_name));
        migration_read(dir, &all[i]);
        if (i > 0 && !strncmp(all[i].name, all[i - 1].name, 4))
            give_up(all[i].name, "its number is taken by another file");
        free(entries[i]);
    }
    free(entries);
    *ret_all = all;
    return (size_t)count;
}

/* Applied files must stand unchanged at the head of the list; returns how many there are. */
static size_t migrations_compare(PGconn *pg, const struct migration *all, size_t count)
{
    PGresult *known = run(pg, "select to_regclass('schema_migrations') is not null", NULL, 0);
    bool is_fresh = strcmp(PQgetvalue(known, 0, 0), "t") != 0;
    PQclear(known);
    if (is_fresh)
        return 0;
    known = run(pg, "select name, sha256 from schema_migrations order by name", NULL, 0);
    size_t applied = (size_t)PQntuples(known);
    for (size_t i = 0; i < applied; i++) {
        const char *name = PQgetvalue(known, (int)i, 0);
        if (i >= count || strcmp(name, all[i].name))
            give_up(name, "was applied, but is missing here or a new file stands before it");
        if (strcmp(PQgetvalue(known, (int)i, 1), all[i].sha256))
            give_up(name, "has changed since it was applied; write a new migration instead");
    }
    PQclear(known);
    return applied;
}

static void migration_apply(PGconn *pg, const struct migration *m)
{
    run_only(pg, "begin");
    run_only(pg, m->text.at);
    const char *values[] = {m->name, m->sha256};
    PQclear(run(pg, "insert into schema_migrations (name, sha256) values ($1, $2)", values, 2));
    run_only(pg, "commit");
    printf("applied %s\n", m->name);
}

static int migrate(PGconn *pg, const struct options *options)
{
    struct migration *all;
    size_t count = migrations_list(options->dir, &all);
    run_only(pg, "select pg_advisory_lock(" LOCK_KEY ")");
    size_t applied = migrations_compare(pg, all, count);
    if (options->apply)
        run_only(pg, "create table if not exists schema_migrations (name text primary key,"
                     " sha256 text not null, applied_at timestamptz not null default now())");
    for (size_t i = applied; i < count; i++) {
        if (options->apply)
            migration_apply(pg, &all[i]);
        else
            printf("would apply %s\n", all[i].name);
    }
    if (applied == count)
        printf("nothing to do: %zu applied\n", applied);
    else if (!options->apply)
        printf("this was a dry run; --apply does it\n");
    for (size_t i = 0; i < count; i++)
        buf_finish(&all[i].text);
    free(all);
    return 0;
}

static int check(PGconn *pg)
{
    PGresult *rows = run(pg, "select rule, subject, detail from invariant_violations()", NULL, 0);
    int count = PQntuples(rows);
    for (int i = 0; i < count; i++)
        printf("violated: %s: %s: %s\n", PQgetvalue(rows, i, 0), PQgetvalue(rows, i, 1),
               PQgetvalue(rows, i, 2));
    PQclear(rows);
    if (count == 0)
        printf("every invariant holds\n");
    return count == 0 ? 0 : 1;
}

static bool options_read(int argc, char **argv, struct options *ret)
{
    *ret = (struct options){.database = getenv("UNDERCUT_DATABASE_URL")};
    for (int i = 1; i < argc; i++) {
        bool has_value = i + 1 < argc;
        if (!strcmp(argv[i], "--apply"))
            ret->apply = true;
        else if (!strcmp(argv[i], "--database") && has_value)
            ret->database = argv[++i];
        else if (!strcmp(argv[i], "--dir") && has_value)
            ret->dir = argv[++i];
        else if (argv[i][0] != '-' && !ret->verb)
            ret->verb = argv[i];
        else
            return false;
    }
    if (!ret->dir)
        ret->dir = access("migrations", R_OK) == 0 ? "migrations" : DIR_INSTALLED;
    return true;
}

int main(int argc, char **argv)
{
    struct options options;
    if (argc == 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")))
        return fputs(usage, stdout) < 0;
    if (!options_read(argc, argv, &options))
        return fputs(usage, stderr), 2;
    hash_start();
    PGconn *pg = PQconnectdb(options.database ? options.database : "");
    if (PQstatus(pg) != CONNECTION_OK)
        give_up("cannot connect", PQerrorMessage(pg));
    run_only(pg, "set client_min_messages = warning");
    int rc = 2;
    if (!options.verb)
        rc = migrate(pg, &options);
    else if (!strcmp(options.verb, "check"))
        rc = check(pg);
    else
        fputs(usage, stderr);
    PQfinish(pg);
    return rc;
}
