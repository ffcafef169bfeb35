/* merkle.h - RFC 6962 Merkle trees: roots, proofs that a leaf is in a tree, and proofs that one
 * tree is the beginning of another.
 *
 * pure. leaf = SHA-256(0x00 | data), node = SHA-256(0x01 | left | right); the tree over n leaves
 * splits at the largest power of two below n (RFC 6962 section 2.1). Its stored form is the full
 * subtrees: node (level, index) is the root over the 2^level leaves from index * 2^level on, and
 * exists once all of them do. From these every root and proof of every size follows, so appending
 * writes each node once and nothing is ever changed. Checking follows RFC 9162 section 2.1.3/2.1.4.
 */
#ifndef UNDERCUT_BASE_MERKLE_H
#define UNDERCUT_BASE_MERKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/hash.h"
#include "broker/base/must.h"

#define MERKLE_LEVELS_MAX 64
#define MERKLE_PROOF_MAX  (MERKLE_LEVELS_MAX + 1)

struct sha256 merkle_leaf(const void *bytes, size_t len);
struct sha256 merkle_node(const struct sha256 *left, const struct sha256 *right);
/* Root over `count` leaf hashes; overwrites `leaves` as scratch. count 0: SHA-256 of nothing. */
struct sha256 merkle_root(struct sha256 *leaves, size_t count);

struct merkle_proof { /* hashes from the leaf's side up to the root */
    struct sha256 hashes[MERKLE_PROOF_MAX];
    size_t count;
};

/* ---- a tree that grows: the roots of its full subtrees, largest first, and nothing else */

struct merkle_edge {
    uint64_t size;
    struct sha256 peaks[MERKLE_LEVELS_MAX]; /* peaks[level] is set where bit `level` of size is */
};

struct merkle_added { /* a node that an append completed, the leaf itself first (level 0) */
    unsigned level;
    uint64_t index;
    struct sha256 hash;
};

/* Returns how many nodes came to be: one, and one for each full subtree that the leaf closes. */
size_t merkle_append(struct merkle_edge *edge, const struct sha256 *leaf,
                     struct merkle_added ret_added[MERKLE_LEVELS_MAX]);
struct sha256 merkle_edge_root(const struct merkle_edge *edge);

/* ---- the stored nodes of a tree, wherever they are */

struct merkle_source {
    struct sha256 (*node)(void *data, unsigned level, uint64_t index);
    void *data;
};

/* `size` > 0. Reads at most two nodes per level: run it once over a source that notes what it is
 * asked for and answers anything, fetch those, and run it again. */
struct sha256 merkle_root_at(const struct merkle_source *source, uint64_t size);
/* That leaf `index` < `size` is in the tree of `size` leaves. */
void merkle_path(const struct merkle_source *source, uint64_t size, uint64_t index,
                 struct merkle_proof *ret_proof);
/* That the tree of 0 < `before` <= `size` leaves is the beginning of the one of `size`. */
void merkle_consistency(const struct merkle_source *source, uint64_t size, uint64_t before,
                        struct merkle_proof *ret_proof);
/* The edge of a stored tree, to go on appending. */
void merkle_edge_load(const struct merkle_source *source, uint64_t size,
                      struct merkle_edge *ret_edge);

/* ---- a tree in memory */

#define MERKLE_TABLE_SIZE(count) (2 * (count) + MERKLE_LEVELS_MAX)

struct merkle_table { /* all nodes over `count` leaves, level after level, in the caller's memory */
    struct sha256 *nodes; /* room for MERKLE_TABLE_SIZE(count); the first `count` are the leaves */
    size_t count;
    size_t starts[MERKLE_LEVELS_MAX];
};

/* The leaves stand in `nodes` already; fills in the rest: count - 1 hashes at most. */
void merkle_table_build(struct merkle_table *table, struct sha256 *nodes, size_t count);
struct merkle_source merkle_table_source(struct merkle_table *table);

/* ---- checking; nothing given is trusted */

/* The root that the leaf and its path lead to, for one that is not known by itself; false: the path
 * is not one of a tree of this size. */
MUST_USE bool merkle_path_climb(const struct merkle_proof *proof, uint64_t size, uint64_t index,
                                const struct sha256 *leaf, struct sha256 *ret_root);
MUST_USE bool merkle_path_holds(const struct merkle_proof *proof, uint64_t size, uint64_t index,
                                const struct sha256 *leaf, const struct sha256 *root);
/* before == size: the roots are equal and the proof is empty. before 0: any tree, empty proof. */
MUST_USE bool merkle_consistency_holds(const struct merkle_proof *proof, uint64_t before,
                                       uint64_t size, const struct sha256 *root_before,
                                       const struct sha256 *root);

#endif
