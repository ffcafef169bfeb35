/* cache.h - Redis by hiredis on the loop. Everything in it may vanish at any moment.
 *
 * loop thread. Every key and channel is built here and listed here:
 *   uc:{<market>}:wake    channel   wake-ups between processes, message = "<process> <topic>"
 *   uc:{rate}:<bucket>    string    requests in a window, all processes; `bucket` names the window
 * Down Redis: calls complete with is_ok = false at once; slow Redis: after CACHE_PATIENCE_MS.
 * Callers carry on without. Reconnects by itself every 250 ms.
 */
#ifndef UNDERCUT_IO_CACHE_H
#define UNDERCUT_IO_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/str.h"

#define CACHE_PATIENCE_MS 100

struct loop;
struct cache;

/* `url` is "redis://host:port", "unix:/path" or "" (no cache: every call completes with is_ok
 * false). */
struct cache *cache_create(struct loop *loop, const char *url, const char *market);
void cache_destroy(struct cache *cache);
bool cache_is_up(const struct cache *cache);
void cache_publish_wake(struct cache *cache, const char *topic); /* any thread */
/* Wake-ups of other processes; once per cache. */
void cache_subscribe_wakes(struct cache *cache, void (*woken)(void *data, struct str topic),
                           void *data);
struct cache_rate {
    const char *bucket; /* names the window too */
    int64_t window_s;   /* forgotten after this */
    int64_t count;
};

/* Adds `count` to a bucket and answers the total across processes. `done` may be called from
 * inside. */
void cache_rate_add(struct cache *cache, const struct cache_rate *rate,
                    void (*done)(void *data, bool is_ok, int64_t total), void *data);

#endif
