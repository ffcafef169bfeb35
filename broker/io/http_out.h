/* http_out.h - outgoing HTTP by libcurl on one worker thread; answers come back as messages.
 *
 * any thread may submit; `done` runs on the loop given. One worker isolates DNS and TLS stalls.
 */
#ifndef UNDERCUT_IO_HTTP_OUT_H
#define UNDERCUT_IO_HTTP_OUT_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/str.h"

struct http_out;
struct loop;

struct http_out_request {
    const char *method;
    const char *url;
    const char *const *headers; /* NULL-terminated "Name: value"; copied */
    struct str body;            /* copied */
    int64_t timeout_ms;
    int64_t response_max; /* bytes; more is an error */
};

struct http_out_reply {
    bool is_ok;      /* an HTTP answer came */
    bool is_unknown; /* sent, but no answer: it may have had its effect */
    int status;
    struct str body; /* lives during the callback */
    const char *why; /* when not is_ok */
};

struct http_out *http_out_create(void);
void http_out_destroy(struct http_out *out); /* waits for the worker; pending calls fail */
void http_out_submit(struct http_out *out, struct loop *loop,
                     const struct http_out_request *request,
                     void (*done)(void *data, const struct http_out_reply *reply), void *data);

#endif
