#include "broker/market/stock.h"

#include <stdlib.h>

#include "broker/base/must.h"

static void *array_of(size_t count, size_t size)
{
    void *array = calloc(count ? count : 1, size);
    must(array != NULL);
    return array;
}

/* Rows come ordered by pool and node, so that each begins where its neighbour is another. */
static void row_count(struct stock *stock, uint32_t at)
{
    const struct stock_load_out *row = &stock->rows[at], *last = at > 0 ? row - 1 : NULL;
    bool is_new_pool = last == NULL || !str_equal(row->region, last->region) ||
                       !str_equal(row->class, last->class) || !str_equal(row->trust, last->trust);
    stock->pools_count += is_new_pool;
    stock->nodes_count += is_new_pool || !uuid_equal(row->node_id, last->node_id);
    stock->bids_count += row->has_bid_workload_id;
}

static struct stock *stock_of(struct sql_result *result)
{
    struct stock *stock = array_of(1, sizeof(*stock));
    uint32_t count = (uint32_t)sql_result_rows(result);
    *stock = (struct stock){.result = result,
                            .rows = array_of(count, sizeof(*stock->rows)),
                            .is_struck = array_of(count, sizeof(bool)),
                            .count = count,
                            .references = 1};
    for (uint32_t i = 0; i < count; i++) {
        stock_load_row(result, (int)i, &stock->rows[i]);
        row_count(stock, i);
    }
    return stock;
}

enum err_code stock_read(struct session *session, const struct stock_load_in *in,
                         struct stock **ret_stock)
{
    struct sql_result *result = NULL;
    enum err_code err = stock_load_run(session, in, &result);
    if (err == ERR_OK)
        *ret_stock = stock_of(result);
    return err;
}

void stock_retain(struct stock *stock)
{
    stock->references++;
}

void stock_release(struct stock *stock)
{
    if (stock == NULL || --stock->references > 0)
        return;
    sql_result_release(stock->result);
    free(stock->rows);
    free(stock->is_struck);
    free(stock);
}

void stock_strike(struct stock *stock, const struct uuid *device_ids, size_t count)
{
    for (uint32_t i = 0; i < stock->count; i++)
        for (size_t j = 0; j < count && !stock->is_struck[i]; j++)
            stock->is_struck[i] = uuid_equal(stock->rows[i].device_id, device_ids[j]);
}
