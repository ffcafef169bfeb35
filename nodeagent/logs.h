/* logs.h - the output of leases on its way to the broker: bounded, in order, at most once.
 *
 * any thread. One stream per lease and epoch; one shipping thread per node. What the broker cannot
 * take in time is dropped from the middle and the place is marked: a container never waits for us.
 * Offsets count the bytes of a stream over out, err and gap marks together; the broker's
 * next_offset is the truth, so after a restart of the agent an empty chunk first asks for it.
 */
#ifndef UNDERCUT_NODEAGENT_LOGS_H
#define UNDERCUT_NODEAGENT_LOGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nodeagent/link.h"

#define LOGS_QUEUE_MAX (1u << 20) /* bytes per stream that wait */

enum log_kind { LOG_OUT = 1, LOG_ERR, LOG_GAP };
enum log_start {
    LOG_FRESH = 1, /* offset 0 */
    LOG_RESUMED,   /* the broker may have some already */
};

struct logs;
struct log_stream;

struct logs *logs_create(struct link *link);
void logs_destroy(struct logs *logs); /* ends the thread; what still waits is lost; NULL is fine */
void logs_set_quota(struct logs *logs, int64_t log_bytes_max);

struct log_stream *log_stream_open(struct logs *logs, const char *lease_id, int64_t epoch,
                                   enum log_start start);
void log_stream_add(struct log_stream *stream, enum log_kind kind, const char *bytes, size_t len);
/* Waits until all is delivered, refused, or `timeout_ms` is over. */
void log_stream_flush(struct log_stream *stream, int64_t timeout_ms);
/* No more will be added; what waits is still shipped. The pointer is dead. */
void log_stream_close(struct log_stream *stream);

#endif
