/* leader.h - the market's leader: one thread that decides alone, persists in one transaction, then
 * publishes. Any number of processes may run one; the epoch row lets one work.
 *
 * leader_start() and leader_stop() from the owner's thread; leader_metrics() from any. Each second,
 * if there is something to do: freeze (a transaction), load, clear, commit (another), wake whom it
 * concerns; then the head of the log is signed, then the sweep. Without arrivals and waiting
 * replicas a second costs two updates and one read, and no round is spent. A wake-up
 * "market:now:..." clears what wants an award now at once: all that is queued, in one transaction.
 * Skipped seconds are never caught up. Crash or failure between freeze and commit: the round is
 * void; its inputs stand in the next.
 */
#ifndef UNDERCUT_MARKET_LEADER_H
#define UNDERCUT_MARKET_LEADER_H

#include <stdbool.h>
#include <stdint.h>

#include "auction/tier.h"
#include "broker/base/hash.h"
#include "broker/base/seal.h"

struct db_errand;
struct hub;
struct leader;

struct leader_config { /* copied; its strings and hub must outlive the leader */
    const char *conninfo;
    const char *market;
    const char *holder;  /* unique per process and start */
    const char *address; /* where other processes reach this one */
    struct hub *hub;     /* NULL: nobody is woken, and nothing wakes. The leader starts before the
                            hub carries traffic and stops after it. */
    struct seal_key seal_key;
    struct ed25519_public signing_key;    /* published in markets */
    struct ed25519_secret signing_secret; /* its other half: signs the head of the log */
    int64_t round_ms;                     /* 1000 */
    int64_t ack_timeout_ms;               /* 3000 */
    int64_t node_unknown_ms;              /* 10000 */
    int64_t node_lost_ms;                 /* 60000 */
    int32_t node_freeze_pct;              /* 30 */
    int64_t start_timeout_ms;             /* 900000 */
    int64_t direct_window_rounds;         /* 2: how long nodes that bid have before a clearing */
    int64_t final_receipt_ms; /* 15000: how long a cut lease waits for its last receipt */
    struct tier_times tiers;  /* notices 30 s and 10 min, tenure 60 s */
    uint32_t fee_bp;          /* of the head of the record; workloads carry their own */
};

struct leader_figures {
    bool is_in_office;
    int64_t epoch, last_round;
    int64_t rounds_count, now_rounds_count, void_count, failed_count;
    int64_t awards_count, refused_count;
    int64_t closed_count;                                      /* leases the sweep closed */
    int64_t demands_count, lots_count;                         /* of the last round */
    int64_t freeze_us, load_us, clear_us, store_us, commit_us; /* of the last round */
    int64_t sweep_us;                                          /* of the last sweep */
    bool is_frozen; /* the sweep does not trust its own silence */
};

struct leader *leader_start(const struct leader_config *config);
void leader_stop(struct leader *leader); /* resigns; NULL is fine */
void leader_metrics(const struct leader *leader, struct leader_figures *ret_figures);

/* Any thread, as db_lend() wants it: postings that shall be awarded at once, to be stored by the
 * round that awards them. False: not now. */
bool leader_take(void *leader, struct db_errand *postings);

/* For tests and tools: one turn on the caller's thread, without a thread of its own. */
struct leader *leader_create(const struct leader_config *config);
void leader_destroy(struct leader *leader);
void leader_turn(struct leader *leader);     /* what a second does: office, round, sweep */
void leader_turn_now(struct leader *leader); /* what a wake-up does */
/* Freezes a round and does not complete it, as a crash would leave it. */
bool leader_freeze_only(struct leader *leader);

#endif
