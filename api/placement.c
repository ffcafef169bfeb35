/* The happy path keeps the regions that are wanted, in wanted countries and near enough, then takes
 * over what is finer than a lot. Failure modes are: an unknown region, a distance to no place, a
 * version that is none (each refused by its pointer), and wishes that leave no region
 * (unplaceable).
 */
#include "api/placement.h"

#include <string.h>

#include "broker/base/json.h"
#include "api/distance.h"

#define DEFAULT_PER_MS_DIVISOR 1000 /* 0.1 % of the catalogue price */
#define VERSION_PARTS_MAX      4

static int region_index(const struct catalogue *catalogue, struct str name)
{
    for (int i = 0; i < catalogue->regions_count; i++) {
        if (str_equal(catalogue->regions[i], name))
            return i;
    }
    return -1;
}

static bool is_known_country(const struct catalogue *catalogue, struct str country)
{
    for (int i = 0; i < catalogue->regions_count; i++) {
        if (str_equal(catalogue->places[i].country, country))
            return true;
    }
    return false;
}

static void check_countries(struct schema_binding *binding, const struct placement *wish,
                            const struct catalogue *catalogue)
{
    for (size_t i = 0; i < wish->countries.count; i++) {
        char pointer[64];
        if (is_known_country(catalogue, wish->countries.at[i]))
            continue;
        str_format(pointer, sizeof(pointer), "/placement/countries/%zu", i);
        schema_refuse(binding, ERR_UNPLACEABLE, pointer, "unplaceable",
                      "no region lies there; see GET /v1/regions");
    }
}

static bool country_fits(const struct placement *wish, struct str country)
{
    bool is_named = wish->countries.count == 0;
    for (size_t i = 0; i < wish->countries.count; i++)
        is_named = is_named || str_equal(wish->countries.at[i], country);
    return is_named;
}

static int64_t rtt_of(const struct placement *wish, const struct catalogue_place *place)
{
    return rtt_estimate_ms((struct place){wish->near.lat, wish->near.lon},
                           (struct place){place->lat_udeg, place->lon_udeg});
}

/* Keeps what fits of the catalogue's regions `from`; which wish ended it is named. */
static void keep_regions(struct schema_binding *binding, const struct placement *wish,
                         const struct catalogue *catalogue, struct workload_terms *ret)
{
    int in_country_count = 0;
    int64_t nearest_ms = INT64_MAX;
    int wanted_count = ret->regions_count;
    ret->regions_count = 0;
    for (int i = 0; i < wanted_count; i++) {
        int at = region_index(catalogue, ret->regions[i]);
        if (at < 0 || !country_fits(wish, catalogue->places[at].country))
            continue;
        int64_t rtt_ms = wish->has_near ? rtt_of(wish, &catalogue->places[at]) : 0;
        in_country_count++;
        nearest_ms = rtt_ms < nearest_ms ? rtt_ms : nearest_ms;
        if (wish->has_max_rtt_ms && rtt_ms > wish->max_rtt_ms)
            continue;
        ret->rtt_ms[ret->regions_count] = rtt_ms;
        ret->regions[ret->regions_count++] = catalogue->regions[at];
    }
    char detail[128];
    str_format(detail, sizeof(detail), "the nearest region is an estimated %lld ms away",
               (long long)nearest_ms);
    if (in_country_count == 0 && wanted_count > 0 && binding->errors_total == 0)
        schema_refuse(binding, ERR_UNPLACEABLE, "/placement/countries", "unplaceable",
                      "none of the named regions lies in these countries");
    else if (in_country_count > 0 && ret->regions_count == 0)
        schema_refuse(binding, ERR_UNPLACEABLE, "/placement/max_rtt_ms", "unplaceable", detail);
}

static void take_regions(struct schema_binding *binding, const struct placement *wish,
                         const struct catalogue *catalogue, struct workload_terms *ret)
{
    bool is_any = wish->regions.count == 0;
    ret->regions_count = is_any ? catalogue->regions_count : (int)wish->regions.count;
    memcpy(ret->regions, is_any ? catalogue->regions : wish->regions.at,
           (size_t)ret->regions_count * sizeof(ret->regions[0]));
    for (int i = 0; i < ret->regions_count; i++) {
        char pointer[64];
        if (is_any || region_index(catalogue, ret->regions[i]) >= 0)
            continue;
        str_format(pointer, sizeof(pointer), "/placement/regions/%d", i);
        schema_refuse(binding, ERR_INVALID_FIELD, pointer, "enum",
                      "there is no such region; see GET /v1/regions");
    }
    ret->has_near = wish->has_near;
    if (wish->has_max_rtt_ms && !wish->has_near)
        schema_refuse(binding, ERR_INVALID_FIELD, "/placement/max_rtt_ms", "conflict",
                      "needs placement.near: the place it is measured from");
    check_countries(binding, wish, catalogue);
    if (wish->countries.count > 0 || wish->has_near)
        keep_regions(binding, wish, catalogue, ret);
}

/* One to four numbers with dots between. */
static bool is_version(struct str text)
{
    int parts = 0;
    int64_t number;
    for (struct str rest = text; rest.at != NULL; parts++) {
        struct str part = str_cut(&rest, '.');
        if (part.len == 0 || part.len > 9 || !str_to_i64(part, &number))
            return false;
    }
    return parts >= 1 && parts <= VERSION_PARTS_MAX;
}

static void take_version(struct schema_binding *binding, const char *pointer, struct str version,
                         struct str *ret)
{
    if (version.at != NULL && !is_version(version))
        schema_refuse(binding, ERR_INVALID_FIELD, pointer, "format",
                      "must be numbers with dots between, such as 535.104");
    *ret = version;
}

void placement_take(struct schema_binding *binding, const struct manifest *manifest,
                    const struct catalogue *catalogue, struct workload_terms *ret)
{
    static const struct placement anywhere = {.spread = PLACEMENT_SPREAD_NONE};
    const struct placement *wish = manifest->has_placement ? &manifest->placement : &anywhere;
    const struct device_wish *device = &manifest->resources.device;
    struct direct_terms *direct = &ret->direct;
    take_regions(binding, wish, catalogue, ret);
    take_version(binding, "/resources/device/driver_min", device->driver_min, &direct->driver_min);
    take_version(binding, "/resources/device/compute_min", device->compute_min,
                 &direct->compute_min);
    direct->isolation = wish->isolation;
    direct->spread = placement_spread_text(wish->spread);
    direct->excluded_count = (int)wish->exclude_node_ids.count;
    for (int i = 0; i < direct->excluded_count; i++)
        direct->excluded[i] = wish->exclude_node_ids.at[i].u;
}

static int64_t cheapest(const struct catalogue *catalogue, const struct workload_terms *terms)
{
    for (int i = 0; i < catalogue->classes_count; i++) {
        if (str_equal(catalogue->classes[i].class, terms->classes[0]))
            return catalogue->classes[i].catalogue_uusd_per_hour * terms->block_size;
    }
    return 0;
}

void placement_weigh(const struct manifest *manifest, const struct catalogue *catalogue,
                     struct workload_terms *terms)
{
    const struct direct_terms *direct = &terms->direct;
    bool is_spread = strcmp(direct->spread, "none") != 0 && terms->replicas > 1;
    terms->is_direct = direct->driver_min.at != NULL || direct->compute_min.at != NULL ||
                       direct->isolation.at != NULL || direct->excluded_count > 0 || is_spread ||
                       direct->is_bigger;
    int64_t nearest_ms = INT64_MAX;
    for (int i = 0; i < terms->regions_count; i++)
        nearest_ms = terms->rtt_ms[i] < nearest_ms ? terms->rtt_ms[i] : nearest_ms;
    int64_t per_ms = cheapest(catalogue, terms) / DEFAULT_PER_MS_DIVISOR;
    if (terms->has_near && manifest->placement.near.has_uusd_per_ms)
        per_ms = manifest->placement.near.uusd_per_ms;
    for (int i = 0; i < terms->regions_count; i++)
        terms->latency_uusd_per_hour[i] = (terms->rtt_ms[i] - nearest_ms) * per_ms;
}

static void write_excluded(const struct direct_terms *direct, struct json_out *out)
{
    struct buf text = {.at = NULL};
    char id[ID_TEXT_SIZE];
    for (int i = 0; i < direct->excluded_count; i++) {
        buf_add_c(&text, i > 0 ? "," : "");
        buf_add_c(&text, uuid_text(direct->excluded[i], id));
    }
    if (direct->excluded_count > 0)
        json_put_str(out, "excluded", buf_str(&text));
    buf_finish(&text);
}

static void write_latency(const struct workload_terms *terms, struct json_out *out)
{
    char name[64];
    json_object_open(out, "latency");
    for (int i = 0; i < terms->regions_count; i++) {
        must(str_format(name, sizeof(name), "%.*s", STR_ARG(terms->regions[i])));
        json_put_i64(out, name, terms->latency_uusd_per_hour[i]);
    }
    json_object_close(out);
}

void placement_write(const struct workload_terms *terms, struct buf *to)
{
    const struct direct_terms *direct = &terms->direct;
    struct json_out out;
    if (!terms->is_direct && !terms->has_near)
        return;
    json_out_start(&out, to);
    json_object_open(&out, NULL);
    json_put_bool(&out, "is_direct", terms->is_direct);
    if (direct->driver_min.at != NULL)
        json_put_str(&out, "driver_min", direct->driver_min);
    if (direct->compute_min.at != NULL)
        json_put_str(&out, "compute_min", direct->compute_min);
    if (direct->isolation.at != NULL)
        json_put_str(&out, "isolation", direct->isolation);
    json_put_c(&out, "spread", direct->spread);
    write_excluded(direct, &out);
    if (terms->has_near)
        write_latency(terms, &out);
    json_object_close(&out);
}
