#include "broker/market/shelf.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/clock.h"
#include "broker/base/must.h"
#include "broker/market/stock.h"
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

struct stock *shelf_take(struct shelf *shelf, const struct supply_query *query)
{
    struct buf key = {0};
    shelf->wanted_mono_ms = clock_mono_ms();
    if (shelf->stock == NULL || clock_mono_ms() - shelf->read_mono_ms >= SHELF_MS)
        return NULL;
    key_make(&key, query);
    bool is_same = str_equal(buf_str(&key), buf_str(&shelf->key));
    buf_finish(&key);
    if (!is_same)
        return NULL;
    stock_retain(shelf->stock);
    return shelf->stock;
}

void shelf_put(struct shelf *shelf, const struct supply_query *query, struct stock *stock)
{
    struct buf old_key = shelf->key; /* the query may be made of it */
    shelf_drop(shelf);
    shelf->key = (struct buf){.len = 0};
    key_make(&shelf->key, query);
    buf_finish(&old_key);
    stock_retain(stock);
    shelf->stock = stock;
    shelf->read_mono_ms = clock_mono_ms();
}

static size_t words_cut(struct str *rest, struct str *ret_words)
{
    struct str words = str_cut(rest, '|');
    size_t count = 0;
    while (words.len > 0 && count < SHELF_PLACES_MAX)
        ret_words[count++] = str_cut(&words, ',');
    return count;
}

bool shelf_wants(const struct shelf *shelf, struct shelf_places *ret_places)
{
    struct str rest = buf_str(&shelf->key);
    if (rest.len == 0 || clock_mono_ms() - shelf->wanted_mono_ms >= SHELF_WANTED_MS)
        return false;
    ret_places->regions_count = words_cut(&rest, ret_places->regions);
    ret_places->classes_count = words_cut(&rest, ret_places->classes);
    return true;
}

void shelf_strike(struct shelf *shelf, const struct uuid *device_ids, size_t count)
{
    if (shelf->stock != NULL)
        stock_strike(shelf->stock, device_ids, count);
}

void shelf_drop(struct shelf *shelf)
{
    stock_release(shelf->stock);
    shelf->stock = NULL;
}

void shelf_finish(struct shelf *shelf)
{
    shelf_drop(shelf);
    buf_finish(&shelf->key);
    *shelf = (struct shelf){.stock = NULL};
}
