#include "api/inventory.h"

#include <stdlib.h>

static int by_hardware_id(const void *a, const void *b)
{
    const struct str *one = a, *other = b;
    return str_compare(*one, *other);
}

static bool is_unique(struct flow *flow, const struct inventory *inventory)
{
    size_t count = inventory->devices.count;
    struct str *ids = flow_alloc(flow, sizeof(*ids) * (count + 1));
    for (size_t i = 0; i < count; i++)
        ids[i] = inventory->devices.at[i].hardware_id;
    qsort(ids, count, sizeof(*ids), by_hardware_id);
    for (size_t i = 1; i < count; i++) {
        if (str_equal(ids[i - 1], ids[i]))
            return false;
    }
    return true;
}

bool inventory_text(struct flow *flow, const struct inventory *inventory, struct str *ret_text)
{
    if (!is_unique(flow, inventory)) {
        flow_field_error(flow, ERR_INVALID_FIELD, "/inventory/devices", "duplicate",
                         "a hardware_id must stand once");
        return false;
    }
    char *text = json_dumps(inventory->json, JSON_COMPACT);
    must(text);
    *ret_text = str_of(flow_strdup(flow, str_of(text)));
    free(text);
    return true;
}
