/* The happy path is: a waiter sits in its loop's table under its topic; hub_wake() looks at each
 * loop's count for that topic's slot, leaves the topic in the loop's inbox when somebody may wait
 * there, and the loop walks the slot on its own thread. Listeners are called at once; a cache
 * carries the topic on. Failure modes are: a full inbox or a cache that is down lose wake-ups,
 * which waiters allow for.
 */
#include "broker/io/hub.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/must.h"
#include "broker/base/str.h"
#include "broker/io/cache.h"
#include "broker/io/loop.h"

#define SLOTS_COUNT      4096
#define LOOPS_MAX        72
#define LISTENERS_MAX    8
#define PENDING_MAX      4096
#define TWINS_LOOKED_FOR 16 /* that far back a topic is not put into the inbox twice */

struct hub_loop {
    struct hub *hub;
    struct loop *loop;
    struct hub_waiter *slots[SLOTS_COUNT]; /* loop thread */
    atomic_int counts[SLOTS_COUNT];        /* waiters per slot, for other threads to look at */
    struct hub_waiter *cursor;             /* the next one in the walk under way */
    pthread_mutex_t mutex;                 /* of the inbox */
    char (*pending)[HUB_TOPIC_SIZE];
    int pending_count, pending_cap;
};

struct listener {
    char prefix[HUB_TOPIC_SIZE];
    void (*woken)(void *data, const char *topic);
    void *data;
};

struct hub { /* the arrays only grow, and before any traffic */
    struct hub_loop *loops[LOOPS_MAX];
    atomic_int loops_count;
    struct listener listeners[LISTENERS_MAX];
    atomic_int listeners_count;
    _Atomic(struct cache *) cache;
};

static void inbox_deliver(void *data);

static size_t slot_of(const char *topic)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (; *topic != '\0'; topic++)
        hash = (hash ^ (uint8_t)*topic) * 16777619u;
    return (hash ^ hash >> 16) % SLOTS_COUNT;
}

struct hub *hub_create(void)
{
    struct hub *hub = calloc(1, sizeof(*hub));
    must(hub != NULL);
    return hub;
}

void hub_destroy(struct hub *hub)
{
    if (hub == NULL)
        return;
    for (int i = 0; i < hub->loops_count; i++) {
        pthread_mutex_destroy(&hub->loops[i]->mutex);
        free(hub->loops[i]->pending);
        free(hub->loops[i]);
    }
    free(hub);
}

void hub_add_loop(struct hub *hub, struct loop *loop)
{
    struct hub_loop *place = calloc(1, sizeof(*place));
    must(place != NULL && hub->loops_count < LOOPS_MAX);
    place->hub = hub;
    place->loop = loop;
    pthread_mutex_init(&place->mutex, NULL);
    hub->loops[hub->loops_count] = place;
    hub->loops_count++;
}

static struct hub_loop *place_of(const struct hub *hub, const struct loop *loop)
{
    for (int i = 0; i < hub->loops_count; i++) {
        if (hub->loops[i]->loop == loop)
            return hub->loops[i];
    }
    must_not_reach(); /* hub_add_loop() was not called for it */
}

void hub_join(struct hub *hub, struct loop *loop, struct hub_waiter *waiter, const char *topic)
{
    struct hub_loop *place = place_of(hub, loop);
    hub_leave(hub, waiter);
    must(str_format(waiter->topic, sizeof(waiter->topic), "%s", topic));
    size_t slot = slot_of(topic);
    waiter->loop = loop;
    waiter->next = place->slots[slot];
    waiter->link = &place->slots[slot];
    if (waiter->next != NULL)
        waiter->next->link = &waiter->next;
    place->slots[slot] = waiter;
    place->counts[slot]++;
}

void hub_leave(struct hub *hub, struct hub_waiter *waiter)
{
    if (waiter->link == NULL)
        return;
    struct hub_loop *place = place_of(hub, waiter->loop);
    if (place->cursor == waiter)
        place->cursor = waiter->next;
    *waiter->link = waiter->next;
    if (waiter->next != NULL)
        waiter->next->link = waiter->link;
    waiter->link = NULL;
    place->counts[slot_of(waiter->topic)]--;
}

static bool is_pending(const struct hub_loop *place, const char *topic)
{
    int first = place->pending_count - TWINS_LOOKED_FOR;
    for (int i = first > 0 ? first : 0; i < place->pending_count; i++) {
        if (strcmp(place->pending[i], topic) == 0)
            return true;
    }
    return false;
}

/* Under the mutex. True: the inbox was empty, so that the loop has to be told. */
static bool inbox_add(struct hub_loop *place, const char *topic)
{
    if (is_pending(place, topic) || place->pending_count == PENDING_MAX)
        return false;
    if (place->pending_count == place->pending_cap) {
        place->pending_cap = place->pending_cap ? 2 * place->pending_cap : 16;
        place->pending = realloc(place->pending, (size_t)place->pending_cap * HUB_TOPIC_SIZE);
        must(place->pending != NULL);
    }
    must(str_format(place->pending[place->pending_count++], HUB_TOPIC_SIZE, "%s", topic));
    return place->pending_count == 1;
}

static void wake_waiters(struct hub_loop *place, const char *topic)
{
    struct hub_waiter *waiter = place->slots[slot_of(topic)];
    for (; waiter != NULL; waiter = place->cursor) {
        place->cursor = waiter->next; /* hub_leave() moves it when that one goes meanwhile */
        if (strcmp(waiter->topic, topic) == 0)
            waiter->wake(waiter);
    }
    place->cursor = NULL;
}

static void inbox_deliver(void *data)
{
    struct hub_loop *place = data;
    pthread_mutex_lock(&place->mutex);
    char(*topics)[HUB_TOPIC_SIZE] = place->pending;
    int count = place->pending_count;
    place->pending = NULL;
    place->pending_count = place->pending_cap = 0;
    pthread_mutex_unlock(&place->mutex);
    for (int i = 0; i < count; i++)
        wake_waiters(place, topics[i]);
    free(topics);
}

/* Within this process. */
static void deliver(struct hub *hub, const char *topic)
{
    size_t slot = slot_of(topic);
    for (int i = 0; i < hub->loops_count; i++) {
        struct hub_loop *place = hub->loops[i];
        if (place->counts[slot] == 0)
            continue;
        pthread_mutex_lock(&place->mutex);
        bool must_tell = inbox_add(place, topic);
        pthread_mutex_unlock(&place->mutex);
        if (must_tell)
            loop_post(place->loop, inbox_deliver, place);
    }
    for (int i = 0; i < hub->listeners_count; i++) {
        const struct listener *listener = &hub->listeners[i];
        if (strncmp(topic, listener->prefix, strlen(listener->prefix)) == 0)
            listener->woken(listener->data, topic);
    }
}

void hub_wake(struct hub *hub, const char *topic)
{
    deliver(hub, topic);
    struct cache *cache = hub->cache;
    if (cache != NULL)
        cache_publish_wake(cache, topic);
}

void hub_listen(struct hub *hub, const char *topic_prefix,
                void (*woken)(void *data, const char *topic), void *data)
{
    must(hub->listeners_count < LISTENERS_MAX);
    struct listener *listener = &hub->listeners[hub->listeners_count];
    must(str_format(listener->prefix, sizeof(listener->prefix), "%s", topic_prefix));
    listener->woken = woken;
    listener->data = data;
    hub->listeners_count++;
}

static void woken_elsewhere(void *data, struct str topic)
{
    char text[HUB_TOPIC_SIZE];
    if (str_format(text, sizeof(text), "%.*s", STR_ARG(topic)))
        deliver(data, text);
}

void hub_attach_cache(struct hub *hub, struct cache *cache)
{
    hub->cache = cache;
    if (cache != NULL)
        cache_subscribe_wakes(cache, woken_elsewhere, hub);
}
