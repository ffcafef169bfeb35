/* log.h - one event per line on stderr, logfmt, fixed keys, UTC.
 *
 * any thread. `ts=... level=info event=lease_closed lease=lse_... reason=completed`. Values with
 * blanks, quotes or control characters are quoted and escaped, so no input can forge a line.
 * Only L3 and above log; secrets never reach here.
 */
#ifndef UNDERCUT_BASE_LOG_H
#define UNDERCUT_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/str.h"

enum log_level { LOG_DEBUG = 1, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_set_level(enum log_level level);
bool log_is_on(enum log_level level);         /* worth working out what to say */
enum log_level log_level_of(struct str name); /* "debug", "info", "warn", "error"; else LOG_INFO */

/* `event` is noun_verb-past. `format` makes the rest: space-separated key=value pairs. Values from
 * outside must go through log_quote(). */
void log_event(enum log_level level, const char *event, const char *format, ...) PRINTF_LIKE(3, 4);
/* Quotes and escapes `value` into `buf` when it needs it; returns buf. Truncates silently. */
const char *log_quote(struct str value, char *buf, size_t size);

#endif
