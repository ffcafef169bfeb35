/* container.h - what the engine is asked to make for a lease: the sandbox, as one JSON body.
 *
 * pure. Nothing that a manifest says can widen the sandbox: no capabilities, no new privileges, a
 * read-only root, no network, bounded memory, processors, processes and temporary space.
 */
#ifndef UNDERCUT_NODEAGENT_CONTAINER_H
#define UNDERCUT_NODEAGENT_CONTAINER_H

#include <stdbool.h>
#include <stddef.h>

#include "nodeagent/engine.h"
#include "nodeagent/gpu.h"
#include "nodeagent/lease.h"

#define CONTAINER_NAME_SIZE 96

struct container_spec {
    enum engine_flavour flavour;
    const char *node_id;
    const struct desired_lease *order;
    const char *image_id;
    const struct device *devices; /* those that the order names */
    size_t devices_count;
    bool has_cgroup_parent; /* some engines refuse one: then without */
};

/* "undercut-<lease_id>-<epoch>": making the same twice is a conflict and not a twin. */
void container_name(const char *lease_id, int64_t epoch, char ret_name[CONTAINER_NAME_SIZE]);
void container_body(const struct container_spec *spec, struct buf *to);

#endif
