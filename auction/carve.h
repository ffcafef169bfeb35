/* carve.h - cuts free devices into the blocks of a round: by counts alone, never by an ask.
 *
 * pure, integers only; the caller lends the memory. A group is what may be sold together: the free
 * devices of one node that one NVLink or NUMA domain holds. Each round is cut anew:
 *
 * 1. Each group is cut largest first, so halves that stayed unsold have grown together by
 *    themselves (7 = 4 + 2 + 1). Any devices of a group make a block, so none waits for its buddy.
 * 2. From the largest size down, what a size has beyond the blocks kept for it is left over.
 *    Kept are those for wishes that are new, and for waiting ones that lacked blocks in the last
 *    round. A wish that blocks stood unsold for keeps none: it was its price that failed, and a
 *    wish that cannot pay must not shut the market for others.
 * 3. What is left over is halved: all of it where only smaller blocks are wanted, else in equal
 *    parts per wanted size, but as much as the smaller wishes have devices to need.
 * 4. Where only some are halved: first those whose halving adds no fragmentation (the node keeps
 *    another block as large), then those that leave fewest idle devices useless to the size; equals
 *    by SHA-256("undercut/carve/v1|" | seed | id of the group). That is dF of auction/frag.h for
 *    the one type whose blocks are being halved.
 *
 * So one small wish among idle nodes meets every one of them and not one seller at its reserve, and
 * what this fragments is decided where it costs: in the score, by phi of auction/frag.h, not by
 * keeping sellers away. Counts of a round say nothing of asks, so cutting cannot be bid into within
 * a round; what was sold in the last one does depend on its asks, as any rule that learns must.
 */
#ifndef UNDERCUT_AUCTION_CARVE_H
#define UNDERCUT_AUCTION_CARVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/hash.h"
#include "broker/base/str.h"

#define CARVE_SIZES 4 /* 1, 2, 4, 8 devices: index i stands for 1 << i */

struct carve_group {
    struct str id;  /* for ties; unique among the groups; borrowed */
    uint32_t node;  /* numbered by the caller from 0 to nodes_count - 1 */
    uint32_t first; /* of its free devices, which lie side by side in the caller's numbering */
    uint32_t devices_count;
};

struct carve_counts { /* blocks, by size; none below 0 */
    int64_t wanted[CARVE_SIZES];
    int64_t last_supply[CARVE_SIZES]; /* of the last round: offered, */
    int64_t last_sold[CARVE_SIZES];   /* sold, */
    int64_t last_unmet[CARVE_SIZES];  /* wanted and not got */
    bool wanted_has_unmet; /* who went unmet is among `wanted` again; not so when taking now */
};

struct carve_block {
    uint32_t group;
    uint32_t first;
    uint32_t size; /* 1 << size devices */
};

struct carve_input {
    const struct carve_group *groups;
    uint32_t groups_count;
    uint32_t nodes_count;
    struct carve_counts counts;
    struct sha256 seed;
};

size_t carve_memory_size(const struct carve_input *input);
/* Returns how many blocks there are; they lie in `memory`, which holds carve_memory_size() bytes
 * aligned as malloc aligns, and come in no particular order. */
uint32_t carve(const struct carve_input *input, void *memory,
               const struct carve_block **ret_blocks);

#endif
