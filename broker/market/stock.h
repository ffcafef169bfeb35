/* stock.h - rows of supply, as read from the database and decoded once.
 *
 * one thread (the leader's). Shared by a shelf and the rounds that sell from it, counted; what is
 * struck stays struck for all of them. Texts of a row belong to the stock.
 */
#ifndef UNDERCUT_MARKET_STOCK_H
#define UNDERCUT_MARKET_STOCK_H

#include "gen/broker/market/stock.sql.h"

struct stock {
    struct sql_result *result;
    struct stock_load_out *rows;
    bool *is_struck; /* sold since it was read */
    uint32_t count, pools_count, nodes_count, bids_count;
    int references;
};

/* With one reference. */
MUST_USE enum err_code stock_read(struct session *session, const struct stock_load_in *in,
                                  struct stock **ret_stock);
void stock_retain(struct stock *stock);
void stock_release(struct stock *stock); /* NULL is fine */
/* What is not among its rows is not looked for elsewhere. */
void stock_strike(struct stock *stock, const struct uuid *device_ids, size_t count);

#endif
