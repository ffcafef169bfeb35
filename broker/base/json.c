/* json.c - strict JSON in, small JSON out.
 *
 * The happy path is one scan for depth, one jansson parse with duplicates refused; and a writer
 * that only remembers, per open level, whether a comma is due and whether a key is.
 * Failure modes are: a text that is not JSON (NULL and a place), and a caller that writes a value
 * where a key belongs (a bug).
 */
#include "broker/base/json.h"

#include <string.h>

#include "broker/base/clock.h"

#define REPLACEMENT "\\ufffd" /* what stands in for bytes that are not UTF-8 */

static bool is_too_deep(struct str text);
static void item_start(struct json_out *out, struct str key);
static void byte_add(struct buf *to, char byte);
static void string_add(struct buf *to, struct str value);
static size_t char_add(struct buf *to, struct str rest);
static size_t utf8_len(struct str rest);

json_t *json_parse(struct str text, char *ret_why, size_t why_size)
{
    if (is_too_deep(text)) {
        (void)str_format(ret_why, why_size, "nested deeper than %d levels", JSON_DEPTH_MAX);
        return NULL;
    }
    json_error_t error;
    json_t *value = json_loadb(text.at ? text.at : "", text.len, JSON_REJECT_DUPLICATES, &error);
    if (!value)
        (void)str_format(ret_why, why_size, "line %d column %d: %s", error.line, error.column,
                         error.text);
    return value;
}

/* Counting brackets before parsing bounds the parser's recursion. */
static bool is_too_deep(struct str text)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && (c == '{' || c == '['))
            depth++;
        else if (!in_string && (c == '}' || c == ']'))
            depth--;
        if (depth > JSON_DEPTH_MAX)
            return true;
    }
    return false;
}

struct str json_str(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_string(value))
        return STR_NONE;
    return (struct str){.at = json_string_value(value), .len = json_string_length(value)};
}

int64_t json_i64(const json_t *object, const char *key, int64_t otherwise)
{
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

bool json_bool(const json_t *object, const char *key, bool otherwise)
{
    const json_t *value = json_object_get(object, key);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

void json_out_start(struct json_out *out, struct buf *to)
{
    *out = (struct json_out){.to = to};
}

static void item_start(struct json_out *out, struct str key)
{
    must(out->is_object[out->depth] == (key.at != NULL));
    must(out->depth > 0 || !out->has_item[0]);
    if (out->has_item[out->depth])
        byte_add(out->to, ',');
    out->has_item[out->depth] = true;
    if (key.at == NULL)
        return;
    string_add(out->to, key);
    byte_add(out->to, ':');
}

void json_open(struct json_out *out, struct str key, char bracket)
{
    item_start(out, key);
    must(out->depth < JSON_DEPTH_MAX);
    out->depth++;
    out->has_item[out->depth] = false;
    out->is_object[out->depth] = bracket == '{';
    byte_add(out->to, bracket);
}

void json_close(struct json_out *out, char bracket)
{
    must(out->depth > 0 && out->is_object[out->depth] == (bracket == '}'));
    out->depth--;
    byte_add(out->to, bracket);
}

static void byte_add(struct buf *to, char byte)
{
    if (to->len == to->cap)
        buf_reserve(to, 1);
    to->at[to->len++] = byte;
}

/* Of eight bytes: any that is below a space, a quote, a backslash, or no ASCII. A borrow needs one
 * to start from, so it adds none. */
static bool any_special(uint64_t word)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones << 7;
    uint64_t quote = word ^ (ones * '"'), backslash = word ^ (ones * '\\');
    return (((word - ones * ' ') | (quote - ones) | (backslash - ones) | word) & highs) != 0;
}

static uint64_t eight_at(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof(word));
    return word;
}

/* One to seven bytes, some of them twice. */
static uint64_t few_at(const char *at, size_t len)
{
    const uint8_t *bytes = (const uint8_t *)at;
    uint32_t front, back;
    if (len < sizeof(front)) /* and five spaces */
        return UINT64_C(0x2020202020000000) | (uint64_t)bytes[0] << 16 |
               (uint64_t)bytes[len / 2] << 8 | bytes[len - 1];
    memcpy(&front, at, sizeof(front));
    memcpy(&back, at + len - sizeof(back), sizeof(back));
    return (uint64_t)front << 32 | back;
}

/* All of them stand for themselves: ASCII without quote, backslash and controls. */
static bool is_plain(struct str text)
{
    if (text.len < 8)
        return text.len == 0 || !any_special(few_at(text.at, text.len));
    for (size_t at = 0; at + 8 < text.len; at += 8)
        if (any_special(eight_at(text.at + at)))
            return false;
    return !any_special(eight_at(text.at + text.len - 8)); /* some of them twice */
}

/* How many bytes at the front do. */
static size_t plain_len(struct str text)
{
    size_t len = 0;
    while (len + 8 <= text.len && !any_special(eight_at(text.at + len)))
        len += 8;
    while (len < text.len && is_plain((struct str){.at = text.at + len, .len = 1}))
        len++;
    return len;
}

static void string_add(struct buf *to, struct str value)
{
    buf_reserve(to, value.len + 2);
    to->at[to->len++] = '"';
    size_t at = is_plain(value) ? value.len : 0;
    buf_add(to, value.at, at);
    while (at < value.len) {
        size_t len = plain_len((struct str){.at = value.at + at, .len = value.len - at});
        buf_add(to, value.at + at, len);
        at += len;
        if (at < value.len)
            at += char_add(to, (struct str){.at = value.at + at, .len = value.len - at});
    }
    byte_add(to, '"');
}

/* Adds the first character of `rest`, escaped as needed; returns how many bytes it took. */
static size_t char_add(struct buf *to, struct str rest)
{
    unsigned char c = (unsigned char)rest.at[0];
    if (c == '"' || c == '\\') {
        buf_add_c(to, "\\");
        buf_add(to, &c, 1);
        return 1;
    }
    if (c < ' ') {
        buf_add_format(to, "\\u%04x", c);
        return 1;
    }
    size_t len = utf8_len(rest);
    if (len == 0) {
        buf_add_c(to, REPLACEMENT);
        return 1;
    }
    buf_add(to, rest.at, len);
    return len;
}

/* Length of the well-formed UTF-8 sequence that `rest` begins with (RFC 3629), else 0. */
static size_t utf8_len(struct str rest)
{
    const unsigned char *at = (const unsigned char *)rest.at;
    if (at[0] < 0x80)
        return 1;
    size_t len = at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : at[0] < 0xf5 ? 4 : 0;
    if (len == 0 || len > rest.len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    /* Overlong forms, surrogates and values beyond U+10FFFF show in the second byte. */
    bool is_overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    bool is_outside = (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf4 && at[1] > 0x8f);
    return is_overlong || is_outside ? 0 : len;
}

bool json_is_utf8(struct str text)
{
    while (text.len > 0) {
        size_t len = utf8_len(text);
        if (len == 0)
            return false;
        text = (struct str){.at = text.at + len, .len = text.len - len};
    }
    return true;
}

void json_add_str(struct json_out *out, struct str key, struct str value)
{
    item_start(out, key);
    if (value.at)
        string_add(out->to, value);
    else
        buf_add_str(out->to, STR("null"));
}

void json_add_i64(struct json_out *out, struct str key, int64_t value)
{
    char digits[I64_TEXT_SIZE];
    item_start(out, key);
    buf_add(out->to, digits, i64_format(value, digits));
}

void json_add_time(struct json_out *out, struct str key, int64_t at_us)
{
    char text[32];
    json_add_str(out, key, str_of(at_us ? clock_format(at_us, text) : NULL));
}

/* The url form with its two other characters and the padding. */
void json_add_base64(struct json_out *out, struct str key, struct str bytes)
{
    struct buf text = {.at = NULL};
    buf_reserve(&text, 4 * ((bytes.len + 2) / 3) + 1);
    text.len = base64url_encode((const uint8_t *)bytes.at, bytes.len, text.at);
    for (size_t i = 0; i < text.len; i++)
        text.at[i] = text.at[i] == '-' ? '+' : text.at[i] == '_' ? '/' : text.at[i];
    while (text.len % 4 != 0)
        text.at[text.len++] = '=';
    json_add_str(out, key, buf_str(&text));
    buf_finish(&text);
}

void json_add_raw(struct json_out *out, struct str key, struct str json)
{
    item_start(out, key);
    buf_add_str(out->to, json);
}
