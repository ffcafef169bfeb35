/* rate.h - how many requests an account, or an address, may still make in this minute.
 *
 * any thread (striped locks); one table per process, joined across processes through Redis when
 * that is up: after every few requests a bucket's count is added there and the total comes back. A
 * fixed window of one minute, because that is what the RateLimit header's `t` means and what adds
 * up across processes. The table is of fixed size: when it is full, the least used bucket of a set
 * makes room.
 */
#ifndef UNDERCUT_API_RATE_H
#define UNDERCUT_API_RATE_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/id.h"
#include "broker/base/str.h"

#define RATE_WINDOW_S 60

struct cache;
struct rate;

struct rate_state {
    int64_t limit;
    int64_t remaining; /* requests left in this window */
    int64_t reset_s;   /* until the next window begins */
    bool is_over;      /* this request is one too many */
};

/* Whose requests are counted together. */
struct rate_bucket {
    uint64_t key;
};

struct rate_bucket rate_bucket_of_account(struct account_id id);
struct rate_bucket rate_bucket_of_address(struct str address);

struct rate *rate_create(void);
void rate_destroy(struct rate *rate);
/* Counts `cost` requests (0 only looks) of the bucket. `cache` may be NULL; it is only used on its
 * own loop's thread. */
struct rate_state rate_take(struct rate *rate, struct cache *cache, struct rate_bucket bucket,
                            int64_t limit, int64_t cost);

#endif
