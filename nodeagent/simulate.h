/* simulate.h - many simulated nodes in one process, for benches.
 *
 * Node i keeps its state in <state_dir>/node-<i>, enrols with line i of the tokens file, and puts
 * "/sim-<i>" behind its hardware ids, so that no two nodes offer the same device. To kill some of
 * the nodes, run several such processes and kill some of those.
 */
#ifndef UNDERCUT_NODEAGENT_SIMULATE_H
#define UNDERCUT_NODEAGENT_SIMULATE_H

#include <stdbool.h>

#include "nodeagent/config.h"

struct fleet;

/* NULL: `ret_why` says what is wrong. */
struct fleet *fleet_start(const struct config *config, char ret_why[256]);
void fleet_stop(struct fleet *fleet); /* waits for all nodes and frees */

#endif
