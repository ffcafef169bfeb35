/* lease_view.h - a lease as its tenant or its operator sees it.
 *
 * Statements: see lease_view.sql; the function here is pure. All of them have the columns of
 * lease_view_get, so lease_view_get_row() reads the rows of any. The tenant never learns the
 * operator's account, the operator never learns what runs there or what it is called.
 */
#ifndef UNDERCUT_MARKET_LEASE_VIEW_H
#define UNDERCUT_MARKET_LEASE_VIEW_H

#include "broker/base/json.h"
#include "gen/broker/market/lease_view.sql.h"

void lease_view_put(struct json_out *out, const struct lease_view_get_out *lease);

#endif
