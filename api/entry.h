/* entry.h - the steps before every handler's own: who asks, may they, and what do they want.
 *
 * loop thread. The last of them hands over to the operation's own table.
 */
#ifndef UNDERCUT_API_ENTRY_H
#define UNDERCUT_API_ENTRY_H

#include "api/call.h"
#include "api/route.h"

extern const struct flow_step entry_steps[];
/* For a request that has no operation: fails with not_found or method_not_allowed. */
extern const struct flow_step entry_lost_steps[];

/* For handlers that check more than a schema can say: a binding whose memory is the flow's, and
 * what it found told to the flow; true when that was nothing. */
struct schema_binding entry_binding(struct flow *flow);
bool entry_accept(struct flow *flow, const struct schema_binding *binding);

#endif
