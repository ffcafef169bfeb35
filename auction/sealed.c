/* The happy path is: the reader of records names every row, each becomes a salted leaf, and the
 * tree over them, in the order of their hashes, is built once. Failure modes are: bytes that are no
 * record, or no public half (refused).
 */
#include "auction/sealed.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define PUBLIC_MAGIC    "UCPR"
#define ANCHOR_MAGIC    "UCAN"
#define LEAVES_MIN      16
#define PUBLIC_SIZE_MIN (4 + 2 + 32)
#define ANCHOR_SIZE_MIN (4 + 2 + 1 + 8 + 4 + 32)

static void put_little(uint8_t *to, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_little(const char *at, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)(uint8_t)at[i] << (8 * i);
    return value;
}

struct sealed_salt sealed_salt(const struct sha256 *secret, uint32_t number)
{
    struct sha256_run run;
    struct sealed_salt salt;
    uint8_t bytes[4];
    put_little(bytes, number, sizeof(bytes));
    sha256_run_start(&run);
    sha256_run_add(&run, "undercut/salt/v1|", strlen("undercut/salt/v1|"));
    sha256_run_add(&run, secret->bytes, sizeof(secret->bytes));
    sha256_run_add(&run, bytes, sizeof(bytes));
    struct sha256 hash = sha256_run_end(&run);
    memcpy(salt.bytes, hash.bytes, sizeof(salt.bytes));
    return salt;
}

struct sha256 sealed_leaf(const struct sealed_salt *salt, const struct record_row *row)
{
    struct sha256_run run;
    uint8_t start[1 + SEALED_SALT_SIZE + 1 + 4 + 4] = {0}; /* merkle.h's leaf mark comes first */
    memcpy(start + 1, salt->bytes, SEALED_SALT_SIZE);
    start[1 + SEALED_SALT_SIZE] = (uint8_t)row->kind;
    put_little(start + 2 + SEALED_SALT_SIZE, row->lot, 4);
    put_little(start + 6 + SEALED_SALT_SIZE, row->item, 4);
    sha256_run_start(&run);
    sha256_run_add(&run, start, sizeof(start));
    sha256_run_add(&run, row->bytes.at, row->bytes.len);
    return sha256_run_end(&run);
}

static void row_keep(void *data, const struct record_row *row)
{
    struct sealed_rows *rows = data;
    if (row->kind == RECORD_ROW_HEAD)
        rows->head = row->bytes;
    else
        buf_add(&rows->rows, row, sizeof(*row));
}

static bool rows_cut(struct str record, struct sealed_rows *rows)
{
    struct record_reader reader = {.on_row = row_keep, .row_data = rows};
    struct record_head head;
    struct record_lot lot;
    struct record_direct direct;
    bool is_open = record_open_rows(&reader, record, &head);
    while (is_open && record_next_lot(&reader, &lot))
        continue;
    while (is_open && record_next_direct(&reader, &direct))
        continue;
    return record_close(&reader);
}

/* Sorting by the first half of a hash is sorting by the hash: no two have the same. */
struct leaf_key {
    unsigned __int128 first;
    uint32_t number;
};

static struct leaf_key leaf_key_of(const struct sha256 *hash, uint32_t number)
{
    uint64_t halves[2];
    memcpy(halves, hash->bytes, sizeof(halves));
    return (struct leaf_key){
        .first = (unsigned __int128)be64toh(halves[0]) << 64 | be64toh(halves[1]),
        .number = number,
    };
}

/* Hashes lie evenly, so a bucket for each has about one, and neighbours need few swaps. `count` is
 * a power of two. */
static struct leaf_key *keys_sorted(const struct sha256 *hashes, uint32_t count)
{
    struct leaf_key *keys = malloc(count * sizeof(*keys));
    uint32_t *starts = calloc((size_t)count + 1, sizeof(*starts));
    int shift = 64 - __builtin_ctz(count);
    must(keys != NULL && starts != NULL && count > 1);
    for (uint32_t i = 0; i < count; i++)
        starts[((uint64_t)(leaf_key_of(&hashes[i], i).first >> 64) >> shift) + 1]++;
    for (uint32_t i = 0; i < count; i++)
        starts[i + 1] += starts[i];
    for (uint32_t i = 0; i < count; i++) {
        struct leaf_key key = leaf_key_of(&hashes[i], i);
        keys[starts[(uint64_t)(key.first >> 64) >> shift]++] = key;
    }
    for (uint32_t i = 1; i < count; i++) {
        struct leaf_key key = keys[i];
        uint32_t at = i;
        for (; at > 0 && keys[at - 1].first > key.first; at--)
            keys[at] = keys[at - 1];
        keys[at] = key;
    }
    free(starts);
    return keys;
}

static struct sha256 *leaves_hash(const struct sealed_rows *rows, const struct sha256 *secret,
                                  uint32_t leaves_count)
{
    const struct record_row padding = {.kind = 0, .bytes = STR("")};
    struct sha256 *hashes = malloc(leaves_count * sizeof(*hashes));
    must(hashes != NULL);
    for (uint32_t i = 0; i < leaves_count; i++) {
        struct sealed_salt salt = sealed_salt(secret, i);
        hashes[i] = sealed_leaf(&salt, i < rows->count ? sealed_row(rows, i) : &padding);
    }
    return hashes;
}

/* Sorted into `rows->nodes`, with the place of each number. */
static void leaves_sort(struct sealed_rows *rows, struct sha256 *hashes, uint32_t leaves_count)
{
    struct leaf_key *keys = keys_sorted(hashes, leaves_count);
    buf_reserve(&rows->nodes, MERKLE_TABLE_SIZE((size_t)leaves_count) * sizeof(struct sha256));
    buf_reserve(&rows->places, leaves_count * sizeof(uint32_t));
    struct sha256 *nodes = (struct sha256 *)(void *)rows->nodes.at;
    uint32_t *places = (uint32_t *)(void *)rows->places.at;
    for (uint32_t i = 0; i < leaves_count; i++) {
        nodes[i] = hashes[keys[i].number];
        places[keys[i].number] = i;
    }
    free(keys);
}

bool sealed_rows_make(struct str record, const struct sha256 *secret, struct sealed_rows *ret_rows)
{
    *ret_rows = (struct sealed_rows){.count = 0};
    if (!rows_cut(record, ret_rows))
        return false;
    size_t count = ret_rows->rows.len / sizeof(struct record_row);
    uint32_t leaves_count = LEAVES_MIN;
    must(count < UINT32_MAX / 4);
    while (leaves_count < count)
        leaves_count *= 2;
    ret_rows->count = (uint32_t)count;
    struct sha256 *hashes = leaves_hash(ret_rows, secret, leaves_count);
    leaves_sort(ret_rows, hashes, leaves_count);
    free(hashes);
    struct sha256 *nodes = (struct sha256 *)(void *)ret_rows->nodes.at;
    merkle_table_build(&ret_rows->tree, nodes, leaves_count);
    return true;
}

const struct record_row *sealed_row(const struct sealed_rows *rows, uint32_t number)
{
    return (const struct record_row *)(const void *)rows->rows.at + number;
}

uint32_t sealed_place(const struct sealed_rows *rows, uint32_t number)
{
    return ((const uint32_t *)(const void *)rows->places.at)[number];
}

struct sha256 sealed_rows_root(struct sealed_rows *rows)
{
    struct merkle_source source = merkle_table_source(&rows->tree);
    return merkle_root_at(&source, rows->tree.count);
}

void sealed_rows_finish(struct sealed_rows *rows)
{
    buf_finish(&rows->rows);
    buf_finish(&rows->nodes);
    buf_finish(&rows->places);
    rows->count = 0;
}

void sealed_put_public(struct buf *to, const struct sha256 *rows_root, struct str head)
{
    uint8_t version[2];
    put_little(version, SEALED_VERSION, sizeof(version));
    buf_add_c(to, PUBLIC_MAGIC);
    buf_add(to, version, sizeof(version));
    buf_add(to, rows_root->bytes, sizeof(rows_root->bytes));
    buf_add_str(to, head);
}

/* A head that says it has lots is no whole record, but its reader must have come to its end. */
static bool head_read(struct str bytes, struct record_head *ret_head)
{
    struct record_reader reader;
    bool is_open = record_open(&reader, bytes, ret_head);
    bool is_all = is_open && reader.rest.len == 0;
    (void)record_close(&reader);
    return is_all;
}

bool sealed_read_public(struct str bytes, struct record_head *ret_head, struct str *ret_head_bytes,
                        struct sha256 *ret_rows_root)
{
    if (bytes.len < PUBLIC_SIZE_MIN || memcmp(bytes.at, PUBLIC_MAGIC, 4) != 0 ||
        get_little(bytes.at + 4, 2) != SEALED_VERSION)
        return false;
    memcpy(ret_rows_root->bytes, bytes.at + 6, sizeof(ret_rows_root->bytes));
    *ret_head_bytes =
        (struct str){.at = bytes.at + PUBLIC_SIZE_MIN, .len = bytes.len - PUBLIC_SIZE_MIN};
    return head_read(*ret_head_bytes, ret_head);
}

void sealed_put_anchor(struct buf *to, const struct sealed_anchor *anchor)
{
    uint8_t numbers[12], version[2], length = (uint8_t)anchor->market.len;
    must(anchor->market.len <= UINT8_MAX);
    put_little(version, SEALED_VERSION, sizeof(version));
    put_little(numbers, anchor->chain_id, 8);
    put_little(numbers + 8, anchor->length, 4);
    buf_add_c(to, ANCHOR_MAGIC);
    buf_add(to, version, sizeof(version));
    buf_add(to, &length, 1);
    buf_add_str(to, anchor->market);
    buf_add(to, numbers, sizeof(numbers));
    buf_add(to, anchor->anchor.bytes, sizeof(anchor->anchor.bytes));
}

bool sealed_read_anchor(struct str bytes, struct sealed_anchor *ret_anchor)
{
    if (bytes.len < ANCHOR_SIZE_MIN || memcmp(bytes.at, ANCHOR_MAGIC, 4) != 0 ||
        get_little(bytes.at + 4, 2) != SEALED_VERSION)
        return false;
    size_t len = (uint8_t)bytes.at[6];
    const char *numbers = bytes.at + 7 + len;
    if (bytes.len != ANCHOR_SIZE_MIN + len)
        return false;
    *ret_anchor = (struct sealed_anchor){
        .market = {.at = bytes.at + 7, .len = len},
        .chain_id = get_little(numbers, 8),
        .length = (uint32_t)get_little(numbers + 8, 4),
    };
    memcpy(ret_anchor->anchor.bytes, numbers + 12, sizeof(ret_anchor->anchor.bytes));
    return true;
}

static void head_text(const struct log_head *head, struct buf *to)
{
    char hex[65];
    hex_encode(head->root.bytes, sizeof(head->root.bytes), hex);
    buf_add_c(to, "undercut/head/v1|");
    buf_add_str(to, head->market);
    buf_add_format(to, "|%lld|%s|%lld", (long long)head->size, hex, (long long)head->signed_at_us);
}

struct ed25519_signature log_head_sign(const struct log_head *head,
                                       const struct ed25519_secret *key)
{
    struct buf text = {0};
    head_text(head, &text);
    struct ed25519_signature signature = ed25519_sign(key, text.at, text.len);
    buf_finish(&text);
    return signature;
}

bool log_head_holds(const struct log_head *head, const struct ed25519_public *key,
                    const struct ed25519_signature *signature)
{
    struct buf text = {0};
    head_text(head, &text);
    bool is_good = ed25519_verify(key, signature, text.at, text.len);
    buf_finish(&text);
    return is_good;
}
