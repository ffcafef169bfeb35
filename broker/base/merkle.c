/* The happy path is: a range of leaves is cut into full subtrees, whose hashes are stored, and
 * these are joined from the right; a proof is the list of such ranges beside the way to a leaf or
 * an edge. Failure modes are: a proof that is too short, too long, or leads to another root
 * (refused). Sizes and places beyond the tree are bugs of the caller when making a proof, and
 * refusals when checking.
 */
#include "broker/base/merkle.h"

#include <string.h>

static const uint8_t leaf_mark = 0;
static const uint8_t node_mark = 1;

struct sha256 merkle_leaf(const void *bytes, size_t len)
{
    struct sha256_run run;
    sha256_run_start(&run);
    sha256_run_add(&run, &leaf_mark, 1);
    sha256_run_add(&run, bytes, len);
    return sha256_run_end(&run);
}

struct sha256 merkle_node(const struct sha256 *left, const struct sha256 *right)
{
    struct sha256_run run;
    sha256_run_start(&run);
    sha256_run_add(&run, &node_mark, 1);
    sha256_run_add(&run, left->bytes, sizeof(left->bytes));
    sha256_run_add(&run, right->bytes, sizeof(right->bytes));
    return sha256_run_end(&run);
}

/* Joining neighbours level by level, the odd one out rising unchanged, gives the same tree as the
 * RFC's split at the largest power of two below the count. */
struct sha256 merkle_root(struct sha256 *leaves, size_t count)
{
    if (count == 0)
        return sha256_of("", 0);
    while (count > 1) {
        size_t next = 0;
        for (size_t i = 0; i + 1 < count; i += 2)
            leaves[next++] = merkle_node(&leaves[i], &leaves[i + 1]);
        if (count % 2)
            leaves[next++] = leaves[count - 1];
        count = next;
    }
    return leaves[0];
}

/* The grown edge -------------------------------------------------------------------------------*/

size_t merkle_append(struct merkle_edge *edge, const struct sha256 *leaf,
                     struct merkle_added ret_added[MERKLE_LEVELS_MAX])
{
    must(edge->size < UINT64_MAX / 2);
    unsigned level = 0;
    struct sha256 hash = *leaf;
    ret_added[0] = (struct merkle_added){.level = 0, .index = edge->size, .hash = hash};
    for (; edge->size >> level & 1; level++) {
        hash = merkle_node(&edge->peaks[level], &hash);
        ret_added[level + 1] = (struct merkle_added){
            .level = level + 1, .index = edge->size >> (level + 1), .hash = hash};
    }
    edge->peaks[level] = hash;
    edge->size++;
    return level + 1;
}

struct sha256 merkle_edge_root(const struct merkle_edge *edge)
{
    struct sha256 root = sha256_of("", 0);
    bool has_root = false;
    for (unsigned level = 0; level < MERKLE_LEVELS_MAX; level++) {
        if (!(edge->size >> level & 1))
            continue;
        root = has_root ? merkle_node(&edge->peaks[level], &root) : edge->peaks[level];
        has_root = true;
    }
    return root;
}

/* From stored nodes ----------------------------------------------------------------------------*/

void merkle_edge_load(const struct merkle_source *source, uint64_t size,
                      struct merkle_edge *ret_edge)
{
    *ret_edge = (struct merkle_edge){.size = size};
    for (unsigned level = 0; level < MERKLE_LEVELS_MAX; level++)
        if (size >> level & 1)
            ret_edge->peaks[level] = source->node(source->data, level, (size >> level) - 1);
}

/* Root over leaves first .. end - 1, where `first` is a multiple of the power of two at or above
 * their count: what every range of an RFC 6962 proof is. */
static struct sha256 range_root(const struct merkle_source *source, uint64_t first, uint64_t end)
{
    struct sha256 root = {{0}};
    bool has_root = false;
    for (uint64_t rest = end - first; rest != 0; rest &= rest - 1) {
        unsigned level = (unsigned)__builtin_ctzll(rest);
        end -= (uint64_t)1 << level;
        struct sha256 peak = source->node(source->data, level, end >> level);
        root = has_root ? merkle_node(&peak, &root) : peak;
        has_root = true;
    }
    return root;
}

struct sha256 merkle_root_at(const struct merkle_source *source, uint64_t size)
{
    must(size > 0);
    return range_root(source, 0, size);
}

/* The largest power of two below `count`, which is at least 2. */
static uint64_t split_of(uint64_t count)
{
    uint64_t split = 1;
    while (split < count - split)
        split *= 2;
    return split;
}

static void proof_reverse(struct merkle_proof *proof)
{
    for (size_t i = 0; i < proof->count / 2; i++) {
        struct sha256 other = proof->hashes[i];
        proof->hashes[i] = proof->hashes[proof->count - 1 - i];
        proof->hashes[proof->count - 1 - i] = other;
    }
}

static void proof_add(struct merkle_proof *proof, struct sha256 hash)
{
    must(proof->count < MERKLE_PROOF_MAX);
    proof->hashes[proof->count++] = hash;
}

void merkle_path(const struct merkle_source *source, uint64_t size, uint64_t index,
                 struct merkle_proof *ret_proof)
{
    must(index < size);
    uint64_t first = 0, end = size;
    ret_proof->count = 0;
    while (end - first > 1) {
        uint64_t middle = first + split_of(end - first);
        if (index < middle) {
            proof_add(ret_proof, range_root(source, middle, end));
            end = middle;
        } else {
            proof_add(ret_proof, range_root(source, first, middle));
            first = middle;
        }
    }
    proof_reverse(ret_proof);
}

void merkle_consistency(const struct merkle_source *source, uint64_t size, uint64_t before,
                        struct merkle_proof *ret_proof)
{
    must(before > 0 && before <= size);
    uint64_t first = 0, end = size;
    ret_proof->count = 0;
    while (before != end) { /* the edge of the smaller tree lies within first .. end - 1 */
        uint64_t middle = first + split_of(end - first);
        if (before <= middle) {
            proof_add(ret_proof, range_root(source, middle, end));
            end = middle;
        } else {
            proof_add(ret_proof, range_root(source, first, middle));
            first = middle;
        }
    }
    if (first > 0) /* else it is the smaller tree's root, which the checker has */
        proof_add(ret_proof, range_root(source, first, end));
    proof_reverse(ret_proof);
}

/* In memory ------------------------------------------------------------------------------------*/

void merkle_table_build(struct merkle_table *table, struct sha256 *nodes, size_t count)
{
    *table = (struct merkle_table){.nodes = nodes, .count = count};
    size_t start = 0;
    for (unsigned level = 0; count >> level > 1; level++) {
        size_t below = count >> level;
        table->starts[level + 1] = start + below;
        for (size_t i = 0; i < below / 2; i++)
            nodes[start + below + i] =
                merkle_node(&nodes[start + 2 * i], &nodes[start + 2 * i + 1]);
        start += below;
    }
}

static struct sha256 table_node(void *data, unsigned level, uint64_t index)
{
    const struct merkle_table *table = data;
    must(index < table->count >> level);
    return table->nodes[table->starts[level] + index];
}

struct merkle_source merkle_table_source(struct merkle_table *table)
{
    return (struct merkle_source){.node = table_node, .data = table};
}

/* Checking -------------------------------------------------------------------------------------*/

bool merkle_path_climb(const struct merkle_proof *proof, uint64_t size, uint64_t index,
                       const struct sha256 *leaf, struct sha256 *ret_root)
{
    *ret_root = *leaf;
    if (index >= size || proof->count > MERKLE_PROOF_MAX)
        return false;
    uint64_t place = index, last = size - 1;
    for (size_t i = 0; i < proof->count; i++) {
        if (last == 0)
            return false;
        if (place % 2 == 1 || place == last) {
            *ret_root = merkle_node(&proof->hashes[i], ret_root);
            for (; place % 2 == 0 && place != 0; place /= 2)
                last /= 2;
        } else {
            *ret_root = merkle_node(ret_root, &proof->hashes[i]);
        }
        place /= 2;
        last /= 2;
    }
    return last == 0;
}

bool merkle_path_holds(const struct merkle_proof *proof, uint64_t size, uint64_t index,
                       const struct sha256 *leaf, const struct sha256 *root)
{
    struct sha256 reached;
    return merkle_path_climb(proof, size, index, leaf, &reached) && sha256_equal(&reached, root);
}

/* Climbs from the edge of the smaller tree, building both roots at once. */
static bool consistency_climb(const struct merkle_proof *proof, size_t next, uint64_t before,
                              uint64_t size, struct sha256 ret_roots[2])
{
    uint64_t place = before - 1, last = size - 1;
    for (; place % 2 == 1; place /= 2)
        last /= 2;
    for (; next < proof->count; next++) {
        const struct sha256 *hash = &proof->hashes[next];
        if (last == 0)
            return false;
        if (place % 2 == 1 || place == last) {
            ret_roots[0] = merkle_node(hash, &ret_roots[0]);
            ret_roots[1] = merkle_node(hash, &ret_roots[1]);
            for (; place % 2 == 0 && place != 0; place /= 2)
                last /= 2;
        } else {
            ret_roots[1] = merkle_node(&ret_roots[1], hash);
        }
        place /= 2;
        last /= 2;
    }
    return last == 0;
}

bool merkle_consistency_holds(const struct merkle_proof *proof, uint64_t before, uint64_t size,
                              const struct sha256 *root_before, const struct sha256 *root)
{
    if (before > size || proof->count > MERKLE_PROOF_MAX)
        return false;
    if (before == size)
        return proof->count == 0 && sha256_equal(root_before, root);
    if (before == 0)
        return proof->count == 0;
    bool is_full = (before & (before - 1)) == 0; /* then the smaller root is itself a node */
    if (!is_full && proof->count == 0)
        return false;
    struct sha256 start = is_full ? *root_before : proof->hashes[0];
    struct sha256 reached[2] = {start, start};
    return consistency_climb(proof, is_full ? 0 : 1, before, size, reached) &&
           sha256_equal(&reached[0], root_before) && sha256_equal(&reached[1], root);
}
