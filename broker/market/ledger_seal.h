/* ledger_seal.h - a hash chain over the journals, so that no sealed row can change unnoticed.
 *
 * one blocking thread. A seal covers the journals behind the last one, in the order (transaction,
 * journal id), up to those that a running transaction could still precede:
 *   seal_n = SHA-256("undercut/ledger-seal/v1|" | seal_(n-1) | be64(journals) | lines)
 * seal_0 is 32 zero bytes; each journal gives the line
 *   J|<id>|<kind>|<actor>|<request id>|<epoch>|<memo>|<source key>|<created, us since 1970>\n
 * and each of its entries  E|<line>|<ledger account>|<amount>|<ref>\n  with, behind it, each of an
 * entry's parts  P|<workload>|<amount>\n; absent fields are empty, and in texts a backslash, a bar
 * and a newline are written \\, \b and \n.
 */
#ifndef UNDERCUT_MARKET_LEDGER_SEAL_H
#define UNDERCUT_MARKET_LEDGER_SEAL_H

#include "broker/market/office.h"

/* Seals all that is final, in seals of at most 10000 journals; each a transaction behind the fence.
 */
MUST_USE enum err_code ledger_seal_all(struct office *office, int32_t *ret_seals_count);
/* Recomputes every seal. `ret_bad_seal_id` is the first that does not hold, 0 when all do. */
MUST_USE enum err_code ledger_seal_check(struct session *session, int64_t *ret_bad_seal_id);

#endif
