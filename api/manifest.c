/* The happy path narrows the catalogue step by step (vendor, models, memory ...) to the classes
 * whose blocks fit, then fills in defaults and the hold. Failure modes: a constraint that leaves no
 * class is named as the culprit (unplaceable); fields that contradict each other are refused one by
 * one.
 */
#include "api/manifest.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/placement.h"
#include "auction/explain.h"
#include "broker/base/money.h"

/* The classes that still fit, as indexes into the catalogue. */
struct candidates {
    const struct catalogue *catalogue;
    int at[CATALOGUE_CLASSES_MAX];
    int count;
};

typedef bool class_fits(const struct catalogue_class *class, const struct manifest *manifest);

static int block_size_of(const struct manifest *manifest)
{
    int64_t count = manifest->resources.has_device ? manifest->resources.device.count : 1;
    int size = 1;
    while (size < count)
        size *= 2;
    return size;
}

/* ---- which classes fit */

static bool vendor_fits(const struct catalogue_class *class, const struct manifest *manifest)
{
    const struct resources *resources = &manifest->resources;
    if (resources->has_cpu)
        return str_equal_c(class->vendor, "cpu");
    if ((int)resources->device.vendor == 0)
        return !str_equal_c(class->vendor, "cpu");
    return str_equal_c(class->vendor, device_wish_vendor_text(resources->device.vendor));
}

static bool equal_but_case(struct str a, struct str b)
{
    return a.len == b.len && strncasecmp(a.at, b.at, a.len) == 0;
}

static bool model_is(const struct catalogue_class *class, struct str name)
{
    bool is_it = equal_but_case(class->class, name);
    for (int i = 0; i < class->models_count; i++)
        is_it = is_it || equal_but_case(class->models[i], name);
    return is_it;
}

static bool models_fit(const struct catalogue_class *class, const struct manifest *manifest)
{
    const struct schema_strings *models = &manifest->resources.device.models;
    bool is_named = models->count == 0;
    for (size_t i = 0; i < models->count; i++)
        is_named = is_named || model_is(class, models->at[i]);
    return is_named;
}

static bool vram_fits(const struct catalogue_class *class, const struct manifest *manifest)
{
    const struct device_wish *wish = &manifest->resources.device;
    return !wish->has_vram_mib_min || class->vram_mib >= wish->vram_mib_min;
}

static bool vcpu_fits(const struct catalogue_class *class, const struct manifest *manifest)
{
    const struct resources *resources = &manifest->resources;
    int64_t wanted = resources->has_cpu    ? resources->cpu.vcpu
                     : resources->has_vcpu ? resources->vcpu
                                           : 0;
    return class->vcpu_min * block_size_of(manifest) >= wanted;
}

static bool memory_fits(const struct catalogue_class *class, const struct manifest *manifest)
{
    const struct resources *resources = &manifest->resources;
    int64_t wanted = resources->has_memory_mib ? resources->memory_mib : 0;
    if (resources->has_cpu)
        wanted = resources->cpu.memory_mib;
    return class->memory_mib_min * block_size_of(manifest) >= wanted;
}

static bool disk_fits(const struct catalogue_class *class, const struct manifest *manifest)
{
    const struct resources *resources = &manifest->resources;
    return !resources->has_disk_mib ||
           class->disk_mib_min * block_size_of(manifest) >= resources->disk_mib;
}

static const struct class_rule {
    enum constraint constraint;
    class_fits *fits;
    const char *device_pointer, *cpu_pointer;
    const char *detail;
    bool is_of_machine; /* a machine may have more of it than its class promises */
} CLASS_RULES[] = {
    {CONSTRAINT_VENDOR, vendor_fits, "/resources/device/vendor", "/resources/cpu",
     "nothing of this vendor is traded", false},
    {CONSTRAINT_MODEL, models_fit, "/resources/device/models", "/resources/cpu",
     "none of these models is traded", false},
    {CONSTRAINT_VRAM, vram_fits, "/resources/device/vram_mib_min", "/resources/cpu",
     "no such class has this much memory", false},
    {CONSTRAINT_VCPU, vcpu_fits, "/resources/vcpu", "/resources/cpu/vcpu",
     "no such class comes with this many vCPUs", true},
    {CONSTRAINT_MEMORY, memory_fits, "/resources/memory_mib", "/resources/cpu/memory_mib",
     "no such class comes with this much memory", true},
    {CONSTRAINT_DISK, disk_fits, "/resources/disk_mib", "/resources/disk_mib",
     "no such class comes with this much disk", true},
};

static void narrow(struct candidates *candidates, class_fits *fits, const struct manifest *manifest)
{
    int kept = 0;
    for (int i = 0; i < candidates->count; i++) {
        if (fits(&candidates->catalogue->classes[candidates->at[i]], manifest))
            candidates->at[kept++] = candidates->at[i];
    }
    candidates->count = kept;
}

/* False: nothing fits, and the constraint that ended it was refused. Where devices are wanted and
 * no class promises this much beside them, a machine with that much left over may still do. */
static bool find_candidates(struct schema_binding *binding, const struct manifest *manifest,
                            struct candidates *candidates, bool *ret_is_bigger)
{
    for (int i = 0; i < candidates->catalogue->classes_count; i++)
        candidates->at[candidates->count++] = i;
    for (size_t i = 0; i < ARRAY_COUNT(CLASS_RULES); i++) {
        const struct class_rule *rule = &CLASS_RULES[i];
        struct candidates before = *candidates;
        narrow(candidates, rule->fits, manifest);
        if (candidates->count > 0)
            continue;
        if (rule->is_of_machine && manifest->resources.has_device) {
            *candidates = before;
            *ret_is_bigger = true;
            continue;
        }
        schema_refuse(binding, ERR_UNPLACEABLE,
                      manifest->resources.has_cpu ? rule->cpu_pointer : rule->device_pointer,
                      "unplaceable", rule->detail);
        return false;
    }
    return true;
}

uint32_t manifest_class_faults(const struct manifest *manifest, const struct catalogue_class *class)
{
    uint32_t faults = 0;
    for (size_t i = 0; i < ARRAY_COUNT(CLASS_RULES); i++)
        if (!CLASS_RULES[i].fits(class, manifest))
            faults |= CONSTRAINT_BIT(CLASS_RULES[i].constraint);
    return faults;
}

static int by_price(const void *a, const void *b)
{
    const struct catalogue_class *left = *(const struct catalogue_class *const *)a;
    const struct catalogue_class *right = *(const struct catalogue_class *const *)b;
    if (left->catalogue_uusd_per_hour != right->catalogue_uusd_per_hour)
        return left->catalogue_uusd_per_hour < right->catalogue_uusd_per_hour ? -1 : 1;
    return str_compare(left->class, right->class);
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* What is not asked for is what every candidate offers, so that any of them will do. */
static void take_classes(const struct candidates *candidates, const struct manifest *manifest,
                         struct workload_terms *ret)
{
    const struct resources *resources = &manifest->resources;
    const struct catalogue_class *sorted[CATALOGUE_CLASSES_MAX];
    int64_t vcpu = INT32_MAX / 1000, memory_mib = INT32_MAX, disk_mib = INT32_MAX;
    for (int i = 0; i < candidates->count; i++) {
        const struct catalogue_class *class = &candidates->catalogue->classes[candidates->at[i]];
        sorted[i] = class;
        vcpu = least(vcpu, class->vcpu_min * ret->block_size);
        memory_mib = least(memory_mib, class->memory_mib_min * ret->block_size);
        disk_mib = least(disk_mib, class->disk_mib_min * ret->block_size);
    }
    qsort(sorted, (size_t)candidates->count, sizeof(sorted[0]), by_price);
    ret->classes_count = (int)least(candidates->count, TERMS_CHOICES_MAX);
    for (int i = 0; i < ret->classes_count; i++)
        ret->classes[i] = sorted[i]->class;
    if (resources->has_cpu)
        vcpu = resources->cpu.vcpu;
    if (resources->has_cpu)
        memory_mib = resources->cpu.memory_mib;
    ret->vcpu_milli = 1000 * (resources->has_vcpu ? resources->vcpu : vcpu);
    ret->memory_mib = resources->has_memory_mib ? resources->memory_mib : memory_mib;
    ret->disk_mib = resources->has_disk_mib ? resources->disk_mib : disk_mib;
}

/* ---- the rest */

static void take_price(struct schema_binding *binding, const struct manifest *manifest,
                       struct workload_terms *ret)
{
    int64_t uusd = manifest->reserve_uusd_per_hour;
    bool is_usd = manifest->reserve_usd_per_hour.at != NULL;
    if (is_usd && !money_parse_usd(manifest->reserve_usd_per_hour, &uusd))
        schema_refuse(binding, ERR_INVALID_FIELD, "/reserve_usd_per_hour", "format",
                      "must be an amount in USD with at most six decimals");
    else if (uusd < 1 || uusd > 1000000000000)
        schema_refuse(binding, ERR_INVALID_FIELD,
                      is_usd ? "/reserve_usd_per_hour" : "/reserve_uusd_per_hour", "range",
                      "must be from 0.000001 to 1000000 USD per hour");
    ret->reserve_uusd_per_hour = uusd;
}

static void take_replicas(struct schema_binding *binding, const struct manifest *manifest,
                          struct workload_terms *ret)
{
    ret->replicas = manifest->replicas;
    ret->min_replicas = manifest->has_min_replicas ? manifest->min_replicas : manifest->replicas;
    if (ret->min_replicas > ret->replicas)
        schema_refuse(binding, ERR_INVALID_FIELD, "/min_replicas", "range",
                      "must not be more than replicas");
}

static void take_trust(struct schema_binding *binding, const struct manifest *manifest,
                       bool is_test, struct workload_terms *ret)
{
    bool is_given = manifest->has_placement;
    enum placement_trust_min trust =
        is_given ? manifest->placement.trust_min : PLACEMENT_TRUST_MIN_UNVERIFIED;
    if (trust == PLACEMENT_TRUST_MIN_SIMULATED && !is_test)
        schema_refuse(binding, ERR_INVALID_FIELD, "/placement/trust_min", "enum",
                      "only test accounts may accept simulated hardware");
    ret->trust_min = placement_trust_min_text(trust);
}

/* Guaranteed leases are backed by an operator's record, and nobody has one yet. */
static void check_tier(struct schema_binding *binding, const struct manifest *manifest)
{
    if (manifest->tier == MANIFEST_TIER_GUARANTEED)
        schema_refuse(binding, ERR_TIER_CLOSED, "/tier", "tier_closed",
                      "no operator has the record that guaranteed leases need; use flexible");
}

static void check_cpu(struct schema_binding *binding, const struct resources *resources)
{
    if (resources->has_cpu && resources->has_vcpu)
        schema_refuse(binding, ERR_INVALID_FIELD, "/resources/vcpu", "conflict",
                      "say it inside cpu");
    if (resources->has_cpu && resources->has_memory_mib)
        schema_refuse(binding, ERR_INVALID_FIELD, "/resources/memory_mib", "conflict",
                      "say it inside cpu");
}

static void take_time(struct schema_binding *binding, const struct manifest *manifest,
                      const struct manifest_context *context, struct workload_terms *ret)
{
    ret->max_duration_s = manifest->max_duration_s;
    ret->stop_grace_s = manifest->stop_grace_s;
    ret->has_deadline = manifest->has_deadline;
    ret->deadline_at_us = manifest->deadline_at_us;
    if (ret->has_deadline && ret->deadline_at_us <= context->now_us)
        schema_refuse(binding, ERR_INVALID_FIELD, "/deadline", "range", "must not be over already");
    ret->has_budget = manifest->has_budget_uusd;
    ret->budget_uusd = manifest->budget_uusd;
}

/* What the agent sets for the devices and the loader would be dropped there: it is refused here. */
static void check_prefixes(struct schema_binding *binding, const char *field,
                           const struct schema_pairs *pairs)
{
    static const char *const prefixes[] = {"LD_", "NVIDIA_", "CUDA_"};
    for (size_t i = 0; i < pairs->count; i++) {
        char pointer[160];
        struct str key = pairs->at[i].key;
        str_format(pointer, sizeof(pointer), "/%s/%.*s", field, STR_ARG(key));
        for (size_t j = 0; key.at != NULL && j < ARRAY_COUNT(prefixes); j++)
            if (str_starts_with(key, str_of(prefixes[j])))
                schema_refuse(binding, ERR_INVALID_FIELD, pointer, "conflict",
                              "names with LD_, NVIDIA_ or CUDA_ in front are the node's to set");
    }
}

static void check_names(struct schema_binding *binding, const struct manifest *manifest)
{
    check_prefixes(binding, "env", &manifest->env);
    check_prefixes(binding, "secrets", &manifest->secrets);
    for (size_t i = 0; i < manifest->secrets.count; i++) {
        char pointer[160];
        struct str key = manifest->secrets.at[i].key;
        str_format(pointer, sizeof(pointer), "/secrets/%.*s", STR_ARG(key));
        if (key.at != NULL && schema_pairs_get(&manifest->env, key.at).at != NULL)
            schema_refuse(binding, ERR_INVALID_FIELD, pointer, "conflict", "stands in env as well");
    }
}

bool manifest_terms(struct schema_binding *binding, const struct manifest *manifest,
                    const struct manifest_context *context, struct workload_terms *ret)
{
    struct candidates candidates = {.catalogue = context->catalogue};
    *ret = (struct workload_terms){
        .name = manifest->name,
        .image = manifest->image,
        .block_size = block_size_of(manifest),
        .devices_count = manifest->resources.has_device ? (int)manifest->resources.device.count : 1,
        .tier = manifest_tier_text(manifest->tier),
        .award = manifest_award_text(manifest->award),
        .price_policy = manifest_price_policy_text(manifest->price_policy),
        .restart = manifest_restart_text(manifest->restart),
        .on_interruption = manifest_on_interruption_text(manifest->on_interruption),
        .on_degraded = manifest_on_degraded_text(manifest->on_degraded),
    };
    check_tier(binding, manifest);
    check_cpu(binding, &manifest->resources);
    check_names(binding, manifest);
    take_price(binding, manifest, ret);
    take_replicas(binding, manifest, ret);
    take_trust(binding, manifest, context->is_test, ret);
    take_time(binding, manifest, context, ret);
    placement_take(binding, manifest, context->catalogue, ret);
    if (binding->errors_total > 0 ||
        !find_candidates(binding, manifest, &candidates, &ret->direct.is_bigger))
        return false;
    take_classes(&candidates, manifest, ret);
    placement_weigh(manifest, context->catalogue, ret);
    int64_t held_s = least(ret->max_duration_s, context->hold_s);
    ret->hold_uusd = ret->replicas * mul_div_ceil(ret->reserve_uusd_per_hour, held_s, 3600);
    if (ret->has_budget) /* what is set aside is all that can be spent */
        ret->hold_uusd = least(ret->hold_uusd, ret->budget_uusd);
    return true;
}

/* ---- writing it down */

static void write_json(const json_t *json, const char *otherwise, struct buf *to)
{
    if (json == NULL) {
        buf_add_c(to, otherwise);
        return;
    }
    char *text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
    must(text != NULL);
    buf_add_c(to, text);
    free(text);
}

void manifest_write_public(const json_t *json, struct buf *to)
{
    json_t *copy = json_copy((json_t *)json); /* shallow: only the top level loses keys */
    json_object_del(copy, "secrets");
    json_object_del(copy, "registry_auth");
    write_json(copy, "{}", to);
    json_decref(copy);
}

bool manifest_has_secret(const struct manifest *manifest)
{
    return manifest->secrets.at != NULL || manifest->has_registry_auth;
}

void manifest_write_secret(const json_t *json, struct buf *to)
{
    buf_add_c(to, "{\"secrets\":");
    write_json(json_object_get(json, "secrets"), "{}", to);
    buf_add_c(to, ",\"registry_auth\":");
    write_json(json_object_get(json, "registry_auth"), "null", to);
    buf_add_c(to, "}");
}
