/* transcript.h - the market's log: each round's public record is a leaf of an append-only Merkle
 * tree, and the market signs its head each second.
 *
 * The leader's thread appends, inside the transaction that commits a round, so that log and rounds
 * cannot part; after any failure the edge is read again. Any thread may make proofs from stored
 * nodes. A head is signed with Ed25519 over the ASCII text
 *     undercut/head/v1|<market>|<size>|<hex root>|<microseconds since 1970>
 */
#ifndef UNDERCUT_MARKET_TRANSCRIPT_H
#define UNDERCUT_MARKET_TRANSCRIPT_H

#include "auction/sealed.h"
#include "broker/base/err.h"
#include "broker/market/chain.h"
#include "broker/market/office.h"
#include "gen/broker/market/transcript.sql.h"

/* Owned by the leader: where the log ends. */
struct transcript {
    struct merkle_edge edge;
};

/* A leaf on its way into the database: what the statement takes. Slices point into itself. */
struct transcript_leaf {
    int64_t size; /* of the log with it */
    struct str body;
    struct sha256 leaf, root;
    uint8_t nodes[MERKLE_LEVELS_MAX * sizeof(struct sha256)]; /* from level 1 up */
    size_t nodes_len;
};
/* Appends in memory; `body` is borrowed. */
void transcript_grow(struct transcript *transcript, struct str body,
                     struct transcript_leaf *ret_leaf);

MUST_USE enum err_code transcript_load(struct session *session, const char *market,
                                       struct transcript *ret_transcript);
/* The chain's anchor as a leaf, unless it is one already. Inside a fenced transaction. */
MUST_USE enum err_code transcript_announce(struct office *office, const struct seed_chain *chain);
/* Signs the head of a log that is not empty; a statement of its own, fenced. */
MUST_USE enum err_code transcript_sign(struct office *office, const struct ed25519_secret *key);

/* The round's public record, from the record's bytes and a fresh secret, into `to`. */
void transcript_seal(struct str record, struct sha256 *ret_secret, struct buf *to);

/* ---- proofs: note what they need, read it, make them */

#define LOG_NODES_MAX  1024 /* of one answer; a page of LOG_LEAVES_MAX paths needs fewer */
#define LOG_LEAVES_MAX 100

struct log_nodes { /* in the order of being asked for */
    int32_t levels[LOG_NODES_MAX];
    int64_t indexes[LOG_NODES_MAX];
    struct sha256 hashes[LOG_NODES_MAX];
    size_t count, filled_count;
};
/* Answers what was filled in; what was not asked for before is noted and answered with zeros. */
struct merkle_source log_nodes_source(struct log_nodes *nodes);
/* Row `ord` (from 1) of log_nodes_read; each once. */
void log_nodes_fill(struct log_nodes *nodes, int32_t ord, struct str hash);
/* All that was asked for is there. */
bool log_nodes_are_whole(const struct log_nodes *nodes);

#endif
