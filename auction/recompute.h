/* recompute.h - does a recorded round follow from its own inputs? The heart of the verifier.
 *
 * pure apart from malloc. Nothing here trusts the bytes: a record may come from anywhere. That the
 * chain value belongs to the day's anchor, that R_t is the root of the arrivals, and that the
 * record's hash stands in the log are checked where those are known.
 */
#ifndef UNDERCUT_AUCTION_RECOMPUTE_H
#define UNDERCUT_AUCTION_RECOMPUTE_H

#include "auction/record.h"

/* Clears one lot of a record, numbering its owners. `memory` becomes the home of `ret_result`; it
 * may be empty or used before; the caller finishes it. Positions are those in the record. */
MUST_USE enum lot_outcome record_lot_clear(const struct record_lot *lot, const struct sha256 *seed,
                                           struct buf *memory, struct lot_result *ret_result);

/* The same of one direct clearing. */
MUST_USE enum lot_outcome record_direct_clear(const struct record_direct *direct,
                                              const struct sha256 *seed, struct buf *memory,
                                              struct rfq_result *ret_result);

enum record_check {
    RECORD_HOLDS = 1,
    RECORD_BAD_BYTES,   /* not a canonical record */
    RECORD_BAD_SEED,    /* the seed is not that of its parts */
    RECORD_BAD_INPUT,   /* an ask, reserve, k or kmin that no round can have */
    RECORD_BAD_OUTCOME, /* the rule gives another outcome */
};
const char *record_check_text(enum record_check check); /* a sentence */

/* Decodes, derives the seed, clears everything again and compares the bytes. The worst finding that
 * comes first is the answer. */
enum record_check record_recompute(struct str bytes);

#endif
