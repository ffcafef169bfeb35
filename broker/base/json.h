/* json.h - strict JSON in (jansson underneath), and a small writer for JSON out.
 *
 * pure apart from malloc. Parsing refuses duplicate keys, depth over JSON_DEPTH_MAX, trailing
 * bytes, NUL in strings and integers outside int64. Slices point into the parsed value and live as
 * long.
 */
#ifndef UNDERCUT_BASE_JSON_H
#define UNDERCUT_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/must.h"
#include "broker/base/str.h"

#define JSON_DEPTH_MAX 16

/* NULL on a bad text; `ret_why` then says what and where ("line 3 column 7: ..."). The caller
 * decrefs. */
MUST_USE json_t *json_parse(struct str text, char *ret_why, size_t why_size);

/* STR_NONE, or `otherwise`, when absent or of another type. */
struct str json_str(const json_t *object, const char *key);
int64_t json_i64(const json_t *object, const char *key, int64_t otherwise);
bool json_bool(const json_t *object, const char *key, bool otherwise);

/* Well-formed UTF-8 (RFC 3629) throughout; other bytes are written as U+FFFD. */
bool json_is_utf8(struct str text);

/* Writer: appends to a buf; keeps the commas. Misuse (a value where a key belongs) is a bug. */
struct json_out {
    struct buf *to;
    uint8_t depth;
    bool has_item[JSON_DEPTH_MAX + 1];  /* a comma is due */
    bool is_object[JSON_DEPTH_MAX + 1]; /* a key is due */
};

void json_out_start(struct json_out *out, struct buf *to);

/* Private: what the names below stand for, with a key whose length is known (STR_NONE: no key). */
void json_open(struct json_out *out, struct str key, char bracket);
void json_close(struct json_out *out, char bracket);
void json_add_str(struct json_out *out, struct str key, struct str value);
void json_add_i64(struct json_out *out, struct str key, int64_t value);
void json_add_time(struct json_out *out, struct str key, int64_t at_us);
void json_add_base64(struct json_out *out, struct str key, struct str bytes);
void json_add_raw(struct json_out *out, struct str key, struct str json);

/* These are here so that keys, which are nearly always literals, cost no strlen(). */
static inline void json_object_open(struct json_out *out, const char *key_or_null)
{
    json_open(out, str_of(key_or_null), '{');
}

static inline void json_object_close(struct json_out *out)
{
    json_close(out, '}');
}

static inline void json_array_open(struct json_out *out, const char *key_or_null)
{
    json_open(out, str_of(key_or_null), '[');
}

static inline void json_array_close(struct json_out *out)
{
    json_close(out, ']');
}

/* An absent string and a NULL become null. */
static inline void json_put_str(struct json_out *out, const char *key_or_null, struct str value)
{
    json_add_str(out, str_of(key_or_null), value);
}

static inline void json_put_c(struct json_out *out, const char *key_or_null, const char *value)
{
    json_add_str(out, str_of(key_or_null), str_of(value));
}

static inline void json_put_i64(struct json_out *out, const char *key_or_null, int64_t value)
{
    json_add_i64(out, str_of(key_or_null), value);
}

static inline void json_put_bool(struct json_out *out, const char *key_or_null, bool value)
{
    json_add_raw(out, str_of(key_or_null), value ? STR("true") : STR("false"));
}

static inline void json_put_null(struct json_out *out, const char *key_or_null)
{
    json_add_raw(out, str_of(key_or_null), STR("null"));
}

/* RFC 3339; 0 becomes null. */
static inline void json_put_time(struct json_out *out, const char *key_or_null, int64_t at_us)
{
    json_add_time(out, str_of(key_or_null), at_us);
}

/* In standard base64, padded. */
static inline void json_put_base64(struct json_out *out, const char *key_or_null, struct str bytes)
{
    json_add_base64(out, str_of(key_or_null), bytes);
}

/* `json` is JSON already. */
static inline void json_put_raw(struct json_out *out, const char *key_or_null, struct str json)
{
    json_add_raw(out, str_of(key_or_null), json);
}

#endif
