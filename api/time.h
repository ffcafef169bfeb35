/* time.h - RFC 3339 in; the way out is clock_format().
 *
 * pure.
 */
#ifndef UNDERCUT_API_TIME_H
#define UNDERCUT_API_TIME_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/str.h"

/* "2026-11-21T12:00:00Z", with an optional fraction and "+01:00" in place of Z, to microseconds
 * since 1970. Years 1970 to 9999; leap seconds and fractions beyond microseconds are refused. */
MUST_USE bool time_parse(struct str text, int64_t *ret_at_us);

#endif
