/* The happy path is: the typical types are checked and sorted once; a node's measure walks them
 * once; a request is tried on each kind of device that could hold it, and the least dF is kept.
 * Failure modes are: types out of range, refused at the start. A request without room is no
 * failure: its fit says so.
 */
#include "auction/frag.h"

#include "broker/base/money.h"

static bool need_is_good(const struct frag_need *need)
{
    bool has_devices = need->devices_count == 0 ||
                       (need->device_milli >= 1 && need->device_milli <= FRAG_DEVICE_MILLI);
    return need->cpu_milli >= 0 && need->memory_mib >= 0 && has_devices &&
           need->devices_count <= FRAG_DEVICES_MAX;
}

/* The place of a share among the different ones; grains_count when there is no room for it. */
static uint32_t grain_place(struct frag_types *types, uint32_t milli)
{
    uint32_t place = 0;
    while (place < types->grains_count && types->grains_milli[place] != milli)
        place++;
    if (place == types->grains_count && place < FRAG_GRAINS_MAX)
        types->grains_milli[types->grains_count++] = (uint16_t)milli;
    return place;
}

static void type_insert(struct frag_types *types, const struct frag_type *type)
{
    uint32_t at = types->count++;
    for (; at > 0 && types->at[at - 1].need.cpu_milli > type->need.cpu_milli; at--)
        types->at[at] = types->at[at - 1];
    types->at[at] = *type;
}

bool frag_types_start(struct frag_types *types, const struct frag_type *list, uint32_t count)
{
    types->count = types->grains_count = 0;
    types->weight_total = 0;
    if (count > FRAG_TYPES_MAX)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        const struct frag_type *type = &list[i];
        if (!need_is_good(&type->need) || type->weight < 0 || type->weight > FRAG_WEIGHT_MAX)
            return false;
        types->weight_total += type->weight;
        if (type->need.devices_count > 0)
            type_insert(types, type);
    }
    types->weight_from[types->count] = 0;
    for (uint32_t i = types->count; i-- > 0;) {
        uint32_t grain = grain_place(types, types->at[i].need.device_milli);
        if (grain == FRAG_GRAINS_MAX)
            return false;
        types->grain_of[i] = (uint8_t)grain;
        types->weight_from[i] = types->weight_from[i + 1] + types->at[i].weight;
    }
    return true;
}

struct grain_view {     /* of a node, for one size of a share */
    uint32_t fit_count; /* devices that have as much free */
    int64_t idle_milli; /* on the devices that have less */
};

/* Types share few grains, so devices are looked at once per grain and not once per type. */
int64_t frag_measure(const struct frag_types *types, const struct frag_node *node)
{
    struct grain_view views[FRAG_GRAINS_MAX];
    int64_t idle_milli = 0;
    for (uint32_t i = 0; i < node->devices_count; i++)
        idle_milli += node->free_milli[i];
    for (uint32_t g = 0; g < types->grains_count; g++) {
        views[g] = (struct grain_view){.fit_count = 0};
        for (uint32_t i = 0; i < node->devices_count; i++) {
            bool fits = node->free_milli[i] >= types->grains_milli[g];
            views[g].fit_count += fits;
            views[g].idle_milli += fits ? 0 : node->free_milli[i];
        }
    }
    /* What fits nowhere on the node for want of vCPU comes last, so the walk ends there. */
    int64_t sum = idle_milli * (types->weight_total - types->weight_from[0]);
    uint32_t at = 0;
    for (; at < types->count && types->at[at].need.cpu_milli <= node->cpu_milli; at++) {
        const struct frag_need *need = &types->at[at].need;
        const struct grain_view *view = &views[types->grain_of[at]];
        bool is_of_use = need->devices_count <= view->fit_count &&
                         need->memory_mib <= node->memory_mib && (need->models & node->model) != 0;
        sum += types->at[at].weight * (is_of_use ? view->idle_milli : idle_milli);
    }
    return sum + idle_milli * types->weight_from[at];
}

static void node_change(struct frag_node *node, const struct frag_need *need, uint16_t devices,
                        int sign)
{
    node->cpu_milli -= sign * need->cpu_milli;
    node->memory_mib -= sign * need->memory_mib;
    for (uint32_t i = 0; i < node->devices_count; i++)
        if (devices >> i & 1)
            node->free_milli[i] =
                (uint16_t)(node->free_milli[i] - sign * (int32_t)need->device_milli);
    node->version++;
}

void frag_node_take(struct frag_node *node, const struct frag_need *need, uint16_t devices)
{
    node_change(node, need, devices, 1);
}

void frag_node_give(struct frag_node *node, const struct frag_need *need, uint16_t devices)
{
    node_change(node, need, devices, -1);
}

/* The `count` fullest devices that have enough free; 0 when there are not as many. */
static uint16_t devices_fullest(const struct frag_node *node, const struct frag_need *need)
{
    uint16_t devices = 0;
    for (uint32_t taken = 0; taken < need->devices_count; taken++) {
        uint32_t best = node->devices_count;
        for (uint32_t i = 0; i < node->devices_count; i++)
            if (!(devices >> i & 1) && node->free_milli[i] >= need->device_milli &&
                (best == node->devices_count || node->free_milli[i] < node->free_milli[best]))
                best = i;
        if (best == node->devices_count)
            return 0;
        devices |= (uint16_t)(1u << best);
    }
    return devices;
}

static bool node_has_room(const struct frag_node *node, const struct frag_need *need)
{
    return need->cpu_milli <= node->cpu_milli && need->memory_mib <= node->memory_mib &&
           (need->devices_count == 0 || (need->models & node->model) != 0);
}

static int64_t measure_after(const struct frag_types *types, const struct frag_node *node,
                             const struct frag_need *need, uint16_t devices)
{
    struct frag_node after = *node;
    frag_node_take(&after, need, devices);
    return frag_measure(types, &after);
}

/* Another device with as much free comes to the same, so only the first of its like is tried. */
static bool is_first_of_its_like(const struct frag_node *node, uint32_t device)
{
    for (uint32_t i = 0; i < device; i++)
        if (node->free_milli[i] == node->free_milli[device])
            return false;
    return true;
}

/* One device: each kind of device with enough free is tried. */
static uint16_t device_best(const struct frag_types *types, const struct frag_node *node,
                            const struct frag_need *need, int64_t *ret_after)
{
    uint32_t best = node->devices_count;
    for (uint32_t i = 0; i < node->devices_count; i++) {
        if (node->free_milli[i] < need->device_milli || !is_first_of_its_like(node, i))
            continue;
        int64_t after = measure_after(types, node, need, (uint16_t)(1u << i));
        if (best == node->devices_count || after < *ret_after ||
            (after == *ret_after && node->free_milli[i] < node->free_milli[best])) {
            best = i;
            *ret_after = after;
        }
    }
    return (uint16_t)(best == node->devices_count ? 0u : 1u << best);
}

struct frag_fit frag_fit_find(const struct frag_types *types, const struct frag_node *node,
                              int64_t before, const struct frag_need *need)
{
    struct frag_fit fit = {.version = node->version, .is_known = true};
    int64_t after = 0;
    if (!node_has_room(node, need))
        return fit;
    if (need->devices_count == 1) {
        fit.devices = device_best(types, node, need, &after);
    } else {
        fit.devices = devices_fullest(node, need);
        after = measure_after(types, node, need, fit.devices);
    }
    fit.fits = need->devices_count == 0 || fit.devices != 0;
    fit.delta = fit.fits ? after - before : 0;
    return fit;
}

static int64_t measure_known(struct frag_cache *cache, uint32_t node)
{
    struct frag_known *known = &cache->measures[node];
    if (!known->is_known || known->version != cache->nodes[node].version)
        *known = (struct frag_known){.measure = frag_measure(cache->types, &cache->nodes[node]),
                                     .version = cache->nodes[node].version,
                                     .is_known = true};
    return known->measure;
}

const struct frag_fit *frag_cache_fit(struct frag_cache *cache, uint32_t need, uint32_t node)
{
    struct frag_fit *fit = &cache->fits[(size_t)need * cache->nodes_count + node];
    if (!fit->is_known || fit->version != cache->nodes[node].version) {
        *fit = frag_fit_find(cache->types, &cache->nodes[node], measure_known(cache, node),
                             &cache->needs[need]);
        cache->found_count++;
    }
    return fit;
}

int64_t frag_adder(int64_t weight_total, int64_t over, int64_t usual_uusd_per_hour,
                   int64_t lambda_bp)
{
    return mul_div_ceil(usual_uusd_per_hour * lambda_bp, over,
                        (int64_t)FRAG_LAMBDA_ONE_BP * FRAG_DEVICE_MILLI * weight_total);
}

/* Weights out of 2000, whatever the number of wishes. */
static void sizes_weigh(const int64_t wanted[FRAG_SIZES], struct frag_type list[FRAG_SIZES])
{
    static const int64_t typical[FRAG_SIZES] = FRAG_TYPICAL;
    int64_t wanted_all = 0;
    for (uint32_t size = 0; size < FRAG_SIZES; size++)
        wanted_all += wanted[size];
    for (uint32_t size = 0; size < FRAG_SIZES; size++) {
        int64_t now = wanted_all > 0 ? mul_div_floor(wanted[size], 1000, wanted_all) : 0;
        list[size] = (struct frag_type){
            .need = {.models = FRAG_MODELS_ANY, .devices_count = 1u << size, .device_milli = 1000},
            .weight = typical[size] + now,
        };
    }
}

struct frag_whole frag_whole_of(const int64_t wanted[FRAG_SIZES])
{
    struct frag_types types;
    struct frag_type list[FRAG_SIZES];
    struct frag_node node = {.model = 1};
    struct frag_whole whole = {.deltas = {0}};
    sizes_weigh(wanted, list);
    must(frag_types_start(&types, list, FRAG_SIZES));
    whole.weight_total = types.weight_total;
    for (uint32_t idle = 1; idle < FRAG_IDLE_MAX; idle++) {
        node.devices_count = idle;
        node.free_milli[idle - 1] = FRAG_DEVICE_MILLI;
        int64_t before = frag_measure(&types, &node);
        whole.deltas[idle] = frag_fit_find(&types, &node, before, &list[0].need).delta;
    }
    return whole;
}

int64_t frag_whole_delta(const struct frag_whole *whole, uint32_t idle_count)
{
    return whole->deltas[idle_count < FRAG_IDLE_MAX ? idle_count : FRAG_IDLE_MAX];
}
