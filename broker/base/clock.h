/* clock.h - wall and monotonic time behind one door, so that a test can hold the clock.
 *
 * any thread. Instants are int64_t microseconds since the Unix epoch (`_at_us`), monotonic readings
 * milliseconds (`_mono_ms`) and never meet in one expression.
 */
#ifndef UNDERCUT_BASE_CLOCK_H
#define UNDERCUT_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

int64_t clock_now_us(void);  /* wall clock, for stamps people read; never for durations */
int64_t clock_mono_ms(void); /* CLOCK_BOOTTIME: goes on while the machine sleeps */
int64_t clock_mono_us(void);

/* RFC 3339 UTC with milliseconds, "2026-11-21T01:42:19.123Z"; `buf` holds 32 bytes. */
const char *clock_format(int64_t at_us, char buf[32]);

/* Tests only: from now on clock_* answer these values; pass -1 to go back to the real clocks. */
void clock_fake(int64_t wall_us, int64_t mono_us);

#endif
