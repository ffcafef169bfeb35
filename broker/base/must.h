/* must.h - assertions that stay on in every build, and the marks a careful compiler checks.
 *
 * pure. A failed must() is a bug in this program, never a bad input: it prints the place and the
 * condition and aborts, because continuing with broken money or leases is worse than stopping.
 */
#ifndef UNDERCUT_BASE_MUST_H
#define UNDERCUT_BASE_MUST_H

#define MUST_USE               __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define NORETURN               __attribute__((noreturn))

/* Prints "file:line: must(condition)" on stderr and aborts. */
NORETURN void must_fail(const char *file, int line, const char *condition);

#define must(condition) ((condition) ? (void)0 : must_fail(__FILE__, __LINE__, #condition))

/* After a switch over an enum with no default: a value outside the enum is a bug. */
#define must_not_reach() must_fail(__FILE__, __LINE__, "unreachable")

#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
