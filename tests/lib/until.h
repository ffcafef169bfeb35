/* until.h - turn a loop until something is so, or fail the test. */
#ifndef UNDERCUT_TESTS_LIB_UNTIL_H
#define UNDERCUT_TESTS_LIB_UNTIL_H

#include <stdbool.h>
#include <stdint.h>

struct loop;

/* False: `limit_ms` went by first. `is_so` is asked after every turn. */
bool until(struct loop *loop, bool (*is_so)(void *data), void *data, int64_t limit_ms);
void turn_for(struct loop *loop, int64_t ms);

#endif
