/* settle.h - each interval: what leases owe is posted, exactly once, and escrow is filled up again.
 *
 * A thread of its own with an office of its own ("<market>/settle"), so that the market never waits
 * for money. settle_start/stop from the owner's thread, settle_metrics from any. What a lease owes
 * is reckoned from its start (billing/meter.h; the SQL does the same), so it does not matter how
 * often, how late or by whom it is settled; the row in `ticks` makes each interval happen once.
 * Ticks and top-ups are transactions of their own; a top-up follows each tick, and comes each
 * minute of a longer interval. Every minute journals that are final are sealed (ledger_seal.h), and
 * day partitions are made a week ahead.
 */
#ifndef UNDERCUT_MARKET_SETTLE_H
#define UNDERCUT_MARKET_SETTLE_H

#include <stdbool.h>
#include <stdint.h>

struct settle;

#define SETTLE_AHEAD_MS 600000 /* escrow covers what the next ten minutes may cost */

struct settle_config { /* copied; strings must outlive the settler */
    const char *conninfo;
    const char *market;
    const char *holder;
    const char *address;
    int64_t interval_ms; /* 60000 */
    int64_t seal_ms;     /* 60000 */
};

struct settle_figures {
    bool is_in_office;
    int64_t ticks_count, failed_count, leases_count, gross_uusd, seals_count;
    int64_t refused_count; /* leases that owed more than their escrow: must stay 0 */
    int64_t short_count;   /* replicas the last top-up could not fill */
    int64_t tick_us;       /* of the last tick */
};

struct settle *settle_start(const struct settle_config *config);
void settle_stop(struct settle *settle); /* NULL is fine */
void settle_metrics(const struct settle *settle, struct settle_figures *ret_figures);

/* For tests and tools: one turn on the caller's thread. */
struct settle *settle_create(const struct settle_config *config);
void settle_destroy(struct settle *settle);
void settle_turn(struct settle *settle);

#endif
