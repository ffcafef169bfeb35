/* metrics.h - counters of what the API served, written in Prometheus' text format.
 *
 * any thread (relaxed atomics). One per process.
 */
#ifndef UNDERCUT_API_METRICS_H
#define UNDERCUT_API_METRICS_H

#include <stdint.h>

#include "broker/base/str.h"
#include "gen/api/operations.h"

struct metrics;

struct metrics *metrics_create(void);
void metrics_destroy(struct metrics *metrics);
/* One request answered; OP_NONE for those that reached no operation. */
void metrics_served(struct metrics *metrics, enum op op, int status, int64_t duration_us);
/* undercut_requests_total, undercut_request_seconds, and the process's own figures. */
void metrics_write(const struct metrics *metrics, struct buf *to);
/* One gauge with its help line; `labels` may be "". */
void metrics_write_gauge(struct buf *to, const char *name, const char *help, int64_t value);

#endif
