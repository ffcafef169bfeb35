/* The happy path is: a wish read from its JSON, facts read once a round, and one after the other
 * held against each node. Failure modes are: a database error; a fact that a node does not state
 * (its driver, its isolation), which then does not fit.
 */
#include "broker/market/direct.h"

#include <stdlib.h>
#include <string.h>

#include "broker/io/sql.h"
#include "gen/broker/market/direct.sql.h"

static enum direct_spread spread_of(struct str word)
{
    if (str_equal_c(word, "node"))
        return DIRECT_SPREAD_NODE;
    return str_equal_c(word, "region") ? DIRECT_SPREAD_REGION : DIRECT_SPREAD_NONE;
}

struct direct_wish direct_wish_of(const json_t *constraints)
{
    return (struct direct_wish){
        .driver_min = json_str(constraints, "driver_min"),
        .compute_min = json_str(constraints, "compute_min"),
        .isolation = json_str(constraints, "isolation"),
        .spread = spread_of(json_str(constraints, "spread")),
    };
}

int64_t direct_latency(const json_t *constraints, struct str region)
{
    char name[64];
    const json_t *latency = json_object_get(constraints, "latency");
    if (latency == NULL || !str_format(name, sizeof(name), "%.*s", STR_ARG(region)))
        return 0;
    return json_i64(latency, name, 0);
}

const char *direct_fit_text(enum direct_fit fit)
{
    switch (fit) {
    case DIRECT_FITS:
        return "it fits";
    case DIRECT_DRIVER_OLD:
        return "its driver is older than driver_min, or not known";
    case DIRECT_COMPUTE_LOW:
        return "its compute capability is below compute_min, or not known";
    case DIRECT_ISOLATION_OTHER:
        return "its containers run under another isolation";
    case DIRECT_ROOM_SHORT:
        return "too little vCPU, memory or disk is left beside its devices";
    }
    must_not_reach();
}

bool version_is_at_least(struct str version, struct str least)
{
    while (least.at != NULL) {
        int64_t have = -1, need = 0;
        struct str need_text = str_cut(&least, '.');
        if (version.at == NULL || !str_to_i64(str_cut(&version, '.'), &have))
            have = -1;
        if (!str_to_i64(need_text, &need))
            need = 0;
        if (have != need && !(have < 0 && need == 0))
            return have > need;
    }
    return true;
}

static bool meets(struct str version, struct str least)
{
    return least.at == NULL || (version.len > 0 && version_is_at_least(version, least));
}

static int64_t beyond(int64_t wanted, int64_t given)
{
    return wanted > given ? wanted - given : 0;
}

struct room { /* of one kind: what a replica takes beyond its class, and what there is */
    int64_t taken, spare;
};

static void rooms_of(const struct direct_wish *wish, uint32_t block_size,
                     const struct direct_facts *facts, struct room ret_rooms[3])
{
    ret_rooms[0] = (struct room){beyond(wish->vcpu_milli, facts->vcpu_min * block_size * 1000),
                                 facts->vcpu_spare_milli};
    ret_rooms[1] = (struct room){beyond(wish->memory_mib, facts->memory_mib_min * block_size),
                                 facts->memory_spare_mib};
    ret_rooms[2] = (struct room){beyond(wish->disk_mib, facts->disk_mib_min * block_size),
                                 facts->disk_spare_mib};
}

static uint32_t blocks_with_room(const struct direct_wish *wish, const struct direct_facts *facts,
                                 uint32_t block_size)
{
    struct room rooms[3];
    int64_t least = UINT32_MAX;
    rooms_of(wish, block_size, facts, rooms);
    for (size_t i = 0; i < ARRAY_COUNT(rooms); i++) {
        if (rooms[i].taken == 0)
            continue;
        int64_t fit = rooms[i].spare > 0 ? rooms[i].spare / rooms[i].taken : 0;
        least = fit < least ? fit : least;
    }
    return (uint32_t)least;
}

enum direct_fit direct_judge(const struct direct_wish *wish, const struct direct_facts *facts,
                             uint32_t block_size, uint32_t *ret_blocks_max)
{
    *ret_blocks_max = 0;
    if (!meets(facts->driver, wish->driver_min))
        return DIRECT_DRIVER_OLD;
    if (!meets(facts->compute, wish->compute_min))
        return DIRECT_COMPUTE_LOW;
    if (wish->isolation.at != NULL && !str_equal(wish->isolation, facts->isolation))
        return DIRECT_ISOLATION_OTHER;
    *ret_blocks_max = blocks_with_room(wish, facts, block_size);
    return *ret_blocks_max > 0 ? DIRECT_FITS : DIRECT_ROOM_SHORT;
}

void direct_take_room(const struct direct_wish *wish, uint32_t block_size,
                      struct direct_facts *facts)
{
    struct room rooms[3];
    rooms_of(wish, block_size, facts, rooms);
    facts->vcpu_spare_milli -= rooms[0].taken;
    facts->memory_spare_mib -= rooms[1].taken;
    facts->disk_spare_mib -= rooms[2].taken;
}

/* Facts of a round ------------------------------------------------------------------------------*/

static struct direct_facts facts_of_row(const struct direct_fact_load_out *row)
{
    return (struct direct_facts){
        .node_id = row->node_id,
        .class = row->class,
        .driver = row->driver,
        .compute = row->compute,
        .isolation = row->isolation,
        .vcpu_spare_milli = row->vcpu_spare_milli,
        .memory_spare_mib = row->memory_spare_mib,
        .disk_spare_mib = row->disk_spare_mib,
        .vcpu_min = row->vcpu_min,
        .memory_mib_min = row->memory_mib_min,
        .disk_mib_min = row->disk_mib_min,
        .takes_bids = row->takes_bids,
    };
}

enum err_code direct_facts_load(struct session *session, const struct direct_place *where,
                                struct direct_fact_list *ret_list)
{
    const struct direct_fact_load_in in = {.regions = where->regions,
                                           .regions_count = where->regions_count,
                                           .classes = where->classes,
                                           .classes_count = where->classes_count};
    struct sql_result *rows = NULL;
    enum err_code err = direct_fact_load_run(session, &in, &rows);
    if (err != ERR_OK)
        return err;
    size_t count = (size_t)sql_result_rows(rows);
    *ret_list = (struct direct_fact_list){.rows = rows, .count = count};
    ret_list->at = calloc(count + 1, 2 * sizeof(struct direct_facts));
    must(ret_list->at != NULL);
    ret_list->fresh = ret_list->at + count;
    for (size_t i = 0; i < count; i++) {
        struct direct_fact_load_out row;
        direct_fact_load_row(rows, (int)i, &row);
        ret_list->fresh[i] = facts_of_row(&row);
    }
    direct_facts_reset(ret_list);
    return ERR_OK;
}

void direct_facts_reset(struct direct_fact_list *list)
{
    if (list->count > 0)
        memcpy(list->at, list->fresh, list->count * sizeof(*list->at));
}

static int facts_order(const void *a, const void *b)
{
    const struct direct_facts *left = a, *right = b;
    int order = memcmp(&left->node_id, &right->node_id, sizeof(left->node_id));
    return order != 0 ? order : str_compare(left->class, right->class);
}

struct direct_facts *direct_facts_of(const struct direct_fact_list *list,
                                     const struct uuid *node_id, struct str class)
{
    const struct direct_facts key = {.node_id = *node_id, .class = class};
    if (list->count == 0)
        return NULL;
    return bsearch(&key, list->at, list->count, sizeof(*list->at), facts_order);
}

void direct_facts_finish(struct direct_fact_list *list)
{
    free(list->at);
    sql_result_release(list->rows);
    *list = (struct direct_fact_list){.count = 0};
}
