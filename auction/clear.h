/* clear.h - clears one lot: which workload gets which block, and at what price.
 *
 * pure: no allocation, no I/O, integers only; the caller lends the memory. Prices and scores are
 * micro-USD per block-hour. The rule is a greedy walk with Vickrey thresholds: sort supply by
 * score = ask + adder and demand by net reserve, highest first; each workload takes the cheapest
 * blocks that are left if at least kmin of them stand at or under its reserve. What is taken is
 * always a prefix of the sorted supply, so the whole state is one integer, K.
 *
 * The l-th block that a seller sells is priced at the highest score at which it would still have
 * sold l blocks: theta_l = max over prefixes q with K_q >= l of min(r_q, s_(K_q - l + 1)), where s
 * ranges over everybody else's blocks. Its tenant pays theta_l - adder, its operator receives that.
 * So one ask per seller and lot is best told truthfully (Myerson 1981; Lehmann, O'Callaghan, Shoham
 * 2002 on greedy allocation with critical values). The theorem wants one adder for all blocks of a
 * seller, or workloads of single blocks; with gangs and adders that differ from node to node, one
 * lie in some thousands was found to pay. That nobody is paid less than asked or charged more than
 * reserved holds in any case, and is asserted.
 *
 * Example: asks 200, 250, 310, 400; reserves 600, 500, 350, 280, one block each. Three trade; the
 * fourth seller would win at 400, the third workload pays at most 350, so all three are paid 350.
 *
 * Self-trade: a workload whose owner sells in the lot is not admitted to that lot
 * (DEMAND_SELLS_HERE). It is as if it were absent, so everybody else's thresholds stay what they
 * are. Taking just the owner's blocks out of its reach would break the prefix and with it the rule.
 */
#ifndef UNDERCUT_AUCTION_CLEAR_H
#define UNDERCUT_AUCTION_CLEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/hash.h"
#include "broker/base/str.h"

#define LOT_SCORE_MAX (((int64_t)1 << 40) - 1) /* over a million USD per hour; larger is refused */
#define LOT_INDEX_NONE (-1)                    /* nothing traded, so there is no price */
#define LOT_OWNER_NONE UINT32_MAX              /* a workload whose owner sells nothing anywhere */

/* Owners are numbered by the caller from 0 to owners_max - 1. Accounts that share an identity
 * (payout, card, device) share a number: they are one seller and never each other's tenant. */
struct lot_block {
    struct str id; /* for ties; fixed when the block is registered, unique in the lot; borrowed */
    uint32_t owner;
    int64_t ask_uusd_per_hour;   /* of the whole block: devices x ask x tier multiplier */
    int64_t adder_uusd_per_hour; /* public, never depends on the ask */
};

struct lot_demand {
    struct str id; /* for ties; unique in the lot; borrowed */
    uint32_t owner;
    int64_t r_uusd_per_hour; /* net reserve: what is left of the reserve after the fee */
    uint32_t k;              /* blocks wanted */
    uint32_t kmin;           /* fewer than this are refused; 1..k */
};

struct lot_input {
    const struct lot_block *blocks;
    const struct lot_demand *demands;
    uint32_t blocks_count;
    uint32_t demands_count;
    struct sha256 seed;
};

enum demand_verdict {
    DEMAND_FILLED = 1,    /* got k */
    DEMAND_PARTLY_FILLED, /* got at least kmin */
    DEMAND_SELLS_HERE,    /* its owner has supply in this lot, so it was not admitted */
    DEMAND_LOT_TOO_SMALL, /* the lot has fewer than kmin blocks at any price */
    DEMAND_RESERVE_SHORT, /* fewer than kmin blocks stand at or under its reserve */
    DEMAND_OUTBID,        /* enough do, but higher reserves took them */
};
const char *demand_verdict_slug(enum demand_verdict verdict);

struct lot_award { /* positions are those in the input arrays */
    uint32_t demand;
    uint32_t block;
    int64_t theta_uusd_per_hour;
    int64_t price_uusd_per_hour; /* theta - adder: ask <= price <= the workload's r */
};

struct lot_prefix { /* one per workload that got something, in the order of the walk */
    int64_t r_uusd_per_hour;
    uint32_t k_total; /* blocks taken so far, this workload's included */
    uint32_t demand;
};

struct lot_result { /* points into the lent memory */
    const struct lot_award *awards; /* in rank order: award i is the block of rank i + 1 */
    uint32_t awards_count;          /* K */
    const struct lot_prefix *prefixes;
    uint32_t prefixes_count;
    const enum demand_verdict *verdicts; /* per demand */
    const uint32_t *accepted_counts;     /* per demand: blocks it got */
    int64_t index_uusd_per_hour;         /* S*, the critical score: the lot's public price */
};

struct lot_limits {
    uint32_t blocks_max;
    uint32_t demands_max;
    uint32_t owners_max;
};

/* The working memory of clearing; serves any number of lots within its limits, one at a time. */
struct lot_clear {
    struct lot_limits limits;
    struct lot_key *supply;        /* sorted by (score, tie); ties past rank K in any order */
    struct lot_key *demand;        /* sorted by (r descending, tie) */
    struct lot_key *scratch;
    struct sha256 *hashes;         /* of the group of equals being ordered */
    uint32_t *own_ranks;           /* ranks of each owner's blocks, owner after owner */
    struct lot_owner *owners;
    struct lot_award *awards;
    struct lot_prefix *prefixes;
    enum demand_verdict *verdicts;
    uint32_t *accepted_counts;
    uint32_t blocks_count;
    uint32_t demands_count;        /* admitted */
    uint32_t prefixes_count;
    uint32_t sold_count;           /* K */
};

size_t lot_clear_size(const struct lot_limits *limits);
/* `memory` holds lot_clear_size() bytes, aligned as malloc aligns, and outlives `lot`. */
void lot_clear_start(struct lot_clear *lot, const struct lot_limits *limits, void *memory);

enum lot_outcome {
    LOT_CLEARED = 1,
    LOT_INPUT_BAD, /* a count, owner, k, kmin, ask, adder, score or reserve is out of range */
};
MUST_USE enum lot_outcome lot_clear(struct lot_clear *lot, const struct lot_input *input,
                                    struct lot_result *ret_result);

#endif
