/* bench_auction - the clearing engine's own figures, one logfmt line per measurement.
 *
 *     bench_auction single|several ASKS WORKLOADS LOTS RUNS
 *
 * The market is drawn, not recorded: lots differ in size; asks are whole hundreds of micro-USD
 * around the lot's level, so that equals occur. `single`: every ask is a seller's one block;
 * `several`: half of the sellers have one block, the others up to eight at the same ask, which are
 * equals that need hashing when they win. Three workloads in four want one block, the others a
 * gang of up to eight or up to eight single ones. Rows and changes come in no order. Every run
 * measures the processor time of
 *   scratch   an empty book, all asks and workloads put in, every lot sorted and cleared
 *   change    1 % of asks and every workload changed, every lot sorted and cleared; ten times
 * and says what came of it. Bytes are counted by the book and by the C library.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "auction/book.h"
#include "broker/base/hash.h"
#include "broker/base/must.h"

#define CHANGE_ROUNDS 10

struct market {
    struct book_block *asks;
    struct book_demand *demands;
    uint32_t *ask_lots, *demand_lots, *sellers_per_lot;
    struct uuid *ids;        /* of the blocks of one seller after another */
    uint32_t *sellers_first; /* where a seller's rows begin in `by_seller` */
    uint32_t *by_seller;     /* asks, seller after seller */
    uint32_t asks_count, demands_count, lots_count, sellers_count;
    int64_t *levels; /* usual price per lot */
    uint64_t state;
    bool is_single; /* every ask has one block */
};

#define HUGE_PAGE ((size_t)1 << 21)

/* Zeroed; large ones in large pages, so that reading rows in no order is not mostly page walks. */
static void *array_of(size_t count, size_t size)
{
    size_t bytes = count * size + 1;
    bool is_large = bytes > 8 * HUGE_PAGE;
    size_t pages = (bytes + HUGE_PAGE - 1) / HUGE_PAGE;
    void *array = is_large ? aligned_alloc(HUGE_PAGE, pages * HUGE_PAGE) : calloc(1, bytes);
    must(array != NULL);
    if (is_large) {
        (void)madvise(array, bytes, MADV_HUGEPAGE);
        memset(array, 0, bytes);
    }
    return array;
}

static uint64_t draw(struct market *market)
{
    market->state ^= market->state >> 12;
    market->state ^= market->state << 25;
    market->state ^= market->state >> 27;
    return market->state * 0x2545f4914f6cdd1du;
}

static uint32_t draw_below(struct market *market, uint32_t limit)
{
    return (uint32_t)((draw(market) >> 32) * limit >> 32);
}

static struct uuid draw_id(struct market *market)
{
    struct uuid id;
    uint64_t halves[2] = {draw(market), draw(market)};
    memcpy(id.bytes, halves, sizeof(halves));
    return id;
}

/* Around the level: the sum of three even draws, from a half to one and a half of it. */
static int64_t draw_price(struct market *market, uint32_t lot, int64_t percent)
{
    int64_t spread = 0;
    for (int i = 0; i < 3; i++)
        spread += draw_below(market, 3334);
    return market->levels[lot] * percent / 100 * (5000 + spread) / 10000 / 100 * 100;
}

/* Large lots are rarer: a lot's weight falls from sixteen to one. */
static uint32_t draw_lot(struct market *market)
{
    uint64_t a = draw_below(market, market->lots_count), b = draw_below(market, 1 << 16);
    return (uint32_t)(b < (1 << 13) ? a / 4 : a);
}

static uint32_t draw_size(struct market *market)
{
    uint32_t chance = draw_below(market, 100);
    return chance < 50 ? 1 : chance < 75 ? 2 : chance < 90 ? 4 : 8;
}

static void asks_draw(struct market *market)
{
    for (uint32_t at = 0; at < market->asks_count; market->sellers_count++) {
        uint32_t lot = draw_lot(market), size = market->is_single ? 1 : draw_size(market);
        market->sellers_per_lot[lot]++;
        int64_t ask = draw_price(market, lot, 100), adder = ask / 1000 * draw_below(market, 10);
        for (uint32_t i = 0; i < size && at < market->asks_count; i++, at++) {
            market->ask_lots[at] = lot;
            market->asks[at] = (struct book_block){.id = draw_id(market),
                                                   .owner = market->sellers_count,
                                                   .ask_uusd_per_hour = ask,
                                                   .adder_uusd_per_hour = adder};
        }
    }
    for (uint32_t i = market->asks_count; i > 1; i--) {
        uint32_t with = draw_below(market, i);
        struct book_block moved = market->asks[with];
        market->asks[with] = market->asks[i - 1];
        market->asks[i - 1] = moved;
        uint32_t lot = market->ask_lots[with];
        market->ask_lots[with] = market->ask_lots[i - 1];
        market->ask_lots[i - 1] = lot;
    }
}

static struct book_demand draw_demand(struct market *market, uint32_t lot)
{
    uint32_t chance = draw_below(market, 100);
    uint32_t k = chance < 75 ? 1 : 1 + draw_below(market, 8);
    return (struct book_demand){
        .id = draw_id(market),
        .owner = LOT_OWNER_NONE,
        .r_uusd_per_hour = draw_price(market, lot, 110),
        .k = k,
        .kmin = chance < 90 ? k : 1,
    };
}

static void sellers_list(struct market *market)
{
    uint32_t *ends = array_of(market->sellers_count + 1, sizeof(*ends));
    for (uint32_t i = 0; i < market->asks_count; i++)
        ends[market->asks[i].owner + 1]++;
    for (uint32_t i = 0; i < market->sellers_count; i++)
        ends[i + 1] += ends[i];
    market->sellers_first = array_of(market->sellers_count + 1, sizeof(*ends));
    memcpy(market->sellers_first, ends, (market->sellers_count + 1) * sizeof(*ends));
    for (uint32_t i = 0; i < market->asks_count; i++)
        market->by_seller[ends[market->asks[i].owner]++] = i;
    for (uint32_t i = 0; i < market->asks_count; i++)
        market->ids[i] = market->asks[market->by_seller[i]].id;
    free(ends);
}

static void market_draw(struct market *market)
{
    market->state = 88172645463325252u;
    market->asks = array_of(market->asks_count, sizeof(*market->asks));
    market->demands = array_of(market->demands_count, sizeof(*market->demands));
    market->ask_lots = array_of(market->asks_count, sizeof(uint32_t));
    market->demand_lots = array_of(market->demands_count, sizeof(uint32_t));
    market->sellers_per_lot = array_of(market->lots_count, sizeof(uint32_t));
    market->ids = array_of(market->asks_count, sizeof(*market->ids));
    market->by_seller = array_of(market->asks_count, sizeof(uint32_t));
    market->levels = array_of(market->lots_count, sizeof(*market->levels));
    for (uint32_t i = 0; i < market->lots_count; i++)
        market->levels[i] = 50000 + draw_below(market, 2000000);
    asks_draw(market);
    sellers_list(market);
    for (uint32_t i = 0; i < market->demands_count; i++) {
        uint32_t lot = draw_lot(market);
        market->demand_lots[i] = lot;
        market->demands[i] = draw_demand(market, lot);
    }
}

static double now_ms(void)
{
    struct timespec at;
    must(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at) == 0);
    return (double)at.tv_sec * 1e3 + (double)at.tv_nsec / 1e6;
}

static size_t heap_bytes(void)
{
    struct mallinfo2 heap = mallinfo2();
    return heap.uordblks + heap.hblkhd;
}

struct tally {
    uint64_t sold_count, served_count;
    int64_t paid_uusd;
    size_t heap_before;
    uint32_t lots_count;
};

static void lots_clear(struct book *book, struct book_touched touched, const struct sha256 *seed,
                       struct tally *tally)
{
    for (uint32_t i = 0; i < touched.count; i++) {
        struct lot_result result;
        if (i + 2 < touched.count)
            book_lot_fetch(book, touched.lots[i + 2]);
        book_lot_sort(book, touched.lots[i]);
        must(book_lot_clear(book, touched.lots[i], seed, &result) == LOT_CLEARED);
        tally->sold_count += result.awards_count;
        for (uint32_t a = 0; a < result.awards_count; a++)
            tally->paid_uusd += result.awards[a].price_uusd_per_hour;
        tally->served_count += result.prefixes_count;
    }
    tally->lots_count = touched.count;
}

/* Positions of rows, lot after lot; `ret_ends[i]` is where lot i ends. */
static uint32_t *group_by_lot(const uint32_t *lots, uint32_t count, uint32_t lots_count,
                              uint32_t *ret_ends)
{
    uint32_t *order = array_of(count, sizeof(*order)), sum = 0;
    memset(ret_ends, 0, lots_count * sizeof(*ret_ends));
    for (uint32_t i = 0; i < count; i++)
        ret_ends[lots[i]]++;
    for (uint32_t i = 0; i < lots_count; i++) {
        uint32_t in_lot = ret_ends[i];
        ret_ends[i] = sum;
        sum += in_lot;
    }
    for (uint32_t i = 0; i < count; i++)
        order[ret_ends[lots[i]]++] = i;
    return order;
}

/* Rows far ahead are asked for from main memory before they are needed. */
static void rows_fetch(const void *rows, size_t stride, const uint32_t *order, uint32_t at,
                       uint32_t count)
{
    uint32_t ahead = at + 24 < count ? at + 24 : at;
    const char *row = (const char *)rows + order[ahead] * stride;
    __builtin_prefetch(row);
    __builtin_prefetch(row + stride - 1); /* it may lie across two cache lines */
}

/* Rows come in no order, so putting them lot after lot is part of the time. */
static void book_load(struct book *book, const struct market *market)
{
    uint32_t *ends = array_of(market->lots_count, sizeof(*ends));
    uint32_t *wants_ends = array_of(market->lots_count, sizeof(*ends));
    uint32_t *asks = group_by_lot(market->ask_lots, market->asks_count, market->lots_count, ends);
    uint32_t *wants =
        group_by_lot(market->demand_lots, market->demands_count, market->lots_count, wants_ends);
    book_start(book, market->lots_count);
    for (uint32_t lot = 0, a = 0, w = 0; lot < market->lots_count; lot++) {
        const struct book_room room = {.blocks_count = ends[lot] - a,
                                       .sellers_count = market->sellers_per_lot[lot],
                                       .demands_count = wants_ends[lot] - w};
        book_reserve(book, lot, &room);
        for (; a < ends[lot]; a++) {
            rows_fetch(market->asks, sizeof(*market->asks), asks, a, market->asks_count);
            must(book_block_add(book, lot, &market->asks[asks[a]]) == BOOK_DONE);
        }
        for (; w < wants_ends[lot]; w++) {
            rows_fetch(market->demands, sizeof(*market->demands), wants, w, market->demands_count);
            must(book_demand_put(book, lot, &market->demands[wants[w]]) == BOOK_DONE);
        }
    }
    free(ends);
    free(wants_ends);
    free(asks);
    free(wants);
}

/* The changed asks of one round, drawn before the clock starts; workloads change where they are. */
struct changes {
    struct book_ask *asks;
    uint32_t *lots;
    uint32_t asks_count;
};

static void changes_draw(struct market *market, struct changes *changes)
{
    changes->asks_count = 0;
    for (uint32_t blocks_count = 0; blocks_count < market->asks_count / 100;) {
        uint32_t seller = draw_below(market, market->sellers_count);
        uint32_t first = market->sellers_first[seller];
        uint32_t lot = market->ask_lots[market->by_seller[first]];
        changes->lots[changes->asks_count] = lot;
        changes->asks[changes->asks_count++] = (struct book_ask){
            .owner = seller,
            .ask_uusd_per_hour = draw_price(market, lot, 100),
            .block_ids = &market->ids[first],
            .blocks_count = market->sellers_first[seller + 1] - first,
        };
        blocks_count += market->sellers_first[seller + 1] - first;
    }
    for (uint32_t i = 0; i < market->demands_count; i++)
        market->demands[i].r_uusd_per_hour = draw_price(market, market->demand_lots[i], 110);
}

/* Changes come in no order either. */
static void changes_apply(struct book *book, const struct market *market,
                          const struct changes *changes)
{
    uint32_t *ends = array_of(market->lots_count, sizeof(*ends));
    uint32_t *wants_ends = array_of(market->lots_count, sizeof(*ends));
    uint32_t *asks = group_by_lot(changes->lots, changes->asks_count, market->lots_count, ends);
    uint32_t *wants =
        group_by_lot(market->demand_lots, market->demands_count, market->lots_count, wants_ends);
    for (uint32_t lot = 0, a = 0, w = 0; lot < market->lots_count; lot++) {
        if (lot + 2 < market->lots_count)
            book_lot_fetch(book, lot + 2);
        for (; a < ends[lot]; a++) {
            uint32_t ahead = asks[a + 8 < changes->asks_count ? a + 8 : a];
            rows_fetch(changes->asks, sizeof(*changes->asks), asks, a, changes->asks_count);
            __builtin_prefetch(changes->asks[ahead].block_ids);
            must(book_ask_change(book, lot, &changes->asks[asks[a]]) == BOOK_DONE);
        }
        for (; w < wants_ends[lot]; w++) {
            rows_fetch(market->demands, sizeof(*market->demands), wants, w, market->demands_count);
            must(book_demand_put(book, lot, &market->demands[wants[w]]) == BOOK_DONE);
        }
    }
    free(ends);
    free(wants_ends);
    free(asks);
    free(wants);
}

static void figure_print(const char *what, double began, double put, const struct tally *tally,
                         const struct book *book)
{
    double cleared = now_ms();
    struct book_bytes bytes = book_bytes(book);
    printf("what=%s ms=%.3f put_ms=%.3f clear_ms=%.3f lots=%u sold=%llu served=%llu paid_uusd=%lld "
           "ask_bytes=%zu all_bytes=%zu heap_bytes=%zu\n",
           what, cleared - began, put - began, cleared - put, tally->lots_count,
           (unsigned long long)tally->sold_count, (unsigned long long)tally->served_count,
           (long long)tally->paid_uusd, bytes.asks + bytes.shared,
           bytes.asks + bytes.shared + bytes.workloads, heap_bytes() - tally->heap_before);
    fflush(stdout);
}

static void run_once(struct market *market, struct changes *changes, uint8_t number)
{
    const struct sha256 seed = {{number}};
    struct book book;
    struct tally tally = {.heap_before = heap_bytes()};
    double began = now_ms();
    book_load(&book, market);
    struct book_touched touched = book_freeze(&book);
    double put = now_ms();
    lots_clear(&book, touched, &seed, &tally);
    figure_print("scratch", began, put, &tally, &book);

    for (int round = 0; round < CHANGE_ROUNDS; round++) {
        changes_draw(market, changes);
        tally = (struct tally){.heap_before = tally.heap_before};
        began = now_ms();
        changes_apply(&book, market, changes);
        touched = book_freeze(&book);
        put = now_ms();
        lots_clear(&book, touched, &seed, &tally);
        figure_print("change", began, put, &tally, &book);
    }
    book_finish(&book);
}

static uint32_t number_of(const char *text)
{
    int64_t number;
    must(str_to_i64(str_of(text), &number) && number > 0 && number <= UINT32_MAX);
    return (uint32_t)number;
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: bench_auction single|several ASKS WORKLOADS LOTS RUNS\n");
        return 2;
    }
    hash_start();
    struct market market = {.is_single = strcmp(argv[1], "single") == 0,
                            .asks_count = number_of(argv[2]),
                            .demands_count = number_of(argv[3]),
                            .lots_count = number_of(argv[4])};
    uint32_t runs = number_of(argv[5]);
    market_draw(&market);
    struct changes changes = {
        .asks = array_of(market.asks_count / 100 + 1, sizeof(*changes.asks)),
        .lots = array_of(market.asks_count / 100 + 1, sizeof(*changes.lots)),
    };
    for (uint32_t run = 0; run < runs; run++)
        run_once(&market, &changes, (uint8_t)run);
    return 0;
}
