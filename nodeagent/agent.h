/* agent.h - one node's loop: tell the broker what is, hear what should be, converge.
 *
 * agent_run() blocks until agent_stop(); several agents (simulated nodes) may run in one process,
 * each in its own thread with its own state folder.
 */
#ifndef UNDERCUT_NODEAGENT_AGENT_H
#define UNDERCUT_NODEAGENT_AGENT_H

#include <stdbool.h>

#include "nodeagent/config.h"
#include "nodeagent/identity.h"

struct agent;

/* NULL: `ret_why` says what is missing. `suffix` ("" or "/sim-007") goes behind each hardware id.
 */
struct agent *agent_create(const struct config *config, const char *suffix, char ret_why[256]);
void agent_destroy(struct agent *agent); /* NULL is fine */
bool agent_is_enrolled(const struct agent *agent);
/* With config->token; keeps trying while the broker does not answer, until agent_stop(). */
MUST_USE bool agent_enrol(struct agent *agent, char ret_why[256]);
/* Serves leases until agent_stop(); with config->is_once until the first answer. Containers stay.
 */
MUST_USE bool agent_run(struct agent *agent, char ret_why[256]);
void agent_stop(struct agent *agent); /* any thread, any signal handler */
const struct identity *agent_identity(const struct agent *agent);

#endif
