#include "broker/market/benchmark.h"

#include <stdlib.h>
#include <string.h>

#include "auction/policy.h"
#include "gen/broker/market/benchmark.sql.h"

static int key_order(const void *a, const void *b)
{
    const struct lot_benchmark *left = a, *right = b;
    return strcmp(left->key, right->key);
}

static void key_format(struct lot_benchmark *benchmark, struct str class, bool is_simulated,
                       struct str lot)
{
    must(str_format(benchmark->key, sizeof(benchmark->key), "%.*s|%c|%.*s", STR_ARG(class),
                    is_simulated ? 's' : 'r', STR_ARG(lot)));
}

enum err_code benchmarks_store(struct session *session, const char *market)
{
    const struct benchmarks_reckon_in in = {.market = str_of(market)};
    return benchmarks_reckon_run(session, &in, NULL);
}

enum err_code benchmarks_load(struct session *session, const char *market,
                              struct lot_benchmarks *benchmarks)
{
    const struct benchmark_list_in in = {.market = str_of(market)};
    struct sql_result *result = NULL;
    enum err_code err = benchmark_list_run(session, &in, &result);
    if (err != ERR_OK)
        return err;
    benchmarks_finish(benchmarks);
    benchmarks->count = (size_t)sql_result_rows(result);
    benchmarks->at = calloc(benchmarks->count + 1, sizeof(*benchmarks->at));
    must(benchmarks->at != NULL);
    for (size_t i = 0; i < benchmarks->count; i++) {
        struct benchmark_list_out row;
        benchmark_list_row(result, (int)i, &row);
        key_format(&benchmarks->at[i], row.class, row.is_simulated, row.lot);
        benchmarks->at[i].median_uusd_per_device_hour = row.median_uusd_per_device_hour;
        benchmarks->at[i].prices_count = row.prices_count;
    }
    qsort(benchmarks->at, benchmarks->count, sizeof(*benchmarks->at), key_order);
    sql_result_release(result);
    return ERR_OK;
}

void benchmarks_finish(struct lot_benchmarks *benchmarks)
{
    free(benchmarks->at);
    *benchmarks = (struct lot_benchmarks){.count = 0};
}

static const struct lot_benchmark *find(const struct lot_benchmarks *benchmarks,
                                        const struct supply_pool *pool, const char *lot_key)
{
    struct lot_benchmark wanted;
    if (benchmarks->count == 0)
        return NULL;
    key_format(&wanted, pool->class, str_equal_c(pool->trust, "simulated"), str_of(lot_key));
    return bsearch(&wanted, benchmarks->at, benchmarks->count, sizeof(wanted), key_order);
}

/* The lot's own row, or that of the whole class; no prices where there is neither. */
static struct lot_benchmark row_of(const struct lot_benchmarks *benchmarks,
                                   const struct supply_pool *pool, const char *lot_key)
{
    const struct lot_benchmark *found = find(benchmarks, pool, lot_key);
    if (found == NULL)
        found = find(benchmarks, pool, "");
    return found != NULL ? *found : (struct lot_benchmark){.prices_count = 0};
}

int64_t benchmark_of_lot(const struct lot_benchmarks *benchmarks, const struct supply_pool *pool,
                         const char *lot_key, uint32_t devices)
{
    const struct lot_benchmark row = row_of(benchmarks, pool, lot_key);
    return devices * benchmark_choose(row.median_uusd_per_device_hour, row.prices_count,
                                      pool->catalogue_uusd_per_hour);
}

int64_t usual_of_lot(const struct lot_benchmarks *benchmarks, const struct supply_pool *pool,
                     const char *lot_key, uint32_t devices)
{
    const struct lot_benchmark row = row_of(benchmarks, pool, lot_key);
    return devices * (row.prices_count < BENCHMARK_PRICES_MIN ? pool->catalogue_uusd_per_hour
                                                              : row.median_uusd_per_device_hour);
}
