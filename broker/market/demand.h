/* demand.h - who wants blocks in a round, at which price, and in which lot.
 *
 * one thread (the leader's). demand_read() reads; the rest is pure. Rows belong to the demand and
 * live until demand_finish().
 *
 * What a workload brings: k replicas that wait, kmin of them at least, and r, the net of what it
 * offers this second (auction/policy.h; B is benchmark.h's). A workload that wants an award now
 * offers min(reserve, B), whatever its policy: its age is 0.
 *
 * Where it goes: into ONE lot per round, by public state only. Of the lots that it accepts, that
 * have kmin free blocks for it (or, where none has, at least one) and where its owner does not
 * sell, the cheapest by last index and distance; unfilled, the next one in the next round, and
 * after the last the first again, since by then its offer has risen or supply has changed. The turn
 * is the count of rounds since it arrived, so there is nothing to remember.
 *
 * What asks for more than a lot can say, or avoids a node that sells in its lot, goes into no lot:
 * it is cleared by itself (direct.h), over every block that fits anywhere it accepts. B is then
 * that of the cheapest class that has such a block.
 */
#ifndef UNDERCUT_MARKET_DEMAND_H
#define UNDERCUT_MARKET_DEMAND_H

#include "auction/policy.h"
#include "broker/market/benchmark.h"
#include "broker/market/direct.h"
#include "broker/market/supply.h"

#define DEMAND_LIST_MAX     32  /* classes or regions a workload names */
#define DEMAND_EXCLUDED_MAX 128 /* nodes it avoids; more are not looked at */

struct demand {
    struct uuid workload_id, account_id;
    char id[ID_TEXT_SIZE];
    struct str tier, excluded;
    bool is_spot;
    struct str classes[DEMAND_LIST_MAX], regions[DEMAND_LIST_MAX];
    uint32_t classes_count, regions_count;
    int trust_min;
    uint32_t block_size, k, kmin;
    struct price_offer offer;
    int32_t fee_bp;
    int64_t arrived_round, at_us;
    json_t *constraints; /* NULL: its lot says it all */
    struct direct_wish wish;
    struct str held; /* nodes, or regions, that its replicas hold already and it shall not share */
    bool is_fine;    /* asks for more than a lot can say */
    bool is_now;     /* wants an award at once */
    /* decided by demand_route() */
    const struct supply_pool *pool; /* NULL: nowhere this round */
    int64_t r_uusd_per_hour;
    bool is_direct;        /* cleared by itself, after the lots, over every block that fits */
    bool is_waiting;       /* nodes that bid still have time */
    bool is_out;           /* refused at the commit: stands in the next round */
    uint32_t placed_count; /* scratch of the commit */
};

struct demands {
    struct sql_result *rows;
    struct demand *at; /* ascending by id */
    uint32_t count;
};

struct demand_query {
    const char *market;
    int64_t round; /* 0: the one closed last */
    bool only_now;
};

/* Reads the rows that demands_of() takes over; in a pipe they are there after its flush. */
enum err_code demand_read(struct session *session, const struct demand_query *query,
                          struct sql_result **ret_rows);
struct demands demands_of(struct sql_result *rows, bool only_now);
void demand_finish(struct demands *demands);

/* Whether somebody wants spot, or (false) a higher tier. */
bool demand_has(const struct demands *demands, bool is_spot);
/* Every region and every class that somebody names, each once; arrays of `max`. */
size_t demand_regions(const struct demands *demands, struct str *ret_regions, size_t max);
size_t demand_classes(const struct demands *demands, struct str *ret_classes, size_t max);

/* The last public index per lot; what is not listed has never traded. */
struct lot_index {
    char key[LOT_KEY_SIZE]; /* lot_key_format() */
    int64_t index_uusd_per_hour;
};
struct lot_indexes {
    struct lot_index *at;
    size_t count, cap;
};
/* "region/class/devices/tier/trust" */
void lot_key_format(const struct supply_pool *pool, uint32_t devices, struct str tier,
                    char key[LOT_KEY_SIZE]);
/* Below 0: none. */
int64_t lot_index_of(const struct lot_indexes *indexes, const char *key);
void lot_index_set(struct lot_indexes *indexes, const char *key, int64_t index_uusd_per_hour);

/* Nodes to be told of a workload that they may bid on; freed by whoever took the list. */
struct demand_callers {
    struct uuid *at;
    size_t count, max;
};

struct demand_world {
    struct supply *supply;
    const struct lot_indexes *indexes;
    const struct lot_benchmarks *benchmarks;
    const struct direct_fact_list *facts;
    int64_t round;
    int64_t window_rounds; /* how long nodes that bid have, where one of them fits */
    struct demand_callers *callers;
};
/* Tells the pools what is wanted of them, cuts them, and sends every demand to its lot or on its
 * own way. */
void demand_route(struct demands *demands, const struct demand_world *world);
bool demand_accepts(const struct demand *demand, const struct supply_pool *pool);
bool demand_avoids(const struct demand *demand, const struct uuid *node_id);

/* demand_direct.c: what is cleared by itself. */
bool demand_has_fine(const struct demands *demands);
void demand_route_alone(struct demand *demand, const struct demand_world *world);
/* How many blocks of this node it may have; facts are NULL where it asks for nothing fine. */
uint32_t demand_blocks_max(const struct demand *demand, const struct supply_pool *pool,
                           const struct supply_node *node, const struct direct_facts *facts);
/* What it offers this second, beginning at what is usual in this pool. */
void demand_price(struct demand *demand, const struct supply_pool *pool,
                  const struct lot_benchmarks *benchmarks);

#endif
