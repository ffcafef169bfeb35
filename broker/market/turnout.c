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

static void demand_left(const struct supply *supply, const struct demand *demand, int64_t left,
                        struct turnout_row *rows)
{
    uint32_t size = block_size_index(demand->block_size);
    if (demand->pool != NULL)
        rows[demand->pool - supply->pools].unmet[size] += left;
    for (uint32_t i = 0; demand->pool == NULL && left > 0 && i < supply->pools_count; i++)
        if (demand_accepts(demand, &supply->pools[i]))
            rows[i].unmet[size] += left;
}

static void clearing_count(const struct supply *supply, const struct demands *demands,
                           const struct round_clearing *clearing, struct turnout_row *rows)
{
    uint32_t *got = calloc(demands->count ? demands->count : 1, sizeof(*got));
    must(got != NULL);
    for (uint32_t i = 0; i < clearing->awards_count; i++) {
        const struct round_award *award = &clearing->awards[i];
        struct turnout_row *row = &rows[award->pool - supply->pools];
        row->sold[block_size_index(award->block->devices_count)]++;
        got[award->demand - demands->at]++;
    }
    for (uint32_t i = 0; i < demands->count; i++)
        demand_left(supply, &demands->at[i], (int64_t)demands->at[i].k - got[i], rows);
    free(got);
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
    clearing_count(supply, demands, clearing, rows);
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
