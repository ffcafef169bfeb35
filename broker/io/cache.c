/* The happy path is: two hiredis connections, one for commands and one that is subscribed, each on
 * a watch; commands of one turn leave together with the next writability.
 * Failure modes are: Redis down (calls answer false at once, connecting is tried again), slow (a
 * call answers false after CACHE_PATIENCE_MS; a connection silent for SILENT_MS is dropped).
 * Nothing is kept for later: whatever should be true regardless is in PostgreSQL.
 */
#include "broker/io/cache.h"

#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/clock.h"
#include "broker/base/id.h"
#include "broker/base/must.h"
#include "broker/io/loop.h"
#include "broker/io/timer.h"
#include "broker/io/watch.h"

#define RETRY_MS          250
#define SILENT_MS         2000
#define PUBLISH_BYTES_MAX (1024 * 1024) /* what waits for the loop to publish it */

struct link { /* one connection */
    struct cache *cache;
    redisAsyncContext *redis; /* NULL: down */
    struct watch *watch;
    bool is_up, is_subscriber;
    struct timer timer; /* retry while down; the silence check while up */
    int64_t heard_mono_ms;
    int asked_count; /* commands without answer yet */
};

struct cache {
    struct loop *loop;
    char *host; /* or the path of a socket, with port 0 */
    int port;   /* -1: no Redis at all */
    char channel[80];
    char self[ID_TEXT_SIZE]; /* our name in messages, to know our own again */
    struct link commands, subscriber;
    void (*woken)(void *data, struct str topic);
    void *woken_data;
    pthread_mutex_t mutex;
    struct buf to_publish; /* topics, each with its NUL; from any thread */
};

struct rate_call {
    void (*done)(void *data, bool is_ok, int64_t total);
    void *data;
    struct timer patience;
};

static void link_connect(struct link *link);
static void link_up(struct link *link);
static void link_down(struct link *link);

static void on_readable(void *data)
{
    struct link *link = data;
    link->heard_mono_ms = clock_mono_ms();
    redisAsyncHandleRead(link->redis);
}

static void on_writable(void *data)
{
    struct link *link = data;
    redisAsyncHandleWrite(link->redis);
}

static void want_nothing(void *data)
{
    (void)data; /* the watch reports readability all the time, and writability once per wish */
}

static void want_write(void *data)
{
    struct link *link = data;
    if (link->watch != NULL)
        watch_want_write(link->watch);
}

static void clean_up(void *data)
{
    struct link *link = data;
    watch_destroy(link->watch);
    link->watch = NULL;
}

static void on_connected(const redisAsyncContext *redis, int status)
{
    struct link *link = redis->data;
    if (status == REDIS_OK)
        link_up(link);
    else
        link_down(link); /* hiredis frees the context after this */
}

static void on_disconnected(const redisAsyncContext *redis, int status)
{
    (void)status;
    link_down(redis->data);
}

static void link_connect(struct link *link)
{
    const struct cache *cache = link->cache;
    redisAsyncContext *redis = cache->port > 0 ? redisAsyncConnect(cache->host, cache->port)
                                               : redisAsyncConnectUnix(cache->host);
    if (redis == NULL || redis->err != 0) {
        if (redis != NULL)
            redisAsyncFree(redis);
        link_down(link);
        return;
    }
    link->redis = redis;
    link->watch = watch_create(cache->loop, redis->c.fd, on_readable, on_writable, link);
    redis->data = link;
    redis->ev.data = link;
    redis->ev.addRead = redis->ev.delRead = redis->ev.delWrite = want_nothing;
    redis->ev.addWrite = want_write;
    redis->ev.cleanup = clean_up;
    redisAsyncSetConnectCallback(redis, on_connected);
    redisAsyncSetDisconnectCallback(redis, on_disconnected);
    if (link->watch == NULL) {
        redisAsyncFree(redis);
        link_down(link);
        return;
    }
    watch_want_write(link->watch);
    link->heard_mono_ms = clock_mono_ms();
    timer_arm_in(cache->loop, &link->timer, SILENT_MS);
}

static void link_down(struct link *link)
{
    link->redis = NULL;
    link->is_up = false;
    link->asked_count = 0;
    timer_arm_in(link->cache->loop, &link->timer, RETRY_MS);
}

/* While down: try again. While up or connecting: drop a connection that owes us an answer. */
static void link_check(struct timer *timer)
{
    struct link *link = timer->data;
    if (link->redis == NULL) {
        link_connect(link);
        return;
    }
    bool is_owing = link->asked_count > 0 || !link->is_up;
    if (is_owing && clock_mono_ms() - link->heard_mono_ms >= SILENT_MS) {
        redisAsyncFree(
            link->redis); /* fails its calls; says disconnected only if it was connected */
        link_down(link);
        return;
    }
    timer_arm_in(link->cache->loop, &link->timer, SILENT_MS / 4);
}

static bool cache_parse_url(struct cache *cache, struct str url)
{
    int64_t port = 0;
    if (str_starts_with(url, STR("unix:"))) {
        cache->host = strndup(url.at + 5, url.len - 5);
        return true;
    }
    if (!str_starts_with(url, STR("redis://")))
        return false;
    struct str rest = {.at = url.at + 8, .len = url.len - 8};
    struct str host = str_cut(&rest, ':');
    if (host.len == 0 || !str_to_i64(rest, &port) || port < 1 || port > 65535)
        return false;
    cache->host = strndup(host.at, host.len);
    cache->port = (int)port;
    return true;
}

struct cache *cache_create(struct loop *loop, const char *url, const char *market)
{
    struct cache *cache = calloc(1, sizeof(*cache));
    must(cache != NULL);
    cache->loop = loop;
    must(str_format(cache->channel, sizeof(cache->channel), "uc:{%s}:wake", market));
    uuid_text(uuid_v7(), cache->self);
    pthread_mutex_init(&cache->mutex, NULL);
    cache->commands = (struct link){.cache = cache};
    cache->subscriber = (struct link){.cache = cache, .is_subscriber = true};
    cache->commands.timer = (struct timer){.fire = link_check, .data = &cache->commands};
    cache->subscriber.timer = (struct timer){.fire = link_check, .data = &cache->subscriber};
    if (url[0] != '\0' && cache_parse_url(cache, str_of(url)))
        timer_arm_in(loop, &cache->commands.timer, 0);
    else
        cache->port = -1;
    return cache;
}

static void link_close(struct link *link)
{
    if (link->redis != NULL)
        redisAsyncFree(link->redis);
    timer_disarm(&link->timer);
}

void cache_destroy(struct cache *cache)
{
    if (cache == NULL)
        return;
    link_close(&cache->commands);
    link_close(&cache->subscriber);
    pthread_mutex_destroy(&cache->mutex);
    buf_finish(&cache->to_publish);
    free(cache->host);
    free(cache);
}

bool cache_is_up(const struct cache *cache)
{
    return cache->commands.is_up;
}

static void answered(redisAsyncContext *redis, void *reply, void *data)
{
    (void)reply, (void)data;
    struct link *link = redis->data;
    link->asked_count--;
}

static void publish(struct cache *cache, const char *topic)
{
    char message[ID_TEXT_SIZE + 128];
    if (!cache->commands.is_up ||
        !str_format(message, sizeof(message), "%s %s", cache->self, topic))
        return;
    if (redisAsyncCommand(cache->commands.redis, answered, NULL, "PUBLISH %s %s", cache->channel,
                          message) == REDIS_OK)
        cache->commands.asked_count++;
}

static void publish_waiting(void *data)
{
    struct cache *cache = data;
    pthread_mutex_lock(&cache->mutex);
    struct buf topics = cache->to_publish;
    cache->to_publish = (struct buf){0};
    pthread_mutex_unlock(&cache->mutex);
    for (size_t at = 0; at < topics.len; at += strlen(topics.at + at) + 1)
        publish(cache, topics.at + at);
    buf_finish(&topics);
}

/* Many of one batch wake the same. */
static bool is_last(const struct buf *topics, const char *topic)
{
    size_t size = strlen(topic) + 1;
    return topics->len >= size && memcmp(topics->at + topics->len - size, topic, size) == 0 &&
           (topics->len == size || topics->at[topics->len - size - 1] == '\0');
}

void cache_publish_wake(struct cache *cache, const char *topic)
{
    if (cache->port < 0)
        return;
    pthread_mutex_lock(&cache->mutex);
    bool must_post = cache->to_publish.len == 0;
    if (cache->to_publish.len < PUBLISH_BYTES_MAX && !is_last(&cache->to_publish, topic))
        buf_add(&cache->to_publish, topic, strlen(topic) + 1);
    pthread_mutex_unlock(&cache->mutex);
    if (must_post)
        loop_post(cache->loop, publish_waiting, cache);
}

/* ["message", channel, "<process> <topic>"] */
static void on_message(redisAsyncContext *redis, void *reply_data, void *data)
{
    const redisReply *reply = reply_data;
    struct cache *cache = data;
    (void)redis;
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements != 3 ||
        reply->element[2]->type != REDIS_REPLY_STRING)
        return;
    struct str topic = {.at = reply->element[2]->str, .len = (size_t)reply->element[2]->len};
    struct str sender = str_cut(&topic, ' ');
    if (topic.at != NULL && !str_equal_c(sender, cache->self))
        cache->woken(cache->woken_data, topic);
}

static void link_up(struct link *link)
{
    struct cache *cache = link->cache;
    link->is_up = true;
    if (link->is_subscriber)
        redisAsyncCommand(link->redis, on_message, cache, "SUBSCRIBE %s", cache->channel);
}

void cache_subscribe_wakes(struct cache *cache, void (*woken)(void *data, struct str topic),
                           void *data)
{
    must(cache->woken == NULL);
    cache->woken = woken;
    cache->woken_data = data;
    if (cache->port >= 0)
        timer_arm_in(cache->loop, &cache->subscriber.timer, 0);
}

static void rate_answer(struct rate_call *call, bool is_ok, int64_t total)
{
    timer_disarm(&call->patience);
    if (call->done != NULL)
        call->done(call->data, is_ok, total);
    call->done = NULL; /* the reply may still come, after the patience has ended */
}

static void rate_patience_ended(struct timer *timer)
{
    rate_answer(timer->data, false, 0);
}

static void rate_replied(redisAsyncContext *redis, void *reply_data, void *data)
{
    const redisReply *reply = reply_data;
    struct link *link = redis->data;
    link->asked_count--;
    bool is_ok = reply != NULL && reply->type == REDIS_REPLY_INTEGER;
    rate_answer(data, is_ok, is_ok ? reply->integer : 0);
    free(data);
}

void cache_rate_add(struct cache *cache, const struct cache_rate *rate,
                    void (*done)(void *data, bool is_ok, int64_t total), void *data)
{
    struct link *link = &cache->commands;
    if (!link->is_up) {
        done(data, false, 0);
        return;
    }
    struct rate_call *call = calloc(1, sizeof(*call));
    must(call != NULL);
    *call = (struct rate_call){.done = done, .data = data};
    call->patience = (struct timer){.fire = rate_patience_ended, .data = call};
    if (redisAsyncCommand(link->redis, rate_replied, call, "INCRBY uc:{rate}:%s %lld", rate->bucket,
                          (long long)rate->count) != REDIS_OK) {
        free(call);
        done(data, false, 0);
        return;
    }
    timer_arm_in(cache->loop, &call->patience, CACHE_PATIENCE_MS);
    link->asked_count++;
    if (redisAsyncCommand(link->redis, answered, NULL, "EXPIRE uc:{rate}:%s %lld", rate->bucket,
                          (long long)rate->window_s) == REDIS_OK)
        link->asked_count++;
}
