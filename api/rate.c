#include "api/rate.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/clock.h"
#include "broker/base/hash.h"
#include "broker/io/cache.h"

#define RATE_SETS             8192 /* a power of two */
#define RATE_WAYS             4
#define RATE_LOCKS            64
#define RATE_JOINS_PER_WINDOW 50 /* how often a busy bucket asks Redis, at most */

struct rate_slot {
    uint64_t key;   /* 0: empty */
    int64_t window; /* which minute the counts are of */
    int64_t used;   /* here, or everywhere as far as we know */
    int64_t unsent; /* of those, not yet told to Redis */
};

struct rate {
    pthread_mutex_t locks[RATE_LOCKS];
    struct rate_slot sets[RATE_SETS][RATE_WAYS];
};

struct rate_join { /* one question to Redis under way */
    struct rate *rate;
    uint64_t key;
    int64_t window;
};

struct rate *rate_create(void)
{
    struct rate *rate = calloc(1, sizeof(*rate));
    must(rate != NULL);
    for (int i = 0; i < RATE_LOCKS; i++)
        must(pthread_mutex_init(&rate->locks[i], NULL) == 0);
    return rate;
}

void rate_destroy(struct rate *rate)
{
    for (int i = 0; rate != NULL && i < RATE_LOCKS; i++)
        pthread_mutex_destroy(&rate->locks[i]);
    free(rate);
}

static pthread_mutex_t *lock_of(struct rate *rate, uint64_t key)
{
    return &rate->locks[key % RATE_LOCKS];
}

static struct rate_slot *slot_find(struct rate *rate, uint64_t key)
{
    struct rate_slot *set = rate->sets[key % RATE_SETS];
    for (int i = 0; i < RATE_WAYS; i++) {
        if (set[i].key == key)
            return &set[i];
    }
    return NULL;
}

/* The bucket's slot, in this window; the stalest, then least used one of its set gives way. */
static struct rate_slot *slot_take(struct rate *rate, uint64_t key, int64_t window)
{
    struct rate_slot *set = rate->sets[key % RATE_SETS], *slot = slot_find(rate, key);
    if (slot == NULL) {
        slot = &set[0];
        for (int i = 1; i < RATE_WAYS; i++) {
            bool is_staler = set[i].window < slot->window;
            bool is_less_used = set[i].window == slot->window && set[i].used < slot->used;
            if (is_staler || is_less_used)
                slot = &set[i];
        }
        *slot = (struct rate_slot){.key = key};
    }
    if (slot->window != window)
        *slot = (struct rate_slot){.key = key, .window = window};
    return slot;
}

static void slot_add(struct rate_slot *slot, int64_t cost)
{
    slot->used += cost;
    slot->unsent += cost;
}

static void joined(void *data, bool is_ok, int64_t total)
{
    struct rate_join *join = data;
    pthread_mutex_lock(lock_of(join->rate, join->key));
    struct rate_slot *slot = slot_find(join->rate, join->key);
    if (is_ok && slot != NULL && slot->window == join->window && total + slot->unsent > slot->used)
        slot->used = total + slot->unsent;
    pthread_mutex_unlock(lock_of(join->rate, join->key));
    free(join);
}

static void join_redis(struct rate *rate, struct cache *cache, struct rate_join question,
                       int64_t count)
{
    char name[64];
    struct rate_join *join = malloc(sizeof(*join));
    must(join != NULL);
    *join = question;
    join->rate = rate;
    str_format(name, sizeof(name), "%016llx:%lld", (unsigned long long)question.key,
               (long long)question.window);
    struct cache_rate added = {.bucket = name, .window_s = 2 * RATE_WINDOW_S, .count = count};
    cache_rate_add(cache, &added, joined, join);
}

/* The last half of an id is random: as good as a hash, and free. */
struct rate_bucket rate_bucket_of_account(struct account_id id)
{
    struct rate_bucket bucket;
    memcpy(&bucket.key, id.u.bytes + 8, sizeof(bucket.key));
    return bucket;
}

/* A client chooses its address, so that only a good hash keeps it out of others' buckets. Of IPv6
 * it has 2^64 to choose from, so that the network counts. */
struct rate_bucket rate_bucket_of_address(struct str address)
{
    struct rate_bucket bucket;
    struct in6_addr ipv6;
    char text[INET6_ADDRSTRLEN];
    bool is_ipv6 = str_format(text, sizeof(text), "%.*s", STR_ARG(address)) &&
                   inet_pton(AF_INET6, text, &ipv6) == 1 && !IN6_IS_ADDR_V4MAPPED(&ipv6);
    struct sha256 hash =
        is_ipv6 ? sha256_of(&ipv6, sizeof(ipv6) / 2) : sha256_of(address.at, address.len);
    memcpy(&bucket.key, hash.bytes, sizeof(bucket.key));
    return bucket;
}

struct rate_state rate_take(struct rate *rate, struct cache *cache, struct rate_bucket bucket,
                            int64_t limit, int64_t cost)
{
    int64_t now_s = clock_now_us() / 1000000;
    struct rate_join question = {.key = bucket.key != 0 ? bucket.key : 1,
                                 .window = now_s / RATE_WINDOW_S};
    int64_t to_send = 0;
    pthread_mutex_lock(lock_of(rate, question.key));
    struct rate_slot *slot = slot_take(rate, question.key, question.window);
    bool is_over = slot->used + (cost > 0 ? cost : 1) > limit;
    if (!is_over)
        slot_add(slot, cost);
    int64_t used = slot->used;
    if (cache != NULL && slot->unsent > limit / RATE_JOINS_PER_WINDOW && cache_is_up(cache)) {
        to_send = slot->unsent;
        slot->unsent = 0;
    }
    pthread_mutex_unlock(lock_of(rate, question.key));
    if (to_send > 0)
        join_redis(rate, cache, question, to_send);
    return (struct rate_state){
        .limit = limit,
        .remaining = used < limit ? limit - used : 0,
        .reset_s = RATE_WINDOW_S - now_s % RATE_WINDOW_S,
        .is_over = is_over,
    };
}
