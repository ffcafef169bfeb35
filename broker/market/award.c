#include "broker/market/award.h"

#include <stdlib.h>

#include "auction/tier.h"
#include "broker/base/must.h"

static void *array_of(size_t count, size_t size)
{
    void *array = calloc(count ? count : 1, size);
    must(array != NULL);
    return array;
}

struct lease_lists { /* the parameters of award_store, writable; the nth are the nth lease's */
    struct uuid *lease_ids, *replica_ids, *operator_account_ids, *node_ids;
    int32_t *pools, *tiers, *fees_bp, *max_durations_s, *device_firsts, *block_sizes;
    int64_t *prices, *thetas, *adders, *waits_ms;
    bool *are_simulated, *are_set_by_ask;
    size_t count;
    struct uuid *device_ids, *device_lease_ids; /* by device */
    size_t devices_count;
    struct str *regions, *classes, *trusts; /* by pool */
    size_t pools_count;
};

static struct lease_lists lists_make(const struct supply *supply,
                                     const struct round_clearing *clearing)
{
    const size_t count_max = clearing->awards_count;
    size_t devices_max = 0;
    for (uint32_t i = 0; i < clearing->awards_count; i++)
        devices_max += clearing->awards[i].block->devices_count;
    struct lease_lists lists = {
        .lease_ids = array_of(count_max, sizeof(struct uuid)),
        .replica_ids = array_of(count_max, sizeof(struct uuid)),
        .operator_account_ids = array_of(count_max, sizeof(struct uuid)),
        .node_ids = array_of(count_max, sizeof(struct uuid)),
        .pools = array_of(count_max, sizeof(int32_t)),
        .tiers = array_of(count_max, sizeof(int32_t)),
        .fees_bp = array_of(count_max, sizeof(int32_t)),
        .max_durations_s = array_of(count_max, sizeof(int32_t)),
        .device_firsts = array_of(count_max, sizeof(int32_t)),
        .block_sizes = array_of(count_max, sizeof(int32_t)),
        .prices = array_of(count_max, sizeof(int64_t)),
        .thetas = array_of(count_max, sizeof(int64_t)),
        .adders = array_of(count_max, sizeof(int64_t)),
        .waits_ms = array_of(count_max, sizeof(int64_t)),
        .are_simulated = array_of(count_max, sizeof(bool)),
        .are_set_by_ask = array_of(count_max, sizeof(bool)),
        .device_ids = array_of(devices_max, sizeof(struct uuid)),
        .device_lease_ids = array_of(devices_max, sizeof(struct uuid)),
        .regions = array_of(supply->pools_count, sizeof(struct str)),
        .classes = array_of(supply->pools_count, sizeof(struct str)),
        .trusts = array_of(supply->pools_count, sizeof(struct str)),
        .pools_count = supply->pools_count,
    };
    for (size_t i = 0; i < lists.pools_count; i++) {
        lists.regions[i] = supply->pools[i].region;
        lists.classes[i] = supply->pools[i].class;
        lists.trusts[i] = supply->pools[i].trust;
    }
    return lists;
}

static void lists_finish(struct lease_lists *lists)
{
    void *const all[] = {
        lists->lease_ids,      lists->replica_ids,     lists->operator_account_ids,
        lists->node_ids,       lists->pools,           lists->tiers,
        lists->fees_bp,        lists->max_durations_s, lists->device_firsts,
        lists->block_sizes,    lists->prices,          lists->thetas,
        lists->adders,         lists->waits_ms,        lists->are_simulated,
        lists->are_set_by_ask, lists->device_ids,      lists->device_lease_ids,
        lists->regions,        lists->classes,         lists->trusts,
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        free(all[i]);
}

/* How long whoever holds the block may stay: its notice, or what is left of it. */
static int64_t wait_ms(const struct award_round *round, const struct supply_block *block)
{
    int64_t longest_ms = 0;
    for (uint32_t i = 0; i < block->devices_count; i++) {
        struct award_lock_holders_out row;
        if (uuid_is_nil(block->devices[i].holder_id))
            continue;
        must(guard_holder(round->guard, &block->devices[i].holder_id, &row));
        int64_t left_ms = row.has_left_ms ? row.left_ms : round->spot_notice_ms;
        longest_ms = left_ms > longest_ms ? left_ms : longest_ms;
    }
    return longest_ms;
}

static void lists_add(struct lease_lists *lists, const struct award_round *round,
                      const struct round_award *award)
{
    const struct supply_block *block = award->block;
    const size_t i = lists->count++;
    struct award_lock_replicas_out replica;
    award_lock_replicas_row(round->guard->replicas, award->replica_row, &replica);
    lists->lease_ids[i] = uuid_v7();
    lists->replica_ids[i] = replica.replica_id;
    lists->operator_account_ids[i] = block->node->account_id;
    lists->node_ids[i] = block->node->node_id;
    lists->pools[i] = (int32_t)(award->pool - round->supply->pools) + 1;
    must(lists->pools[i] >= 1 && (size_t)lists->pools[i] <= lists->pools_count);
    lists->tiers[i] = (int32_t)tier_of(award->demand->tier);
    lists->fees_bp[i] = replica.fee_bp;
    lists->max_durations_s[i] = replica.max_duration_s;
    lists->prices[i] = award->price_uusd_per_hour;
    lists->thetas[i] = award->theta_uusd_per_hour;
    lists->adders[i] = award->adder_uusd_per_hour;
    lists->waits_ms[i] = wait_ms(round, block);
    lists->are_simulated[i] = block->devices[0].is_simulated;
    lists->are_set_by_ask[i] = award->is_price_set_by_ask;
    lists->device_firsts[i] = (int32_t)lists->devices_count + 1;
    lists->block_sizes[i] = (int32_t)block->devices_count;
    for (uint32_t j = 0; j < block->devices_count; j++) {
        lists->device_ids[lists->devices_count] = block->devices[j].device_id;
        lists->device_lease_ids[lists->devices_count++] = lists->lease_ids[i];
    }
}

static enum err_code lists_store(const struct lease_lists *lists, const struct award_round *round,
                                 struct sql_result **ret_result)
{
    struct str tier_words[TIER_SPOT];
    for (enum tier tier = TIER_GUARANTEED; tier <= TIER_SPOT; tier++)
        tier_words[tier - 1] = str_of(tier_name(tier));
    const struct award_store_in in = {
        .market = str_of(round->market),
        .round = round->round,
        .lease_ids = lists->lease_ids,
        .lease_ids_count = lists->count,
        .replica_ids = lists->replica_ids,
        .replica_ids_count = lists->count,
        .operator_account_ids = lists->operator_account_ids,
        .operator_account_ids_count = lists->count,
        .node_ids = lists->node_ids,
        .node_ids_count = lists->count,
        .pools = lists->pools,
        .pools_count = lists->count,
        .tiers = lists->tiers,
        .tiers_count = lists->count,
        .prices_uusd_per_hour = lists->prices,
        .prices_uusd_per_hour_count = lists->count,
        .fees_bp = lists->fees_bp,
        .fees_bp_count = lists->count,
        .thetas_uusd_per_hour = lists->thetas,
        .thetas_uusd_per_hour_count = lists->count,
        .adders_uusd_per_hour = lists->adders,
        .adders_uusd_per_hour_count = lists->count,
        .max_durations_s = lists->max_durations_s,
        .max_durations_s_count = lists->count,
        .waits_ms = lists->waits_ms,
        .waits_ms_count = lists->count,
        .are_simulated = lists->are_simulated,
        .are_simulated_count = lists->count,
        .are_set_by_ask = lists->are_set_by_ask,
        .are_set_by_ask_count = lists->count,
        .device_firsts = lists->device_firsts,
        .device_firsts_count = lists->count,
        .block_sizes = lists->block_sizes,
        .block_sizes_count = lists->count,
        .device_ids = lists->device_ids,
        .device_ids_count = lists->devices_count,
        .device_lease_ids = lists->device_lease_ids,
        .device_lease_ids_count = lists->devices_count,
        .regions = lists->regions,
        .regions_count = lists->pools_count,
        .classes = lists->classes,
        .classes_count = lists->pools_count,
        .trusts = lists->trusts,
        .trusts_count = lists->pools_count,
        .tier_words = tier_words,
        .tier_words_count = ARRAY_COUNT(tier_words),
    };
    return award_store_run(round->session, &in, ret_result);
}

static int award_order(const void *a, const void *b)
{
    return ((const struct round_award *)a)->replica_row -
           ((const struct round_award *)b)->replica_row;
}

enum err_code awards_write(const struct award_round *round, struct round_clearing *clearing,
                           struct sql_result **ret_result)
{
    struct lease_lists lists = lists_make(round->supply, clearing);
    qsort(clearing->awards, clearing->awards_count, sizeof(struct round_award), award_order);
    for (uint32_t i = 0; i < clearing->awards_count; i++)
        lists_add(&lists, round, &clearing->awards[i]);
    enum err_code err = lists_store(&lists, round, ret_result);
    lists_finish(&lists);
    return err;
}
