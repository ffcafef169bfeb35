/* verify_clear.h - clears a recorded lot or direct clearing again, slowly and from the definitions,
 * and holds the outcome against the recorded one.
 *
 * pure apart from malloc. This is the verifier's own: it calls nothing of auction/clear.c, rfq.c or
 * recompute.c, so that a mistake there shows. What it shares with the broker is the decoder of
 * records (whose output it holds against commitments anyway) and SHA-256. The rule is that of
 * docs/verify.md; time O(n^2), memory O(n).
 */
#ifndef UNDERCUT_CLI_VERIFY_CLEAR_H
#define UNDERCUT_CLI_VERIFY_CLEAR_H

#include "auction/record.h"

#define VERIFY_WHY_SIZE 256

/* False: `ret_why` says what differs, in a phrase behind "lot ...: ". */
MUST_USE bool verify_lot(const struct record_lot *lot, const struct sha256 *seed,
                         char ret_why[VERIFY_WHY_SIZE]);
MUST_USE bool verify_direct(const struct record_direct *direct, const struct sha256 *seed,
                            char ret_why[VERIFY_WHY_SIZE]);
/* SHA-256("undercut/seed/v1|" | market | be64(t) | R_t | h_t) */
struct sha256 verify_seed(const struct record_head *head);

#endif
