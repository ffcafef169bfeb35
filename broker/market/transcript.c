/* The happy path is: load the edge once per term of office, grow it by each leaf, store leaf and
 * new nodes with the round, sign the head each second. Failure modes are: a transaction that fails
 * (the edge in memory is ahead, so it is loaded again before the next round), a leaf that does not
 * follow the last one or a head with another root (both refused by the database: two leaders).
 */
#include "broker/market/transcript.h"

#include <string.h>

#include "broker/base/clock.h"

static struct str hash_bytes(const struct sha256 *hash)
{
    return (struct str){(const char *)hash->bytes, sizeof(hash->bytes)};
}

void transcript_grow(struct transcript *transcript, struct str body,
                     struct transcript_leaf *ret_leaf)
{
    struct merkle_added added[MERKLE_LEVELS_MAX];
    struct transcript_leaf *leaf = ret_leaf;
    leaf->body = body;
    leaf->leaf = merkle_leaf(body.at, body.len);
    size_t count = merkle_append(&transcript->edge, &leaf->leaf, added);
    leaf->nodes_len = 0;
    for (size_t i = 1; i < count; i++) {
        memcpy(leaf->nodes + leaf->nodes_len, added[i].hash.bytes, sizeof(struct sha256));
        leaf->nodes_len += sizeof(struct sha256);
    }
    leaf->root = merkle_edge_root(&transcript->edge);
    leaf->size = (int64_t)transcript->edge.size;
}

static enum err_code nodes_load(struct session *session, const char *market,
                                struct log_nodes *nodes)
{
    const struct log_nodes_read_in in = {
        .market = str_of(market),
        .levels = nodes->levels,
        .levels_count = nodes->count,
        .node_indexes = nodes->indexes,
        .node_indexes_count = nodes->count,
    };
    struct sql_result *result = NULL;
    enum err_code err = log_nodes_read_run(session, &in, &result);
    for (int i = 0; err == ERR_OK && i < sql_result_rows(result); i++) {
        struct log_nodes_read_out row;
        log_nodes_read_row(result, i, &row);
        log_nodes_fill(nodes, row.ord, row.hash);
    }
    sql_result_release(result);
    return err;
}

enum err_code transcript_load(struct session *session, const char *market,
                              struct transcript *ret_transcript)
{
    const struct log_size_get_in in = {.market = str_of(market)};
    struct log_size_get_out size = {.size = 0};
    struct sql_result *result = NULL;
    enum err_code err = log_size_get_run(session, &in, &result);
    if (err == ERR_OK)
        log_size_get_row(result, 0, &size);
    sql_result_release(result);
    if (err != ERR_OK)
        return err;
    struct log_nodes nodes = {.count = 0};
    const struct merkle_source source = log_nodes_source(&nodes);
    merkle_edge_load(&source, (uint64_t)size.size, &ret_transcript->edge); /* notes what it needs */
    if (size.size > 0)
        err = nodes_load(session, market, &nodes);
    if (err == ERR_OK && !log_nodes_are_whole(&nodes))
        err = ERR_INTERNAL;
    if (err == ERR_OK)
        merkle_edge_load(&source, (uint64_t)size.size, &ret_transcript->edge);
    return err;
}

enum err_code transcript_announce(struct office *office, const struct seed_chain *chain)
{
    struct transcript grown = *office->transcript;
    struct transcript_leaf leaf;
    struct buf body = {0};
    const struct sealed_anchor anchor = {.market = str_of(office->name),
                                         .chain_id = (uint64_t)chain->chain_id,
                                         .length = (uint32_t)chain->length,
                                         .anchor = chain->links[0]};
    sealed_put_anchor(&body, &anchor);
    transcript_grow(&grown, buf_str(&body), &leaf);
    const struct chain_announce_in in = {
        .chain_id = chain->chain_id,
        .market = str_of(office->name),
        .size = leaf.size,
        .body = leaf.body,
        .leaf_sha256 = hash_bytes(&leaf.leaf),
        .root_sha256 = hash_bytes(&leaf.root),
        .nodes = {(const char *)leaf.nodes, leaf.nodes_len},
    };
    struct sql_result *result = NULL;
    enum err_code err = chain_announce_run(office->session, &in, &result);
    if (err == ERR_OK && sql_result_rows(result) > 0)
        *office->transcript = grown;
    sql_result_release(result);
    buf_finish(&body);
    return err;
}

enum err_code transcript_sign(struct office *office, const struct ed25519_secret *key)
{
    const struct merkle_edge *edge = &office->transcript->edge;
    struct sha256 root = merkle_edge_root(edge);
    const struct log_head head = {.market = str_of(office->name),
                                  .size = (int64_t)edge->size,
                                  .root = root,
                                  .signed_at_us = clock_now_us()};
    struct ed25519_signature signature = log_head_sign(&head, key);
    const struct log_head_put_in in = {
        .market = str_of(office->name),
        .epoch = office->epoch,
        .size = head.size,
        .root_sha256 = hash_bytes(&root),
        .signed_at_us = head.signed_at_us,
        .signature = {(const char *)signature.bytes, sizeof(signature.bytes)},
    };
    struct sql_result *result = NULL;
    enum err_code err = log_head_put_run(office->session, &in, &result);
    bool is_put = err == ERR_OK && sql_result_rows(result) == 1;
    sql_result_release(result);
    return err == ERR_OK && !is_put ? ERR_CONFLICT : err;
}

void transcript_seal(struct str record, struct sha256 *ret_secret, struct buf *to)
{
    struct sealed_rows rows;
    random_bytes(ret_secret, sizeof(*ret_secret));
    must(sealed_rows_make(record, ret_secret, &rows)); /* our own bytes */
    struct sha256 root = sealed_rows_root(&rows);
    sealed_put_public(to, &root, rows.head);
    sealed_rows_finish(&rows);
}

/* Stored nodes ---------------------------------------------------------------------------------*/

static struct sha256 node_answer(void *data, unsigned level, uint64_t index)
{
    struct log_nodes *nodes = data;
    for (size_t i = nodes->count;
         i-- > 0;) /* neighbours ask for the same: look at the last first */
        if (nodes->levels[i] == (int32_t)level && nodes->indexes[i] == (int64_t)index)
            return nodes->hashes[i];
    must(nodes->count < LOG_NODES_MAX);
    nodes->levels[nodes->count] = (int32_t)level;
    nodes->indexes[nodes->count] = (int64_t)index;
    return nodes->hashes[nodes->count++] = (struct sha256){{0}};
}

struct merkle_source log_nodes_source(struct log_nodes *nodes)
{
    return (struct merkle_source){.node = node_answer, .data = nodes};
}

void log_nodes_fill(struct log_nodes *nodes, int32_t ord, struct str hash)
{
    must(ord > 0 && (size_t)ord <= nodes->count && hash.len == sizeof(struct sha256));
    memcpy(nodes->hashes[ord - 1].bytes, hash.at, hash.len);
    nodes->filled_count++;
}

bool log_nodes_are_whole(const struct log_nodes *nodes)
{
    return nodes->filled_count == nodes->count;
}
