/* The happy path is: each lot's row becomes a pool with the bits of what stands against it; the
 * pure part counts and searches; and the outcome is written down, changes with the reserve that
 * they need. Failure modes are: none; a market without old enough figures explains nothing and says
 * so with zero blocks.
 */
#include "broker/market/outlook.h"

#include "broker/base/money.h"
#include "broker/io/db.h"
#include "broker/market/supply.h"

#define RISE_SEARCH_MS (31LL * 24 * 3600 * 1000) /* an offer has risen by then */

static bool has_region(const struct outlook_wish *wish, struct str region)
{
    for (int i = 0; i < wish->regions_count; i++)
        if (str_equal(wish->regions[i], region))
            return true;
    return false;
}

static uint32_t class_faults(const struct outlook_wish *wish, struct str class)
{
    for (int i = 0; i < wish->catalogue->classes_count; i++)
        if (str_equal(wish->catalogue->classes[i].class, class))
            return wish->class_faults[i];
    return CONSTRAINT_BIT(CONSTRAINT_MODEL); /* traded since a moment ago: not asked for */
}

static int64_t offered_at(const struct outlook_wish *wish, int64_t benchmark, int64_t now_us)
{
    struct price_offer offer = wish->offer;
    offer.benchmark_uusd_per_hour = benchmark;
    return reserve_net(price_offered(&offer, now_us), wish->fee_bp);
}

static struct explain_pool pool_of(const struct outlook_wish *wish,
                                   const struct outlook_pools_out *row)
{
    struct explain_pool pool = {
        .faults = class_faults(wish, row->class),
        .blocks_count = (uint32_t)row->blocks_count,
        .free_count = (uint32_t)row->free_count,
        .price_uusd_per_hour =
            row->has_price_uusd_per_hour ? row->price_uusd_per_hour : row->catalogue_uusd_per_hour,
        .offered_uusd_per_hour = offered_at(wish, row->catalogue_uusd_per_hour, wish->now_us),
    };
    if (!has_region(wish, row->region))
        pool.faults |= CONSTRAINT_BIT(CONSTRAINT_REGION);
    if (!str_equal(wish->tier, row->tier))
        pool.faults |= CONSTRAINT_BIT(CONSTRAINT_TIER);
    if (trust_rank(row->trust) < trust_rank(wish->trust_min))
        pool.faults |= CONSTRAINT_BIT(CONSTRAINT_TRUST);
    return pool;
}

static uint32_t less(uint32_t from, int64_t take)
{
    return take < from ? from - (uint32_t)take : 0;
}

/* What the account's own nodes and those it avoids take out of a pool. */
static void pool_set_apart(struct explain_pool *pool, const struct outlook_pools_out *row,
                           const struct db_call *apart)
{
    for (int i = 0; i < apart->row_count; i++) {
        struct outlook_apart_out out;
        outlook_apart_get(apart, i, &out);
        if (!str_equal(out.region, row->region) || !str_equal(out.class, row->class) ||
            !str_equal(out.trust, row->trust) || out.blocks_count == 0)
            continue;
        if (out.is_own) {
            pool->faults |= CONSTRAINT_BIT(CONSTRAINT_OWN);
            continue;
        }
        pool->free_count = less(pool->free_count, out.free_count);
        uint32_t left = less(pool->blocks_count - pool->free_count, out.blocks_count);
        pool->excluded_count = pool->blocks_count - pool->free_count - left;
    }
}

void outlook_judge(struct outlook_wish *wish, const struct db_call *pools,
                   const struct db_call *apart, struct outlook *outlook)
{
    outlook->answer = pools;
    wish->base.limit_uusd_per_hour = reserve_net(wish->offer.reserve_uusd_per_hour, wish->fee_bp);
    for (int i = 0; i < pools->row_count; i++) {
        struct outlook_pools_out row;
        outlook_pools_get(pools, i, &row);
        bool is_other_tier = !str_equal(row.tier, wish->tier);
        if ((str_equal_c(row.trust, "simulated") && !wish->sees_simulated) ||
            (is_other_tier && !row.has_price_uusd_per_hour)) /* nobody knows what it would cost */
            continue;
        outlook->rows[outlook->count] = (size_t)i;
        outlook->pools[outlook->count] = pool_of(wish, &row);
        pool_set_apart(&outlook->pools[outlook->count++], &row, apart);
    }
    explain_pools(&wish->base, outlook->pools, outlook->count, &outlook->explain);
    outlook->shown = outlook->explain.best;
    if (outlook->shown == EXPLAIN_POOL_NONE && outlook->explain.changes_count > 0)
        outlook->shown = outlook->explain.changes[0].pool;
}

/* ---- writing it down */

static void put_lot(struct json_out *out, const struct outlook *outlook,
                    const struct outlook_wish *wish, const struct outlook_pools_out *row,
                    size_t pool)
{
    json_put_str(out, "region", row->region);
    json_put_str(out, "device_class", row->class);
    json_put_i64(out, "block_size", wish->block_size);
    json_put_str(out, "tier", row->tier);
    json_put_str(out, "trust", row->trust);
    json_put_i64(out, "price_uusd_per_hour", outlook->pools[pool].price_uusd_per_hour);
    json_put_c(out, "source", row->has_price_uusd_per_hour ? "index" : "catalogue");
}

/* When an offer that rises with time reaches `price`: the first such second. */
static int64_t rise_ms(const struct outlook_wish *wish, int64_t benchmark, int64_t price)
{
    int64_t low = 0, high = RISE_SEARCH_MS / 1000;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (offered_at(wish, benchmark, wish->now_us + middle * 1000000) >= price)
            high = middle;
        else
            low = middle + 1;
    }
    return low * 1000;
}

static void put_remedy(struct json_out *out, const struct outlook_wish *wish,
                       const struct explain_change *change, const struct explain_pool *pool,
                       const struct outlook_pools_out *row)
{
    int64_t reserve = wish->offer.reserve_uusd_per_hour;
    if (change->constraint == CONSTRAINT_PRICE)
        reserve = reserve_for_net(pool->price_uusd_per_hour, wish->fee_bp);
    json_put_i64(out, "reserve_uusd_per_hour", reserve);
    if (change->constraint == CONSTRAINT_TIME)
        json_put_i64(out, "wait_ms",
                     rise_ms(wish, row->catalogue_uusd_per_hour, pool->price_uusd_per_hour));
    if (change->constraint == CONSTRAINT_COUNT)
        json_put_i64(out, "min_replicas", pool->free_count);
}

static void change_put(struct json_out *out, const char *key, const struct outlook_wish *wish,
                       const struct outlook *outlook, const struct explain_change *change)
{
    struct outlook_pools_out row;
    outlook_pools_get(outlook->answer, (int)outlook->rows[change->pool], &row);
    json_object_open(out, key);
    json_put_c(out, "constraint", constraint_info(change->constraint)->slug);
    put_lot(out, outlook, wish, &row, change->pool);
    put_remedy(out, wish, change, &outlook->pools[change->pool], &row);
    json_object_close(out);
}

static void losses_put(struct json_out *out, const struct explain *explain)
{
    json_put_i64(out, "blocks_count", explain->blocks_count);
    json_array_open(out, "rejections");
    for (size_t i = 0; i < explain->losses_count; i++) {
        json_object_open(out, NULL);
        json_put_c(out, "constraint", constraint_info(explain->losses[i].constraint)->slug);
        json_put_i64(out, "blocks_lost", explain->losses[i].blocks_count);
        json_object_close(out);
    }
    json_array_close(out);
    json_put_i64(out, "blocks_left", explain->left_count);
}

static void put_maybe(struct json_out *out, const char *key, bool has_value, int64_t value)
{
    if (has_value)
        json_put_i64(out, key, value);
    else
        json_put_null(out, key);
}

static void history_put(struct json_out *out, const struct outlook_wish *wish,
                        const struct outlook *outlook, const struct db_call *lot)
{
    struct outlook_pools_out row;
    struct outlook_lot_out history;
    if (outlook->shown == EXPLAIN_POOL_NONE) {
        json_put_null(out, "lot");
        return;
    }
    outlook_pools_get(outlook->answer, (int)outlook->rows[outlook->shown], &row);
    outlook_lot_get(lot, 0, &history);
    json_object_open(out, "lot");
    put_lot(out, outlook, wish, &row, outlook->shown);
    put_maybe(out, "price_p50_uusd_per_hour", history.has_price_p50_uusd, history.price_p50_uusd);
    put_maybe(out, "price_p90_uusd_per_hour", history.has_price_p90_uusd, history.price_p90_uusd);
    put_maybe(out, "start_p50_ms", history.has_start_p50_ms, history.start_p50_ms);
    put_maybe(out, "start_p90_ms", history.has_start_p90_ms, history.start_p90_ms);
    json_put_raw(out, "recent_rounds", history.rounds);
    json_object_close(out);
}

void outlook_put(struct json_out *out, const struct outlook_wish *wish,
                 const struct outlook *outlook, const struct db_call *lot)
{
    const struct explain *explain = &outlook->explain;
    struct outlook_pools_out first;
    int64_t at_us = 0;
    if (outlook->answer->row_count > 0) {
        outlook_pools_get(outlook->answer, 0, &first);
        at_us = first.at_us;
    }
    json_put_time(out, "at", at_us);
    json_put_bool(out, "would_win", explain->would_win);
    json_put_i64(out, "wanted", wish->base.k);
    json_put_i64(out, "wanted_min", wish->base.kmin);
    losses_put(out, explain);
    history_put(out, wish, outlook, lot);
    if (explain->changes_count > 0)
        change_put(out, "smallest_change", wish, outlook, &explain->changes[0]);
    else
        json_put_null(out, "smallest_change");
    json_array_open(out, "changes");
    for (size_t i = 0; i < explain->changes_count; i++)
        change_put(out, NULL, wish, outlook, &explain->changes[i]);
    json_array_close(out);
}
