/* money.h - what an account has, what moved it, and credits from the platform.
 *
 * Statements: see money.sql; loop thread for x_submit(), any one thread for x_run(). The functions
 * are pure. Amounts are micro-USD.
 */
#ifndef UNDERCUT_MARKET_MONEY_H
#define UNDERCUT_MARKET_MONEY_H

#include "broker/base/id.h"
#include "gen/broker/market/money.sql.h"

#define CREDIT_UUSD_MAX 1000000000000 /* a million USD at once */

/* Seconds until wallet and escrow are used up, -1 when nothing burns them. */
int64_t runway_s(const struct balance_get_out *balance);

/* "credit:<account of the caller>:<Idempotency-Key>": books one cause once, for ever. */
#define CREDIT_SOURCE_KEY_SIZE 256
const char *credit_source_key(struct account_id caller, struct str idempotency_key,
                              char ret_key[CREDIT_SOURCE_KEY_SIZE]);

#endif
