/* str.h - a slice of bytes, and bounded formatting into the caller's buffer.
 *
 * pure. A slice never owns what it points to. `at == NULL` means "absent" (SQL null, JSON absent);
 * an empty present string has `at != NULL` and `len == 0`. Slices are not NUL-terminated.
 */
#ifndef UNDERCUT_BASE_STR_H
#define UNDERCUT_BASE_STR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "broker/base/must.h"

struct str {
    const char *at;
    size_t len;
};

#define STR(literal) ((struct str){.at = (literal), .len = sizeof(literal) - 1})
#define STR_NONE     ((struct str){.at = NULL, .len = 0})
/* For printf("%.*s", STR_ARG(s)). */
#define STR_ARG(s) (int)(s).len, ((s).at ? (s).at : "")

/* NULL gives STR_NONE. These three are here so that a literal costs no strlen(). */
static inline struct str str_of(const char *c_string)
{
    return c_string ? (struct str){.at = c_string, .len = strlen(c_string)} : STR_NONE;
}

static inline bool str_equal(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

static inline bool str_equal_c(struct str a, const char *c_string)
{
    return str_equal(a, str_of(c_string));
}

int str_compare(struct str a, struct str b); /* bytewise; shorter first on a common prefix */
bool str_starts_with(struct str s, struct str prefix);
struct str str_trim(struct str s); /* without blanks and tabs at either end */
/* Cuts `rest` at the first `separator`: returns what stood before it and moves `rest` behind it.
 * Without a separator returns all and sets `rest` to STR_NONE. */
struct str str_cut(struct str *rest, char separator);

/* Whole-string decimal int64: optional minus, digits, nothing else. False leaves ret alone. */
MUST_USE bool str_to_i64(struct str s, int64_t *ret);

#define I64_TEXT_SIZE 21 /* "-9223372036854775808" and NUL */
/* Decimal digits, NUL-terminated; returns how many characters. */
size_t i64_format(int64_t value, char buf[I64_TEXT_SIZE]);

/* snprintf that says so when it did not fit: false, and buf holds the truncated text. */
bool str_format(char *buf, size_t size, const char *format, ...) PRINTF_LIKE(3, 4);

/* Lower-case hex. `hex` holds 2 * len + 1 bytes. */
void hex_encode(const uint8_t *bytes, size_t len, char *hex);
MUST_USE bool hex_decode(struct str hex, uint8_t *ret_bytes, size_t len);

/* Base64url without padding (RFC 4648 section 5). `ret` holds 4 * ((len + 2) / 3) + 1 bytes. */
size_t base64url_encode(const uint8_t *bytes, size_t len, char *ret);
/* Returns the decoded length, or -1 for a bad character or a result over `size`. */
MUST_USE ptrdiff_t base64url_decode(struct str text, uint8_t *ret, size_t size);

/* A growing byte buffer on malloc; aborts when memory is gone. Zero-initialised is empty. */
struct buf {
    char *at;
    size_t len;
    size_t cap;
};

void buf_grow(struct buf *b, size_t more); /* private: buf_reserve() where there is no room */
static inline void buf_reserve(struct buf *b, size_t more)
{
    if (b->cap - b->len < more)
        buf_grow(b, more);
}

static inline void buf_add(struct buf *b, const void *bytes, size_t len)
{
    if (len == 0)
        return;
    buf_reserve(b, len);
    memcpy(b->at + b->len, bytes, len);
    b->len += len;
}

static inline void buf_add_str(struct buf *b, struct str s)
{
    buf_add(b, s.at, s.len);
}

static inline void buf_add_c(struct buf *b, const char *c_string)
{
    buf_add_str(b, str_of(c_string));
}

void buf_add_format(struct buf *b, const char *format, ...) PRINTF_LIKE(2, 3);
void buf_finish(struct buf *b); /* frees; the buffer is empty again */
struct str buf_str(const struct buf *b);

#endif
