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
 * 2002 on greedy allocation with critical values).
 *
 * The theorem has two terms, and an input that breaks one is refused. A seller has one ask in a
 * lot (LOT_FAULT_TWO_ASKS). And where a workload wants several blocks or none (kmin > 1), a
 * seller's blocks have one adder (LOT_FAULT_TWO_ADDERS): else a gang lets one node pay for
 * another. Example: two nodes cost 4, adders 1 and 4, a gang of two pays up to 7 each. The truth
 * sells nothing, for 4 + 4 is above 7; asking 0 sells both, at 7 - 1 and 7 - 4. With one adder of
 * 3 the truth earns 4 and 4. auction/even.h makes that one adder; tests/unit/test_even.c tries
 * every lie in every small lot, and that adders may differ where every kmin is 1, whatever k is
 * (such a workload is k single ones).
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

#define LOT_SCORE_MAX  (((int64_t)1 << 40) - 1) /* over a million USD per hour; larger is refused */
#define LOT_INDEX_NONE (-1)                     /* nothing traded, so there is no price */
#define LOT_OWNER_NONE UINT32_MAX               /* a workload whose owner sells nothing anywhere */

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

struct lot_result {                 /* points into the lent memory */
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

/* What is wrong with an input that was refused. */
enum lot_fault {
    LOT_FAULT_NONE = 1,
    LOT_FAULT_COUNT,      /* more blocks or workloads than the memory is for, or than 2^24 - 1 */
    LOT_FAULT_OWNER,      /* an owner's number is not below owners_max */
    LOT_FAULT_ASK,        /* negative, or above LOT_SCORE_MAX */
    LOT_FAULT_ADDER,      /* negative, or above LOT_SCORE_MAX */
    LOT_FAULT_SCORE,      /* ask + adder is above LOT_SCORE_MAX */
    LOT_FAULT_RESERVE,    /* negative, or above LOT_SCORE_MAX */
    LOT_FAULT_K,          /* wants no block */
    LOT_FAULT_KMIN,       /* not in 1..k */
    LOT_FAULT_TWO_ASKS,   /* one seller's blocks have different asks */
    LOT_FAULT_TWO_ADDERS, /* one seller's blocks have different adders, and a gang bids */
};
const char *lot_fault_text(enum lot_fault fault); /* a sentence */

/* The working memory of clearing; serves any number of lots within its limits, one at a time. */
struct lot_clear {
    struct lot_limits limits;
    uint64_t *supply; /* by (score, tie): auction/keys.h; past rank K ties stand as
                                      they come */
    uint64_t *demand; /* admitted workloads by (r descending, tie) */
    uint64_t *scratch;
    struct sha256 *hashes; /* of the group of equals being ordered */
    uint32_t *rank_owners; /* who owns the block of each rank that thresholds look at */
    uint32_t *own_ranks;   /* ranks of each seller's blocks, seller after seller */
    struct lot_owner *owners;
    struct lot_award *awards;
    struct lot_prefix *prefixes;
    enum demand_verdict *verdicts;
    uint32_t *accepted_counts;
    uint64_t page; /* one per lot: tells whose rows of `owners` are current */
    uint32_t blocks_count;
    uint32_t front_count;   /* keys in `supply`: all, or the first ones */
    uint32_t demands_count; /* keys in `demand` */
    uint32_t prefixes_count;
    uint32_t sold_count;  /* K */
    bool has_gang;        /* an admitted workload wants two blocks or none */
    enum lot_fault fault; /* of the last lot */
    uint32_t fault_at;    /* position of the block or workload at fault */
};

size_t lot_clear_size(const struct lot_limits *limits);
/* `memory` holds lot_clear_size() bytes, aligned as malloc aligns, and outlives `lot`. It is
 * written over only as far as lots need it, but for owners_max rows. */
void lot_clear_start(struct lot_clear *lot, const struct lot_limits *limits, void *memory);

enum lot_outcome {
    LOT_CLEARED = 1,
    LOT_INPUT_BAD, /* lot->fault says why, lot->fault_at which block or workload */
};
MUST_USE enum lot_outcome lot_clear(struct lot_clear *lot, const struct lot_input *input,
                                    struct lot_result *ret_result);

#endif
