/* Merkle trees: the vectors that Certificate Transparency's own tests use, and every small tree
 * with every leaf, every pair of sizes and every changed hash, against the definition.
 */
#include <string.h>

#include "broker/base/merkle.h"
#include "tests/lib/test.h"

#define TREE_MAX 66

static struct sha256 leaves[TREE_MAX];
static struct sha256 roots[TREE_MAX + 1]; /* by definition, of the first n leaves */
static struct sha256 nodes[MERKLE_TABLE_SIZE(TREE_MAX)];

/* RFC 6962 section 2.1 as written: split at the largest power of two below the count. */
static struct sha256 tree_by_definition(const struct sha256 *at, size_t count)
{
    if (count == 1)
        return at[0];
    size_t split = 1;
    while (split * 2 < count)
        split *= 2;
    struct sha256 left = tree_by_definition(at, split);
    struct sha256 right = tree_by_definition(at + split, count - split);
    uint8_t joined[65] = {1};
    memcpy(joined + 1, left.bytes, 32);
    memcpy(joined + 33, right.bytes, 32);
    return sha256_of(joined, sizeof(joined));
}

static int leaves_make(void **state)
{
    (void)state;
    for (uint8_t i = 0; i < TREE_MAX; i++)
        leaves[i] = merkle_leaf(&i, 1);
    for (size_t count = 1; count <= TREE_MAX; count++)
        roots[count] = tree_by_definition(leaves, count);
    return 0;
}

static struct merkle_table table_of(size_t count)
{
    struct merkle_table table;
    memcpy(nodes, leaves, count * sizeof(struct sha256));
    merkle_table_build(&table, nodes, count);
    return table;
}

static void assert_hash(struct sha256 hash, const char *wanted)
{
    char hex[65];
    hex_encode(hash.bytes, sizeof(hash.bytes), hex);
    assert_string_equal(hex, wanted);
}

static const char *const known_leaves[] = {
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
};
static const char *const known_roots[] = {
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
};
#define KNOWN_COUNT ARRAY_COUNT(known_leaves)

static void the_tree_of_certificate_transparency_has_its_published_hashes(void **state)
{
    (void)state;
    struct sha256 known[MERKLE_TABLE_SIZE(KNOWN_COUNT)];
    struct merkle_edge edge = {.size = 0};
    struct merkle_added added[MERKLE_LEVELS_MAX];
    assert_hash(merkle_edge_root(&edge),
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        uint8_t bytes[16];
        struct str hex = str_of(known_leaves[i]);
        assert_true(hex_decode(hex, bytes, hex.len / 2));
        known[i] = merkle_leaf(bytes, hex.len / 2);
        (void)merkle_append(&edge, &known[i], added);
        assert_hash(merkle_edge_root(&edge), known_roots[i]);
    }
    struct merkle_table table;
    struct merkle_proof proof;
    merkle_table_build(&table, known, KNOWN_COUNT);
    struct merkle_source source = merkle_table_source(&table);

    merkle_path(&source, 8, 5, &proof);
    assert_int_equal(proof.count, 3);
    assert_hash(proof.hashes[0],
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b");
    assert_hash(proof.hashes[1],
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0");
    assert_hash(proof.hashes[2], known_roots[3]);

    merkle_consistency(&source, 8, 6, &proof);
    assert_int_equal(proof.count, 3);
    assert_hash(proof.hashes[0],
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a");
    assert_hash(proof.hashes[1],
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0");
    assert_hash(proof.hashes[2], known_roots[3]);
}

static void every_way_to_a_root_gives_the_root_of_the_definition(void **state)
{
    (void)state;
    struct merkle_edge edge = {.size = 0}, loaded;
    struct merkle_added added[MERKLE_LEVELS_MAX];
    struct sha256 scratch[TREE_MAX];
    assert_hash(merkle_root(scratch, 0),
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for (size_t count = 1; count <= TREE_MAX; count++) {
        memcpy(scratch, leaves, sizeof(leaves));
        struct merkle_table table = table_of(count);
        struct merkle_source source = merkle_table_source(&table);
        size_t added_count = merkle_append(&edge, &leaves[count - 1], added);
        merkle_edge_load(&source, count, &loaded);
        struct sha256 ways[4] = {merkle_root(scratch, count), merkle_root_at(&source, count),
                                 merkle_edge_root(&edge), merkle_edge_root(&loaded)};
        for (size_t i = 0; i < ARRAY_COUNT(ways); i++)
            assert_true(sha256_equal(&ways[i], &roots[count]));
        for (size_t i = 0; i < added_count; i++) {
            struct sha256 same = source.node(source.data, added[i].level, added[i].index);
            assert_true(sha256_equal(&added[i].hash, &same));
        }
    }
}

static void assert_only_so(const struct merkle_proof *proof, uint64_t size, uint64_t index)
{
    struct merkle_proof other = *proof;
    const struct sha256 *leaf = &leaves[index], *root = &roots[size];
    assert_true(merkle_path_holds(proof, size, index, leaf, root));
    assert_false(merkle_path_holds(proof, size, size, leaf, root));
    assert_false(merkle_path_holds(proof, size, index, &leaves[(index + 1) % TREE_MAX], root));
    for (size_t i = 0; i < proof->count; i++) {
        other.hashes[i].bytes[i % 32] ^= 1;
        assert_false(merkle_path_holds(&other, size, index, leaf, root));
        other.hashes[i] = proof->hashes[i];
    }
    other.hashes[other.count++] = *root;
    assert_false(merkle_path_holds(&other, size, index, leaf, root));
    other.count = proof->count - 1;
    if (proof->count > 0)
        assert_false(merkle_path_holds(&other, size, index, leaf, root));
}

static void every_leaf_of_every_small_tree_has_one_path(void **state)
{
    (void)state;
    for (size_t size = 1; size <= TREE_MAX; size++) {
        struct merkle_table table = table_of(size);
        struct merkle_source source = merkle_table_source(&table);
        for (size_t index = 0; index < size; index++) {
            struct merkle_proof proof;
            merkle_path(&source, size, index, &proof);
            assert_only_so(&proof, size, index);
            for (size_t wrong = 0; wrong < size; wrong++)
                assert_true(merkle_path_holds(&proof, size, wrong, &leaves[index], &roots[size]) ==
                            (wrong == index));
        }
    }
}

static void assert_one_past(const struct merkle_proof *proof, uint64_t before, uint64_t size)
{
    struct merkle_proof other = *proof;
    assert_true(merkle_consistency_holds(proof, before, size, &roots[before], &roots[size]));
    for (size_t wrong = 1; wrong <= size; wrong++)
        if (wrong != before)
            assert_false(
                merkle_consistency_holds(proof, before, size, &roots[wrong], &roots[size]));
    assert_false(merkle_consistency_holds(proof, before, size, &roots[before], &leaves[0]) &&
                 size > 1);
    for (size_t i = 0; i < proof->count; i++) {
        other.hashes[i].bytes[31] ^= 128;
        assert_false(merkle_consistency_holds(&other, before, size, &roots[before], &roots[size]));
        other.hashes[i] = proof->hashes[i];
    }
    other.hashes[other.count++] = roots[size];
    assert_false(merkle_consistency_holds(&other, before, size, &roots[before], &roots[size]));
    other.count = proof->count - 1;
    if (proof->count > 0)
        assert_false(merkle_consistency_holds(&other, before, size, &roots[before], &roots[size]));
}

static void every_small_tree_is_the_beginning_of_every_larger_one(void **state)
{
    (void)state;
    for (size_t size = 1; size <= TREE_MAX; size++) {
        struct merkle_table table = table_of(size);
        struct merkle_source source = merkle_table_source(&table);
        for (size_t before = 1; before <= size; before++) {
            struct merkle_proof proof;
            merkle_consistency(&source, size, before, &proof);
            assert_one_past(&proof, before, size);
        }
    }
    struct merkle_proof none = {.count = 0};
    assert_true(merkle_consistency_holds(&none, 0, 5, &roots[1], &roots[5]));
    assert_false(merkle_consistency_holds(&none, 6, 5, &roots[6], &roots[5]));
}

/* A history that was changed has no proof, whichever of its leaves was changed. */
static void a_changed_past_is_not_consistent(void **state)
{
    (void)state;
    for (size_t changed = 0; changed < 20; changed++) {
        struct merkle_table table = table_of(33);
        struct sha256 rewritten[MERKLE_TABLE_SIZE(33)];
        memcpy(rewritten, leaves, 33 * sizeof(struct sha256));
        rewritten[changed].bytes[0] ^= 1;
        merkle_table_build(&table, rewritten, 33);
        struct merkle_source source = merkle_table_source(&table);
        struct sha256 root = merkle_root_at(&source, 33);
        struct merkle_proof proof;
        merkle_consistency(&source, 33, 20, &proof);
        assert_false(merkle_consistency_holds(&proof, 20, 33, &roots[20], &root));
    }
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tree_of_certificate_transparency_has_its_published_hashes),
        cmocka_unit_test(every_way_to_a_root_gives_the_root_of_the_definition),
        cmocka_unit_test(every_leaf_of_every_small_tree_has_one_path),
        cmocka_unit_test(every_small_tree_is_the_beginning_of_every_larger_one),
        cmocka_unit_test(a_changed_past_is_not_consistent),
    };
    return cmocka_run_group_tests(tests, leaves_make, NULL);
}
