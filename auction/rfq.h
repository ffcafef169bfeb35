/* rfq.h - clears one workload by itself: what no lot can express, by second score.
 *
 * pure: no allocation, no I/O, integers only; the caller lends the memory. Prices and scores are
 * micro-USD per block-hour. Candidates are blocks that fit, each with one sealed price (a standing
 * ask or a direct bid) and public terms that never depend on it (expected failures, latency); its
 * score is x = price + terms. Candidates are split into groups, and at most one of a group is
 * taken: each stands alone where the workload does not care, those of a node or of a region share a
 * group where it wants to be spread. The cheapest candidate stands for its group; the k cheapest
 * groups with x <= r win, none of them if fewer than kmin do. Equals go by hash (tie.h). The
 * workload owner's own blocks are no candidates.
 *
 * What is paid: each account is paid what its rivals would have charged instead of it. Take the
 * account out and clear again: a block whose group somebody else then stands for is worth that
 * one's score; the account's other blocks, cheapest first, are worth r as far as nobody steps in,
 * then the scores of those who do, dearest first. Its operator receives that less the block's own
 * terms. With one block per account that is the second score: min(r, the (k+1)-th x of another
 * account) (Che, RAND Journal 1993).
 *
 * What is promised: the operator never gets less than its price, the tenant never pays above r. The
 * groups are a partition matroid, the greedy choice is the best one, and the payment is what the
 * account's presence saves the others (Vickrey, Clarke, Groves). So with kmin = 1, or where the
 * rivals alone reach kmin, no account gains by any prices but its true ones, whatever the number of
 * its blocks, their terms and the spread. Where an account is needed to reach kmin, this holds if
 * its blocks have one price and equal terms; otherwise it may gain by lowering its dearest block
 * until the gang is complete. No rule that keeps every block within r can do better there: what
 * the account has to sell is then the gang, and a gang has no price per block.
 *
 * Example: prices 300, 320, 290 with terms 45, 7, 95; r = 500, k = 1. Scores 345, 327, 385: the
 * second one wins at 345 and is paid 338.
 */
#ifndef UNDERCUT_AUCTION_RFQ_H
#define UNDERCUT_AUCTION_RFQ_H

#include "auction/clear.h"

struct rfq_candidate {
    struct str id; /* for ties; unique among the candidates; borrowed */
    uint32_t owner;
    uint32_t group; /* below the candidates' number */
    int64_t price_uusd_per_hour;
    int64_t terms_uusd_per_hour; /* public, never depends on the price */
};

struct rfq_input {
    const struct rfq_candidate *candidates;
    uint32_t candidates_count;
    uint32_t owner; /* of the workload; LOT_OWNER_NONE: none of the candidates' */
    int64_t r_uusd_per_hour;
    uint32_t k, kmin; /* as in a lot */
    struct sha256 seed;
};

struct rfq_award {
    uint32_t candidate;          /* position in the input */
    int64_t theta_uusd_per_hour; /* the score it is worth */
    int64_t price_uusd_per_hour; /* theta - terms: its price <= this <= r */
};

struct rfq_result {                 /* points into the lent memory */
    const struct rfq_award *awards; /* cheapest score first */
    uint32_t awards_count;
    int64_t index_uusd_per_hour; /* X = min(r, (k+1)-th score), or LOT_INDEX_NONE */
    enum demand_verdict verdict; /* not OUTBID, not SELLS_HERE */
};

/* The working memory; serves any number of clearings of that size, one at a time. */
struct rfq {
    uint32_t candidates_max;
    struct rfq_key *keys, *scratch; /* within r, by (score, tie) */
    struct sha256 *hashes;          /* of equals, by position in the input */
    struct rfq_group *groups;
    struct rfq_award *awards;
    uint32_t *picks, *stand_ins; /* positions in keys */
    uint32_t keys_count, walk;
};

size_t rfq_size(uint32_t candidates_max);
/* `memory` holds rfq_size() bytes, aligned as malloc aligns, and outlives `rfq`. */
void rfq_start(struct rfq *rfq, uint32_t candidates_max, void *memory);

MUST_USE enum lot_outcome rfq_clear(struct rfq *rfq, const struct rfq_input *input,
                                    struct rfq_result *ret_result);

#endif
