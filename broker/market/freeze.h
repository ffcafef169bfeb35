/* freeze.h - a round's beginning in the database, and the end of one that never got further.
 *
 * one blocking thread, inside a transaction that office_begin() opened or that takes the fence
 * itself. Freezing waits for the batches of arrivals under way, moves the market's counter on,
 * spends one link of the seed chain and stores R_t: from here the seed is fixed and nobody can know
 * it sooner. A round that stays frozen (a crash, a failed commit) is void for good; its link is
 * spent and shown.
 */
#ifndef UNDERCUT_MARKET_FREEZE_H
#define UNDERCUT_MARKET_FREEZE_H

#include "auction/record.h"
#include "broker/market/chain.h"
#include "broker/market/office.h"
#include "broker/io/db_errand.h"

struct frozen_round {
    int64_t round; /* t */
    enum record_kind kind;
    int32_t arrivals_count;
    bool has_asks; /* an ask or a direct bid was set or withdrawn among them */
    int64_t chain_id;
    int32_t chain_index;
    struct sha256 arrivals_root, chain_value, seed;
    struct sql_result *wishes; /* NOW: whom it is for, as demands_of() takes it; else NULL */
    struct sql_result *stored; /* what the errands brought; freed by who called round_begin() */
    bool is_link_lost; /* a void round whose chain cannot be opened: value and seed are zeros */
};

/* Begins a transaction, without office_begin(): renews the office as its fence. ERR_NO_LEADER: not
 * in office. A NOW round has its row only at its end, since all of it is one transaction; the
 * `errands` (NULL: none) are done in it first, so that what they store is what it awards. */
MUST_USE enum err_code round_begin(struct office *office, struct seed_chain *chain,
                                   enum record_kind kind, const struct db_errand *errands,
                                   struct frozen_round *ret_round);
/* The head of its record, without the lots. */
struct record_head frozen_round_head(const struct frozen_round *round, const char *market,
                                     uint32_t fee_bp);

/* frozen -> committed, or void for that kind, once; the record is chained to the one before it, and
 * its public half becomes a leaf of the market's log. May be part of a pipe. */
enum err_code round_end(struct office *office, const struct frozen_round *round, struct str record,
                        int32_t awards_count);

/* Voids every frozen round of the market, each with its record; a transaction of its own.
 * `ret_count` says how many. */
MUST_USE enum err_code rounds_void(struct office *office, const struct seal_key *key,
                                   uint32_t fee_bp, int32_t *ret_count);

#endif
