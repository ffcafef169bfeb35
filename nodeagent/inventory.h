/* inventory.h - what this machine has to offer, as the JSON that the broker is sent.
 *
 * Loop thread. Built again every few seconds; only a change is sent. Sizes are totals, not what is
 * free, so that the text stays the same while leases come and go.
 */
#ifndef UNDERCUT_NODEAGENT_INVENTORY_H
#define UNDERCUT_NODEAGENT_INVENTORY_H

#include <stdbool.h>
#include <stddef.h>

#include "broker/base/str.h"
#include "nodeagent/config.h"
#include "nodeagent/engine.h"
#include "nodeagent/gpu.h"

struct inventory_source { /* where it is read from; borrowed */
    const struct config *config;
    const struct engine_facts *engine_or_null; /* NULL: simulated */
    const struct gpu_source *nvml_or_null;
    const struct gpu_source *amd_or_null;
    const char *suffix; /* makes hardware ids of simulated nodes differ: "" or "/sim-007" */
};

struct inventory {
    struct device devices[DEVICES_MAX];
    size_t devices_count;
    struct buf json;
    char sha256[65]; /* hex, of the JSON text */
};

/* Fills it anew; true when the text changed. */
bool inventory_read(struct inventory *inventory, const struct inventory_source *source);
void inventory_finish(struct inventory *inventory);
/* NULL: no such device here. */
const struct device *inventory_find(const struct inventory *inventory, struct str hardware_id);

#endif
