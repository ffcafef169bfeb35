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

/* B of a lot, as the market has it: see benchmark.h. */
static int64_t benchmark_of_row(const struct outlook_pools_out *row)
{
    return benchmark_choose(row->median_uusd_per_hour, row->prices_count,
                            row->catalogue_uusd_per_hour);
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
        .offered_uusd_per_hour = offered_at(wish, benchmark_of_row(row), wish->now_us),
    };
    if (!has_region(wish, row->region))
        pool.faults |= CONSTRAINT_BIT(CONSTRAINT_REGION);
    if (!str_equal(wish->tier, row->tier))
        pool.faults |= CONSTRAINT_BIT(CONSTRAINT_TIER);
    if (trust_rank(row->trust) < trust_rank(wish->trust_min))
        pool.faults |= CONSTRAINT_BIT(CONSTRAINT_TRUST);
    return pool;
}

/* What the account's own nodes and those it avoids take out of a pool. A lot in which it sells is
 * closed to it as a whole; cleared by itself, a workload only passes over its owner's nodes. */
static void pool_set_apart(struct explain_pool *pool, const struct outlook_wish *wish,
                           const struct outlook_pools_out *row, const struct db_call *apart)
{
    for (int i = 0; i < apart->row_count; i++) {
        struct outlook_apart_out out;
        outlook_apart_get(apart, i, &out);
        if (!str_equal(out.region, row->region) || !str_equal(out.class, row->class) ||
            !str_equal(out.trust, row->trust) || out.blocks_count == 0)
            continue;
        if (out.is_own && !wish->is_direct)
            pool->faults |= CONSTRAINT_BIT(CONSTRAINT_OWN);
        else
            explain_set_apart(pool, out.is_own ? CONSTRAINT_OWN : CONSTRAINT_EXCLUDED,
                              (struct explain_apart){.blocks_count = (uint32_t)out.blocks_count,
                                                     .free_count = (uint32_t)out.free_count});
    }
}

static bool is_apart_already(const struct outlook_wish *wish, const struct outlook_facts_out *node,
                             const struct uuid *account_id)
{
    for (size_t i = 0; i < wish->excluded_count; i++)
        if (uuid_equal(wish->excluded[i], node->node_id))
            return true;
    return uuid_equal(node->account_id, *account_id);
}

static enum constraint constraint_of(enum direct_fit fit)
{
    switch (fit) {
    case DIRECT_DRIVER_OLD:
        return CONSTRAINT_DRIVER;
    case DIRECT_COMPUTE_LOW:
        return CONSTRAINT_COMPUTE;
    case DIRECT_ISOLATION_OTHER:
        return CONSTRAINT_ISOLATION;
    case DIRECT_FITS: /* but not as often as it has blocks */
    case DIRECT_ROOM_SHORT:
        return CONSTRAINT_ROOM;
    }
    must_not_reach();
}

static void node_set_apart(struct explain_pool *pool, const struct outlook_wish *wish,
                           const struct outlook_facts_out *node)
{
    const struct direct_facts facts = {
        .node_id = node->node_id,
        .class = node->class,
        .driver = node->driver,
        .compute = node->compute,
        .isolation = node->isolation,
        .vcpu_spare_milli = node->vcpu_spare_milli,
        .memory_spare_mib = node->memory_spare_mib,
        .disk_spare_mib = node->disk_spare_mib,
        .vcpu_min = node->vcpu_min,
        .memory_mib_min = node->memory_mib_min,
        .disk_mib_min = node->disk_mib_min,
    };
    struct explain_apart apart = {.blocks_count = (uint32_t)node->blocks_count,
                                  .free_count = (uint32_t)node->free_count};
    uint32_t most = 0;
    enum direct_fit fit = direct_judge(&wish->direct, &facts, (uint32_t)wish->block_size, &most);
    if (fit == DIRECT_FITS && most >= apart.free_count)
        return;
    if (fit == DIRECT_FITS)
        apart.blocks_count = apart.free_count -= most;
    explain_set_apart(pool, constraint_of(fit), apart);
}

static void pool_fit(struct explain_pool *pool, const struct outlook_wish *wish,
                     const struct outlook_pools_out *row, const struct db_call *facts)
{
    for (int i = 0; i < facts->row_count; i++) {
        struct outlook_facts_out node;
        outlook_facts_get(facts, i, &node);
        if (str_equal(node.region, row->region) && str_equal(node.class, row->class) &&
            str_equal(node.trust, row->trust) && !is_apart_already(wish, &node, &wish->account_id))
            node_set_apart(pool, wish, &node);
    }
}

/* Cleared by itself, a workload may take from several pools: together they may be enough. */
static void direct_join_pools(struct outlook_wish *wish, const struct outlook *outlook)
{
    uint32_t count = 0;
    for (size_t i = 0; i < outlook->count; i++)
        if (outlook->pools[i].faults == 0 &&
            outlook->pools[i].price_uusd_per_hour <= wish->base.limit_uusd_per_hour)
            count += outlook->pools[i].free_count;
    if (count >= wish->base.kmin)
        wish->base.kmin = 1;
}

void outlook_judge(struct outlook_wish *wish, const struct outlook_calls *calls,
                   struct outlook *outlook)
{
    outlook->answer = calls->pools;
    wish->base.limit_uusd_per_hour = reserve_net(wish->offer.reserve_uusd_per_hour, wish->fee_bp);
    for (int i = 0; i < calls->pools->row_count; i++) {
        struct outlook_pools_out row;
        outlook_pools_get(calls->pools, i, &row);
        bool is_other_tier = !str_equal(row.tier, wish->tier);
        if ((str_equal_c(row.trust, "simulated") && !wish->sees_simulated) ||
            (is_other_tier && !row.has_price_uusd_per_hour)) /* nobody knows what it would cost */
            continue;
        struct explain_pool *pool = &outlook->pools[outlook->count];
        outlook->rows[outlook->count++] = (size_t)i;
        *pool = pool_of(wish, &row);
        pool_set_apart(pool, wish, &row, calls->apart);
        if (calls->facts != NULL)
            pool_fit(pool, wish, &row, calls->facts);
    }
    if (wish->is_direct)
        direct_join_pools(wish, outlook);
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
                     rise_ms(wish, benchmark_of_row(row), pool->price_uusd_per_hour));
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
    json_put_i64(out, "wanted_min", wish->min_replicas);
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
