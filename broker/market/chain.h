/* chain.h - the seed chain of a market: one secret, and the links hashed from it in reverse.
 *
 * one thread (the leader's). h_0, the anchor, is stored openly before the first link is used; link
 * i is revealed by the round that spends it. The secret rests sealed in seed_chains. The whole
 * chain is kept in memory (3.2 MB).
 */
#ifndef UNDERCUT_MARKET_CHAIN_H
#define UNDERCUT_MARKET_CHAIN_H

#include "broker/base/err.h"
#include "broker/base/hash.h"
#include "broker/base/seal.h"

#define SEED_CHAIN_LENGTH 100000 /* a little more than a day of rounds */

struct session;

struct seed_chain {
    int64_t chain_id; /* 0: none */
    int32_t length;
    int32_t next_index;   /* of the next link to spend, 1..length; beyond: used up */
    struct sha256 *links; /* h_0 .. h_length */
};

/* The chain in use; a new one where there is none, it is used up, or this key does not open it. */
MUST_USE enum err_code seed_chain_open(struct session *session, const char *market,
                                       const struct seal_key *key, struct seed_chain *ret_chain);
/* An older chain, for rounds that it froze. False: not there, or not ours to open. */
MUST_USE bool seed_chain_open_old(struct session *session, const char *market,
                                  const struct seal_key *key, int64_t chain_id,
                                  struct seed_chain *ret_chain);
void seed_chain_finish(struct seed_chain *chain);

#endif
