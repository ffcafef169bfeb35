/* tie.h - who comes first among equals: a hash that nobody could foresee when the bids came in.
 *
 * pure. The broker draws one secret a day and publishes only the end of its hash chain; each round
 * reveals one link more, mixed with the root of that round's arrivals. So bidders cannot know the
 * seed before the freeze, and the broker cannot choose it after.
 * Hash chain: Lamport, "Password authentication with insecure communication", 1981.
 */
#ifndef UNDERCUT_AUCTION_TIE_H
#define UNDERCUT_AUCTION_TIE_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/hash.h"
#include "broker/base/str.h"

/* The first link is the secret itself; link h_i = SHA-256(h_(i+1)), `steps` hashes further on. */
struct sha256 chain_value(struct sha256 secret, uint64_t steps);
/* Does `value`, revealed `steps` rounds after `anchor` was published, belong to its chain? */
bool chain_holds(struct sha256 anchor, struct sha256 value, uint64_t steps);

/* seed_t = SHA-256("undercut/seed/v1|" | market | be64(t) | R_t | h_t) */
struct seed_parts {
    struct str market;
    uint64_t t;
    struct sha256 arrivals_root; /* R_t */
    struct sha256 chain_value;   /* h_t */
};
struct sha256 seed_of(const struct seed_parts *parts);

enum tie_kind { TIE_BLOCK = 1, TIE_WORKLOAD };

/* SHA-256("undercut/tie/v1|" | seed | "|u|" or "|w|" | id): the run holds all up to the id, so that
 * a lot hashes the common part once. Compared as big-endian numbers, smaller first. */
void tie_run_start(struct sha256_run *run, const struct sha256 *seed, enum tie_kind kind);
struct sha256 tie_hash(const struct sha256_run *run, struct str id);

#endif
