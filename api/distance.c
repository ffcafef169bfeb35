#include "api/distance.h"

#include <math.h>

#define EARTH_KM        6371.0088
#define RTT_BASE_US     37400
#define RTT_PER_1000_KM 16100 /* microseconds */

static double radians(int64_t udeg)
{
    return (double)udeg * (M_PI / 180e6);
}

/* The haversine formula, good for small distances as well. */
int64_t great_circle_km(struct place a, struct place b)
{
    double lat = sin((radians(b.lat_udeg) - radians(a.lat_udeg)) / 2);
    double lon = sin((radians(b.lon_udeg) - radians(a.lon_udeg)) / 2);
    double part = lat * lat + cos(radians(a.lat_udeg)) * cos(radians(b.lat_udeg)) * lon * lon;
    return llround(2 * EARTH_KM * asin(sqrt(fmin(1, part))));
}

int64_t rtt_estimate_ms(struct place a, struct place b)
{
    int64_t us = RTT_BASE_US + great_circle_km(a, b) * RTT_PER_1000_KM / 1000;
    return (us + 999) / 1000;
}
