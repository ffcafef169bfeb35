/* The happy path is: one row per workload becomes a demand; routing counts what is wanted of each
 * pool, has the pools cut, lists the lots each demand could enter and takes the one whose turn it
 * is. Failure modes are: a database error; a demand that no lot has room for, which stays without a
 * pool.
 */
#include "broker/market/demand.h"

#include <stdlib.h>
#include <string.h>

#include "auction/clear.h"
#include "broker/base/must.h"
#include "broker/io/sql.h"
#include "gen/broker/market/demand.sql.h"

#define CHOICES_MAX 4096 /* classes x regions x trusts */

static uint32_t list_split(struct str text, struct str *ret_list)
{
    uint32_t count = 0;
    while (text.at != NULL && text.len > 0) {
        must(count < DEMAND_LIST_MAX);
        ret_list[count++] = str_cut(&text, ',');
    }
    return count;
}

static void demand_take_wish(struct demand *demand, const struct demand_load_out *row)
{
    char why[128];
    if (row->constraints.at != NULL)
        demand->constraints = json_parse(row->constraints, why, sizeof(why));
    demand->wish = direct_wish_of(demand->constraints);
    demand->wish.vcpu_milli = row->vcpu_milli;
    demand->wish.memory_mib = row->memory_mib;
    demand->wish.disk_mib = row->disk_mib;
}

static void demand_take(struct demand *demand, const struct demand_load_out *row, bool is_now)
{
    bool has_limit = str_equal_c(row->price_policy, "limit") && !is_now;
    *demand = (struct demand){
        .workload_id = row->workload_id,
        .account_id = row->account_id,
        .tier = row->tier,
        .is_spot = tier_of(row->tier) == TIER_SPOT,
        .excluded = row->excluded,
        .trust_min = trust_rank(row->trust_min),
        .block_size = (uint32_t)row->block_size,
        .k = (uint32_t)row->k,
        .kmin = (uint32_t)row->kmin,
        .offer = {.policy = has_limit ? PRICE_POLICY_LIMIT : PRICE_POLICY_MARKET,
                  .reserve_uusd_per_hour = row->reserve_uusd_per_hour,
                  .posted_at_us = is_now ? row->at_us : row->created_at_us,
                  .deadline_at_us = row->has_deadline_at ? row->deadline_at_us : 0,
                  .run_ms = (int64_t)row->max_duration_s * 1000},
        .fee_bp = row->fee_bp,
        .arrived_round = row->arrived_round,
        .at_us = row->at_us,
        .held = row->held,
        .is_fine = row->is_direct,
        .is_now = is_now,
    };
    uuid_text(row->workload_id, demand->id);
    demand_take_wish(demand, row);
    demand->classes_count = list_split(row->classes, demand->classes);
    demand->regions_count = list_split(row->regions, demand->regions);
}

enum err_code demand_read(struct session *session, const struct demand_query *query,
                          struct sql_result **ret_rows)
{
    const struct demand_load_in in = {.market = str_of(query->market),
                                      .round = query->round,
                                      .has_round = query->round != 0,
                                      .only_now = query->only_now};
    return demand_load_run(session, &in, ret_rows);
}

struct demands demands_of(struct sql_result *rows, bool only_now)
{
    struct demands demands = {.rows = rows, .count = (uint32_t)sql_result_rows(rows)};
    demands.at = calloc(demands.count ? demands.count : 1, sizeof(struct demand));
    must(demands.at != NULL);
    for (uint32_t i = 0; i < demands.count; i++) {
        struct demand_load_out row;
        demand_load_row(rows, (int)i, &row);
        demand_take(&demands.at[i], &row, only_now);
    }
    return demands;
}

void demand_finish(struct demands *demands)
{
    for (uint32_t i = 0; i < demands->count; i++)
        json_decref(demands->at[i].constraints);
    free(demands->at);
    sql_result_release(demands->rows);
    *demands = (struct demands){.count = 0};
}

bool demand_has(const struct demands *demands, bool is_spot)
{
    for (uint32_t i = 0; i < demands->count; i++)
        if (demands->at[i].is_spot == is_spot)
            return true;
    return false;
}

static size_t list_merge(const struct str *more, uint32_t more_count, struct str *list, size_t max)
{
    size_t count = 0;
    while (count < max && list[count].at != NULL)
        count++;
    for (uint32_t i = 0; i < more_count; i++) {
        size_t j = 0;
        while (j < count && !str_equal(list[j], more[i]))
            j++;
        if (j == count && count < max)
            list[count++] = more[i];
    }
    return count;
}

size_t demand_regions(const struct demands *demands, struct str *ret_regions, size_t max)
{
    size_t count = 0;
    memset(ret_regions, 0, max * sizeof(*ret_regions));
    for (uint32_t i = 0; i < demands->count; i++)
        count = list_merge(demands->at[i].regions, demands->at[i].regions_count, ret_regions, max);
    return count;
}

size_t demand_classes(const struct demands *demands, struct str *ret_classes, size_t max)
{
    size_t count = 0;
    memset(ret_classes, 0, max * sizeof(*ret_classes));
    for (uint32_t i = 0; i < demands->count; i++)
        count = list_merge(demands->at[i].classes, demands->at[i].classes_count, ret_classes, max);
    return count;
}

void lot_key_format(const struct supply_pool *pool, uint32_t devices, struct str tier,
                    char key[LOT_KEY_SIZE])
{
    must(str_format(key, LOT_KEY_SIZE, "%.*s/%.*s/%u/%.*s/%.*s", STR_ARG(pool->region),
                    STR_ARG(pool->class), devices, STR_ARG(tier), STR_ARG(pool->trust)));
}

int64_t lot_index_of(const struct lot_indexes *indexes, const char *key)
{
    for (size_t i = 0; i < indexes->count; i++)
        if (strcmp(indexes->at[i].key, key) == 0)
            return indexes->at[i].index_uusd_per_hour;
    return LOT_INDEX_NONE;
}

void lot_index_set(struct lot_indexes *indexes, const char *key, int64_t index_uusd_per_hour)
{
    size_t i = 0;
    while (i < indexes->count && strcmp(indexes->at[i].key, key) != 0)
        i++;
    if (i == indexes->cap) {
        indexes->cap = indexes->cap ? indexes->cap * 2 : 16;
        indexes->at = realloc(indexes->at, indexes->cap * sizeof(*indexes->at));
        must(indexes->at != NULL);
    }
    if (i == indexes->count) {
        indexes->count++;
        must(str_format(indexes->at[i].key, LOT_KEY_SIZE, "%s", key));
    }
    indexes->at[i].index_uusd_per_hour = index_uusd_per_hour;
}

static bool list_has(const struct str *list, uint32_t count, struct str item)
{
    for (uint32_t i = 0; i < count; i++)
        if (str_equal(list[i], item))
            return true;
    return false;
}

bool demand_accepts(const struct demand *demand, const struct supply_pool *pool)
{
    return pool->is_spot == demand->is_spot && trust_rank(pool->trust) >= demand->trust_min &&
           list_has(demand->regions, demand->regions_count, pool->region) &&
           list_has(demand->classes, demand->classes_count, pool->class);
}

bool demand_avoids(const struct demand *demand, const struct uuid *node_id)
{
    char text[ID_TEXT_SIZE];
    if (demand->excluded.len == 0)
        return false;
    uuid_text(*node_id, text);
    return memmem(demand->excluded.at, demand->excluded.len, text, strlen(text)) != NULL;
}

/* Accounts with blocks of one size in a pool, ascending; listed when first asked for. */
struct sellers {
    struct uuid *ids;
    uint32_t count;
};

struct routing {
    const struct supply *supply;
    const struct lot_indexes *indexes;
    int64_t round;
    struct lot_choice choices[CHOICES_MAX];
    uint32_t pools[CHOICES_MAX];
    size_t count;
    struct sellers (*sellers)[BLOCK_SIZES]; /* of each pool */
};

static int uuid_order(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct uuid));
}

static const struct sellers *sellers_of(struct routing *routing, const struct supply_pool *pool,
                                        uint32_t size)
{
    struct sellers *sellers = &routing->sellers[pool - routing->supply->pools][size];
    const struct supply_node *nodes = &routing->supply->nodes[pool->node_first];
    if (sellers->ids != NULL || pool->blocks_count[size] == 0)
        return sellers;
    bool *has_blocks = calloc(pool->nodes_count, sizeof(*has_blocks));
    sellers->ids = malloc(pool->nodes_count * sizeof(struct uuid));
    must(has_blocks != NULL && sellers->ids != NULL);
    for (uint32_t i = 0; i < pool->blocks_count[size]; i++)
        has_blocks[pool->blocks[size][i].node - nodes] = true;
    uint32_t count = 0;
    for (uint32_t i = 0; i < pool->nodes_count; i++)
        if (has_blocks[i])
            sellers->ids[count++] = nodes[i].account_id;
    free(has_blocks);
    qsort(sellers->ids, count, sizeof(struct uuid), uuid_order);
    for (uint32_t i = 0; i < count; i++)
        if (i == 0 || !uuid_equal(sellers->ids[i], sellers->ids[i - 1]))
            sellers->ids[sellers->count++] = sellers->ids[i];
    return sellers;
}

static void routing_finish(struct routing *routing)
{
    for (uint32_t i = 0; i < routing->supply->pools_count; i++)
        for (uint32_t size = 0; size < BLOCK_SIZES; size++)
            free(routing->sellers[i][size].ids);
    free(routing->sellers);
    free(routing);
}

struct lot_look {        /* what a workload sees of a lot */
    uint32_t free_count; /* without nodes that it avoids */
    bool sells_here, avoids_some;
};

/* Most workloads avoid nothing: then no block is looked at. */
static struct lot_look lot_look_at(struct routing *routing, const struct demand *demand,
                                   const struct supply_pool *pool)
{
    uint32_t size = block_size_index(demand->block_size);
    const struct sellers *sellers = sellers_of(routing, pool, size);
    struct lot_look look = {.free_count = pool->blocks_count[size]};
    look.sells_here =
        sellers->count > 0 && bsearch(&demand->account_id, sellers->ids, sellers->count,
                                      sizeof(struct uuid), uuid_order) != NULL;
    if (demand->excluded.len == 0)
        return look;
    for (uint32_t i = 0; i < pool->blocks_count[size]; i++)
        look.free_count -= demand_avoids(demand, &pool->blocks[size][i].node->node_id);
    look.avoids_some = look.free_count < pool->blocks_count[size];
    return look;
}

/* Lists the lots that have at least `least` free blocks for the demand. */
static void routing_list(struct routing *routing, const struct demand *demand, uint32_t least)
{
    char key[LOT_KEY_SIZE];
    routing->count = 0;
    for (uint32_t i = 0; i < routing->supply->pools_count && routing->count < CHOICES_MAX; i++) {
        const struct supply_pool *pool = &routing->supply->pools[i];
        if (!demand_accepts(demand, pool))
            continue;
        struct lot_look look = lot_look_at(routing, demand, pool);
        if (look.free_count < least || look.sells_here)
            continue;
        lot_key_format(pool, demand->block_size, demand->tier, key);
        routing->pools[routing->count] = i;
        routing->choices[routing->count++] = (struct lot_choice){
            .index_uusd_per_hour = lot_index_of(routing->indexes, key),
            .catalogue_uusd_per_hour = pool->catalogue_uusd_per_hour * demand->block_size,
            .latency_uusd_per_hour = direct_latency(demand->constraints, pool->region),
        };
    }
}

static const struct supply_pool *routing_choose(struct routing *routing,
                                                const struct demand *demand)
{
    routing_list(routing, demand, demand->kmin);
    if (routing->count == 0)
        routing_list(routing, demand, 1);
    if (routing->count == 0)
        return NULL;
    int64_t age =
        routing->round > demand->arrived_round ? routing->round - demand->arrived_round : 0;
    size_t choice = lot_choose(routing->choices, routing->count);
    for (int64_t turn = age % (int64_t)routing->count; turn > 0; turn--) {
        routing->choices[choice].is_tried = true;
        choice = lot_choose(routing->choices, routing->count);
    }
    return &routing->supply->pools[routing->pools[choice]];
}

static void wanted_add(struct supply *supply, const struct demand *demand)
{
    for (uint32_t i = 0; i < supply->pools_count; i++)
        if (demand_accepts(demand, &supply->pools[i]))
            supply->pools[i].wanted[block_size_index(demand->block_size)] += demand->k;
}

void demand_route(struct demands *demands, const struct demand_world *world)
{
    struct routing *routing = malloc(sizeof(*routing));
    must(routing != NULL);
    routing->supply = world->supply;
    routing->indexes = world->indexes;
    routing->round = world->round;
    routing->sellers = calloc(world->supply->pools_count + 1, sizeof(*routing->sellers));
    must(routing->sellers != NULL);
    for (uint32_t i = 0; i < demands->count; i++)
        wanted_add(world->supply, &demands->at[i]);
    supply_cut(world->supply);
    for (uint32_t i = 0; i < demands->count; i++) {
        struct demand *demand = &demands->at[i];
        demand->pool = demand->is_fine ? NULL : routing_choose(routing, demand);
        bool is_by_itself =
            demand->is_fine ||
            (demand->pool != NULL && lot_look_at(routing, demand, demand->pool).avoids_some);
        if (is_by_itself) {
            demand->pool = NULL;
            demand_route_alone(demand, world);
        } else if (demand->pool != NULL) {
            demand_price(demand, demand->pool, world->benchmarks);
        }
    }
    routing_finish(routing);
}
