/* record.h - the canonical bytes of one round: what went in and what came out, for anybody to
 * recompute. Its SHA-256 is a leaf of the log.
 *
 * pure apart from malloc. One round has exactly one encoding: little-endian, no padding, lots
 * ascending by key, blocks and demands ascending by id (so none occurs twice), every length within
 * its bound, nothing behind the end. The decoder refuses everything else.
 *
 *   head    "UCRR" u16 version u8 kind  str market  u64 t  32 R_t  u64 chain index  32 chain value
 *           32 seed  u32 fee_bp  u32 lots
 *   lot     str key  u32 blocks {str id  16 owner  16 node  i64 ask  i64 adder}
 *           u32 demands {str id  16 owner  i64 r  u32 k  u32 kmin}
 *           i64 index  u32 prefixes {i64 r  u32 k_total  u32 demand}
 *           u32 K {u32 demand  u32 block  i64 theta  i64 price}
 *   str     u8 length, bytes
 */
#ifndef UNDERCUT_AUCTION_RECORD_H
#define UNDERCUT_AUCTION_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "auction/clear.h"
#include "auction/tie.h"
#include "broker/base/hash.h"
#include "broker/base/id.h"
#include "broker/base/str.h"

#define RECORD_VERSION 1

enum record_kind {
    RECORD_ROUND = 1, /* a round of all touched lots */
    RECORD_NOW,       /* one workload that was cleared at once */
    RECORD_VOID,      /* a round that was frozen and never committed: no lots, for good */
    RECORD_KIND_COUNT
};

struct record_head {
    enum record_kind kind;
    struct seed_parts seed_parts; /* market (at most 255 bytes), t, R_t and chain value */
    uint64_t chain_index;         /* of the chain value: hashes from the anchor */
    struct sha256 seed;
    uint32_t fee_bp;
    uint32_t lots_count;
};

/* `owner` is the account; where accounts share an identity, the one that stands for them all. */
struct record_block {
    struct str id;
    struct uuid owner;
    struct uuid node;
    int64_t ask_uusd_per_hour;
    int64_t adder_uusd_per_hour;
};

struct record_demand {
    struct str id;
    struct uuid owner;
    int64_t r_uusd_per_hour;
    uint32_t k;
    uint32_t kmin;
};

struct record_lot {
    struct str key; /* at most 255 bytes */
    const struct record_block *blocks;
    const struct record_demand *demands;
    uint32_t blocks_count;
    uint32_t demands_count;
    struct lot_result outcome; /* verdicts and accepted_counts are not recorded */
};

/* Encoding: the head, then exactly lots_count lots. Input out of order or bounds is a bug. */
void record_put_head(struct buf *to, const struct record_head *head);
void record_put_lot(struct buf *to, const struct record_lot *lot);

/* Decoding. Slices point into `bytes`, arrays into the reader; a lot lives until the next one. */
struct record_reader {
    struct str rest;
    bool is_bad;
    uint32_t lots_left;
    struct str last_key;
    struct buf blocks, demands, prefixes, awards;
};

MUST_USE bool record_open(struct record_reader *reader, struct str bytes,
                          struct record_head *ret_head);
/* False at the end and on bad bytes; record_close() tells which. */
MUST_USE bool record_next_lot(struct record_reader *reader, struct record_lot *ret_lot);
/* Frees; true when all was read to the last byte and was canonical. Call it after record_open() in
 * any case. */
bool record_close(struct record_reader *reader);

#endif
