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
void json_object_open(struct json_out *out, const char *key_or_null);
void json_object_close(struct json_out *out);
void json_array_open(struct json_out *out, const char *key_or_null);
void json_array_close(struct json_out *out);
/* An absent string and a NULL become null. */
void json_put_str(struct json_out *out, const char *key_or_null, struct str value);
void json_put_c(struct json_out *out, const char *key_or_null, const char *value);
void json_put_i64(struct json_out *out, const char *key_or_null, int64_t value);
void json_put_bool(struct json_out *out, const char *key_or_null, bool value);
void json_put_null(struct json_out *out, const char *key_or_null);
/* RFC 3339; 0 becomes null. */
void json_put_time(struct json_out *out, const char *key_or_null, int64_t at_us);
/* `json` is JSON already. */
/* In standard base64, padded. */
void json_put_base64(struct json_out *out, const char *key_or_null, struct str bytes);
void json_put_raw(struct json_out *out, const char *key_or_null, struct str json);

#endif
