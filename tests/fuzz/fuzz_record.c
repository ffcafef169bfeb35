/* A record from anywhere: what the decoder accepts has exactly that one encoding, and judging it
 * never trusts a byte of it. */
#include "tests/fuzz/fuzz.h"

#include "auction/recompute.h"
#include "auction/sealed.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    hash_start();
    return 0;
}

static bool is_canonical(struct str bytes, struct record_head *ret_head)
{
    struct record_reader reader;
    struct record_lot lot;
    struct record_direct direct;
    struct buf again = {0};
    bool is_open = record_open(&reader, bytes, ret_head);
    if (is_open)
        record_put_head(&again, ret_head);
    while (is_open && record_next_lot(&reader, &lot))
        record_put_lot(&again, &lot);
    while (is_open && record_next_direct(&reader, &direct))
        record_put_direct(&again, &direct);
    bool is_good = record_close(&reader) && is_open;
    must(!is_good || str_equal(buf_str(&again), bytes));
    buf_finish(&again);
    return is_good;
}

static void judge(struct str bytes, bool is_good)
{
    enum record_check verdict = record_recompute(bytes);
    must(is_good ? verdict != RECORD_BAD_BYTES : verdict != RECORD_HOLDS);
    must(record_check_text(verdict)[0] != '\0');
}

/* Its rows are all of its bytes, and its public half reads back. */
static void seal(struct str bytes)
{
    const struct sha256 secret = {{7}};
    struct sealed_rows rows;
    struct buf joined = {0}, half = {0};
    struct record_head head;
    struct str head_bytes;
    struct sha256 root, read_root;
    must(sealed_rows_make(bytes, &secret, &rows));
    buf_add_str(&joined, rows.head);
    for (uint32_t i = 0; i < rows.count; i++)
        buf_add_str(&joined, sealed_row(&rows, i)->bytes);
    must(str_equal(buf_str(&joined), bytes));
    root = sealed_rows_root(&rows);
    sealed_put_public(&half, &root, rows.head);
    must(sealed_read_public(buf_str(&half), &head, &head_bytes, &read_root));
    must(str_equal(head_bytes, rows.head) && sha256_equal(&root, &read_root));
    sealed_rows_finish(&rows);
    buf_finish(&joined);
    buf_finish(&half);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str bytes = fuzz_str(data, size);
    struct record_head head;
    bool is_good = is_canonical(bytes, &head);
    judge(bytes, is_good);
    if (!is_good)
        return 0;
    seal(bytes);
    /* No mutation finds a seed that fits: put the right one in, so that the lots are judged too. */
    struct buf fixed = {0};
    head.seed = seed_of(&head.seed_parts);
    record_put_head(&fixed, &head);
    buf_add(&fixed, bytes.at + fixed.len, bytes.len - fixed.len);
    judge(buf_str(&fixed), true);
    buf_finish(&fixed);
    return 0;
}
