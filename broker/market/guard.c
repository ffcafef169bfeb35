/* The happy path is: four locking reads - nodes, leases that would leave, replicas, devices - and a
 * look at each award against what they found. Failure modes are: what no longer stands, which is
 * marked and counted; a database error.
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

static enum err_code nodes_lock(struct guard *guard, struct uuid_set *ret_set)
{
    const struct round_clearing *clearing = guard->clearing;
    struct uuid *ids = array_of(clearing->awards_count, sizeof(*ids));
    for (uint32_t i = 0; i < clearing->awards_count; i++)
        ids[i] = clearing->awards[i].block->node->node_id;
    const struct award_lock_nodes_in in = {.node_ids = ids,
                                           .node_ids_count = clearing->awards_count};
    struct sql_result *result = NULL;
    enum err_code err = award_lock_nodes_run(guard->session, &in, &result);
    ret_set->count = err == ERR_OK ? (size_t)sql_result_rows(result) : 0;
    ret_set->at = array_of(ret_set->count, sizeof(struct uuid));
    for (size_t i = 0; i < ret_set->count; i++) {
        struct award_lock_nodes_out row;
        award_lock_nodes_row(result, (int)i, &row);
        ret_set->at[i] = row.node_id;
    }
    sql_result_release(result);
    free(ids);
    return err;
}

static enum err_code replicas_lock(struct guard *guard)
{
    const struct round_clearing *clearing = guard->clearing;
    struct uuid *ids = array_of(clearing->awards_count, sizeof(*ids));
    for (uint32_t i = 0; i < clearing->awards_count; i++)
        ids[i] = clearing->awards[i].demand->workload_id;
    const struct award_lock_replicas_in in = {
        .workload_ids = ids, .workload_ids_count = clearing->awards_count, .round = guard->round};
    sql_result_release(guard->replicas);
    guard->replicas = NULL;
    enum err_code err = award_lock_replicas_run(guard->session, &in, &guard->replicas);
    free(ids);
    return err;
}

struct device_lock { /* a device that nobody has won yet; its id comes first, for set_has() */
    struct uuid device_id, holder_id;
};
struct device_locks {
    struct device_lock *at;
    size_t count;
};

static enum err_code devices_lock(struct guard *guard, struct device_locks *ret_locks)
{
    const struct round_clearing *clearing = guard->clearing;
    struct uuid *ids = array_of((size_t)clearing->awards_count * BLOCK_DEVICES_MAX, sizeof(*ids));
    size_t ids_count = 0;
    for (uint32_t i = 0; i < clearing->awards_count; i++)
        for (uint32_t j = 0; j < clearing->awards[i].block->devices_count; j++)
            ids[ids_count++] = clearing->awards[i].block->devices[j].device_id;
    struct uuid *workload_ids = array_of(clearing->awards_count, sizeof(*workload_ids));
    for (uint32_t i = 0; i < clearing->awards_count; i++)
        workload_ids[i] = clearing->awards[i].demand->workload_id;
    const struct award_lock_devices_in in = {.device_ids = ids,
                                             .device_ids_count = ids_count,
                                             .workload_ids = workload_ids,
                                             .workload_ids_count = clearing->awards_count};
    struct sql_result *result = NULL;
    enum err_code err = award_lock_devices_run(guard->session, &in, &result);
    ret_locks->count = err == ERR_OK ? (size_t)sql_result_rows(result) : 0;
    ret_locks->at = array_of(ret_locks->count, sizeof(*ret_locks->at));
    for (size_t i = 0; i < ret_locks->count; i++) {
        struct award_lock_devices_out row;
        award_lock_devices_row(result, (int)i, &row);
        ret_locks->at[i] = (struct device_lock){
            row.device_id, row.has_holder_id ? row.holder_id : (struct uuid){{0}}};
    }
    sql_result_release(result);
    free(workload_ids);
    free(ids);
    return err;
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
static enum err_code holders_lock(struct guard *guard)
{
    const struct round_clearing *clearing = guard->clearing;
    struct session *session = guard->session;
    sql_result_release(guard->holders);
    guard->holders = NULL;
    struct award_lock_holders_in in = {.lease_ids_count = 0};
    struct uuid *lease_ids = holders_list(guard, &in.lease_ids_count);
    in.lease_ids = lease_ids;
    enum err_code err = ERR_OK;
    if (in.lease_ids_count > 0) {
        struct uuid *ids = array_of(clearing->awards_count, sizeof(*ids));
        for (uint32_t i = 0; i < clearing->awards_count; i++)
            ids[i] = clearing->awards[i].demand->workload_id;
        const struct award_lock_workloads_in workloads = {
            .workload_ids = ids, .workload_ids_count = clearing->awards_count};
        err = award_lock_workloads_run(session, &workloads, NULL);
        if (err == ERR_OK)
            err = award_lock_holders_run(session, &in, &guard->holders);
        free(ids);
    }
    free(lease_ids);
    return err;
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
    struct uuid_set nodes = {.count = 0};
    struct device_locks locks = {.count = 0};
    enum err_code err = nodes_lock(guard, &nodes);
    if (err == ERR_OK)
        err = holders_lock(guard);
    if (err == ERR_OK)
        err = replicas_lock(guard);
    if (err == ERR_OK)
        err = devices_lock(guard, &locks);
    *ret_refused_count = err == ERR_OK ? awards_judge(guard, &nodes, &locks) : 0;
    free(nodes.at);
    free(locks.at);
    return err;
}

void guard_finish(struct guard *guard)
{
    sql_result_release(guard->replicas);
    sql_result_release(guard->holders);
}
