#include "api/catalogue.h"

#include <stdlib.h>

#include "api/call.h"
#include "broker/base/clock.h"
#include "broker/io/db.h"
#include "broker/market/roundview.h"

#define FRESH_MS 10000

struct api_catalogue {
    struct catalogue catalogue; /* its slices point into the rest */
    struct sql_result *classes, *regions;
    json_t *models[CATALOGUE_CLASSES_MAX];
    int64_t read_mono_ms;
};

struct catalogue_calls {
    struct db_call classes, regions;
};

void api_catalogue_release(struct api_catalogue *catalogue)
{
    if (catalogue == NULL)
        return;
    for (int i = 0; i < catalogue->catalogue.classes_count; i++)
        json_decref(catalogue->models[i]);
    sql_result_release(catalogue->classes);
    sql_result_release(catalogue->regions);
    free(catalogue);
}

const struct catalogue *catalogue_of(struct flow *flow)
{
    return &api_call_of(flow)->thread->catalogue->catalogue;
}

enum flow_next catalogue_load(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    const struct api_catalogue *known = call->thread->catalogue;
    if (known != NULL && clock_mono_ms() - known->read_mono_ms < FRESH_MS)
        return FLOW_NEXT;
    struct catalogue_calls *calls = flow_alloc(flow, sizeof(*calls));
    call->catalogue_calls = calls;
    calls->classes.flow = calls->regions.flow = flow;
    device_class_list_submit(call->thread->db, &calls->classes);
    region_list_submit(call->thread->db, &calls->regions);
    return FLOW_WAIT;
}

static void take_models(struct api_catalogue *copy, int at, struct str models)
{
    struct catalogue_class *class = &copy->catalogue.classes[at];
    char why[128];
    size_t i;
    const json_t *name;
    copy->models[at] = json_parse(models, why, sizeof(why));
    json_array_foreach (copy->models[at], i, name) {
        if (class->models_count < CATALOGUE_MODELS_MAX)
            class->models[class->models_count++] = (struct str){
                .at = json_string_value(name),
                .len = json_string_length(name),
            };
    }
}

static void take_class(struct api_catalogue *copy, const struct device_class_list_out *row)
{
    int at = copy->catalogue.classes_count++;
    copy->catalogue.classes[at] = (struct catalogue_class){
        .class = row->class,
        .vendor = row->vendor,
        .vram_mib = row->vram_mib,
        .vcpu_min = row->vcpu_min,
        .memory_mib_min = row->memory_mib_min,
        .disk_mib_min = row->disk_mib_min,
        .catalogue_uusd_per_hour = row->catalogue_uusd_per_hour,
    };
    take_models(copy, at, row->models);
}

static struct api_catalogue *copy_of(const struct catalogue_calls *calls)
{
    struct api_catalogue *copy = calloc(1, sizeof(*copy));
    must(copy != NULL);
    sql_result_retain(calls->classes.result);
    sql_result_retain(calls->regions.result);
    copy->classes = calls->classes.result;
    copy->regions = calls->regions.result;
    copy->read_mono_ms = clock_mono_ms();
    for (int i = 0; i < calls->classes.row_count && i < CATALOGUE_CLASSES_MAX; i++) {
        struct device_class_list_out row;
        device_class_list_get(&calls->classes, i, &row);
        take_class(copy, &row);
    }
    for (int i = 0; i < calls->regions.row_count && i < TERMS_CHOICES_MAX; i++) {
        struct region_list_out row;
        region_list_get(&calls->regions, i, &row);
        int at = copy->catalogue.regions_count++;
        copy->catalogue.regions[at] = row.region;
        copy->catalogue.places[at] = (struct catalogue_place){
            .country = row.country, .lat_udeg = row.lat_udeg, .lon_udeg = row.lon_udeg};
    }
    return copy;
}

enum flow_next catalogue_read(struct flow *flow)
{
    struct api_thread *thread = api_call_of(flow)->thread;
    const struct catalogue_calls *calls = api_call_of(flow)->catalogue_calls;
    if (calls == NULL)
        return FLOW_NEXT;
    if (calls->classes.err == ERR_OK && calls->regions.err == ERR_OK) {
        api_catalogue_release(thread->catalogue);
        thread->catalogue = copy_of(calls);
    }
    if (thread->catalogue == NULL)
        return flow_fail(flow, ERR_DATABASE_BUSY, "the catalogue cannot be read at the moment");
    return FLOW_NEXT;
}
