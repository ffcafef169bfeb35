/* The happy path is: signed heads with one root per size, each the beginning of the next; leaves
 * that lead to the newest root, without a gap, with rounds counting up by one; seeds that follow
 * from their parts, and links that hash down to an anchor announced before them.
 * Failure modes are: whatever of this does not hold; each is named with its place.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/verify.h"
#include "cli/verify_clear.h"

/* Heads ----------------------------------------------------------------------------------------*/

static bool head_read(const json_t *item, struct log_head *ret_head,
                      struct ed25519_signature *ret_signature)
{
    ret_head->market = json_str(item, "market");
    ret_head->size = json_i64(item, "size", -1);
    ret_head->signed_at_us = json_i64(item, "signed_at_us", -1);
    return ret_head->market.at != NULL && ret_head->size > 0 && ret_head->signed_at_us > 0 &&
           verify_hash(item, "root_sha256", &ret_head->root) &&
           verify_base64url(item, "signature", ret_signature, sizeof(*ret_signature));
}

static bool head_take(struct verify *verify, size_t place)
{
    struct log_head head;
    struct ed25519_signature signature;
    if (!head_read(json_array_get(verify->docs->heads, place), &head, &signature))
        return verify_note(verify, VERIFY_HEADS, false, "head %zu: not the form of a head", place);
    if (!verify_note(verify, VERIFY_HEADS, log_head_holds(&head, &verify->key, &signature),
                     "head of size %lld: its signature is not that of the market's key",
                     (long long)head.size))
        return false;
    struct log_head *newest = &verify->head;
    if (newest->size == head.size && !sha256_equal(&newest->root, &head.root))
        return verify_note(verify, VERIFY_HEADS, false,
                           "EQUIVOCATION: two signed heads of size %lld have different roots; keep "
                           "both, they are proof",
                           (long long)head.size);
    if (newest->size > head.size)
        return verify_note(verify, VERIFY_HEADS, false, "heads do not grow: %lld after %lld",
                           (long long)head.size, (long long)newest->size);
    *newest = head;
    return true;
}

static const json_t *consistency_between(const struct verify *verify, int64_t before, int64_t size)
{
    size_t i;
    const json_t *item;
    json_array_foreach (verify->docs->consistency, i, item)
        if (json_i64(item, "before", -1) == before && json_i64(item, "size", -1) == size)
            return item;
    return NULL;
}

static void consistency_check(struct verify *verify, const struct log_head *before)
{
    struct merkle_proof proof;
    const struct log_head *after = &verify->head;
    if (before->size == 0 || before->size == after->size)
        return;
    bool is_good =
        verify_proof(consistency_between(verify, before->size, after->size), "path", &proof) &&
        merkle_consistency_holds(&proof, (uint64_t)before->size, (uint64_t)after->size,
                                 &before->root, &after->root);
    (void)verify_note(verify, VERIFY_CONSISTENCY, is_good,
                      "no proof that the log of size %lld is the beginning of that of size %lld",
                      (long long)before->size, (long long)after->size);
}

static void heads_check(struct verify *verify)
{
    size_t count = json_array_size(verify->docs->heads);
    if (count == 0)
        (void)verify_note(verify, VERIFY_HEADS, false, "there is no signed head");
    for (size_t i = 0; i < count; i++) {
        struct log_head before = verify->head;
        if (head_take(verify, i))
            consistency_check(verify, &before);
    }
    verify->report->size = verify->head.size;
    verify->report->signed_at_us = verify->head.signed_at_us;
}

/* Leaves ---------------------------------------------------------------------------------------*/

static bool leaf_read(const json_t *item, struct verify_leaf *leaf)
{
    leaf->index = json_i64(item, "index", -1);
    if (!verify_base64(item, "body_base64", &leaf->text))
        return false;
    leaf->body = buf_str(&leaf->text);
    leaf->is_round = str_equal_c(json_str(item, "kind"), "round");
    if (!leaf->is_round)
        return sealed_read_anchor(leaf->body, &leaf->anchor);
    return sealed_read_public(leaf->body, &leaf->head, &leaf->head_bytes, &leaf->rows_root) &&
           json_i64(item, "round", -1) == (int64_t)leaf->head.seed_parts.t;
}

static bool leaf_is_in_log(const struct verify *verify, const json_t *item,
                           const struct verify_leaf *leaf)
{
    struct merkle_proof proof;
    struct sha256 hash = merkle_leaf(leaf->body.at, leaf->body.len);
    return json_i64(item, "path_size", -1) == verify->head.size && leaf->index >= 0 &&
           verify_proof(item, "path", &proof) &&
           merkle_path_holds(&proof, (uint64_t)verify->head.size, (uint64_t)leaf->index, &hash,
                             &verify->head.root);
}

static struct str leaf_market(const struct verify_leaf *leaf)
{
    return leaf->is_round ? leaf->head.seed_parts.market : leaf->anchor.market;
}

static size_t leaves_take(struct verify *verify, const json_t *list,
                          struct verify_leaf **ret_leaves)
{
    size_t i, count = 0;
    const json_t *item;
    struct verify_leaf *leaves = calloc(json_array_size(list) + 1, sizeof(*leaves));
    must(leaves != NULL);
    json_array_foreach (list, i, item) {
        struct verify_leaf *leaf = &leaves[count];
        long long index = json_i64(item, "index", -1);
        bool is_good = leaf_read(item, leaf);
        if (verify_note(verify, VERIFY_LEAVES, is_good, "leaf %lld: not the form of a leaf",
                        index) &&
            verify_note(verify, VERIFY_LEAVES, leaf_is_in_log(verify, item, leaf),
                        "leaf %lld: does not stand in the log under its head", index) &&
            verify_note(verify, VERIFY_LEAVES, str_equal(leaf_market(leaf), verify->head.market),
                        "leaf %lld: of another market", index))
            count++;
        else
            buf_finish(&leaf->text);
    }
    *ret_leaves = leaves;
    return count;
}

/* In a row, and with them the rounds: none is kept back. */
static void leaves_in_a_row(struct verify *verify)
{
    const struct verify_leaf *last_round = NULL;
    for (size_t i = 0; i < verify->leaves_count; i++) {
        const struct verify_leaf *leaf = &verify->leaves[i];
        if (i > 0)
            (void)verify_note(verify, VERIFY_LEAVES, leaf->index == leaf[-1].index + 1,
                              "leaf %lld: comes after leaf %lld", (long long)leaf->index,
                              (long long)leaf[-1].index);
        if (!leaf->is_round)
            continue;
        if (last_round != NULL)
            (void)verify_note(
                verify, VERIFY_LEAVES, leaf->head.seed_parts.t == last_round->head.seed_parts.t + 1,
                "round %lld: comes after round %lld in the log", (long long)leaf->head.seed_parts.t,
                (long long)last_round->head.seed_parts.t);
        last_round = leaf;
        verify->report->void_count += leaf->head.kind == RECORD_VOID;
    }
}

/* Seeds and their chain ------------------------------------------------------------------------*/

static struct sha256 hashed(struct sha256 value, uint64_t steps)
{
    for (; steps > 0; steps--)
        value = sha256_of(value.bytes, sizeof(value.bytes));
    return value;
}

/* A void round of a chain that nobody can open any more shows zeros. */
static bool is_link_lost(const struct verify_leaf *leaf)
{
    const struct sha256 none = {{0}};
    return leaf->head.kind == RECORD_VOID && sha256_equal(&leaf->head.seed, &none) &&
           sha256_equal(&leaf->head.seed_parts.chain_value, &none);
}

static void seed_check(struct verify *verify, const struct verify_leaf *leaf)
{
    struct sha256 seed = verify_seed(&leaf->head);
    (void)verify_note(verify, VERIFY_SEEDS, sha256_equal(&seed, &leaf->head.seed),
                      "round %lld: its seed does not follow from market, t, R_t and link",
                      (long long)leaf->head.seed_parts.t);
}

struct chain_end { /* how far a chain is known: `steps` hashes from its anchor */
    const struct verify_leaf *anchor;
    struct sha256 value;
    uint64_t steps;
};

/* Does the link belong to this chain, and was it announced before? */
static bool link_fits(struct chain_end *end, const struct verify_leaf *leaf)
{
    uint64_t steps = leaf->head.chain_index;
    if (end->anchor->index >= leaf->index || steps <= end->steps ||
        steps > end->anchor->anchor.length)
        return false;
    struct sha256 reached = hashed(leaf->head.seed_parts.chain_value, steps - end->steps);
    if (!sha256_equal(&reached, &end->value))
        return false;
    end->value = leaf->head.seed_parts.chain_value;
    end->steps = steps;
    return true;
}

static void chain_check(struct verify *verify)
{
    struct chain_end *ends = calloc(verify->anchors_count + 1, sizeof(*ends));
    must(ends != NULL);
    for (size_t i = 0; i < verify->anchors_count; i++)
        ends[i] = (struct chain_end){.anchor = &verify->anchors[i],
                                     .value = verify->anchors[i].anchor.anchor};
    for (size_t i = 0; i < verify->leaves_count; i++) {
        const struct verify_leaf *leaf = &verify->leaves[i];
        if (!leaf->is_round)
            continue;
        if (is_link_lost(leaf)) {
            verify->report->lost_links_count++;
            continue;
        }
        seed_check(verify, leaf);
        size_t at = verify->anchors_count;
        while (at > 0 && !link_fits(&ends[at - 1], leaf))
            at--;
        (void)verify_note(verify, VERIFY_CHAIN, at > 0,
                          "round %lld: its link hashes to no anchor announced before it, nor to a "
                          "link shown since",
                          (long long)leaf->head.seed_parts.t);
    }
    free(ends);
}

/* An anchor that is among the leaves counts once. */
static void anchors_only(struct verify *verify)
{
    for (size_t i = 0; i < verify->anchors_count; i++)
        (void)verify_note(verify, VERIFY_LEAVES, !verify->anchors[i].is_round,
                          "leaf %lld: listed as an anchor, and is none",
                          (long long)verify->anchors[i].index);
}

void verify_log(struct verify *verify)
{
    heads_check(verify);
    verify->anchors_count = leaves_take(verify, verify->docs->anchors, &verify->anchors);
    anchors_only(verify);
    verify->leaves_count = leaves_take(verify, verify->docs->leaves, &verify->leaves);
    leaves_in_a_row(verify);
    chain_check(verify);
}
