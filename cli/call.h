/* call.h - one call to the API, its answer as JSON, and its failure as an exit code.
 *
 * main thread. A POST carries an Idempotency-Key of its own and is retried with it, so that a lost
 * answer never means twice. A problem document is printed on stderr with its suggestion.
 */
#ifndef UNDERCUT_CLI_CALL_H
#define UNDERCUT_CLI_CALL_H

#include <signal.h>

#include "broker/base/json.h"
#include "broker/base/str.h"
#include "cli/cli.h"

struct call {
    const char *method;       /* NULL: GET */
    const char *path;         /* with its query */
    struct str body;          /* STR_NONE: none */
    const char *content_type; /* NULL: application/json */
    const char *accept;       /* NULL: application/json */
    bool is_public;           /* no key needed, none sent */
    bool is_quiet;            /* the caller explains failures itself */
    int64_t timeout_ms;       /* 0: 40 s; -1: none */
    /* For streams: gets 2xx bytes as they come instead of the reply; false ends the call. */
    bool (*sink)(void *data, struct str bytes);
    void *sink_data;
};

struct reply {
    int status; /* 0: no answer */
    struct buf body;
    json_t *json; /* NULL when it is none */
};

/* EXIT_OK for 2xx, also when --curl printed the call instead (then reply.status is 0 and
 * `cli->is_curl` is set: stop there). Always reply_finish() what was filled. */
MUST_USE int call_api(const struct cli *cli, const struct call *call, struct reply *ret_reply);
void reply_finish(struct reply *reply);
/* Once around everything. */
void calls_start(void);
void calls_finish(void);

/* Exit code for a problem's code, a workload's or a lease's reason; EXIT_GENERIC when unknown. */
int exit_of_slug(struct str slug);

/* Set by SIGINT; a call under way ends at once when it rises above what it was at its start. */
extern volatile sig_atomic_t interrupts_count;

/* Appends `text` percent-encoded. */
void url_add(struct buf *to, const char *text);
/* `*io_first` true adds '?', then '&'; both percent-encoded. */
void query_add(struct buf *to, const char *name, const char *value);

#endif
