/* problem.h - an error as application/problem+json (RFC 9457).
 *
 * pure. The only place that writes problems, so that all of them look alike.
 */
#ifndef UNDERCUT_API_PROBLEM_H
#define UNDERCUT_API_PROBLEM_H

#include <stdint.h>

#include "broker/base/err.h"
#include "broker/io/flow.h"

#define PROBLEM_TYPE_PREFIX  "https://undercut.dev/problems/"
#define PROBLEM_CONTENT_TYPE "application/problem+json"

struct problem {
    enum err_code err;
    const char *detail;                    /* "" for none */
    const struct flow_field_error *errors; /* may be NULL */
    int errors_count;
    const char *request_id; /* NULL: unknown */
};

void problem_write(const struct problem *problem, struct buf *to);
/* Seconds for Retry-After: from `retry_after_ms`, else the error's own habit; 0 for no header. */
int64_t problem_retry_after_s(enum err_code err, int64_t retry_after_ms);

#endif
