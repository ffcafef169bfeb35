/* distance.h - how long a packet may take between two places on Earth: estimated, not measured.
 *
 * pure. Round trip = 37.4 ms + 0.0161 ms per kilometre of great circle, the line fitted to pings
 * between 238 cities; half of all pairs lie within a quarter of it. It knows nothing of cables, so
 * whatever is shown of it says that it is estimated.
 */
#ifndef UNDERCUT_API_DISTANCE_H
#define UNDERCUT_API_DISTANCE_H

#include <stdint.h>

struct place { /* millionths of a degree */
    int64_t lat_udeg, lon_udeg;
};

int64_t great_circle_km(struct place a, struct place b); /* rounded to whole kilometres */
int64_t rtt_estimate_ms(struct place a, struct place b); /* rounded up */

#endif
