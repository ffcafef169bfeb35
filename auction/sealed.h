/* sealed.h - a round's record as anybody may have it: the head in plain bytes, and a commitment to
 * every row that is not for everybody, so that each can be shown later, alone, to whom it concerns.
 *
 * pure apart from malloc. The rows of the record behind its head (record.h) are the leaves of an
 * RFC 6962 tree:
 *     leaf  = SHA-256(0x00 | salt | u8 kind | u32 lot | u32 item | bytes)
 *     salt  = the first 16 bytes of SHA-256("undercut/salt/v1|" | secret | u32 number)
 * little-endian, `number` counting the rows from 0, `secret` 32 random bytes of the round. Without
 * its salt a row cannot be guessed, however few values it may have. Leaves of padding (kind 0, no
 * bytes) fill the tree up to a power of two, at least 16, and the leaves stand in the order of
 * their hashes: so neither the length of a path nor the place of a row that is shown tells how many
 * others there are. The leaf of the log is the RFC 6962 leaf hash of
 *     "UCPR"  u16 version  32 root of the rows  the head's bytes
 */
#ifndef UNDERCUT_AUCTION_SEALED_H
#define UNDERCUT_AUCTION_SEALED_H

#include "auction/record.h"
#include "broker/base/merkle.h"

#define SEALED_VERSION   1
#define SEALED_SALT_SIZE 16

struct sealed_salt {
    uint8_t bytes[SEALED_SALT_SIZE];
};
struct sealed_salt sealed_salt(const struct sha256 *secret, uint32_t number);
struct sha256 sealed_leaf(const struct sealed_salt *salt, const struct record_row *row);

/* A record cut into rows, with their tree. Rows point into the record. */
struct sealed_rows {
    struct buf rows;   /* of struct record_row, without the head */
    struct buf nodes;  /* of struct sha256: the memory of `tree` */
    struct buf places; /* of uint32_t: of each row, its leaf in the tree */
    struct merkle_table tree;
    struct str head; /* the head's bytes */
    uint32_t count;  /* rows; the tree has more leaves */
};

/* False: these are not the bytes of a record. sealed_rows_finish() in any case. */
MUST_USE bool sealed_rows_make(struct str record, const struct sha256 *secret,
                               struct sealed_rows *ret_rows);
const struct record_row *sealed_row(const struct sealed_rows *rows, uint32_t number);
uint32_t sealed_place(const struct sealed_rows *rows, uint32_t number);
struct sha256 sealed_rows_root(struct sealed_rows *rows);
void sealed_rows_finish(struct sealed_rows *rows);

/* The public half, and its parts again. The head is decoded as strictly as a record's. */
void sealed_put_public(struct buf *to, const struct sha256 *rows_root, struct str head);
MUST_USE bool sealed_read_public(struct str bytes, struct record_head *ret_head,
                                 struct str *ret_head_bytes, struct sha256 *ret_rows_root);

/* A seed chain as it is announced before its first link is shown, a leaf of the log too:
 *     "UCAN"  u16 version  u8 length, market  u64 chain  u32 links  32 anchor */
struct sealed_anchor {
    struct str market;
    uint64_t chain_id;
    uint32_t length;
    struct sha256 anchor;
};
void sealed_put_anchor(struct buf *to, const struct sealed_anchor *anchor);
MUST_USE bool sealed_read_anchor(struct str bytes, struct sealed_anchor *ret_anchor);

/* The market's word about its log: Ed25519 over the ASCII text
 *     undercut/head/v1|<market>|<size>|<hex root>|<microseconds since 1970> */
struct log_head {
    struct str market;
    int64_t size;
    struct sha256 root;
    int64_t signed_at_us;
};
struct ed25519_signature log_head_sign(const struct log_head *head,
                                       const struct ed25519_secret *key);
MUST_USE bool log_head_holds(const struct log_head *head, const struct ed25519_public *key,
                             const struct ed25519_signature *signature);

#endif
