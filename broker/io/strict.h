/* strict.h - a second look at a request's raw head, because h2o 2.2.5 is lenient where it must not
 * be.
 *
 * strict_head() is pure; strict_check() runs on the loop thread, before anything else sees a
 * request. h2o still holds the raw head in the socket's input buffer then. What is refused, and by
 * which wall (this one, h2o itself, or the proxy in front), is the table of
 * tests/http/test_io_server.c. Sources: RFC 9112 (sections 2.2, 3, 5, 6, 11.2), RFC 9110 section
 * 9.3.
 */
#ifndef UNDERCUT_IO_STRICT_H
#define UNDERCUT_IO_STRICT_H

#include <stdbool.h>

#include "broker/base/err.h"
#include "broker/base/str.h"

#define STRICT_TARGET_MAX  (8 * 1024)
#define STRICT_HEADERS_MAX (16 * 1024)

struct st_h2o_req_t;

struct strict_verdict {
    enum err_code err;  /* ERR_OK: well formed */
    const char *detail; /* one static sentence */
    bool must_close;    /* well formed, but not to be followed by another on its connection */
};

/* `raw` starts with the request line and goes at least to the end of the head; `body_max` in
 * bytes. */
struct strict_verdict strict_head(struct str raw, size_t body_max);

/* True: go on. False: refuse with these, and close (http1_is_persistent is off already). */
MUST_USE bool strict_check(struct st_h2o_req_t *req, size_t body_max, enum err_code *ret_err,
                           const char **ret_detail);

#endif
