/* demand.h - who wants blocks in a round, at which price, and in which lot.
 *
 * one thread (the leader's). demand_load() reads; the rest is pure. Rows belong to the demand and
 * live until demand_finish().
 *
 * What a workload brings: k replicas that wait, kmin of them at least, and r, the net of what it
 * offers this second (auction/policy.h; B is the class's catalogue price times the block's
 * devices). A workload that wants an award now offers min(reserve, B), whatever its policy: its age
 * is 0.
 *
 * Where it goes: into ONE lot per round, by public state only. Of the lots that it accepts, that
 * have kmin free blocks for it (or, where none has, at least one) and where its owner does not
 * sell, the cheapest by last index; unfilled, the next one in the next round, and after the last
 * the first again, since by then its offer has risen or supply has changed. The turn is the count
 * of rounds since it arrived, so there is nothing to remember.
 */
#ifndef UNDERCUT_MARKET_DEMAND_H
#define UNDERCUT_MARKET_DEMAND_H

#include "auction/policy.h"
#include "broker/market/supply.h"

#define LOT_KEY_SIZE        128
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
    /* decided by demand_route() */
    const struct supply_pool *pool; /* NULL: nowhere this round */
    int64_t r_uusd_per_hour;
    bool is_alone;         /* avoids a node that sells there: cleared by itself, after the lot */
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
    int64_t round;
    bool only_now;
};

MUST_USE enum err_code demand_load(struct session *session, const struct demand_query *query,
                                   struct demands *ret_demands);
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

/* Tells the pools what is wanted of them, cuts them, and sends every demand to its lot. */
void demand_route(struct demands *demands, struct supply *supply, const struct lot_indexes *indexes,
                  int64_t round);
bool demand_accepts(const struct demand *demand, const struct supply_pool *pool);
bool demand_avoids(const struct demand *demand, const struct uuid *node_id);

#endif
