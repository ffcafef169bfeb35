/* hub.h - wake-ups by topic: inside this process at once, to other processes through Redis pub/sub.
 *
 * A wake-up carries no data and may be lost: whoever waits also has a time-out and re-reads the
 * truth from PostgreSQL. Topics: "node:<uuid>", "account:<uuid>", "workload:<uuid>",
 * "market:<name>".
 */
#ifndef UNDERCUT_IO_HUB_H
#define UNDERCUT_IO_HUB_H

#include <stdbool.h>

struct hub;
struct loop;

#define HUB_TOPIC_SIZE  64
#define HUB_TOPIC_DRAIN "drain" /* the process ends: long answers say goodbye */

struct hub_waiter { /* embedded in its owner; loop thread of the loop it was added with */
    void (*wake)(struct hub_waiter *waiter); /* stays subscribed until hub_leave */
    void *data;
    char topic[HUB_TOPIC_SIZE];
    struct loop *loop;
    struct hub_waiter *next, **link; /* private */
};

struct hub *hub_create(void);
void hub_destroy(struct hub *hub);
/* Each loop registers once, before anything waits on it. */
void hub_add_loop(struct hub *hub, struct loop *loop);
void hub_join(struct hub *hub, struct loop *loop, struct hub_waiter *waiter, const char *topic);
void hub_leave(struct hub *hub, struct hub_waiter *waiter); /* harmless when not joined */
/* Any thread. Wakes waiters of the topic on every loop and, when a cache is attached, elsewhere. */
void hub_wake(struct hub *hub, const char *topic);
/* For a non-loop thread (the market leader): called on hub_wake's thread; must be quick. */
void hub_listen(struct hub *hub, const char *topic_prefix,
                void (*woken)(void *data, const char *topic), void *data);

struct cache;
/* Bridges the hub over Redis: publishes local wake-ups and delivers those of other processes. */
void hub_attach_cache(struct hub *hub, struct cache *cache);

#endif
