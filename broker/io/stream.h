/* stream.h - a long answer (SSE, followed logs, long poll) that notices when its reader has gone.
 *
 * loop thread. Takes over a flow's request: one send in flight, a bounded queue (a slow reader is
 * cut), and the socket is watched for EOF because HTTP/1 in h2o stops reading while a request is
 * served.
 */
#ifndef UNDERCUT_IO_STREAM_H
#define UNDERCUT_IO_STREAM_H

#include <stdbool.h>
#include <stddef.h>

#include "broker/base/str.h"

#define STREAM_QUEUE_BYTES_MAX (256 * 1024)

struct stream;
struct st_h2o_req_t;

/* Headers and status must be set on req before. `gone` is called exactly once when the client
 * hangs up or was cut (not after stream_end); then the stream is already freed. */
struct stream *stream_start(struct st_h2o_req_t *req, void (*gone)(void *data), void *data);
/* Copies. False: the reader was too slow and has been cut (gone was called). */
bool stream_send(struct stream *stream, struct str bytes);
/* For an answer longer than the queue: `drained(data)`, with the data of stream_start(), whenever
 * all that was sent has been taken by the socket; the next piece is sent from there. */
void stream_on_drained(struct stream *stream, void (*drained)(void *data));
void stream_end(struct stream *stream); /* after the queue drained */

/* Calls `gone` once if the client of a request that is still being prepared hangs up (long polls);
 * ends by itself when the request is answered. Returns false when the socket cannot be watched. */
bool stream_watch_hangup(struct st_h2o_req_t *req, void (*gone)(void *data), void *data);

#endif
