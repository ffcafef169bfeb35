/* test.h - cmocka with what it wants included before it. */
#ifndef UNDERCUT_TESTS_LIB_TEST_H
#define UNDERCUT_TESTS_LIB_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
