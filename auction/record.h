/* record.h - the canonical bytes of one round: what went in and what came out, for anybody to
 * recompute. What the log and the public get of it is in sealed.h.
 *
 * pure apart from malloc. One round has exactly one encoding: little-endian, no padding, lots
 * ascending by key, then direct clearings (auction/rfq.h) ascending by workload, in them blocks,
 * demands and candidates ascending by id (so none occurs twice), every length within its bound,
 * nothing behind the end. The decoder refuses everything else.
 *
 *   head    "UCRR" u16 version u8 kind  str market  u64 t  32 R_t  u64 chain index  32 chain value
 *           32 seed  u32 fee_bp  u32 lots  u32 directs
 *   lot     str key  u32 blocks {str id  16 owner  16 node  i64 ask  i64 adder}
 *           u32 demands {str id  16 owner  i64 r  u32 k  u32 kmin}
 *           i64 index  u32 prefixes {i64 r  u32 k_total  u32 demand}
 *           u32 K {u32 demand  u32 block  i64 theta  i64 price}
 *   direct  str workload  16 owner  str tier  u8 devices  u8 spread  i64 r  u32 k  u32 kmin
 *           u32 candidates {str id  16 owner  16 node  str region  str class  u8 kind  i64 price
 *           i64 adder  i64 latency}  i64 X  u32 K {u32 candidate  i64 theta  i64 price}
 *   str     u8 length, bytes
 */
#ifndef UNDERCUT_AUCTION_RECORD_H
#define UNDERCUT_AUCTION_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "auction/rfq.h"
#include "auction/tie.h"
#include "broker/base/hash.h"
#include "broker/base/id.h"
#include "broker/base/str.h"

#define RECORD_VERSION 2

enum record_kind {
    RECORD_ROUND = 1, /* a round of all touched lots */
    RECORD_NOW,       /* one workload that was cleared at once */
    RECORD_VOID,      /* a round that was frozen and never committed: nothing in it, for good */
    RECORD_KIND_COUNT
};

struct record_head {
    enum record_kind kind;
    struct seed_parts seed_parts; /* market (at most 255 bytes), t, R_t and chain value */
    uint64_t chain_index;         /* of the chain value: hashes from the anchor */
    struct sha256 seed;
    uint32_t fee_bp;
    uint32_t lots_count;
    uint32_t directs_count;
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

enum direct_spread { DIRECT_SPREAD_NONE = 1, DIRECT_SPREAD_NODE, DIRECT_SPREAD_REGION };
enum direct_price { DIRECT_PRICE_ASK = 1, DIRECT_PRICE_BID };

struct record_candidate {
    struct str id;
    struct uuid owner;
    struct uuid node;
    struct str region, class;
    enum direct_price kind; /* a standing ask or a direct bid */
    int64_t price_uusd_per_hour;
    int64_t adder_uusd_per_hour;
    int64_t latency_uusd_per_hour; /* the two are its terms */
};

/* One workload cleared by itself. Candidates of its own owner are not listed. */
struct record_direct {
    struct str id; /* of the workload */
    struct uuid owner;
    struct str tier;
    uint8_t devices; /* of each block */
    enum direct_spread spread;
    int64_t r_uusd_per_hour;
    uint32_t k, kmin;
    const struct record_candidate *candidates;
    uint32_t candidates_count;
    struct rfq_result outcome; /* the verdict is not recorded */
};

/* Encoding: the head, then exactly lots_count lots and directs_count directs. Input out of order or
 * bounds is a bug. */
void record_put_head(struct buf *to, const struct record_head *head);
void record_put_lot(struct buf *to, const struct record_lot *lot);
void record_put_direct(struct buf *to, const struct record_direct *direct);

/* The bytes of a record cut into rows, so that each can be committed to and shown by itself: every
 * byte belongs to exactly one row, in this order within a lot. See sealed.h. */
enum record_row_kind {
    RECORD_ROW_HEAD = 1,
    RECORD_ROW_LOT, /* its key */
    RECORD_ROW_BLOCK_COUNT,
    RECORD_ROW_BLOCK,
    RECORD_ROW_DEMAND_COUNT,
    RECORD_ROW_DEMAND,
    RECORD_ROW_INDEX,
    RECORD_ROW_PREFIX_COUNT,
    RECORD_ROW_PREFIX,
    RECORD_ROW_SOLD_COUNT,
    RECORD_ROW_AWARD,
    RECORD_ROW_DIRECT, /* from here on `lot` counts the direct clearings */
    RECORD_ROW_CANDIDATE_COUNT,
    RECORD_ROW_CANDIDATE,
    RECORD_ROW_DIRECT_INDEX,
    RECORD_ROW_DIRECT_SOLD_COUNT,
    RECORD_ROW_DIRECT_AWARD,
    RECORD_ROW_KIND_COUNT
};

struct record_row {
    enum record_row_kind kind;
    uint32_t lot;  /* from 0, in the order of the record */
    uint32_t item; /* from 0 within kind and lot */
    struct str bytes;
};

/* Decoding. Slices point into `bytes`, arrays into the reader; a lot or direct lives until the next
 * one. */
struct record_reader {
    struct str rest;
    bool is_bad;
    uint32_t lots_left, directs_left;
    struct str last_key, last_direct;
    struct buf blocks, demands, prefixes, awards;
    /* Told each row as it is read, also before the bytes turn out bad; NULL: nobody. */
    void (*on_row)(void *data, const struct record_row *row);
    void *row_data;
    const char *row_start;
    uint32_t lots_read, directs_read;
};

MUST_USE bool record_open(struct record_reader *reader, struct str bytes,
                          struct record_head *ret_head);
/* The same, with on_row and row_data set in `reader`. */
MUST_USE bool record_open_rows(struct record_reader *reader, struct str bytes,
                               struct record_head *ret_head);
/* False at the end and on bad bytes; record_close() tells which. */
MUST_USE bool record_next_lot(struct record_reader *reader, struct record_lot *ret_lot);
/* The same, once all lots are read. */
MUST_USE bool record_next_direct(struct record_reader *reader, struct record_direct *ret_direct);
/* Frees; true when all was read to the last byte and was canonical. Call it after record_open() in
 * any case. */
bool record_close(struct record_reader *reader);

#endif
