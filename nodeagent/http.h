/* http.h - one blocking HTTP exchange at a time, over TCP or a unix socket, that can be cut short.
 *
 * A client belongs to one thread and keeps its connection; only http_client_cut() may be called
 * from another. The only file that knows libcurl. Replies over HTTP_REPLY_MAX count as failed.
 */
#ifndef UNDERCUT_NODEAGENT_HTTP_H
#define UNDERCUT_NODEAGENT_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/must.h"
#include "broker/base/str.h"

#define HTTP_REPLY_MAX   (8u << 20)
#define HTTP_HEADERS_MAX 8

enum http_outcome {
    HTTP_ANSWERED = 1, /* any status; the reply is filled */
    HTTP_FAILED,       /* nobody answered, or not in time; `why` says which */
    HTTP_CUT,          /* http_client_cut() ended it */
};

struct http_call {
    const char *method;
    const char *url;
    const char *socket_path_or_null;       /* unix socket to use instead of the URL's host */
    struct str body;                       /* none: no body */
    const char *headers[HTTP_HEADERS_MAX]; /* "Name: value"; unused ones NULL */
    int64_t timeout_ms;
    bool can_cut;         /* http_client_cut() may end it ... */
    int64_t cut_after_ms; /* ... once it is this old */
};

struct http_reply {
    int status;
    struct buf body;
    char signature[96]; /* Undercut-Signature, empty when absent */
    char why[160];      /* on HTTP_FAILED */
};

struct http_client;

void http_start(void); /* once per process, before threads */
struct http_client *http_client_create(void);
void http_client_set_ca_file(struct http_client *client, const char *path);
void http_client_destroy(struct http_client *client); /* NULL is fine */

MUST_USE enum http_outcome http_client_call(struct http_client *client,
                                            const struct http_call *call,
                                            struct http_reply *ret_reply);
void http_reply_finish(struct http_reply *reply);

/* Any thread: ends the running call that can be cut, or else the next such one, with HTTP_CUT. */
void http_client_cut(struct http_client *client);
void http_client_cut_forget(struct http_client *client);

#endif
