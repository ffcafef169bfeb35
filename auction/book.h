/* book.h - standing asks and workloads of many lots, kept in order from round to round.
 *
 * pure apart from malloc, one thread. Memory is taken when something is added and when a lot is
 * sorted; clearing takes none. Prices are micro-USD per hour of a whole block. Lots are numbered
 * from 0, so are owners, by whoever keeps the book; ids are those of the record (auction/record.h),
 * whose tie hashes are over their 36-character text.
 *
 * A change costs O(log n) in its lot: a few probes of a table, and a place in sorted leaves of 128
 * keys (auction/keys.h). Changes are remembered and put into order by book_lot_sort(), one by one
 * when they are few; when more than an eighth of a lot changed it is sorted anew, in linear time.
 * Clearing a lot reads its demand, and of its supply only as many blocks as that demand wants at
 * most, in order. Lots that nothing touched cost nothing. What comes out is exactly what
 * lot_clear() gives for the same blocks and workloads: both end in auction/rule.h.
 *
 * A seller's ask stands once per lot, in its own table, so two asks of one seller in a lot cannot
 * be: a block that comes with another ask is refused, and a change of the ask names all its blocks.
 * A standing block costs about 28 bytes for itself, 5 in the table of ids, 17 at most for its
 * seller and 9 to 12 in the leaves; book_bytes() counts everything.
 *
 *     struct book book;
 *     book_start(&book, lots_count);
 *     ... book_block_add(), book_demand_put(), ...                  as messages arrive
 *     struct book_touched touched = book_freeze(&book);
 *     for (uint32_t i = 0; i < touched.count; i++) {
 *         book_lot_sort(&book, touched.lots[i]);
 *         book_lot_clear(&book, touched.lots[i], &seed, &result);   slots: book_block_at()
 *     }
 */
#ifndef UNDERCUT_AUCTION_BOOK_H
#define UNDERCUT_AUCTION_BOOK_H

#include "auction/clear.h"
#include "auction/keys.h"
#include "auction/sellers.h"
#include "auction/slots.h"

struct book_side { /* of one lot: its blocks, or its workloads */
    struct slots slots;
    struct key_set order; /* the keys of all rows marked as sorted */
    uint32_t *fresh;      /* slots that changed and wait for book_lot_sort() */
    uint32_t fresh_count, fresh_cap;
    bool is_dishevelled; /* too many changed: to be sorted anew */
};

struct book_lot {
    struct book_side blocks, demands;
    struct sellers sellers;
    bool is_touched; /* since the last freeze */
};

struct book {
    struct book_lot *lots;
    uint32_t lots_count;
    uint32_t *touched;
    uint32_t touched_count;
    struct lot_clear work; /* sized for the largest lot */
    void *work_memory;
};

struct book_block {
    struct uuid id;
    uint32_t owner;
    int64_t ask_uusd_per_hour, adder_uusd_per_hour;
};

struct book_demand {
    struct uuid id;
    uint32_t owner; /* LOT_OWNER_NONE: sells nothing anywhere */
    int64_t r_uusd_per_hour;
    uint32_t k, kmin;
};

struct book_ask { /* a seller's new ask in one lot */
    uint32_t owner;
    int64_t ask_uusd_per_hour;
    const struct uuid *block_ids; /* all its blocks there, each once */
    uint32_t blocks_count;
};

enum book_outcome {
    BOOK_DONE = 1,
    BOOK_LOT_UNKNOWN,
    BOOK_LOT_FULL,    /* 2^24 - 1 blocks or workloads */
    BOOK_ID_TAKEN,    /* a block with this id stands in the lot */
    BOOK_ID_UNKNOWN,  /* no block or workload with this id does */
    BOOK_OWNER_BAD,   /* LOT_OWNER_NONE sells nothing */
    BOOK_ASK_BAD,     /* zero, negative, or above LOT_SCORE_MAX */
    BOOK_ADDER_BAD,   /* negative, or above LOT_SCORE_MAX */
    BOOK_SCORE_BAD,   /* ask + adder is above LOT_SCORE_MAX */
    BOOK_RESERVE_BAD, /* negative, or above LOT_SCORE_MAX */
    BOOK_K_BAD,       /* wants no block */
    BOOK_KMIN_BAD,    /* not in 1..k */
    BOOK_TWO_ASKS,    /* the seller's ask in the lot is another */
    BOOK_ASK_PARTIAL, /* not exactly all blocks of the seller in the lot */
    BOOK_OUTCOME_COUNT
};
const char *book_outcome_text(enum book_outcome outcome); /* a sentence */

void book_start(struct book *book, uint32_t lots_count);
struct book_room {
    uint32_t blocks_count, sellers_count, demands_count;
};
/* Makes room in a lot for so many in all: a load from scratch is faster and leaves little idle. */
void book_reserve(struct book *book, uint32_t lot, const struct book_room *room);
void book_finish(struct book *book);
struct book_bytes { /* all memory it holds, malloc's own share included */
    size_t asks, workloads, shared;
};
struct book_bytes book_bytes(const struct book *book);

/* Whatever is refused changes nothing. */
MUST_USE enum book_outcome book_block_add(struct book *book, uint32_t lot,
                                          const struct book_block *block);
MUST_USE enum book_outcome book_block_drop(struct book *book, uint32_t lot, struct uuid id);
MUST_USE enum book_outcome book_adder_change(struct book *book, uint32_t lot, struct uuid id,
                                             int64_t adder_uusd_per_hour);
MUST_USE enum book_outcome book_ask_change(struct book *book, uint32_t lot,
                                           const struct book_ask *ask);
/* Adds a workload, or changes the one with this id. */
MUST_USE enum book_outcome book_demand_put(struct book *book, uint32_t lot,
                                           const struct book_demand *demand);
MUST_USE enum book_outcome book_demand_drop(struct book *book, uint32_t lot, struct uuid id);

/* Asks for what many changes of a lot, or sorting it, will read: its rows were last read a round
 * ago and come from main memory. Whoever goes through many lots asks two ahead. */
void book_lot_fetch(const struct book *book, uint32_t lot);

struct book_touched {
    const uint32_t *lots;
    uint32_t count;
};
/* Which lots changed since the last call; the list lives until the next change. */
struct book_touched book_freeze(struct book *book);
/* Puts what changed in a lot into order. */
void book_lot_sort(struct book *book, uint32_t lot);

/* Clears one lot, which book_lot_sort() has put into order. Positions in the result are slots; it
 * lives until the next lot. LOT_INPUT_BAD: a gang bids and a seller's adders differ
 * (LOT_FAULT_TWO_ADDERS in book->work.fault); nothing else can be wrong. */
MUST_USE enum lot_outcome book_lot_clear(struct book *book, uint32_t lot, const struct sha256 *seed,
                                         struct lot_result *ret_result);

/* What stands at a slot of a result. */
struct book_block book_block_at(const struct book *book, uint32_t lot, uint32_t slot);
struct book_demand book_demand_at(const struct book *book, uint32_t lot, uint32_t slot);

#endif
