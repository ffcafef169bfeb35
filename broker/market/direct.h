/* direct.h - what a workload asks for that no lot can say, and whether a node has it.
 *
 * direct_fact_load() reads on the leader's thread; the rest is pure. A wish comes from
 * workloads.constraints (api/placement.c writes it) and lives as long as its JSON; facts come from
 * the view node_facts. Nothing here looks at a price.
 */
#ifndef UNDERCUT_MARKET_DIRECT_H
#define UNDERCUT_MARKET_DIRECT_H

#include "auction/record.h"
#include "broker/base/err.h"
#include "broker/base/json.h"

struct session;
struct sql_result;

struct direct_wish {
    struct str driver_min, compute_min, isolation; /* STR_NONE: any */
    enum direct_spread spread;
    int64_t vcpu_milli, memory_mib, disk_mib; /* per replica */
};

struct direct_facts { /* of a node's devices of one class */
    struct uuid node_id;
    struct str class;
    struct str driver, compute; /* versions, of the least of them; empty: not said */
    struct str isolation;
    int64_t vcpu_spare_milli, memory_spare_mib, disk_spare_mib; /* beyond what classes promise */
    int64_t vcpu_min, memory_mib_min, disk_mib_min; /* that its class gives per device */
    bool takes_bids;
};

/* `constraints` is workloads.constraints, or NULL; what a replica needs is added by the caller. */
struct direct_wish direct_wish_of(const json_t *constraints);
/* What distance adds to the score of a block in this region; 0 when nobody asked. */
int64_t direct_latency(const json_t *constraints, struct str region);

enum direct_fit {
    DIRECT_FITS = 1,
    DIRECT_DRIVER_OLD,
    DIRECT_COMPUTE_LOW,
    DIRECT_ISOLATION_OTHER,
    DIRECT_ROOM_SHORT, /* too little vCPU, memory or disk beside the devices */
};
const char *direct_fit_text(enum direct_fit fit); /* a sentence about the node */

/* `ret_blocks_max`: how many blocks of this many devices there is room for. */
enum direct_fit direct_judge(const struct direct_wish *wish, const struct direct_facts *facts,
                             uint32_t block_size, uint32_t *ret_blocks_max);
/* A replica was placed there: what it takes beyond its class is gone. */
void direct_take_room(const struct direct_wish *wish, uint32_t block_size,
                      struct direct_facts *facts);

/* Versions are numbers with dots between: 535.104 is at least 535 and less than 535.104.5. */
bool version_is_at_least(struct str version, struct str least);

struct direct_fact_list { /* ascending by (node, class) */
    struct sql_result *rows;
    struct direct_facts *at, *fresh; /* fresh: as read */
    size_t count;
};
struct direct_place {
    const struct str *regions, *classes;
    size_t regions_count, classes_count;
};
MUST_USE enum err_code direct_facts_load(struct session *session, const struct direct_place *where,
                                         struct direct_fact_list *ret_list);
struct direct_facts *direct_facts_of(const struct direct_fact_list *list,
                                     const struct uuid *node_id, struct str class);
void direct_facts_reset(struct direct_fact_list *list); /* gives back all room that was taken */
void direct_facts_finish(struct direct_fact_list *list);

#endif
