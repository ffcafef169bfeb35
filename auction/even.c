#include "auction/even.h"

#include <stdlib.h>
#include <string.h>

static int owner_order(const void *a, const void *b)
{
    const struct record_block *left = *(struct record_block *const *)a;
    const struct record_block *right = *(struct record_block *const *)b;
    return memcmp(&left->owner, &right->owner, sizeof(left->owner));
}

static void seller_make_even(struct record_block **blocks, uint32_t count)
{
    int64_t sum = 0; /* below 2^40 x 2^24 */
    for (uint32_t i = 0; i < count; i++)
        sum += blocks[i]->adder_uusd_per_hour;
    for (uint32_t i = 0; i < count; i++)
        blocks[i]->adder_uusd_per_hour = sum / count + (sum % count > 0);
}

static bool has_gang(const struct record_demand *demands, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (demands[i].kmin > 1)
            return true;
    return false;
}

void adders_make_even(struct record_block *blocks, uint32_t blocks_count,
                      const struct record_demand *demands, uint32_t demands_count)
{
    if (blocks_count == 0 || !has_gang(demands, demands_count))
        return;
    struct record_block **by_owner = calloc(blocks_count, sizeof(*by_owner));
    must(by_owner != NULL);
    for (uint32_t i = 0; i < blocks_count; i++)
        by_owner[i] = &blocks[i];
    qsort(by_owner, blocks_count, sizeof(*by_owner), owner_order);
    for (uint32_t at = 0, end; at < blocks_count; at = end) {
        for (end = at + 1; end < blocks_count && owner_order(&by_owner[at], &by_owner[end]) == 0;)
            end++;
        seller_make_even(&by_owner[at], end - at);
    }
    free(by_owner);
}
