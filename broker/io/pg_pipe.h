/* pg_pipe.h - one pipelined PostgreSQL connection on the loop, which reconnects by itself.
 *
 * loop thread. Used by db.c only. Answers come in the order of sending; statements are prepared on
 * first use, between Syncs of their own, so that a neighbour's failure cannot undo the preparation.
 * Events may send nothing from inside: owners queue and send at the end of the turn.
 */
#ifndef UNDERCUT_IO_PG_PIPE_H
#define UNDERCUT_IO_PG_PIPE_H

#include "broker/base/must.h"
#include "broker/io/sql_wire.h"

struct loop;
struct pg_pipe;

struct pg_pipe_events {
    void (*up)(void *data);
    /* Takes `result` over. `token` is that of the query, or of the Sync when the commit failed. */
    void (*answered)(void *data, void *token, struct pg_result *result);
    void (*synced)(void *data, void *token); /* not called for a NULL token */
    void (*lost)(void *data);                /* nothing that was sent will be answered */
    void (*trouble)(void *data, const struct sql_statement *statement,
                    const struct sql_trouble *trouble); /* a statement could not be prepared */
};

struct pg_pipe_config {
    const char *conninfo; /* copied, as are the next two */
    const char *application_name;
    const char *options; /* "-c name=value ..." for this connection */
    const struct pg_pipe_events *events;
    void *data;
};

/* Connecting starts at once. */
struct pg_pipe *pg_pipe_create(struct loop *loop, const struct pg_pipe_config *config);
void pg_pipe_destroy(struct pg_pipe *pipe); /* without a lost event */
bool pg_pipe_is_up(const struct pg_pipe *pipe);
int pg_pipe_syncs_due(const struct pg_pipe *pipe); /* sent, and not answered yet */
/* Milliseconds since the connection was lost or first tried; 0 while it is up. */
int64_t pg_pipe_down_ms(const struct pg_pipe *pipe);

/* False: the connection failed just now; lost was called. */
MUST_USE bool pg_pipe_send(struct pg_pipe *pipe, const struct sql_statement *statement,
                           const char *const *values, const int *lengths, void *token);
MUST_USE bool pg_pipe_sync(struct pg_pipe *pipe, void *token);
/* Drops the connection and connects anew; calls lost. */
void pg_pipe_reset(struct pg_pipe *pipe);

#endif
