/* inventory.h - an agent's inventory on its way into the database.
 *
 * pure; memory comes from the flow.
 */
#ifndef UNDERCUT_API_INVENTORY_H
#define UNDERCUT_API_INVENTORY_H

#include "api/call.h"

/* The JSON text to store. False: the flow failed, because a hardware_id stands twice. */
MUST_USE bool inventory_text(struct flow *flow, const struct inventory *inventory,
                             struct str *ret_text);

#endif
