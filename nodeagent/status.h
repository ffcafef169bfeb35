/* status.h - what the state folder says about this node, for people and for machines.
 *
 * Reads only; works while the agent runs and while it does not.
 */
#ifndef UNDERCUT_NODEAGENT_STATUS_H
#define UNDERCUT_NODEAGENT_STATUS_H

#include <stdbool.h>

#include "broker/base/must.h"
#include "nodeagent/config.h"

/* Prints on stdout. False when this machine is not enrolled or the state cannot be read. */
MUST_USE bool status_print(const struct config *config, char ret_why[256]);

#endif
