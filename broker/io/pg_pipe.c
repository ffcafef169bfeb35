/* The happy path is: PQconnectPoll driven by a watch until the connection stands and is in pipeline
 * mode; then queries and Syncs are sent, each leaves an entry in a ring, and whatever PQgetResult
 * yields belongs to the ring's head.
 * Failure modes are: a connection that does not come up or dies (lost, then tried again: soon
 * after a first loss, every 200 ms after that), a statement that cannot be prepared (reported; its
 * query then fails alone), answers that do not match the ring (treated as a loss).
 */
#include "broker/io/pg_pipe.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/clock.h"
#include "broker/io/loop.h"
#include "broker/io/timer.h"
#include "broker/io/watch.h"

#define RETRY_FIRST_MS 5
#define RETRY_MS       200
#define CONNECT_MS     5000

enum pipe_state { PIPE_DOWN = 1, PIPE_CONNECTING, PIPE_UP };
enum entry_kind { ENTRY_QUERY = 1, ENTRY_PREPARE, ENTRY_SYNC };

struct entry {
    enum entry_kind kind;
    const struct sql_statement *statement;
    void *token;
};

struct pg_pipe {
    struct loop *loop;
    char *conninfo, *application_name, *options;
    const struct pg_pipe_events *events;
    void *data;
    enum pipe_state state;
    PGconn *pg;
    struct watch *watch;
    PostgresPollingStatusType wanted; /* while connecting */
    struct timer timer;               /* retry while down, time-out while connecting */
    int64_t down_since_mono_ms;
    bool was_up;
    struct entry *ring; /* power of two */
    size_t ring_cap, ring_first, ring_count;
    int syncs_count; /* in the ring */
    struct sql_prepared prepared;
};

static void connect_start(struct pg_pipe *pipe);
static void watch_wanted(struct pg_pipe *pipe);
static void connect_step(struct pg_pipe *pipe);
static void connect_done(struct pg_pipe *pipe);
static void read_answers(struct pg_pipe *pipe);
static void flush(struct pg_pipe *pipe);
static void lose(struct pg_pipe *pipe);

static void on_readable(void *data)
{
    struct pg_pipe *pipe = data;
    if (pipe->state == PIPE_UP)
        read_answers(pipe);
    else if (pipe->wanted == PGRES_POLLING_READING)
        connect_step(pipe);
}

static void on_writable(void *data)
{
    struct pg_pipe *pipe = data;
    if (pipe->state == PIPE_UP)
        flush(pipe);
    else if (pipe->wanted == PGRES_POLLING_WRITING)
        connect_step(pipe);
}

static void on_timer(struct timer *timer)
{
    struct pg_pipe *pipe = timer->data;
    if (pipe->state == PIPE_CONNECTING)
        lose(pipe);
    else
        connect_start(pipe);
}

struct pg_pipe *pg_pipe_create(struct loop *loop, const struct pg_pipe_config *config)
{
    struct pg_pipe *pipe = calloc(1, sizeof(*pipe));
    must(pipe != NULL);
    pipe->loop = loop;
    pipe->conninfo = strdup(config->conninfo);
    pipe->application_name = strdup(config->application_name);
    pipe->options = strdup(config->options);
    pipe->events = config->events;
    pipe->data = config->data;
    pipe->timer = (struct timer){.fire = on_timer, .data = pipe};
    pipe->down_since_mono_ms = clock_mono_ms();
    pipe->state = PIPE_DOWN;
    timer_arm_in(loop, &pipe->timer, 0);
    return pipe;
}

static void disconnect(struct pg_pipe *pipe)
{
    timer_disarm(&pipe->timer);
    watch_destroy(pipe->watch);
    pipe->watch = NULL;
    PQfinish(pipe->pg);
    pipe->pg = NULL;
    pipe->ring_first = pipe->ring_count = 0;
    pipe->syncs_count = 0;
    memset(&pipe->prepared, 0, sizeof(pipe->prepared));
}

void pg_pipe_destroy(struct pg_pipe *pipe)
{
    if (pipe == NULL)
        return;
    disconnect(pipe);
    free(pipe->ring);
    free(pipe->conninfo);
    free(pipe->application_name);
    free(pipe->options);
    free(pipe);
}

bool pg_pipe_is_up(const struct pg_pipe *pipe)
{
    return pipe->state == PIPE_UP;
}

int pg_pipe_syncs_due(const struct pg_pipe *pipe)
{
    return pipe->syncs_count;
}

int64_t pg_pipe_down_ms(const struct pg_pipe *pipe)
{
    return pipe->state == PIPE_UP ? 0 : clock_mono_ms() - pipe->down_since_mono_ms;
}

void pg_pipe_reset(struct pg_pipe *pipe)
{
    if (pipe->state == PIPE_UP)
        lose(pipe);
}

static void lose(struct pg_pipe *pipe)
{
    bool is_first = pipe->was_up;
    disconnect(pipe);
    if (pipe->state == PIPE_UP)
        pipe->down_since_mono_ms = clock_mono_ms();
    bool had_answers_due = pipe->state == PIPE_UP;
    pipe->state = PIPE_DOWN;
    pipe->was_up = false;
    timer_arm_in(pipe->loop, &pipe->timer, is_first ? RETRY_FIRST_MS : RETRY_MS);
    if (had_answers_due)
        pipe->events->lost(pipe->data);
}

static void connect_start(struct pg_pipe *pipe)
{
    static const char *const keywords[] = {"dbname", "application_name", "options",
                                           "tcp_user_timeout", NULL};
    const char *const values[] = {pipe->conninfo, pipe->application_name, pipe->options, "5000",
                                  NULL};
    pipe->state = PIPE_CONNECTING;
    pipe->pg = PQconnectStartParams(keywords, values, /* expand_dbname= */ 1);
    if (pipe->pg == NULL || PQstatus(pipe->pg) == CONNECTION_BAD) {
        lose(pipe);
        return;
    }
    timer_arm_in(pipe->loop, &pipe->timer, CONNECT_MS);
    pipe->wanted = PGRES_POLLING_WRITING; /* libpq takes the first writability for "connected" */
    watch_wanted(pipe);
}

/* The descriptor may be another one after each step, so the watch is made anew. */
static void watch_wanted(struct pg_pipe *pipe)
{
    watch_destroy(pipe->watch);
    pipe->watch = watch_create(pipe->loop, PQsocket(pipe->pg), on_readable, on_writable, pipe);
    if (pipe->watch == NULL)
        lose(pipe);
    else if (pipe->wanted == PGRES_POLLING_WRITING)
        watch_want_write(pipe->watch);
}

static void connect_step(struct pg_pipe *pipe)
{
    pipe->wanted = PQconnectPoll(pipe->pg);
    if (pipe->wanted == PGRES_POLLING_FAILED) {
        lose(pipe);
        return;
    }
    watch_wanted(pipe);
    if (pipe->wanted == PGRES_POLLING_OK && pipe->watch != NULL)
        connect_done(pipe);
}

static void ignore_notice(void *data, const PGresult *result)
{
    (void)data, (void)result;
}

static void connect_done(struct pg_pipe *pipe)
{
    PQsetNoticeReceiver(pipe->pg, ignore_notice, NULL);
    if (PQsetnonblocking(pipe->pg, 1) != 0 || PQenterPipelineMode(pipe->pg) != 1) {
        lose(pipe);
        return;
    }
    timer_disarm(&pipe->timer);
    pipe->state = PIPE_UP;
    pipe->was_up = true;
    if (pipe->events->up != NULL)
        pipe->events->up(pipe->data);
    loop_touch(pipe->loop);
}

static void ring_push(struct pg_pipe *pipe, struct entry entry)
{
    if (pipe->ring_count == pipe->ring_cap) {
        size_t cap = pipe->ring_cap ? 2 * pipe->ring_cap : 256;
        struct entry *ring = calloc(cap, sizeof(*ring));
        must(ring != NULL);
        for (size_t i = 0; i < pipe->ring_count; i++)
            ring[i] = pipe->ring[(pipe->ring_first + i) & (pipe->ring_cap - 1)];
        free(pipe->ring);
        pipe->ring = ring;
        pipe->ring_cap = cap;
        pipe->ring_first = 0;
    }
    pipe->ring[(pipe->ring_first + pipe->ring_count) & (pipe->ring_cap - 1)] = entry;
    pipe->ring_count++;
    pipe->syncs_count += entry.kind == ENTRY_SYNC;
}

static void ring_pop(struct pg_pipe *pipe)
{
    pipe->syncs_count -= pipe->ring[pipe->ring_first].kind == ENTRY_SYNC;
    pipe->ring_first = (pipe->ring_first + 1) & (pipe->ring_cap - 1);
    pipe->ring_count--;
}

static bool prepare(struct pg_pipe *pipe, const struct sql_statement *statement)
{
    if (!pg_pipe_sync(pipe, NULL))
        return false;
    if (PQsendPrepare(pipe->pg, statement->name, statement->text, statement->params_count,
                      statement->param_oids) != 1) {
        lose(pipe);
        return false;
    }
    ring_push(pipe, (struct entry){.kind = ENTRY_PREPARE, .statement = statement});
    sql_prepared_add(&pipe->prepared, statement);
    return pg_pipe_sync(pipe, NULL);
}

bool pg_pipe_send(struct pg_pipe *pipe, const struct sql_statement *statement,
                  const char *const *values, const int *lengths, void *token)
{
    must(pipe->state == PIPE_UP);
    if (!sql_prepared_has(&pipe->prepared, statement) && !prepare(pipe, statement))
        return false;
    if (PQsendQueryPrepared(pipe->pg, statement->name, statement->params_count, values, lengths,
                            sql_formats_binary, /* binary results= */ 1) != 1) {
        lose(pipe);
        return false;
    }
    ring_push(pipe, (struct entry){.kind = ENTRY_QUERY, .statement = statement, .token = token});
    return true;
}

bool pg_pipe_sync(struct pg_pipe *pipe, void *token)
{
    must(pipe->state == PIPE_UP);
    if (PQpipelineSync(pipe->pg) != 1) {
        lose(pipe);
        return false;
    }
    ring_push(pipe, (struct entry){.kind = ENTRY_SYNC, .token = token});
    flush(pipe);
    return pipe->state == PIPE_UP;
}

static void flush(struct pg_pipe *pipe)
{
    int rc = PQflush(pipe->pg);
    if (rc < 0)
        lose(pipe);
    else if (rc > 0)
        watch_want_write(pipe->watch);
}

static void prepare_answered(struct pg_pipe *pipe, const struct sql_statement *statement,
                             PGresult *result)
{
    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        struct sql_trouble trouble = sql_trouble_of(result);
        sql_prepared_remove(&pipe->prepared, statement);
        pipe->events->trouble(pipe->data, statement, &trouble);
    }
    PQclear(result);
}

/* One thing that PQgetResult gave; false: the answers and the ring have come apart. */
static bool take_answer(struct pg_pipe *pipe, PGresult *result, bool *is_null_seen)
{
    struct entry head = pipe->ring[pipe->ring_first];
    bool is_sync = PQresultStatus(result) == PGRES_PIPELINE_SYNC;
    if (result == NULL) {
        /* It ends a query; before a Sync it follows a failed commit, once. */
        bool is_due = head.kind != ENTRY_SYNC || !*is_null_seen;
        *is_null_seen = head.kind == ENTRY_SYNC;
        if (head.kind != ENTRY_SYNC)
            ring_pop(pipe);
        return is_due;
    }
    *is_null_seen = false;
    if (is_sync != (head.kind == ENTRY_SYNC) && is_sync) {
        PQclear(result);
        return false;
    }
    if (is_sync) {
        PQclear(result);
        ring_pop(pipe);
        if (head.token != NULL)
            pipe->events->synced(pipe->data, head.token);
    } else if (head.kind == ENTRY_PREPARE) {
        prepare_answered(pipe, head.statement, result);
    } else if (head.token != NULL) {
        pipe->events->answered(pipe->data, head.token, result);
    } else {
        PQclear(result);
    }
    return true;
}

static void read_answers(struct pg_pipe *pipe)
{
    bool is_null_seen = false;
    if (PQconsumeInput(pipe->pg) != 1) {
        lose(pipe);
        return;
    }
    while (pipe->ring_count > 0 && !PQisBusy(pipe->pg)) {
        PGresult *result = PQgetResult(pipe->pg);
        if (PQstatus(pipe->pg) == CONNECTION_BAD) {
            PQclear(result);
            lose(pipe);
            return;
        }
        if (!take_answer(pipe, result, &is_null_seen)) {
            lose(pipe);
            return;
        }
    }
}
