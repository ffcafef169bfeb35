/* flow.h - a request as a table of named steps; the table is the documentation and the trace.
 *
 * loop thread. The flow owns its pool and every db_call registered with it; the h2o request is
 * borrowed and may die first (client hang-up): then `req` is NULL and the flow still runs to its
 * end, so that an effect under way is completed, but nothing is sent. Steps are <= 20 lines and
 * return:
 *   FLOW_NEXT   go on with the next row
 *   FLOW_WAIT   something was submitted; flow_resume() continues with the NEXT row. Of several
 *               database calls submitted in one step, the last to complete resumes the flow.
 *   FLOW_END    the reply was sent (or taken over by a stream)
 * flow_fail() records an error and returns FLOW_END: the flow's `on_end` hook then sends the
 * problem. flow_goto() rewinds or skips to a named row.
 */
#ifndef UNDERCUT_IO_FLOW_H
#define UNDERCUT_IO_FLOW_H

#include <h2o/memory.h>
#include <stdbool.h>
#include <stdint.h>

#include "broker/base/err.h"
#include "broker/base/id.h"
#include "broker/base/str.h"
#include "broker/io/timer.h"

struct st_h2o_req_t;
struct flow;
struct db_call;

enum flow_next { FLOW_NEXT = 1, FLOW_WAIT, FLOW_END };

struct flow_step {
    const char *name;
    enum flow_next (*run)(struct flow *flow);
};

#define FLOW_FIELD_ERRORS_MAX 16
#define FLOW_DETAIL_SIZE      512

struct flow_field_error {
    const char *pointer; /* RFC 6901, in the flow's pool */
    const char *code;   /* "unknown", "required", "type", "range", "length", "format", "enum" ... */
    const char *detail; /* one sentence */
};

struct flow {
    h2o_mem_pool_t pool;      /* what the flow allocates beyond its block; freed in its end */
    struct st_h2o_req_t *req; /* NULL once the client is gone */
    struct loop *loop;
    void *thread;                  /* struct api_thread of the owner (L4); opaque here */
    const struct flow_step *steps; /* ends with a zero row */
    int step;                      /* index of the row that runs or runs next */
    enum err_code err;
    char detail[FLOW_DETAIL_SIZE];
    struct flow_field_error *field_errors; /* room for FLOW_FIELD_ERRORS_MAX once there is one */
    int field_errors_count;
    int64_t retry_after_ms; /* 0: the error's default */
    struct request_id request_id;
    int64_t started_mono_us;
    struct timer deadline;             /* armed by flow_start when deadline_ms > 0 */
    void *state;                       /* the operation's own struct, zeroed, in the pool */
    void (*on_end)(struct flow *flow); /* sends the problem if err; logs; before the pool dies */
    bool is_running, is_woken, is_waiting, is_ended; /* private */
    struct db_call *calls;   /* private: registered calls, released at the end */
    int calls_pending_count; /* private: of those, submitted and not yet answered */
    void *death_notice;      /* private */
    void *user;              /* L4's per-request context (principal, parsed request) */
};

struct flow_start {
    struct st_h2o_req_t *req; /* NULL for a flow without a client */
    struct loop *loop;
    void *thread;
    const struct flow_step *steps;
    size_t state_size;
    int64_t deadline_ms; /* 0: none */
    void (*on_end)(struct flow *flow);
    void *user;
};

/* Creates the flow without running it: the caller may fill user/state, then flow_run(). */
struct flow *flow_create(const struct flow_start *start);
void flow_run(struct flow *flow);
/* Continues a waiting flow; called inside a step (synchronous completion) it makes WAIT fall
 * through. */
void flow_resume(struct flow *flow);
enum flow_next flow_fail(struct flow *flow, enum err_code err, const char *detail, ...)
    PRINTF_LIKE(3, 4);
/* Adds a field error (pointer and detail are copied) and sets err and the flow's detail if none is
 * set yet. */
void flow_field_error(struct flow *flow, enum err_code err, const char *pointer, const char *code,
                      const char *detail);
/* Next row to run is the one of this name (must exist). Returns FLOW_NEXT for convenience. */
enum flow_next flow_goto(struct flow *flow, const char *step_name);
void *flow_alloc(struct flow *flow, size_t size); /* zeroed, from the pool */
char *flow_strdup(struct flow *flow, struct str text);
const char *flow_printf(struct flow *flow, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
