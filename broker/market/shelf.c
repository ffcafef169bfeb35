#include "broker/market/shelf.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/clock.h"
#include "broker/base/must.h"
#include "broker/io/sql.h"
#include "broker/market/supply.h"

static void key_add(struct buf *key, const struct str *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        buf_add_str(key, words[i]);
        buf_add_c(key, ",");
    }
    buf_add_c(key, "|");
}

static void key_make(struct buf *key, const struct supply_query *query)
{
    key->len = 0;
    key_add(key, query->regions, query->regions_count);
    key_add(key, query->classes, query->classes_count);
}

struct sql_result *shelf_rows(struct shelf *shelf, const struct supply_query *query)
{
    struct buf key = {0};
    if (shelf->rows == NULL || clock_mono_ms() - shelf->read_mono_ms >= SHELF_MS)
        return NULL;
    key_make(&key, query);
    bool is_same = str_equal(buf_str(&key), buf_str(&shelf->key));
    buf_finish(&key);
    if (!is_same)
        return NULL;
    sql_result_retain(shelf->rows);
    return shelf->rows;
}

void shelf_put(struct shelf *shelf, const struct supply_query *query, struct sql_result *rows)
{
    shelf_drop(shelf);
    key_make(&shelf->key, query);
    sql_result_retain(rows);
    shelf->rows = rows;
    shelf->read_mono_ms = clock_mono_ms();
}

static int uuid_order(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct uuid));
}

void shelf_strike(struct shelf *shelf, const struct uuid *device_ids, size_t count)
{
    if (shelf->rows == NULL || count == 0)
        return;
    if (shelf->sold_count + count > shelf->sold_max) {
        shelf->sold_max = (shelf->sold_count + count) * 2;
        shelf->sold = realloc(shelf->sold, shelf->sold_max * sizeof(*shelf->sold));
        must(shelf->sold != NULL);
    }
    memcpy(shelf->sold + shelf->sold_count, device_ids, count * sizeof(*device_ids));
    shelf->sold_count += count;
    qsort(shelf->sold, shelf->sold_count, sizeof(*shelf->sold), uuid_order);
}

bool shelf_is_sold(const struct shelf *shelf, const struct uuid *device_id)
{
    return shelf->sold_count > 0 && bsearch(device_id, shelf->sold, shelf->sold_count,
                                            sizeof(*device_id), uuid_order) != NULL;
}

void shelf_drop(struct shelf *shelf)
{
    sql_result_release(shelf->rows);
    shelf->rows = NULL;
    shelf->sold_count = 0;
}

void shelf_finish(struct shelf *shelf)
{
    shelf_drop(shelf);
    free(shelf->sold);
    buf_finish(&shelf->key);
    *shelf = (struct shelf){.rows = NULL};
}
