/* The happy path is: the reader of records names every row, each becomes a salted leaf, and the
 * tree over them is built once. Failure modes are: bytes that are no record, or no public half
 * (refused).
 */
#include "auction/sealed.h"

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

struct sealed_salt sealed_salt(const struct sha256 *secret, uint32_t place)
{
    struct sha256_run run;
    struct sealed_salt salt;
    uint8_t number[4];
    put_little(number, place, sizeof(number));
    sha256_run_start(&run);
    sha256_run_add(&run, "undercut/salt/v1|", strlen("undercut/salt/v1|"));
    sha256_run_add(&run, secret->bytes, sizeof(secret->bytes));
    sha256_run_add(&run, number, sizeof(number));
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

bool sealed_rows_make(struct str record, const struct sha256 *secret, struct sealed_rows *ret_rows)
{
    *ret_rows = (struct sealed_rows){.count = 0};
    if (!rows_cut(record, ret_rows))
        return false;
    size_t count = ret_rows->rows.len / sizeof(struct record_row), leaves_count = LEAVES_MIN;
    while (leaves_count < count)
        leaves_count *= 2;
    must(count < UINT32_MAX / 2);
    ret_rows->count = (uint32_t)count;
    buf_reserve(&ret_rows->nodes, MERKLE_TABLE_SIZE(leaves_count) * sizeof(struct sha256));
    struct sha256 *nodes = (struct sha256 *)(void *)ret_rows->nodes.at;
    const struct record_row padding = {.kind = 0, .bytes = STR("")};
    for (uint32_t i = 0; i < leaves_count; i++) {
        struct sealed_salt salt = sealed_salt(secret, i);
        nodes[i] = sealed_leaf(&salt, i < count ? sealed_row(ret_rows, i) : &padding);
    }
    merkle_table_build(&ret_rows->tree, nodes, leaves_count);
    return true;
}

const struct record_row *sealed_row(const struct sealed_rows *rows, uint32_t place)
{
    return (const struct record_row *)(const void *)rows->rows.at + place;
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
    buf_add_format(to, "undercut/head/v1|%.*s|%lld|%s|%lld", STR_ARG(head->market),
                   (long long)head->size, hex, (long long)head->signed_at_us);
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
