/* The happy path is: every group is cut largest first; then, size by size from the largest, as many
 * blocks are halved as smaller wishes may have, in the order of what that fragments. Failure modes
 * are: none; counts out of sense only change how much is halved.
 */
#include "auction/carve.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

struct carve_node {
    uint32_t devices_count; /* idle ones */
    uint32_t others_count;  /* its blocks of the size being halved that are not yet judged */
    bool has_larger;
};

struct carve_key {    /* a block that may be halved; big-endian, so that bytes compare as numbers */
    uint32_t cost_be; /* idle devices that halving it makes useless to its size */
    struct sha256 tie;
    uint32_t first_be;
    uint32_t block; /* not compared */
};

struct carving {
    const struct carve_input *input;
    struct carve_block *blocks;
    struct carve_key *keys;
    struct carve_node *nodes;
    uint32_t blocks_count;
};

static uint32_t devices_count_of(const struct carve_input *input)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < input->groups_count; i++)
        count += input->groups[i].devices_count;
    return count;
}

/* Three arrays one after the other, none of which needs more than the others' alignment. */
size_t carve_memory_size(const struct carve_input *input)
{
    return devices_count_of(input) * (sizeof(struct carve_block) + sizeof(struct carve_key)) +
           input->nodes_count * sizeof(struct carve_node);
}

static void group_cut(struct carving *carving, uint32_t index)
{
    const struct carve_group *group = &carving->input->groups[index];
    uint32_t at = group->first, left = group->devices_count;
    for (uint32_t size = CARVE_SIZES; size-- > 0;) {
        for (; left >= 1u << size; left -= 1u << size) {
            carving->blocks[carving->blocks_count++] =
                (struct carve_block){.group = index, .first = at, .size = size};
            at += 1u << size;
        }
    }
    carving->nodes[group->node].devices_count += group->devices_count;
}

/* How many ------------------------------------------------------------------------------------*/

static int64_t least_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Blocks that are kept for wishes of their own size, whoever else wants some. */
static int64_t blocks_kept(const struct carve_counts *counts, uint32_t size)
{
    int64_t wanted = counts->wanted[size], unmet = counts->last_unmet[size];
    int64_t unsold = most_of(counts->last_supply[size] - counts->last_sold[size], 0);
    int64_t lacking = most_of(unmet - unsold, 0);
    if (!counts->wanted_has_unmet)
        return wanted + lacking;
    return least_of(most_of(wanted - unmet, 0) + lacking, wanted);
}

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* How many of `blocks_count` blocks of 1 << size devices to halve, when `smaller_count` devices lie
 * in smaller blocks as it is. */
static int64_t halves_for(const struct carve_counts *counts, uint32_t size, int64_t blocks_count,
                          int64_t smaller_count)
{
    int64_t left_over = most_of(blocks_count - blocks_kept(counts, size), 0);
    int64_t sizes_count = 0, lacking = -smaller_count;
    for (uint32_t i = 0; i < size; i++) {
        sizes_count += counts->wanted[i] > 0;
        lacking += counts->wanted[i] << i;
    }
    if (sizes_count == 0)
        return 0;
    int64_t share = ceil_div(left_over * sizes_count, sizes_count + (counts->wanted[size] > 0));
    int64_t needed = ceil_div(most_of(lacking, 0), (int64_t)1 << size);
    return least_of(most_of(share, needed), left_over);
}

/* Which ---------------------------------------------------------------------------------------*/

/* By cost, then tie, then place. */
static int key_order(const void *a, const void *b)
{
    return memcmp(a, b, offsetof(struct carve_key, block));
}

static void block_halve(struct carving *carving, uint32_t index)
{
    struct carve_block *block = &carving->blocks[index];
    block->size--;
    carving->blocks[carving->blocks_count++] = (struct carve_block){
        .group = block->group, .first = block->first + (1u << block->size), .size = block->size};
}

/* A node's last block of the size, in the order of ties, is the one that the size would miss. What
 * is larger than one size is larger than the next, so has_larger is never unset. */
static void keys_cost(struct carving *carving, uint32_t size, uint32_t keys_count)
{
    const struct carve_group *groups = carving->input->groups;
    for (uint32_t i = 0; i < carving->blocks_count; i++) {
        const struct carve_block *block = &carving->blocks[i];
        struct carve_node *node = &carving->nodes[groups[block->group].node];
        node->has_larger |= block->size > size;
        node->others_count += block->size == size;
    }
    for (uint32_t i = 0; i < keys_count; i++) {
        struct carve_key *key = &carving->keys[i];
        uint32_t group = carving->blocks[key->block].group;
        struct carve_node *node = &carving->nodes[groups[group].node];
        bool is_last = --node->others_count == 0;
        if (is_last && !node->has_larger)
            key->cost_be = htobe32(node->devices_count);
    }
}

static struct sha256 tie_of(const struct sha256 *seed, struct str id)
{
    static const char domain[] = "undercut/carve/v1|";
    struct sha256_run run;
    sha256_run_start(&run);
    sha256_run_add(&run, domain, sizeof(domain) - 1);
    sha256_run_add(&run, seed->bytes, sizeof(seed->bytes));
    sha256_run_add(&run, id.at, id.len);
    return sha256_run_end(&run);
}

/* Lists the blocks of a size as keys; says how many, and how many devices lie in smaller ones. */
static uint32_t keys_list(struct carving *carving, uint32_t size, int64_t *ret_smaller_count)
{
    uint32_t count = 0;
    *ret_smaller_count = 0;
    for (uint32_t i = 0; i < carving->blocks_count; i++) {
        const struct carve_block *block = &carving->blocks[i];
        if (block->size == size)
            carving->keys[count++] =
                (struct carve_key){.first_be = htobe32(block->first), .block = i};
        *ret_smaller_count += block->size < size ? 1 << block->size : 0;
    }
    return count;
}

static void size_halve(struct carving *carving, uint32_t size)
{
    const struct carve_input *input = carving->input;
    int64_t smaller_count;
    uint32_t count = keys_list(carving, size, &smaller_count);
    int64_t halves = halves_for(&input->counts, size, count, smaller_count);
    if (halves == 0)
        return;
    if (halves < count) {
        for (uint32_t i = 0; i < count; i++) {
            uint32_t group = carving->blocks[carving->keys[i].block].group;
            carving->keys[i].tie = tie_of(&input->seed, input->groups[group].id);
        }
        qsort(carving->keys, count, sizeof(*carving->keys), key_order);
        keys_cost(carving, size, count);
        qsort(carving->keys, count, sizeof(*carving->keys), key_order);
    }
    for (int64_t i = 0; i < halves; i++)
        block_halve(carving, carving->keys[i].block);
}

uint32_t carve(const struct carve_input *input, void *memory, const struct carve_block **ret_blocks)
{
    uint32_t devices_count = devices_count_of(input);
    struct carving carving = {.input = input, .blocks = memory};
    carving.keys = (struct carve_key *)(carving.blocks + devices_count);
    carving.nodes = (struct carve_node *)(carving.keys + devices_count);
    memset(carving.nodes, 0, input->nodes_count * sizeof(*carving.nodes));
    for (uint32_t i = 0; i < input->groups_count; i++)
        group_cut(&carving, i);
    for (uint32_t size = CARVE_SIZES; --size > 0;)
        size_halve(&carving, size);
    *ret_blocks = carving.blocks;
    return carving.blocks_count;
}
