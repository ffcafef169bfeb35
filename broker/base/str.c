/* str.c - slices, number and binary text forms, and the growing buffer.
 *
 * The happy path is a scan over bytes that somebody else owns.
 * Failure modes are: text that does not fit (reported, never overrun), a bad character (refused
 * whole, outputs untouched), and memory that is gone (abort: there is no sensible answer).
 */
#include "broker/base/str.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int base64url_digit(char c);

int str_compare(struct str a, struct str b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common ? memcmp(a.at, b.at, common) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

bool str_starts_with(struct str s, struct str prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.at, prefix.at, prefix.len) == 0);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct str str_trim(struct str s)
{
    while (s.len && is_blank(s.at[0]))
        s = (struct str){.at = s.at + 1, .len = s.len - 1};
    while (s.len && is_blank(s.at[s.len - 1]))
        s.len--;
    return s;
}

struct str str_cut(struct str *rest, char separator)
{
    struct str all = *rest;
    const char *found = all.len ? memchr(all.at, separator, all.len) : NULL;
    if (!found) {
        *rest = STR_NONE;
        return all;
    }
    size_t len = (size_t)(found - all.at);
    *rest = (struct str){.at = found + 1, .len = all.len - len - 1};
    return (struct str){.at = all.at, .len = len};
}

bool str_to_i64(struct str s, int64_t *ret)
{
    bool is_negative = s.len && s.at[0] == '-';
    size_t i = is_negative ? 1 : 0;
    if (i == s.len)
        return false;

    /* Counting downwards holds INT64_MIN, which has no positive twin. */
    int64_t value = 0;
    for (; i < s.len; i++) {
        if (s.at[i] < '0' || s.at[i] > '9')
            return false;
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, s.at[i] - '0', &value))
            return false;
    }
    if (!is_negative && value == INT64_MIN)
        return false;
    *ret = is_negative ? value : -value;
    return true;
}

size_t i64_format(int64_t value, char buf[I64_TEXT_SIZE])
{
    char digits[I64_TEXT_SIZE];
    size_t at = sizeof(digits);
    if (value >= 0 && value < 10) { /* most numbers that are told */
        buf[0] = (char)('0' + value);
        buf[1] = '\0';
        return 1;
    }
    uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
    digits[--at] = '\0';
    do
        digits[--at] = (char)('0' + rest % 10);
    while ((rest /= 10) > 0);
    if (value < 0)
        digits[--at] = '-';
    memcpy(buf, digits + at, sizeof(digits) - at);
    return sizeof(digits) - at - 1;
}

bool str_format(char *buf, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(buf, size, format, args);
    va_end(args);
    must(wanted >= 0);
    return (size_t)wanted < size;
}

/* The eight digits of four bytes at once: each nibble in a byte of its own, then what its digit is
 * more than it. */
static uint64_t hex_digits(const uint8_t *bytes)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), nibble = UINT64_C(0x000f000f000f000f);
    uint32_t four;
    memcpy(&four, bytes, sizeof(four));
    uint64_t spread = le32toh(four);
    spread = (spread | spread << 16) & UINT64_C(0x0000ffff0000ffff);
    spread = (spread | spread << 8) & UINT64_C(0x00ff00ff00ff00ff);
    uint64_t values = (spread >> 4 & nibble) | (spread & nibble) << 8;
    uint64_t letters = (values + 6 * ones) >> 4 & ones;
    return htole64(values + '0' * ones + letters * ('a' - '0' - 10));
}

void hex_encode(const uint8_t *bytes, size_t len, char *hex)
{
    static const char digits[] = "0123456789abcdef";
    size_t i = 0;
    for (; i + 4 <= len; i += 4) {
        uint64_t word = hex_digits(bytes + i);
        memcpy(hex + 2 * i, &word, sizeof(word));
    }
    for (; i < len; i++) {
        hex[2 * i] = digits[bytes[i] >> 4];
        hex[2 * i + 1] = digits[bytes[i] & 15];
    }
    hex[2 * len] = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool hex_decode(struct str hex, uint8_t *ret_bytes, size_t len)
{
    if (hex.len != 2 * len)
        return false;
    for (size_t i = 0; i < hex.len; i++)
        if (hex_digit(hex.at[i]) < 0)
            return false;
    for (size_t i = 0; i < len; i++)
        ret_bytes[i] = (uint8_t)(hex_digit(hex.at[2 * i]) << 4 | hex_digit(hex.at[2 * i + 1]));
    return true;
}

size_t base64url_encode(const uint8_t *bytes, size_t len, char *ret)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char *at = ret;
    for (; len >= 3; len -= 3, bytes += 3) {
        uint32_t bits = (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 8 | bytes[2];
        *at++ = digits[bits >> 18];
        *at++ = digits[bits >> 12 & 63];
        *at++ = digits[bits >> 6 & 63];
        *at++ = digits[bits & 63];
    }
    if (len > 0) {
        uint32_t bits = (uint32_t)bytes[0] << 16 | (len > 1 ? (uint32_t)bytes[1] << 8 : 0);
        *at++ = digits[bits >> 18];
        *at++ = digits[bits >> 12 & 63];
        if (len > 1)
            *at++ = digits[bits >> 6 & 63];
    }
    *at = '\0';
    return (size_t)(at - ret);
}

static int base64url_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

ptrdiff_t base64url_decode(struct str text, uint8_t *ret, size_t size)
{
    size_t len = text.len / 4 * 3 + (text.len % 4 ? text.len % 4 - 1 : 0);
    if (text.len % 4 == 1 || len > size)
        return -1;

    size_t out = 0;
    uint32_t bits = 0;
    int bits_count = 0;
    for (size_t i = 0; i < text.len; i++) {
        int digit = base64url_digit(text.at[i]);
        if (digit < 0)
            return -1;
        bits = bits << 6 | (uint32_t)digit;
        bits_count += 6;
        if (bits_count >= 8) {
            bits_count -= 8;
            ret[out++] = (uint8_t)(bits >> bits_count);
        }
    }
    /* Left-over bits must be zero, so that one value has one text. */
    return bits & ((1u << bits_count) - 1) ? -1 : (ptrdiff_t)out;
}

void buf_grow(struct buf *b, size_t more)
{
    must(more <= SIZE_MAX / 4 && b->len <= SIZE_MAX / 4);
    size_t cap = b->cap ? b->cap : 256;
    while (cap < b->len + more)
        cap *= 2;
    char *at = realloc(b->at, cap);
    must(at != NULL);
    b->at = at;
    b->cap = cap;
}

void buf_add_format(struct buf *b, const char *format, ...)
{
    buf_reserve(b, 64);
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(b->at + b->len, b->cap - b->len, format, args);
    va_end(args);
    must(wanted >= 0);

    if ((size_t)wanted >= b->cap - b->len) {
        buf_reserve(b, (size_t)wanted + 1);
        va_start(args, format);
        vsnprintf(b->at + b->len, b->cap - b->len, format, args);
        va_end(args);
    }
    b->len += (size_t)wanted;
}

void buf_finish(struct buf *b)
{
    free(b->at);
    *b = (struct buf){.at = NULL};
}

struct str buf_str(const struct buf *b)
{
    return (struct str){.at = b->at ? b->at : "", .len = b->len};
}
