#include "auction/losers.h"

#include <stdlib.h>
#include <string.h>

struct loser {
    int64_t score;
    struct uuid owner;
};

static int loser_order(const void *a, const void *b)
{
    const struct loser *left = a, *right = b;
    return (left->score > right->score) - (left->score < right->score);
}

static int score_order(const void *a, const void *b)
{
    const int64_t *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

/* Those whose score some award was paid; a lot has many losers, and few of them are. */
static uint32_t losers_list(const struct record_lot *lot, int64_t *thetas, struct loser *losers,
                            bool *is_sold)
{
    uint32_t count = 0, awards_count = lot->outcome.awards_count;
    for (uint32_t i = 0; i < awards_count; i++) {
        is_sold[lot->outcome.awards[i].block] = true;
        thetas[i] = lot->outcome.awards[i].theta_uusd_per_hour;
    }
    qsort(thetas, awards_count, sizeof(*thetas), score_order);
    for (uint32_t i = 0; i < lot->blocks_count; i++) {
        int64_t score = lot->blocks[i].ask_uusd_per_hour + lot->blocks[i].adder_uusd_per_hour;
        if (!is_sold[i] && bsearch(&score, thetas, awards_count, sizeof(*thetas), score_order))
            losers[count++] = (struct loser){.score = score, .owner = lot->blocks[i].owner};
    }
    qsort(losers, count, sizeof(*losers), loser_order);
    return count;
}

/* The first one of that score or above. */
static uint32_t losers_find(const struct loser *losers, uint32_t count, int64_t score)
{
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (losers[middle].score < score)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void losers_mark(const struct record_lot *lot, bool *ret_is_set)
{
    struct loser *losers = malloc(((size_t)lot->blocks_count + 1) * sizeof(*losers));
    bool *is_sold = calloc((size_t)lot->blocks_count + 1, sizeof(*is_sold));
    int64_t *thetas = malloc(((size_t)lot->outcome.awards_count + 1) * sizeof(*thetas));
    must(losers != NULL && is_sold != NULL && thetas != NULL);
    uint32_t count = losers_list(lot, thetas, losers, is_sold);
    for (uint32_t i = 0; i < lot->outcome.awards_count; i++) {
        const struct lot_award *award = &lot->outcome.awards[i];
        uint32_t at = losers_find(losers, count, award->theta_uusd_per_hour);
        ret_is_set[i] = false;
        for (; at < count && losers[at].score == award->theta_uusd_per_hour && !ret_is_set[i]; at++)
            ret_is_set[i] = !uuid_equal(losers[at].owner, lot->blocks[award->block].owner);
    }
    free(losers);
    free(thetas);
    free(is_sold);
}
