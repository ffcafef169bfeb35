/* The happy path is: rows come ordered by pool and node, so one pass makes pools, nodes and
 * devices; cutting then makes blocks, largest size first, halving what is left over for smaller
 * wishes. Failure modes are: a database error, which leaves nothing to finish.
 */
#include "broker/market/supply.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/must.h"
#include "broker/market/shelf.h"
#include "gen/broker/market/supply.sql.h"

uint32_t block_size_index(uint32_t devices)
{
    must(devices == 1 || devices == 2 || devices == 4 || devices == 8);
    return (uint32_t)__builtin_ctz(devices);
}

int trust_rank(struct str trust)
{
    static const char *const names[] = {"simulated", "unverified", "verified", "attested"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (str_equal_c(trust, names[i]))
            return (int)i;
    return -1;
}

static void *array_of(size_t count, size_t size)
{
    void *array = calloc(count ? count : 1, size);
    must(array != NULL);
    return array;
}

static bool is_same_pool(const struct supply_pool *pool, const struct supply_load_out *row)
{
    return str_equal(pool->region, row->region) && str_equal(pool->class, row->class) &&
           str_equal(pool->trust, row->trust);
}

static struct supply_pool *pool_of(struct supply *supply, const struct supply_load_out *row,
                                   uint32_t nodes_count)
{
    if (supply->pools_count > 0 && is_same_pool(&supply->pools[supply->pools_count - 1], row))
        return &supply->pools[supply->pools_count - 1];
    struct supply_pool *pool = &supply->pools[supply->pools_count++];
    *pool = (struct supply_pool){
        .region = row->region,
        .class = row->class,
        .trust = row->trust,
        .catalogue_uusd_per_hour = row->catalogue_uusd_per_hour,
        .node_first = nodes_count,
    };
    return pool;
}

static void node_take(struct supply_node *node, const struct supply_load_out *row,
                      uint32_t device_first)
{
    *node = (struct supply_node){
        .node_id = row->node_id,
        .account_id = row->account_id,
        .history = {.failures_milli = row->failures_milli,
                    .observed_ms = row->observed_ms,
                    .day = row->history_day},
        .ask_uusd_per_device_hour = row->price_uusd_per_device_hour,
        .spot_multiplier_bp = row->spot_multiplier_bp,
        .guaranteed_multiplier_bp = row->guaranteed_multiplier_bp,
        .device_first = device_first,
    };
}

static enum err_code rows_read(struct session *session, const struct supply_query *query,
                               struct sql_result **ret_rows)
{
    const struct supply_load_in in = {
        .market = str_of(query->market),
        .regions = query->regions,
        .regions_count = query->regions_count,
        .classes = query->classes,
        .classes_count = query->classes_count,
        .round = query->round,
    };
    enum err_code err = supply_load_run(session, &in, ret_rows);
    if (err == ERR_OK && query->shelf != NULL)
        shelf_put(query->shelf, query, *ret_rows);
    return err;
}

static void device_take(struct supply *supply, const struct supply_load_out *row,
                        uint32_t *nodes_count, uint32_t *devices_count)
{
    struct supply_pool *pool = pool_of(supply, row, *nodes_count);
    bool is_new = pool->nodes_count == 0 ||
                  !uuid_equal(supply->nodes[*nodes_count - 1].node_id, row->node_id);
    if (is_new) {
        node_take(&supply->nodes[(*nodes_count)++], row, *devices_count);
        pool->nodes_count++;
    }
    supply->nodes[*nodes_count - 1].devices_count++;
    supply->devices[(*devices_count)++] =
        (struct supply_device){.device_id = row->device_id, .is_simulated = row->is_simulated};
}

enum err_code supply_load(struct session *session, const struct supply_query *query,
                          struct supply *ret_supply)
{
    struct sql_result *rows = query->shelf != NULL ? shelf_rows(query->shelf, query) : NULL;
    bool is_from_shelf = rows != NULL;
    enum err_code err = is_from_shelf ? ERR_OK : rows_read(session, query, &rows);
    if (err != ERR_OK)
        return err;
    int count = sql_result_rows(rows);
    *ret_supply = (struct supply){
        .rows = rows,
        .pools = array_of((size_t)count, sizeof(struct supply_pool)),
        .nodes = array_of((size_t)count, sizeof(struct supply_node)),
        .devices = array_of((size_t)count, sizeof(struct supply_device)),
        .is_from_shelf = is_from_shelf,
    };
    uint32_t nodes_count = 0, devices_count = 0;
    for (int i = 0; i < count; i++) {
        struct supply_load_out row;
        supply_load_row(rows, i, &row);
        if (!is_from_shelf || !shelf_is_sold(query->shelf, &row.device_id))
            device_take(ret_supply, &row, &nodes_count, &devices_count);
    }
    return ERR_OK;
}

static int block_order(const void *a, const void *b)
{
    const struct supply_block *left = a, *right = b;
    return strcmp(left->id, right->id);
}

static void block_add(struct supply_pool *pool, const struct supply_node *node,
                      const struct supply_device *devices, uint32_t size)
{
    struct supply_block *block = &pool->blocks[size][pool->blocks_count[size]++];
    *block = (struct supply_block){.node = node, .devices = devices, .devices_count = 1u << size};
    uuid_text(devices[0].device_id, block->id);
}

static void blocks_sort(struct supply_pool *pool, uint32_t size)
{
    qsort(pool->blocks[size], pool->blocks_count[size], sizeof(struct supply_block), block_order);
}

/* A block of 2^size devices can come to be from as many free devices at most. */
static void pool_make_room(const struct supply *supply, struct supply_pool *pool)
{
    uint32_t devices_count = 0;
    for (uint32_t i = 0; i < pool->nodes_count; i++)
        devices_count += supply->nodes[pool->node_first + i].devices_count;
    for (uint32_t size = 0; size < BLOCK_SIZES; size++)
        pool->blocks[size] = array_of(devices_count >> size, sizeof(struct supply_block));
}

static void node_cut(const struct supply *supply, struct supply_pool *pool,
                     const struct supply_node *node)
{
    const struct supply_device *at = &supply->devices[node->device_first];
    uint32_t left = node->devices_count;
    for (uint32_t size = BLOCK_SIZES; size-- > 0;) {
        for (; left >= 1u << size; left -= 1u << size) {
            block_add(pool, node, at, size);
            at += 1u << size;
        }
    }
}

/* How many blocks of 2^size devices to halve: of what its own size leaves over, the share that
 * smaller wishes have of all that is wanted; all of it when nobody wants this size. */
static uint32_t halves_for(const struct supply_pool *pool, uint32_t size)
{
    int64_t left_over = pool->blocks_count[size] - pool->wanted[size];
    int64_t wanted_smaller = 0;
    for (uint32_t i = 0; i < size; i++)
        wanted_smaller += pool->wanted[i] << i;
    int64_t wanted_all = wanted_smaller + (pool->wanted[size] << size);
    if (left_over <= 0 || wanted_smaller <= 0)
        return 0;
    return (uint32_t)((left_over * wanted_smaller + wanted_all - 1) / wanted_all);
}

static void pool_cut(const struct supply *supply, struct supply_pool *pool)
{
    pool_make_room(supply, pool);
    for (uint32_t i = 0; i < pool->nodes_count; i++)
        node_cut(supply, pool, &supply->nodes[pool->node_first + i]);
    for (uint32_t size = BLOCK_SIZES; size-- > 0;) {
        blocks_sort(pool, size);
        uint32_t halves = size > 0 ? halves_for(pool, size) : 0;
        for (uint32_t i = 0; i < halves; i++) {
            const struct supply_block *block = &pool->blocks[size][i];
            block_add(pool, block->node, block->devices, size - 1);
            block_add(pool, block->node, block->devices + block->devices_count / 2, size - 1);
        }
        pool->blocks_count[size] -= halves;
        memmove(pool->blocks[size], pool->blocks[size] + halves,
                pool->blocks_count[size] * sizeof(struct supply_block));
    }
}

void supply_cut(struct supply *supply)
{
    for (uint32_t i = 0; i < supply->pools_count; i++)
        pool_cut(supply, &supply->pools[i]);
}

void supply_finish(struct supply *supply)
{
    for (uint32_t i = 0; i < supply->pools_count; i++)
        for (uint32_t size = 0; size < BLOCK_SIZES; size++)
            free(supply->pools[i].blocks[size]);
    free(supply->pools);
    free(supply->nodes);
    free(supply->devices);
    sql_result_release(supply->rows);
    *supply = (struct supply){.pools_count = 0};
}
