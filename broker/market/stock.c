/* The happy path is: look who changed, drop the entries of those nodes, read them anew and merge
 * them in; asks are changed in place, so that entries can point to them.
 * Failure modes are: a database error, after which nothing is known.
 */
#include "broker/market/stock.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/clock.h"
#include "broker/base/must.h"
#include "broker/market/office.h"
#include "gen/broker/market/stock.sql.h"

#define KEPT_MS 60000 /* changes, at least */

static void *array_of(size_t count, size_t size)
{
    void *array = calloc(count ? count : 1, size);
    must(array != NULL);
    return array;
}

/* ---- words: there are a few dozen ---- */

static struct str word_of(struct stock *stock, struct str word)
{
    for (size_t i = 0; i < stock->words_count; i++)
        if (str_equal_c(word, stock->words[i]))
            return str_of(stock->words[i]);
    stock->words = realloc(stock->words, (stock->words_count + 1) * sizeof(*stock->words));
    must(stock->words != NULL);
    char *copy = strndup(word.at, word.len);
    must(copy != NULL);
    stock->words[stock->words_count++] = copy;
    return str_of(copy);
}

/* ---- asks ---- */

static int ask_order(const void *a, const void *b)
{
    const struct stock_ask *left = *(struct stock_ask *const *)a;
    const struct stock_ask *right = *(struct stock_ask *const *)b;
    int order = memcmp(&left->account_id, &right->account_id, sizeof(struct uuid));
    if (order == 0)
        order = str_compare(left->region, right->region);
    return order != 0 ? order : str_compare(left->class, right->class);
}

static struct stock_ask *ask_find(const struct stock *stock, const struct stock_ask *like)
{
    struct stock_ask **found =
        bsearch(&like, stock->asks, stock->asks_count, sizeof(*stock->asks), ask_order);
    return found != NULL ? *found : NULL;
}

static const struct stock_ask *ask_of(const struct stock *stock, const struct stock_entry *entry)
{
    return ask_find(stock, &(struct stock_ask){.account_id = entry->account_id,
                                               .region = entry->region,
                                               .class = entry->class});
}

/* Those that stand already are changed where they are; says how many were not known. */
static size_t asks_take(struct stock *stock, const struct sql_result *rows)
{
    size_t count = (size_t)sql_result_rows(rows), fresh_count = 0;
    stock->asks = realloc(stock->asks, (stock->asks_count + count + 1) * sizeof(*stock->asks));
    must(stock->asks != NULL);
    for (size_t i = 0; i < count; i++) {
        struct stock_asks_out row;
        stock_asks_row(rows, (int)i, &row);
        struct stock_ask ask = {
            .account_id = row.owner_id,
            .region = word_of(stock, row.region),
            .class = word_of(stock, row.class),
            .price_uusd_per_device_hour = row.price_uusd_per_device_hour,
            .spot_multiplier_bp = row.spot_multiplier_bp,
            .guaranteed_multiplier_bp = row.guaranteed_multiplier_bp,
            .tier_mask = row.tier_mask,
            .arrived_round = row.arrived_round,
            .is_withdrawn = row.is_withdrawn,
        };
        struct stock_ask *known = ask_find(stock, &ask);
        if (known == NULL) {
            known = array_of(1, sizeof(*known));
            stock->asks[stock->asks_count + fresh_count++] = known;
        }
        *known = ask;
    }
    stock->asks_count += fresh_count;
    if (fresh_count > 0)
        qsort(stock->asks, stock->asks_count, sizeof(*stock->asks), ask_order);
    return fresh_count;
}

/* ---- entries ---- */

static int entry_order(const void *a, const void *b)
{
    const struct stock_entry *left = *(struct stock_entry *const *)a;
    const struct stock_entry *right = *(struct stock_entry *const *)b;
    int order = str_compare(left->region, right->region);
    if (order == 0)
        order = str_compare(left->class, right->class);
    if (order == 0)
        order = str_compare(left->trust, right->trust);
    return order != 0 ? order : memcmp(&left->node_id, &right->node_id, sizeof(struct uuid));
}

static struct stock_device device_of(const struct stock_nodes_out *row)
{
    struct stock_device device = {
        .device_id = row->device_id,
        .is_simulated = row->is_simulated,
        .holder_running_at_us = row->has_holder_running_at ? row->holder_running_at_us : 0,
        .holder_is_preempted = row->holder_is_preempted,
        .holder_reserve_uusd_per_hour = row->holder_reserve_uusd_per_hour,
        .holder_fee_bp = row->holder_fee_bp,
        .holder_block_size = row->holder_block_size,
    };
    if (row->has_holder_id)
        device.holder_id = row->holder_id;
    if (row->has_bid_id)
        device.bid_id = row->bid_id;
    if (row->has_bid_workload_id) {
        device.bid_workload_id = row->bid_workload_id;
        device.bid_uusd_per_hour = row->bid_uusd_per_hour;
        device.bid_arrived_round = row->bid_arrived_round;
        device.bid_expires_at_us = row->bid_expires_at_us;
    }
    return device;
}

/* The rows from `first` that are of the same node and class. */
static int rows_alike(const struct sql_result *rows, int first, const struct stock_nodes_out *like)
{
    int end = first + 1;
    for (; end < sql_result_rows(rows); end++) {
        struct stock_nodes_out row;
        stock_nodes_row(rows, end, &row);
        if (!uuid_equal(row.node_id, like->node_id) || !str_equal(row.class, like->class))
            break;
    }
    return end - first;
}

static struct stock_entry *entry_make(struct stock *stock, const struct sql_result *rows, int first,
                                      int *ret_count)
{
    struct stock_nodes_out row;
    stock_nodes_row(rows, first, &row);
    *ret_count = rows_alike(rows, first, &row);
    struct stock_entry *entry =
        array_of(1, sizeof(*entry) + (size_t)*ret_count * sizeof(struct stock_device));
    *entry = (struct stock_entry){
        .node_id = row.node_id,
        .account_id = row.account_id,
        .region = word_of(stock, row.region),
        .class = word_of(stock, row.class),
        .trust = word_of(stock, row.trust),
        .catalogue_uusd_per_hour = row.catalogue_uusd_per_hour,
        .suspect_until_us = row.has_suspect_until ? row.suspect_until_us : 0,
        .floor_uusd_per_device_hour =
            row.has_floor_uusd_per_device_hour ? row.floor_uusd_per_device_hour : 0,
        .history = {.failures_milli = row.failures_milli,
                    .observed_ms = row.observed_ms,
                    .day = row.history_day},
        .devices_count = (uint32_t)*ret_count,
    };
    for (int i = 0; i < *ret_count; i++) {
        stock_nodes_row(rows, first + i, &row);
        entry->devices[i] = device_of(&row);
    }
    entry->ask = ask_of(stock, entry);
    return entry;
}

static int uuid_order(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct uuid));
}

/* Drops the entries of these nodes (ascending). */
static void entries_drop(struct stock *stock, const struct uuid *node_ids, size_t count)
{
    size_t kept_count = 0;
    for (size_t i = 0; i < stock->entries_count; i++) {
        struct stock_entry *entry = stock->entries[i];
        if (bsearch(&entry->node_id, node_ids, count, sizeof(*node_ids), uuid_order) != NULL)
            free(entry);
        else
            stock->entries[kept_count++] = entry;
    }
    stock->entries_count = kept_count;
}

/* Puts the entries of these rows among those that stand. */
static void entries_take(struct stock *stock, const struct sql_result *rows)
{
    size_t rows_count = (size_t)sql_result_rows(rows), fresh_count = 0;
    struct stock_entry **fresh = array_of(rows_count, sizeof(*fresh));
    for (int i = 0, count = 0; i < sql_result_rows(rows); i += count)
        fresh[fresh_count++] = entry_make(stock, rows, i, &count);
    qsort(fresh, fresh_count, sizeof(*fresh), entry_order);
    size_t old_left = stock->entries_count, fresh_left = fresh_count;
    stock->entries_count += fresh_count;
    stock->entries = realloc(stock->entries, (stock->entries_count + 1) * sizeof(*stock->entries));
    must(stock->entries != NULL);
    for (size_t to = stock->entries_count; fresh_left > 0; to--) {
        bool is_old_last =
            old_left > 0 && entry_order(&stock->entries[old_left - 1], &fresh[fresh_left - 1]) > 0;
        stock->entries[to - 1] = is_old_last ? stock->entries[--old_left] : fresh[--fresh_left];
    }
    free(fresh);
}

static void asks_point(struct stock *stock)
{
    for (size_t i = 0; i < stock->entries_count; i++)
        if (stock->entries[i]->ask == NULL)
            stock->entries[i]->ask = ask_of(stock, stock->entries[i]);
}

/* ---- reading ---- */

struct changes {
    struct uuid *node_ids, *account_ids; /* nodes ascending */
    size_t nodes_count, accounts_count;
    bool is_all;
    int64_t horizon_xact;
};

static void changes_take(struct changes *changes, const struct sql_result *rows)
{
    size_t count = (size_t)sql_result_rows(rows);
    *changes = (struct changes){.node_ids = array_of(count, sizeof(struct uuid)),
                                .account_ids = array_of(count, sizeof(struct uuid))};
    for (size_t i = 0; i < count; i++) {
        struct stock_look_out row;
        stock_look_row(rows, (int)i, &row);
        changes->horizon_xact = row.horizon_xact;
        if (row.has_node_id)
            changes->node_ids[changes->nodes_count++] = row.node_id;
        if (row.has_account_id)
            changes->account_ids[changes->accounts_count++] = row.account_id;
        changes->is_all |= row.is_change && !row.has_node_id && !row.has_account_id;
    }
    qsort(changes->node_ids, changes->nodes_count, sizeof(struct uuid), uuid_order);
}

static void changes_finish(struct changes *changes)
{
    free(changes->node_ids);
    free(changes->account_ids);
}

static enum err_code changes_look(struct office *office, int64_t since_xact,
                                  struct changes *ret_changes)
{
    struct sql_result *rows = NULL;
    const struct stock_look_in in = {.since_xact = since_xact};
    enum err_code err = stock_look_run(office->session, &in, &rows);
    if (err == ERR_OK)
        changes_take(ret_changes, rows);
    sql_result_release(rows);
    return err;
}

static enum err_code asks_read(struct stock *stock, struct office *office,
                               const struct changes *changes)
{
    const struct stock_asks_in in = {.account_ids = changes->account_ids,
                                     .account_ids_count = changes->accounts_count};
    struct sql_result *rows = NULL;
    if (!changes->is_all && changes->accounts_count == 0)
        return ERR_OK;
    enum err_code err = changes->is_all ? stock_all_asks_run(office->session, &rows)
                                        : stock_asks_run(office->session, &in, &rows);
    if (err == ERR_OK && asks_take(stock, rows) > 0)
        asks_point(stock);
    sql_result_release(rows);
    return err;
}

static enum err_code nodes_read(struct stock *stock, struct office *office,
                                const struct changes *changes)
{
    const struct stock_nodes_in in = {.node_ids = changes->node_ids,
                                      .node_ids_count = changes->nodes_count};
    struct sql_result *rows = NULL;
    if (!changes->is_all && changes->nodes_count == 0)
        return ERR_OK;
    enum err_code err = changes->is_all ? stock_all_nodes_run(office->session, &rows)
                                        : stock_nodes_run(office->session, &in, &rows);
    if (err == ERR_OK) {
        entries_drop(stock, changes->node_ids, changes->nodes_count);
        entries_take(stock, rows);
        stock->nodes_read_count += changes->nodes_count;
    }
    sql_result_release(rows);
    return err;
}

static void stock_read_at(struct stock *stock, const struct office *office, int64_t horizon_xact)
{
    stock->loads_count += !stock->is_loaded;
    stock->is_loaded = true;
    stock->connection = office->connection;
    stock->horizon_xact = horizon_xact;
    stock->read_mono_ms = clock_mono_ms();
}

static bool stock_may_go_on(const struct stock *stock, const struct office *office)
{
    return stock->is_loaded && stock->connection == office->connection &&
           clock_mono_ms() - stock->read_mono_ms < STOCK_OLD_MS;
}

enum err_code stock_refresh(struct stock *stock, struct office *office)
{
    struct changes changes = {.is_all = false};
    if (!stock_may_go_on(stock, office))
        stock_forget(stock);
    enum err_code err =
        changes_look(office, stock->is_loaded ? stock->horizon_xact : INT64_MAX, &changes);
    if (changes.is_all)
        stock_forget(stock);
    changes.is_all = !stock->is_loaded;
    if (err == ERR_OK)
        err = asks_read(stock, office, &changes);
    if (err == ERR_OK)
        err = nodes_read(stock, office, &changes);
    if (err == ERR_OK)
        stock_read_at(stock, office, changes.horizon_xact);
    else
        stock_forget(stock);
    changes_finish(&changes);
    return err;
}

bool stock_is_recent(const struct stock *stock, const struct office *office)
{
    return stock_may_go_on(stock, office) &&
           clock_mono_ms() - stock->read_mono_ms < STOCK_RECENT_MS;
}

enum err_code stock_tidy(struct stock *stock, struct office *office)
{
    int64_t now_mono_ms = clock_mono_ms();
    const struct stock_changes_forget_in in = {.before_xact = stock->past_xact};
    struct changes changes = {.is_all = false};
    if (stock->past_mono_ms != 0 && now_mono_ms - stock->past_mono_ms < KEPT_MS)
        return ERR_OK;
    enum err_code err =
        stock->past_xact == 0 ? ERR_OK : stock_changes_forget_run(office->session, &in, NULL);
    if (err == ERR_OK)
        err = changes_look(office, INT64_MAX, &changes);
    if (err == ERR_OK) {
        stock->past_xact = changes.horizon_xact;
        stock->past_mono_ms = now_mono_ms;
    }
    changes_finish(&changes);
    return err;
}

void stock_forget(struct stock *stock)
{
    for (size_t i = 0; i < stock->entries_count; i++)
        free(stock->entries[i]);
    for (size_t i = 0; i < stock->asks_count; i++)
        free(stock->asks[i]);
    stock->entries_count = stock->asks_count = 0;
    stock->is_loaded = false;
}

void stock_finish(struct stock *stock)
{
    stock_forget(stock);
    for (size_t i = 0; i < stock->words_count; i++)
        free(stock->words[i]);
    free(stock->words);
    free(stock->entries);
    free(stock->asks);
    *stock = (struct stock){.is_loaded = false};
}
