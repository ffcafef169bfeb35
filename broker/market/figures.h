/* figures.h - what the market counts, as gauges in Prometheus' text format.
 *
 * pure apart from the statement figure_list.
 */
#ifndef UNDERCUT_MARKET_FIGURES_H
#define UNDERCUT_MARKET_FIGURES_H

#include "broker/base/str.h"
#include "gen/broker/market/figures.sql.h"

struct history;
struct leader;
struct settle;

/* One row, e.g. undercut_leases{state="running"} 6. Rows of one name come together. */
void figures_write_count(const struct figure_list_out *row, struct str *name_before,
                         struct buf *to);
/* What the leader and the settler of this process did; NULL: it has none. */
void figures_write_leader(const struct leader *leader, struct buf *to);
void figures_write_settle(const struct settle *settle, struct buf *to);
void figures_write_history(const struct history *history, struct buf *to);

#endif
