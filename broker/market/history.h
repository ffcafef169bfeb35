/* history.h - rolls up what the market was: rounds into candles, leases into hours, ladders into
 * depth.
 *
 * A thread of its own with an office of its own ("<market>/history"), behind the leader and never
 * in its way. history_start/stop from the owner's thread, history_metrics from any. Rounds are
 * committed in order, so a mark says what is folded, and it moves in the same transaction; what
 * became of leases is taken out of a queue (lot_facts) in the transaction that adds it. So each
 * round and each lease counts exactly once, whoever dies when. It lags by about a second.
 */
#ifndef UNDERCUT_MARKET_HISTORY_H
#define UNDERCUT_MARKET_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

struct history;

struct history_config { /* copied; strings must outlive the thread */
    const char *conninfo;
    const char *market;
    const char *holder;
    const char *address;
    int64_t every_ms;      /* 1000: time between turns */
    int64_t seconds_ms;    /* how long candles of a second and idle lot-rounds are kept */
    int64_t minutes_ms;    /* how long candles of a minute are kept */
    int64_t sample_ms;     /* 10000: between two looks at ladders and at what is on offer */
    int64_t sealed_age_ms; /* samples are shown when they are as old as this */
};

struct history_figures {
    bool is_in_office;
    int64_t last_round; /* folded so far */
    int64_t lot_rounds_count, facts_count, depths_count, pruned_count, failed_count;
    int64_t turn_us; /* of the last turn */
};

struct history *history_start(const struct history_config *config);
void history_stop(struct history *history); /* NULL is fine */
void history_metrics(const struct history *history, struct history_figures *ret_figures);

/* For tests and tools: one turn on the caller's thread. */
struct history *history_create(const struct history_config *config);
void history_destroy(struct history *history);
void history_turn(struct history *history);

#endif
