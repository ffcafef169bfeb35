/* The happy path is: initdb in a fresh directory under /tmp (as user postgres when we are root),
 * the postmaster as our child, migrations applied once to a template database, clones of it for
 * tests. Failure modes are: no PostgreSQL 15 here, a migration that does not apply (its file and
 * the server's message are printed). The child asks the kernel to end it when this program dies.
 */
#include "tests/lib/pg.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "broker/base/must.h"
#include "broker/base/str.h"

#define DATABASES_MAX 64
#define PATH_SIZE     256

static struct {
    char dir[64];
    pid_t postmaster;
    pid_t owner; /* only the process that started it stops it, not a fork of it */
    char conninfos[DATABASES_MAX][PATH_SIZE];
    int databases_count;
} pg;

static NORETURN void give_up(const char *what, const char *why)
{
    fprintf(stderr, "pg: %s: %s\n", what, why);
    exit(1);
}

static void become_postgres(void)
{
    if (geteuid() != 0)
        return;
    const struct passwd *user = getpwnam("postgres");
    if (user == NULL || setgroups(0, NULL) != 0 || setgid(user->pw_gid) != 0 ||
        setuid(user->pw_uid) != 0)
        _exit(126);
}

/* argv[0] becomes the full path: by it these programs find one another, PATH or not. */
static pid_t spawn(const char *program, char **argv)
{
    char path[PATH_SIZE], log_path[PATH_SIZE];
    const char *bin = getenv("PG_BIN");
    str_format(path, sizeof(path), "%s/%s", bin ? bin : "/usr/lib/postgresql/15/bin", program);
    str_format(log_path, sizeof(log_path), "%s/log", pg.dir);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    become_postgres();
    prctl(PR_SET_PDEATHSIG, SIGQUIT); /* after the change of user, which clears it */
    int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    if (chdir("/") != 0)
        _exit(126);
    argv[0] = path;
    execv(path, argv);
    _exit(127);
}

static void print_log(void)
{
    char path[PATH_SIZE], line[512];
    str_format(path, sizeof(path), "%s/log", pg.dir);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        fputs(line, stderr);
    if (file != NULL)
        fclose(file);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info, (void)type, (void)walk;
    return remove(path);
}

static void stop(void)
{
    if (pg.owner != getpid())
        return;
    if (pg.postmaster > 0) {
        kill(pg.postmaster, SIGQUIT);
        waitpid(pg.postmaster, NULL, 0);
    }
    nftw(pg.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void init_cluster(void)
{
    char data[PATH_SIZE];
    str_format(pg.dir, sizeof(pg.dir), "/tmp/undercut-pg-XXXXXX");
    if (mkdtemp(pg.dir) == NULL)
        give_up("mkdtemp", pg.dir);
    pg.owner = getpid();
    atexit(stop);
    const struct passwd *user = geteuid() == 0 ? getpwnam("postgres") : NULL;
    if (user != NULL && chown(pg.dir, user->pw_uid, user->pw_gid) != 0)
        give_up("chown", pg.dir);
    str_format(data, sizeof(data), "%s/data", pg.dir);
    char *argv[] = {"initdb",   "-D", data,   "-A",         "trust",     "-U",
                    "postgres", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions",
                    NULL};
    int status = 0;
    waitpid(spawn("initdb", argv), &status, 0);
    if (status != 0) {
        print_log();
        give_up("initdb", "failed");
    }
}

static PGconn *connect_to(const char *conninfo)
{
    PGconn *conn = PQconnectdb(conninfo);
    if (PQstatus(conn) != CONNECTION_OK)
        give_up("connect", PQerrorMessage(conn));
    return conn;
}

static void execute(PGconn *conn, const char *what, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        give_up(what, PQerrorMessage(conn));
    PQclear(result);
}

static void start_postmaster(void)
{
    char data[PATH_SIZE], conninfo[PATH_SIZE];
    str_format(data, sizeof(data), "%s/data", pg.dir);
    char *argv[] = {"postgres",
                    "-D",
                    data,
                    "-k",
                    pg.dir,
                    "-c",
                    "listen_addresses=",
                    "-c",
                    "fsync=off",
                    "-c",
                    "max_connections=200",
                    "-c",
                    "shared_buffers=32MB",
                    "-c",
                    "log_min_messages=fatal",
                    "-c",
                    "restart_after_crash=off",
                    NULL};
    pg.postmaster = spawn("postgres", argv);
    str_format(conninfo, sizeof(conninfo), "host=%s user=postgres dbname=postgres", pg.dir);
    for (int tries = 0; PQping(conninfo) != PQPING_OK; tries++) {
        if (tries == 3000) {
            print_log();
            give_up("postgres", "did not start");
        }
        /* What a kill left behind may hold on to the shared memory for a moment. */
        if (waitpid(pg.postmaster, NULL, WNOHANG) != 0)
            pg.postmaster = spawn("postgres", argv);
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
}

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    struct buf text = {0};
    char chunk[4096];
    size_t got;
    if (file == NULL)
        give_up("migration", path);
    while ((got = fread(chunk, 1, sizeof(chunk), file)) > 0)
        buf_add(&text, chunk, got);
    fclose(file);
    buf_add(&text, "", 1);
    return text.at;
}

static int is_sql(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');
    return dot != NULL && strcmp(dot, ".sql") == 0;
}

static void migrate(PGconn *conn)
{
    char dir[PATH_SIZE], path[2 * PATH_SIZE];
    struct str here = str_of(__FILE__); /* .../tests/lib/pg.c, or relative in a shared cache */
    str_format(dir, sizeof(dir), "%.*s../../migrations", (int)(here.len - strlen("pg.c")), here.at);
    if (access("migrations", F_OK) == 0)
        str_format(dir, sizeof(dir), "migrations");
    struct dirent **entries = NULL;
    int count = scandir(dir, &entries, is_sql, alphasort);
    if (count <= 0)
        give_up("migrations", dir);
    for (int i = 0; i < count; i++) {
        str_format(path, sizeof(path), "%s/%s", dir, entries[i]->d_name);
        char *sql = read_file(path);
        execute(conn, path, sql);
        free(sql);
        free(entries[i]);
    }
    free(entries);
}

static void make_template(void)
{
    char conninfo[PATH_SIZE];
    str_format(conninfo, sizeof(conninfo), "host=%s user=postgres dbname=postgres", pg.dir);
    PGconn *conn = connect_to(conninfo);
    execute(conn, "template", "create database migrated");
    PQfinish(conn);
    str_format(conninfo, sizeof(conninfo), "host=%s user=postgres dbname=migrated", pg.dir);
    conn = connect_to(conninfo);
    migrate(conn);
    PQfinish(conn);
}

const char *pg_start(void)
{
    if (pg.postmaster == 0) {
        init_cluster();
        start_postmaster();
        make_template();
    }
    return pg_fresh();
}

const char *pg_fresh(void)
{
    if (pg.postmaster == 0)
        return pg_start();
    must(pg.databases_count < DATABASES_MAX);
    int number = pg.databases_count++;
    char conninfo[PATH_SIZE], sql[PATH_SIZE];
    str_format(conninfo, sizeof(conninfo), "host=%s user=postgres dbname=postgres", pg.dir);
    str_format(sql, sizeof(sql), "create database test%d template migrated", number);
    PGconn *conn = connect_to(conninfo);
    execute(conn, "clone", sql);
    PQfinish(conn);
    str_format(pg.conninfos[number], PATH_SIZE, "host=%s user=postgres dbname=test%d", pg.dir,
               number);
    return pg.conninfos[number];
}

static void kill_children(pid_t parent)
{
    char path[PATH_SIZE];
    int child;
    str_format(path, sizeof(path), "/proc/%d/task/%d/children", parent, parent);
    FILE *file = fopen(path, "r");
    while (file != NULL && fscanf(file, "%d", &child) == 1)
        kill(child, SIGKILL);
    if (file != NULL)
        fclose(file);
}

void pg_kill9(void)
{
    must(pg.postmaster > 0);
    kill(pg.postmaster, SIGSTOP); /* so that it forks nothing while we count */
    kill_children(pg.postmaster);
    kill(pg.postmaster, SIGKILL);
    waitpid(pg.postmaster, NULL, 0);
    pg.postmaster = -1;
}

void pg_restart(void)
{
    must(pg.postmaster < 0);
    start_postmaster();
}

void pg_execute(const char *conninfo, const char *sql)
{
    PGconn *conn = connect_to(conninfo);
    execute(conn, sql, sql);
    PQfinish(conn);
}

const char *pg_query_one(const char *conninfo, const char *sql)
{
    static char answer[256];
    PGconn *conn = connect_to(conninfo);
    PGresult *result = PQexec(conn, sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        give_up(sql, PQerrorMessage(conn));
    const char *value = PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "";
    str_format(answer, sizeof(answer), "%s", value);
    PQclear(result);
    PQfinish(conn);
    return answer;
}
