/* outlook.h - a workload's chances: why it waits, what would have helped, what it may cost.
 *
 * loop thread for the statements (outlook.sql); the rest is pure. It speaks from figures that are
 * old enough and coarse enough to be anybody's (market data), and from the account's own nodes: no
 * live ask, bid or reserve of anybody else shows in it.
 */
#ifndef UNDERCUT_MARKET_OUTLOOK_H
#define UNDERCUT_MARKET_OUTLOOK_H

#include "auction/explain.h"
#include "auction/policy.h"
#include "broker/base/json.h"
#include "broker/market/direct.h"
#include "broker/market/terms.h"
#include "gen/broker/market/outlook.sql.h"

struct outlook_wish {
    const struct str *regions;
    int regions_count;
    struct str tier, trust_min;
    bool sees_simulated;
    int block_size;
    struct uuid account_id;
    int64_t min_replicas;     /* as asked */
    struct explain_wish base; /* k and kmin; the limit is filled in */
    bool is_direct;           /* cleared by itself, over the nodes that fit */
    struct direct_wish direct;
    const struct uuid *excluded; /* nodes that it avoids */
    size_t excluded_count;
    struct price_offer offer; /* without its benchmark */
    int64_t fee_bp, now_us;
    const struct catalogue *catalogue;
    uint32_t class_faults[CATALOGUE_CLASSES_MAX]; /* CONSTRAINT_BIT of what each class fails */
};

struct outlook {
    struct explain explain;
    struct explain_pool *pools;
    size_t *rows;                 /* which row of `answer` each pool is */
    const struct db_call *answer; /* of outlook_pools */
    size_t count;
    size_t shown; /* the pool whose history is told, or EXPLAIN_POOL_NONE */
};

struct outlook_calls { /* answered */
    const struct db_call *pools, *apart;
    const struct db_call *facts; /* of a direct wish, else NULL */
};
/* The outlook's arrays are the caller's memory, with room
 * for every row of `pools`. */
void outlook_judge(struct outlook_wish *wish, const struct outlook_calls *calls,
                   struct outlook *outlook);
/* The members of an explanation, in an object that is open. `lot`: an answered outlook_lot of the
 * pool that is shown, or NULL. */
void outlook_put(struct json_out *out, const struct outlook_wish *wish,
                 const struct outlook *outlook, const struct db_call *lot);

#endif
