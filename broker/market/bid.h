/* bid.h - direct bids: a sealed price on one workload that is cleared by itself.
 *
 * loop thread, apart from bids_release(). Statements: see bid.sql. A bid commits a block: from when
 * it is placed until it wins, is withdrawn, expires or its workload wants nothing more, the block
 * is in no lot. It counts from the next freeze and is answered with a promise (promise.h) over
 * bid_message() of migrations/0007_direct_bids.sql. Nobody but its own account ever sees it.
 */
#ifndef UNDERCUT_MARKET_BID_H
#define UNDERCUT_MARKET_BID_H

#include "broker/base/json.h"
#include "broker/market/direct.h"
#include "gen/broker/market/bid.sql.h"

struct hub;
struct office;

/* Does the node of this row have what its workload asks for? Room for a block is another matter. */
enum direct_fit direct_open_judge(const struct direct_open_list_out *row);
/* It may bid there: it fits, is for sale (an ask stands that its floor agrees with), and has a free
 * block or a bid that stands. */
bool direct_open_is_offered(const struct direct_open_list_out *row);
/* What an operator may know before it has won: never whose it is, what it runs or what it pays. */
void direct_open_put(struct json_out *out, const struct direct_open_list_out *row);

/* Leader's thread: ends what is over, in a transaction of its own, and tells the nodes. */
MUST_USE enum err_code bids_release(struct office *office, struct hub *hub);

#endif
