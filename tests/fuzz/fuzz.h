/* fuzz.h - what every target shares. A target returns 0; a broken promise is a must() that fails.
 */
#ifndef UNDERCUT_TESTS_FUZZ_H
#define UNDERCUT_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "broker/base/str.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* "" has an address, so that an empty input is present and not absent. */
static inline struct str fuzz_str(const uint8_t *data, size_t size)
{
    return (struct str){.at = size ? (const char *)data : "", .len = size};
}

#endif
