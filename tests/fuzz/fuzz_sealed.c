/* A leaf of the log from anywhere: what is taken for a round's public half, or for an anchor, has
 * exactly that one encoding.
 */
#include "tests/fuzz/fuzz.h"

#include "auction/sealed.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    hash_start();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str bytes = fuzz_str(data, size), head_bytes;
    struct record_head head;
    struct sha256 root;
    struct sealed_anchor anchor;
    struct buf again = {0}, head_again = {0};
    if (sealed_read_public(bytes, &head, &head_bytes, &root)) {
        record_put_head(&head_again, &head);
        must(str_equal(buf_str(&head_again), head_bytes));
        sealed_put_public(&again, &root, head_bytes);
        must(str_equal(buf_str(&again), bytes));
    } else if (sealed_read_anchor(bytes, &anchor)) {
        sealed_put_anchor(&again, &anchor);
        must(str_equal(buf_str(&again), bytes));
    }
    buf_finish(&again);
    buf_finish(&head_again);
    return 0;
}
