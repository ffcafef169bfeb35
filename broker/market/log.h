/* log.h - what a workload's containers wrote, as text or as one JSON object per line.
 *
 * Statements: see log.sql. The functions here are pure apart from malloc. A cursor is
 * "<xact>.<lease>.<offset>": behind this chunk, in the order of arrival.
 *
 * Text of several replicas is given out line by line, each behind "[index] ", so that lines of two
 * never mix; the rest of a line waits until it is whole, or LOG_LINE_MAX long, or the end.
 */
#ifndef UNDERCUT_MARKET_LOG_H
#define UNDERCUT_MARKET_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/id.h"
#include "broker/base/json.h"
#include "gen/broker/market/log.sql.h"

#define LOG_CURSOR_SIZE  88
#define LOG_REPLICAS_MAX 100
#define LOG_LINE_MAX     16384

struct log_cursor { /* zero: the beginning */
    int64_t xact;
    struct lease_id lease_id;
    int64_t offset;
};

MUST_USE bool log_cursor_parse(struct str text, struct log_cursor *ret_cursor);
const char *log_cursor_text(const struct log_cursor *cursor, char buf[LOG_CURSOR_SIZE]);
/* Behind the row's chunk, or at the horizon when the row holds none. */
struct log_cursor log_cursor_behind(const struct log_read_out *chunk);

struct log_text {
    bool is_prefixed;
    struct buf rests[LOG_REPLICAS_MAX]; /* per replica: the line that has not ended yet */
};

/* Appends what a chunk adds to the text. A gap becomes a line of its own: "[...: sentence]". */
void log_text_add(struct log_text *text, const struct log_read_out *chunk, struct buf *to);
/* Appends what still waits, with a newline each, and frees. */
void log_text_end(struct log_text *text, struct buf *to);
void log_text_finish(struct log_text *text); /* frees */

/* Appends {replica, lease_id, stream, at, data | data_base64, cursor} and a newline. */
void log_put_line(struct buf *to, const struct log_read_out *chunk);

#endif
