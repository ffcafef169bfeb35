/* Whatever json_parse() accepts is strict: our writer's form of it parses to the same value. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[256] = "";
    json_t *value = json_parse(fuzz_str(data, size), why, sizeof(why));
    must((value == NULL) == (why[0] != '\0'));
    if (value == NULL)
        return 0;
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    must(text != NULL);
    json_t *again = json_parse(str_of(text), why, sizeof(why));
    must(again != NULL && json_equal(value, again));
    json_decref(again);
    json_decref(value);
    free(text);
    return 0;
}
