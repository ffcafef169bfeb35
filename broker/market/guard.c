/* The happy path is: four locking reads in one trip - nodes, leases that would leave, replicas,
 * devices - and a look at each award against what they found. Failure modes are: what no longer
 * stands, which is marked and counted; a database error.
 */
#include "broker/market/guard.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/must.h"

static void *array_of(size_t count, size_t size)
{
    void *array = calloc(count ? count : 1, size);
    must(array != NULL);
    return array;
}

/* Ids of a result's column 0 are ascending, as its statement says. */
struct uuid_set {
    struct uuid *at;
    size_t count;
};

static int uuid_order(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct uuid));
}

static bool set_has(const struct uuid_set *set, const struct uuid *id)
{
    return bsearch(id, set->at, set->count, sizeof(struct uuid), uuid_order) != NULL;
}

struct guard_asked { /* the answers of one trip */
    struct sql_result *nodes, *devices;
};

static void nodes_lock(const struct guard *guard, struct sql_result **ret_nodes)
{
    const struct round_clearing *clearing = guard->clearing;
    struct uuid *ids = array_of(clearing->awards_count, sizeof(*ids));
    for (uint32_t i = 0; i < clearing->awards_count; i++)
        ids[i] = clearing->awards[i].block->node->node_id;
    const struct award_lock_nodes_in in = {.node_ids = ids,
                                           .node_ids_count = clearing->awards_count};
    award_lock_nodes_run(guard->session, &in, ret_nodes);
    free(ids);
}

static struct uuid_set nodes_of(const struct sql_result *nodes)
{
    struct uuid_set set = {.count = (size_t)sql_result_rows(nodes)};
    set.at = array_of(set.count, sizeof(struct uuid));
    for (size_t i = 0; i < set.count; i++) {
        struct award_lock_nodes_out row;
        award_lock_nodes_row(nodes, (int)i, &row);
        set.at[i] = row.node_id;
    }
    return set;
}

static void replicas_lock(struct guard *guard, const struct uuid *workload_ids)
{
    const struct award_lock_replicas_in in = {.workload_ids = workload_ids,
                                              .workload_ids_count = guard->clearing->awards_count,
                                              .round = guard->round};
    award_lock_replicas_run(guard->session, &in, &guard->replicas);
}

struct device_lock { /* a device that nobody has won yet; its id comes first, for set_has() */
    struct uuid device_id, holder_id;
};
struct device_locks {
    struct device_lock *at;
    size_t count;
};

static void devices_lock(const struct guard *guard, const struct uuid *workload_ids,
                         struct sql_result **ret_devices)
{
    const struct round_clearing *clearing = guard->clearing;
    struct uuid *ids = array_of((size_t)clearing->awards_count * BLOCK_DEVICES_MAX, sizeof(*ids));
    size_t ids_count = 0;
    for (uint32_t i = 0; i < clearing->awards_count; i++)
        for (uint32_t j = 0; j < clearing->awards[i].block->devices_count; j++)
            ids[ids_count++] = clearing->awards[i].block->devices[j].device_id;
    const struct award_lock_devices_in in = {.device_ids = ids,
                                             .device_ids_count = ids_count,
                                             .workload_ids = workload_ids,
                                             .workload_ids_count = clearing->awards_count};
    award_lock_devices_run(guard->session, &in, ret_devices);
    free(ids);
}

static struct device_locks devices_of(const struct sql_result *devices)
{
    struct device_locks locks = {.count = (size_t)sql_result_rows(devices)};
    locks.at = array_of(locks.count, sizeof(*locks.at));
    for (size_t i = 0; i < locks.count; i++) {
        struct award_lock_devices_out row;
        award_lock_devices_row(devices, (int)i, &row);
        locks.at[i] = (struct device_lock){row.device_id,
                                           row.has_holder_id ? row.holder_id : (struct uuid){{0}}};
    }
    return locks;
}

/* Leases that would have to leave, each as often as it has devices. The caller frees. */
static struct uuid *holders_list(const struct guard *guard, size_t *ret_count)
{
    const struct round_clearing *clearing = guard->clearing;
    struct uuid *ids = array_of((size_t)clearing->awards_count * BLOCK_DEVICES_MAX, sizeof(*ids));
    *ret_count = 0;
    for (uint32_t i = 0; i < clearing->awards_count; i++)
        for (uint32_t j = 0; j < clearing->awards[i].block->devices_count; j++)
            if (!uuid_is_nil(clearing->awards[i].block->devices[j].holder_id))
                ids[(*ret_count)++] = clearing->awards[i].block->devices[j].holder_id;
    return ids;
}

/* Leases are locked after the workloads and before the replicas, as everywhere. */
static void holders_lock(struct guard *guard, const struct uuid *workload_ids)
{
    struct award_lock_holders_in in = {.lease_ids_count = 0};
    struct uuid *lease_ids = holders_list(guard, &in.lease_ids_count);
    in.lease_ids = lease_ids;
    if (in.lease_ids_count > 0) {
        const struct award_lock_workloads_in workloads = {
            .workload_ids = workload_ids, .workload_ids_count = guard->clearing->awards_count};
        award_lock_workloads_run(guard->session, &workloads, NULL);
        award_lock_holders_run(guard->session, &in, &guard->holders);
    }
    free(lease_ids);
}

/* Everything in one trip. */
static enum err_code guard_ask(struct guard *guard, struct guard_asked *ret_asked)
{
    const struct round_clearing *clearing = guard->clearing;
    struct uuid *workload_ids = array_of(clearing->awards_count, sizeof(*workload_ids));
    for (uint32_t i = 0; i < clearing->awards_count; i++)
        workload_ids[i] = clearing->awards[i].demand->workload_id;
    guard_finish(guard);
    session_pipe_open(guard->session);
    nodes_lock(guard, &ret_asked->nodes);
    holders_lock(guard, workload_ids);
    replicas_lock(guard, workload_ids);
    devices_lock(guard, workload_ids, &ret_asked->devices);
    free(workload_ids);
    return session_pipe_flush(guard->session);
}

bool guard_holder(const struct guard *guard, const struct uuid *lease_id,
                  struct award_lock_holders_out *ret_row)
{
    int count = guard->holders != NULL ? sql_result_rows(guard->holders) : 0;
    for (int low = 0, high = count; low < high;) {
        int middle = low + (high - low) / 2;
        award_lock_holders_row(guard->holders, middle, ret_row);
        int order = uuid_order(&ret_row->lease_id, lease_id);
        if (order == 0)
            return true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

/* First row of a workload's locked replicas and how many there are. */
static int replicas_of(const struct guard *guard, const struct uuid *workload_id, int *ret_count)
{
    int low = 0, high = sql_result_rows(guard->replicas);
    struct award_lock_replicas_out row;
    while (low < high) {
        int middle = low + (high - low) / 2;
        award_lock_replicas_row(guard->replicas, middle, &row);
        if (uuid_order(&row.workload_id, workload_id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_count = 0;
    for (int i = low; i < sql_result_rows(guard->replicas); i++) {
        award_lock_replicas_row(guard->replicas, i, &row);
        if (!uuid_equal(row.workload_id, *workload_id))
            break;
        ++*ret_count;
    }
    return low;
}

/* Nobody has won it meanwhile, and who holds it is who held it when supply was read. */
static bool device_stands(const struct guard *guard, const struct supply_device *device,
                          const struct device_locks *locks)
{
    struct award_lock_holders_out row;
    const struct device_lock *lock =
        bsearch(&device->device_id, locks->at, locks->count, sizeof(*lock), uuid_order);
    return lock != NULL && uuid_equal(lock->holder_id, device->holder_id) &&
           (uuid_is_nil(lock->holder_id) || guard_holder(guard, &lock->holder_id, &row));
}

static bool block_stands(const struct guard *guard, const struct supply_block *block,
                         const struct uuid_set *nodes, const struct device_locks *locks)
{
    if (!set_has(nodes, &block->node->node_id))
        return false;
    for (uint32_t i = 0; i < block->devices_count; i++)
        if (!device_stands(guard, &block->devices[i], locks))
            return false;
    return true;
}

/* Takes out what does not stand; says how much that was. Also gives each award its turn among its
 * workload's replicas. */
static uint32_t awards_judge(struct guard *guard, const struct uuid_set *nodes,
                             const struct device_locks *locks)
{
    uint32_t refused_count = 0;
    for (uint32_t i = 0; i < guard->demands->count; i++)
        guard->demands->at[i].placed_count = 0;
    for (uint32_t i = 0; i < guard->clearing->awards_count; i++) {
        struct round_award *award = &guard->clearing->awards[i];
        int waiting = 0;
        if (!block_stands(guard, award->block, nodes, locks)) {
            award->block->is_gone = true;
            refused_count++;
        }
        award->replica_row = replicas_of(guard, &award->demand->workload_id, &waiting) +
                             (int)award->demand->placed_count;
        if ((int)++award->demand->placed_count > waiting && !award->demand->is_out) {
            award->demand->is_out = true;
            refused_count++;
        }
    }
    return refused_count;
}

enum err_code guard_awards(struct guard *guard, uint32_t *ret_refused_count)
{
    struct guard_asked asked = {.nodes = NULL};
    enum err_code err = guard_ask(guard, &asked);
    *ret_refused_count = 0;
    if (err == ERR_OK) {
        struct uuid_set nodes = nodes_of(asked.nodes);
        struct device_locks locks = devices_of(asked.devices);
        *ret_refused_count = awards_judge(guard, &nodes, &locks);
        free(nodes.at);
        free(locks.at);
    }
    sql_result_release(asked.nodes);
    sql_result_release(asked.devices);
    return err;
}

void guard_finish(struct guard *guard)
{
    sql_result_release(guard->replicas);
    sql_result_release(guard->holders);
    guard->replicas = guard->holders = NULL;
}
