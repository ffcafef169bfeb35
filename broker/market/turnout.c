#include "broker/market/turnout.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/must.h"

static void pool_key_format(const struct supply_pool *pool, char key[LOT_KEY_SIZE])
{
    must(str_format(key, LOT_KEY_SIZE, "%.*s/%.*s/%.*s/%s", STR_ARG(pool->region),
                    STR_ARG(pool->class), STR_ARG(pool->trust), pool->is_spot ? "spot" : "higher"));
}

static int key_order(const void *a, const void *b)
{
    return strcmp(((const struct turnout_row *)a)->key, ((const struct turnout_row *)b)->key);
}

static void lots_count(const struct supply *supply, const struct round_clearing *clearing,
                       struct turnout_row *rows)
{
    for (uint32_t i = 0; i < clearing->lots_count; i++) {
        const struct round_lot *lot = &clearing->lots[i];
        struct turnout_row *row = &rows[lot->pool - supply->pools];
        uint32_t size = block_size_index(lot->devices_count);
        row->sold[size] += lot->outcome.awards_count;
        row->unmet[size] -= lot->outcome.awards_count;
        for (uint32_t j = 0; j < lot->demands_count; j++)
            row->unmet[size] += lot->demands[j].k;
    }
}

static void lotless_count(const struct supply *supply, const struct demands *demands,
                          struct turnout_row *rows)
{
    for (uint32_t i = 0; i < demands->count; i++) {
        const struct demand *demand = &demands->at[i];
        for (uint32_t j = 0; demand->pool == NULL && j < supply->pools_count; j++)
            if (demand_accepts(demand, &supply->pools[j]))
                rows[j].unmet[block_size_index(demand->block_size)] += demand->k;
    }
}

void turnout_take(const struct supply *supply, const struct demands *demands,
                  const struct round_clearing *clearing, struct turnout *ret_turnout)
{
    size_t count = supply->pools_count;
    struct turnout_row *rows = calloc(count ? count : 1, sizeof(*rows));
    must(rows != NULL);
    for (size_t i = 0; i < count; i++) {
        pool_key_format(&supply->pools[i], rows[i].key);
        for (uint32_t size = 0; size < BLOCK_SIZES; size++)
            rows[i].supply[size] = supply->pools[i].blocks_count[size];
    }
    lots_count(supply, clearing, rows);
    lotless_count(supply, demands, rows);
    qsort(rows, count, sizeof(*rows), key_order);
    *ret_turnout = (struct turnout){.at = rows, .count = count};
}

const struct turnout_row *turnout_of(const struct turnout *turnout, const struct supply_pool *pool)
{
    struct turnout_row sought;
    if (turnout == NULL || turnout->count == 0)
        return NULL;
    pool_key_format(pool, sought.key);
    return bsearch(&sought, turnout->at, turnout->count, sizeof(sought), key_order);
}

void turnout_finish(struct turnout *turnout)
{
    free(turnout->at);
    *turnout = (struct turnout){.count = 0};
}
