/* cgroup.h - the cgroup of one lease: the parent of its container, which outlives it.
 *
 * any thread. Version 1 and version 2 hierarchies below a root that tests may replace. All answers
 * are best effort: what cannot be read says "unknown".
 */
#ifndef UNDERCUT_NODEAGENT_CGROUP_H
#define UNDERCUT_NODEAGENT_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

#define CGROUP_ROOT "/sys/fs/cgroup"

/* Did memory run out in `/undercut/<lease_id>`? On version 2 the kernel counts it; on version 1 the
 * peak having reached the limit is the evidence. */
bool cgroup_hit_memory_limit(const char *root, const char *lease_id, int64_t limit_bytes);

/* Removes the lease's cgroups in every hierarchy, deepest first; busy ones stay. */
void cgroup_remove(const char *root, const char *lease_id);

#endif
