/* meter.h - how long a container ran healthy, never longer than it really did.
 *
 * pure. Two clocks are marked together: CLOCK_BOOTTIME (durations) and the wall clock (the engine's
 * stamps). Time is counted up to the last instant at which the container was known to run; it is
 * never guessed forward, so a reading is at most one observation behind and never ahead.
 */
#ifndef UNDERCUT_NODEAGENT_METER_H
#define UNDERCUT_NODEAGENT_METER_H

#include <stdbool.h>
#include <stdint.h>

struct meter {
    int64_t healthy_ms;   /* counted so far; never falls */
    int64_t mark_mono_ms; /* counted up to here */
    int64_t mark_wall_us; /* the wall clock at the same instant */
    bool is_counting;     /* ready and healthy at the mark */
};

/* The container is seen running (and, when `is_healthy`, ready) now: what lay between the last mark
 * and now counts if it was counting then, because a container of ours never restarts by itself. */
void meter_observe(struct meter *meter, bool is_healthy, int64_t now_mono_ms, int64_t now_wall_us);

/* The container is gone; it ended at `ended_mono_ms` on our clock. */
void meter_end(struct meter *meter, int64_t ended_mono_ms);

/* The container is gone and ended while nobody watched; the engine says when, on the wall clock.
 * When the wall clock jumped since the mark, only what was counted before stays. */
void meter_end_by_wall(struct meter *meter, int64_t ended_wall_us, int64_t now_mono_ms,
                       int64_t now_wall_us);

#endif
