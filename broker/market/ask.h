/* ask.h - asks: an account's one standing sealed price per device class and region.
 *
 * loop thread. Statements: see ask.sql. A change is an arrival: it is stamped with the round it
 * counts for and answered with a promise (promise.h) over ask_message() of
 * migrations/0002_nodes_and_asks.sql.
 */
#ifndef UNDERCUT_MARKET_ASK_H
#define UNDERCUT_MARKET_ASK_H

#include "gen/broker/market/ask.sql.h"

struct hub;

/* Agents show their owner which price stands: tells those that ask_node_list found. */
void ask_wake_nodes(struct hub *hub, const struct db_call *found);

#endif
