/* call.h - what a handler has in hand: the parsed request, who asks, the world, and ways to answer.
 *
 * loop thread. A handler is `const struct flow_step <operationId>_steps[]` (declared in the
 * generated gen/api/operations.h); when its first step runs, credentials, scope, rate, parameters
 * and body have been checked. Everything here lives in the flow's pool and dies with the flow.
 * Typical steps:
 *
 *     static enum flow_next load(struct flow *flow)
 *     {
 *         struct api_call *call = api_call_of(flow);
 *         const struct lease_get_path *path = call->path;
 *         lease_get_submit(call->thread->db, &state->db, &(struct lease_get_in){
 *             .account_id = call->principal.account_id.u, .lease_id = path->lease_id.u});
 *         return FLOW_WAIT;
 *     }
 *     static enum flow_next reply(struct flow *flow)
 *     {
 *         if (db_call_check(flow, &state->db) != ERR_OK)
 *             return FLOW_END;
 *         if (state->db.row_count == 0)
 *             return flow_fail(flow, ERR_NOT_FOUND, "no lease of yours has this id");
 *         struct json_out *out = api_json(flow);
 *         json_object_open(out, NULL);
 *         ...
 *         json_object_close(out);
 *         return api_reply_json(flow, 200);
 *     }
 */
#ifndef UNDERCUT_API_CALL_H
#define UNDERCUT_API_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "api/rate.h"
#include "broker/base/hash.h"
#include "broker/base/id.h"
#include "broker/base/json.h"
#include "broker/base/seal.h"
#include "broker/io/flow.h"
#include "gen/api/operations.h"

struct api_catalogue;
struct auth;
struct cache;
struct db;
struct history;
struct hub;
struct jwt_keys;
struct leader;
struct loop;
struct metrics;
struct settle;
struct stream;

struct api_settings { /* the part of the daemon's configuration that handlers need */
    const char *market;
    int64_t direct_bid_s;
    int64_t fee_bp;
    int64_t hold_s;
    int64_t sync_hold_ms;
    int64_t receipt_interval_ms;
    int64_t log_bytes_max;
    int64_t rate_per_minute;
    int64_t rate_public_per_minute;
    int64_t proxy_hops;
    int64_t sealed_age_ms;  /* what speaks of rivals' prices is at least this old */
    int64_t openings_age_s; /* replaced asks are opened to everybody after this */
    bool is_api;            /* false: only health and metrics are served */
};

/* One per process; immutable after start, so that threads share it without locks. */
struct api_world {
    struct api_settings settings;
    struct hub *hub;
    const struct jwt_keys *jwt_keys;
    struct metrics *metrics;
    struct ed25519_public market_public; /* the market's key: promises, sync replies */
    struct ed25519_secret market_secret;
    struct seal_key secret_key; /* seals workloads' secrets; purpose "workload" */
    struct seal_key reply_key;  /* seals stored replies; purpose "reply" */
    struct rate *rate;
    const struct leader *leader; /* NULL: this process has none */
    const struct settle *settle;
    const struct history *history;
    _Atomic bool is_draining; /* set once, at shutdown; readyz says so */
};

/* One per API thread; everything in it belongs to that thread's loop. */
struct api_thread {
    struct loop *loop;
    struct db *db;
    struct hub *hub;
    struct cache *cache; /* never NULL; may be down */
    struct auth *auth;
    struct notary *notary;
    struct api_world *world;
    struct api_catalogue
        *catalogue;   /* catalogue.h; NULL until somebody asks, released at the end */
    struct buf spare; /* the memory of an answer that was sent, for the next one */
    int index;        /* which thread, for the metrics' shards */
};

enum principal_kind { PRINCIPAL_NONE = 1, PRINCIPAL_KEY, PRINCIPAL_TOKEN, PRINCIPAL_NODE };

struct principal {
    enum principal_kind kind;
    struct account_id account_id; /* nil for PRINCIPAL_NONE and PRINCIPAL_NODE */
    struct api_key_id key_id;     /* the key, or the key that the token came from */
    uint32_t scopes;              /* bit 1 << enum scope */
    bool is_test;
    int64_t expires_at_us; /* 0: never */
};

struct api_call {
    const struct op_info *op;
    struct api_thread *thread;
    struct principal principal;
    const void *path;    /* struct <operationId>_path, NULL without parameters */
    const void *query;   /* struct <operationId>_query, likewise */
    const void *body;    /* struct <schema of the body>; NULL when there is none */
    json_t *json;        /* private: see api_body_json() */
    struct str raw_body; /* the bytes as sent */
    bool is_yaml;        /* they are no JSON */
    struct sha256 body_sha256;
    struct str idempotency_key; /* unquoted; STR_NONE when not given */
    struct str url_path;        /* as sent, without the query */
    struct str url_query;       /* behind the "?", STR_NONE without */
    bool is_head;
    /* private to the router */
    struct buf reply;
    struct json_out out;
    struct str path_params[4]; /* still escaped */
    struct rate_state rate;
    struct db_call *auth_call;
    struct sha256 auth_sha256;
    struct db_call *replay_call;
    struct catalogue_calls *catalogue_calls;
    enum err_code refusal; /* found bad before it became a flow */
    const char *refusal_detail;
    const char *allow; /* no such method: what the path knows */
    bool is_options;
    bool has_etag;
    bool has_lost_race;
    struct api_end *ends;
    bool is_sent;
    int status;
};

struct api_call *api_call_of(struct flow *flow);
bool principal_has(const struct principal *principal, enum scope scope);

/* The body as parsed, from JSON or YAML; the call's. For who wants more of it than `body` holds. */
const json_t *api_body_json(struct flow *flow);
/* A request header's value (copied), STR_NONE when absent or the client has gone. Any case. */
struct str api_header(struct flow *flow, const char *name);
/* True when Accept names this type (not through a wildcard). */
bool api_accepts(struct flow *flow, const char *media_type);

/* The operation's own struct: zeroed at the first call, the same one after that. */
void *api_state(struct flow *flow, size_t size);
/* For operations that wait: the deadline becomes `ms` from now. */
void api_extend_deadline(struct flow *flow, int64_t ms);
/* Runs when the flow ends, however it ends (reply, deadline, hang-up): leave hubs, stop timers. */
void api_at_end(struct flow *flow, void (*run)(void *data), void *data);

/* The router's: runs and forgets them. */
void api_run_ends(struct api_call *call);

/* ---- answering. Each api_reply_* sends (nothing, when the client has gone) and returns FLOW_END.
 */

/* Adds a response header, before replying. `name` is a literal; `value` is copied. */
void api_set_header(struct flow *flow, const char *name, const char *value);
/* The call's writer, empty at first; api_reply_json() sends what was written. */
struct json_out *api_json(struct flow *flow);
enum flow_next api_reply_json(struct flow *flow, int status);
enum flow_next api_reply_text(struct flow *flow, int status, const char *content_type,
                              struct str body);
enum flow_next api_reply_empty(struct flow *flow, int status); /* 202, 204, 304 */
/* What api_json() holds so far, e.g. to sign or seal it before sending. */
struct str api_reply_text_so_far(struct flow *flow);

void api_set_etag(struct flow *flow, int64_t version);
/* Likewise; true: If-None-Match names it, and 304 was sent (return FLOW_END). */
bool api_etag_matched(struct flow *flow, int64_t version);
/* If-Match: true when absent or naming `version`; else fails the flow with precondition_failed. */
bool api_etag_allows(struct flow *flow, int64_t version);

/* Hands the request over to a stream (SSE, logs); the flow ends, the stream lives on. NULL: client
 * gone. */
struct stream *api_stream_start(struct flow *flow, const char *content_type,
                                void (*gone)(void *data), void *data);

/* ---- lists. Query `limit + 1` rows; emit at most `limit`; the extra row says that there is more.
 */

/* The text behind an opaque cursor; STR_NONE when the request had none. False: failed with 422. */
bool api_cursor_open(struct flow *flow, struct str cursor, struct str *ret_text);
/* The same where the text is a prefixed id; nil uuid when there is no cursor. */
bool api_cursor_open_id(struct flow *flow, struct str cursor, const char *prefix,
                        struct uuid *ret_id);
/* Starts {"data":[ in api_json(). */
struct json_out *api_list_open(struct flow *flow);
/* Closes it with next_cursor, has_more and the Link header, and sends 200. `last`: text of the last
 * emitted row's id when there is more, else STR_NONE. */
enum flow_next api_list_reply(struct flow *flow, struct str last);

#endif
