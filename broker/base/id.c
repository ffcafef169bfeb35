#include "broker/base/id.h"

#include <stdatomic.h>
#include <string.h>

#include "broker/base/clock.h"
#include "broker/base/hash.h"

#define BASE32_LEN 26

static const char base32[] = "0123456789abcdefghjkmnpqrstvwxyz"; /* Crockford: no i, l, o, u */

/* RFC 9562 section 6.2, method 3: the 12 bits behind the milliseconds hold the microseconds as a
 * fraction. When the clock has not moved on, one more than the last keeps ids rising. */
static uint64_t stamp_next(void)
{
    static _Atomic uint64_t last;
    uint64_t now_us = (uint64_t)clock_now_us();
    uint64_t now = now_us / 1000 << 12 | (now_us % 1000 << 12) / 1000;
    uint64_t seen = last;
    uint64_t mine;
    do {
        mine = now > seen ? now : seen + 1;
    } while (!atomic_compare_exchange_weak(&last, &seen, mine));
    return mine;
}

/* From a store per thread: the system call would be an eighth of what a request costs. */
static void random_eight(uint8_t *ret)
{
    static _Thread_local uint8_t store[512];
    static _Thread_local size_t left;
    if (left == 0) {
        random_bytes(store, sizeof(store));
        left = sizeof(store);
    }
    left -= 8;
    memcpy(ret, store + left, 8);
}

struct uuid uuid_v7(void)
{
    uint64_t stamp = stamp_next();
    uint64_t ms = stamp >> 12;
    struct uuid id;
    random_eight(id.bytes + 8);
    for (int i = 0; i < 6; i++)
        id.bytes[i] = (uint8_t)(ms >> (40 - 8 * i));
    id.bytes[6] = (uint8_t)(0x70 | (stamp >> 8 & 15));
    id.bytes[7] = (uint8_t)stamp;
    id.bytes[8] = (uint8_t)(0x80 | (id.bytes[8] & 0x3f));
    return id;
}

bool uuid_equal(struct uuid a, struct uuid b)
{
    return memcmp(a.bytes, b.bytes, sizeof(a.bytes)) == 0;
}

bool uuid_is_nil(struct uuid a)
{
    return uuid_equal(a, (struct uuid){.bytes = {0}});
}

const char *uuid_text(struct uuid id, char buf[ID_TEXT_SIZE])
{
    static const uint8_t groups[] = {4, 2, 2, 2, 6};
    const uint8_t *from = id.bytes;
    char *to = buf;
    for (size_t i = 0; i < sizeof(groups); i++) {
        hex_encode(from, groups[i], to); /* ends with a NUL, which the dash overwrites */
        from += groups[i];
        to += 2 * groups[i];
        *to++ = '-';
    }
    to[-1] = '\0';
    return buf;
}

bool uuid_parse(struct str text, struct uuid *ret_id)
{
    if (text.len != 36)
        return false;
    char hex[32];
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        bool is_dash_place = i == 8 || i == 13 || i == 18 || i == 23;
        if (is_dash_place != (text.at[i] == '-'))
            return false;
        if (!is_dash_place)
            hex[len++] = text.at[i];
    }
    return hex_decode((struct str){.at = hex, .len = len}, ret_id->bytes, sizeof(ret_id->bytes));
}

const char *uuid_prefixed(struct uuid id, const char *prefix, char buf[ID_TEXT_SIZE])
{
    size_t len = strlen(prefix);
    must(len + 1 + BASE32_LEN < ID_TEXT_SIZE);
    memcpy(buf, prefix, len);
    buf[len] = '_';
    unsigned __int128 value = 0;
    for (size_t i = 0; i < sizeof(id.bytes); i++)
        value = value << 8 | id.bytes[i];
    for (size_t i = BASE32_LEN; i > 0; i--, value >>= 5)
        buf[len + i] = base32[value & 31];
    buf[len + 1 + BASE32_LEN] = '\0';
    return buf;
}

bool uuid_parse_prefixed(struct str text, const char *prefix, struct uuid *ret_id)
{
    size_t prefix_len = strlen(prefix);
    if (text.len != prefix_len + 1 + BASE32_LEN || !str_starts_with(text, str_of(prefix)) ||
        text.at[prefix_len] != '_')
        return false;

    /* Only the canonical text is accepted, so that one id has one spelling. */
    const char *digits = text.at + prefix_len + 1;
    unsigned __int128 value = 0;
    for (int i = 0; i < BASE32_LEN; i++) {
        const char *found = digits[i] ? strchr(base32, digits[i]) : NULL;
        if (!found || (i == 0 && found - base32 > 7))
            return false;
        value = value << 5 | (unsigned)(found - base32);
    }
    for (size_t i = sizeof(ret_id->bytes); i-- > 0; value >>= 8)
        ret_id->bytes[i] = (uint8_t)value;
    return true;
}

#define ID_DEFINE(type, prefix)                                     \
    struct type type##_new(void)                                    \
    {                                                               \
        return (struct type){.u = uuid_v7()};                       \
    }                                                               \
    const char *type##_text(struct type id, char buf[ID_TEXT_SIZE]) \
    {                                                               \
        return uuid_prefixed(id.u, prefix, buf);                    \
    }                                                               \
    bool type##_parse(struct str text, struct type *ret_id)         \
    {                                                               \
        return uuid_parse_prefixed(text, prefix, &ret_id->u);       \
    }
ID_TYPES(ID_DEFINE)
#undef ID_DEFINE
