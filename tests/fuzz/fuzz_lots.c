/* Lots as text from anywhere: refused with a place and a reason, or cleared into JSON whose figures
 * fit each other. */
#include "tests/fuzz/fuzz.h"

#include "auction/lots_json.h"
#include "broker/base/hash.h"
#include "broker/base/json.h"

#define BLOCKS_MAX 2000 /* more is only slower */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    hash_start();
    return 0;
}

static bool lot_is_small(const json_t *lot)
{
    const char *name;
    json_t *seller;
    json_object_foreach (json_object_get(lot, "sellers"), name, seller)
        if (json_i64(seller, "blocks", 1) > BLOCKS_MAX)
            return false;
    return true;
}

static bool is_small(struct str text)
{
    char why[256];
    json_t *root = json_parse(text, why, sizeof(why)), *lot;
    bool is_good = root == NULL || lot_is_small(root);
    size_t i;
    json_array_foreach (root, i, lot)
        is_good = is_good && lot_is_small(lot);
    json_decref(root);
    return is_good;
}

static int64_t sum_of(const json_t *numbers)
{
    int64_t sum = 0;
    const char *name;
    json_t *value;
    json_object_foreach ((json_t *)numbers, name, value)
        sum += json_integer_value(value);
    return sum;
}

static void result_check(const json_t *result)
{
    int64_t sold_count = json_i64(result, "K", -1);
    must(sold_count >= 0 && json_object_size(result) == 8);
    must(sum_of(json_object_get(result, "sold")) == sold_count);
    must(sum_of(json_object_get(result, "accepted")) == sold_count);
    must(json_is_null(json_object_get(result, "S_star")) == (sold_count == 0));
    /* A seller of one block is paid the index; nobody with more is paid less. */
    must(sum_of(json_object_get(result, "pay_vickrey")) >=
         sum_of(json_object_get(result, "pay_uniform")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = fuzz_str(data, size);
    struct buf out = {0};
    char why[256] = "";
    if (!is_small(text))
        return 0;
    if (lots_json_clear(text, &out, why, sizeof(why))) {
        json_t *results = json_parse(buf_str(&out), why, sizeof(why)), *result;
        must(results != NULL);
        size_t i;
        if (json_is_object(results))
            result_check(results);
        json_array_foreach (results, i, result)
            result_check(result);
        json_decref(results);
    } else {
        must(why[0] != '\0');
    }
    buf_finish(&out);
    return 0;
}
