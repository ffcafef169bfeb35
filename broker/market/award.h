/* award.h - writes what a round awarded: its leases, in one statement.
 *
 * one blocking thread, inside the round's transaction, behind the guard that has locked all of it.
 * Statement: award_store in award.sql.
 */
#ifndef UNDERCUT_MARKET_AWARD_H
#define UNDERCUT_MARKET_AWARD_H

#include "broker/market/guard.h"
#include "gen/broker/market/award.sql.h"

struct award_round {
    struct session *session;
    const char *market;
    int64_t round;
    const struct supply *supply;
    const struct guard *guard; /* each award has its turn among the replicas that it locked */
    int64_t spot_notice_ms;
};

/* Writes the clearing's awards, one at least, which are put into the order of their replicas:
 * neighbours in a table or an index are written together. */
enum err_code awards_write(const struct award_round *round, struct round_clearing *clearing,
                           struct sql_result **ret_result);

#endif
