/* benchmark.h - B, what offers begin at, and what is usual, as the leader knows them.
 *
 * one thread: the leader's, but for benchmarks_store(), which is settlement's. Settlement reckons
 * medians into the table `benchmarks` each minute, the leader reads them as often. A lot's B never
 * comes from that lot's own prices: either its own row, over all other lots of the class, or, where
 * it set no price lately, the row of the whole class; too few prices there, and it is the
 * catalogue's (auction/policy.h).
 */
#ifndef UNDERCUT_MARKET_BENCHMARK_H
#define UNDERCUT_MARKET_BENCHMARK_H

#include "broker/io/sql.h"
#include "broker/market/supply.h"

#define LOT_KEY_SIZE 128

struct lot_benchmark {
    char key[LOT_KEY_SIZE + 64]; /* class|s or r|lot */
    int64_t median_uusd_per_device_hour;
    int64_t prices_count;
};

struct lot_benchmarks { /* ascending by key */
    struct lot_benchmark *at;
    size_t count;
};

/* Reckons the medians of the last 24 hours and stores them, in the open transaction. */
MUST_USE enum err_code benchmarks_store(struct session *session, const char *market);

/* Reads them anew; on an error what was read before stays. */
MUST_USE enum err_code benchmarks_load(struct session *session, const char *market,
                                       struct lot_benchmarks *benchmarks);
void benchmarks_finish(struct lot_benchmarks *benchmarks);

/* Per block-hour of `devices`; `lot_key` is "" for a workload that is cleared by itself. */
int64_t benchmark_of_lot(const struct lot_benchmarks *benchmarks, const struct supply_pool *pool,
                         const char *lot_key, uint32_t devices);
/* The median itself, or the catalogue's price: what an hour is worth where adders are reckoned. It
 * moves with settled hours alone, so an order that never settles one changes no later score. */
int64_t usual_of_lot(const struct lot_benchmarks *benchmarks, const struct supply_pool *pool,
                     const char *lot_key, uint32_t devices);

#endif
