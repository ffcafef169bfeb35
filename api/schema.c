/* The happy path is schema_bind() walking a JSON value and its table side by side, each leaf stored
 * at its offset. Failure modes are never fatal: each is recorded with its pointer and the walk goes
 * on, so that a client learns of all its mistakes at once.
 */
#include "api/schema.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/schema_inner.h"
#include "api/time.h"
#include "broker/base/id.h"

static void bind_string(struct schema_binding *b, const struct schema *s, struct str text,
                        void *ret);
static void bind_object(struct schema_binding *b, const struct schema *s, const json_t *value,
                        void *ret);
static void bind_array(struct schema_binding *b, const struct schema *s, const json_t *value,
                       void *ret);
static void bind_map(struct schema_binding *b, const struct schema *s, const json_t *value,
                     void *ret);

struct str schema_pairs_get(const struct schema_pairs *pairs, const char *key)
{
    for (size_t i = 0; i < pairs->count; i++) {
        if (str_equal_c(pairs->at[i].key, key))
            return pairs->at[i].value;
    }
    return STR_NONE;
}

/* ---- errors and pointers */

static const char *copy_text(struct schema_binding *b, const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(b->alloc(b->data, size), text, size);
}

void schema_refuse(struct schema_binding *b, enum err_code err, const char *pointer,
                   const char *code, const char *detail)
{
    b->errors_total++;
    if (b->errors_count == SCHEMA_ERRORS_MAX)
        return;
    b->errors[b->errors_count++] = (struct schema_error){
        .err = err,
        .pointer = copy_text(b, pointer),
        .code = code,
        .detail = copy_text(b, detail),
    };
}

static void refuse(struct schema_binding *b, const char *code, const char *format, ...)
    PRINTF_LIKE(3, 4);
static void refuse(struct schema_binding *b, const char *code, const char *format, ...)
{
    char detail[256];
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof(detail), format, args);
    va_end(args);
    enum err_code err =
        strcmp(code, "not_supported_yet") == 0 ? ERR_NOT_SUPPORTED_YET : ERR_INVALID_FIELD;
    schema_refuse(b, err, b->pointer, code, detail);
}

/* Goes down one level; returns where to go back to. Names are escaped as RFC 6901 says; a pointer
 * that would be too long stays at its parent, which is still true. */
static size_t pointer_push(struct schema_binding *b, struct str name)
{
    size_t mark = b->pointer_len, at = mark;
    if (at + 2 * name.len + 2 > sizeof(b->pointer))
        return mark;
    b->pointer[at++] = '/';
    for (size_t i = 0; i < name.len; i++) {
        bool is_special = name.at[i] == '~' || name.at[i] == '/';
        b->pointer[at++] = is_special ? '~' : name.at[i];
        if (is_special)
            b->pointer[at++] = name.at[i] == '~' ? '0' : '1';
    }
    b->pointer[at] = '\0';
    b->pointer_len = at;
    return mark;
}

static void pointer_pop(struct schema_binding *b, size_t mark)
{
    b->pointer_len = mark;
    b->pointer[mark] = '\0';
}

/* ---- leaves */

static bool pattern_fits(const struct schema *s, struct str text)
{
    size_t at = 0;
    for (size_t i = 0; i < s->pattern_count; i++) {
        const struct schema_atom *atom = &s->pattern[i];
        size_t taken = 0;
        for (; at < text.len && taken < atom->max; at++, taken++) {
            unsigned char c = (unsigned char)text.at[at];
            if (c > 127 || (atom->set[c >> 6] >> (c & 63) & 1) == 0)
                break;
        }
        if (taken < atom->min)
            return false;
    }
    return at == text.len;
}

static int64_t characters_of(struct str text)
{
    int64_t count = 0;
    for (size_t i = 0; i < text.len; i++)
        count += ((unsigned char)text.at[i] & 0xc0) != 0x80;
    return count;
}

static void bind_string(struct schema_binding *b, const struct schema *s, struct str text,
                        void *ret)
{
    int64_t length = characters_of(text);
    if (length < s->min || length > s->max)
        refuse(b, "length", "must have %lld to %lld characters", (long long)s->min,
               (long long)s->max);
    else if (s->pattern_count > 0 && !pattern_fits(s, text))
        refuse(b, "format", "must match %s", s->pattern_text);
    else
        memcpy(ret, &text, sizeof(text));
}

void schema_bind_integer(struct schema_binding *b, const struct schema *s, int64_t value, void *ret)
{
    if (value < s->min || value > s->max)
        refuse(b, "range", "must be from %lld to %lld", (long long)s->min, (long long)s->max);
    else
        memcpy(ret, &value, sizeof(value));
}

static void bind_enum(struct schema_binding *b, const struct schema *s, struct str text, void *ret)
{
    for (size_t i = 0; i < s->words_count; i++) {
        const struct schema_word *word = &s->words[i];
        if (!str_equal_c(text, word->text))
            continue;
        unsigned value = (unsigned)i + 1;
        if (word->not_supported != NULL)
            refuse(b, "not_supported_yet", "%s", word->not_supported);
        memcpy(ret, &value, sizeof(value));
        return;
    }
    char known[200] = "";
    size_t len = 0;
    for (size_t i = 0; i < s->words_count && len < sizeof(known); i++)
        len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s", i > 0 ? ", " : "",
                                s->words[i].text);
    refuse(b, "enum", "must be one of %s", known);
}

/* Everything that a JSON string or a parameter's text can be. */
void schema_bind_word(struct schema_binding *b, const struct schema *s, struct str text, void *ret)
{
    struct uuid id;
    int64_t at_us;
    if (s->kind == SCHEMA_STRING)
        bind_string(b, s, text, ret);
    else if (s->kind == SCHEMA_ENUM)
        bind_enum(b, s, text, ret);
    else if (s->kind == SCHEMA_ID && uuid_parse_prefixed(text, s->id_prefix, &id))
        memcpy(ret, &id, sizeof(id));
    else if (s->kind == SCHEMA_ID)
        refuse(b, "format", "must be an id that starts with %s_", s->id_prefix);
    else if (time_parse(text, &at_us))
        memcpy(ret, &at_us, sizeof(at_us));
    else
        refuse(b, "format", "must be an RFC 3339 time such as 2026-11-21T12:00:00Z");
}

/* ---- values */

static const char *kind_text(enum schema_kind kind)
{
    switch (kind) {
    case SCHEMA_STRING:
    case SCHEMA_ENUM:
    case SCHEMA_ID:
    case SCHEMA_TIME:
        return "a string";
    case SCHEMA_INTEGER:
        return "an integer";
    case SCHEMA_NUMBER:
        return "a number";
    case SCHEMA_BOOLEAN:
        return "true or false";
    case SCHEMA_OBJECT:
    case SCHEMA_MAP:
        return "an object";
    case SCHEMA_ARRAY:
        return "an array";
    }
    must_not_reach();
}

static json_type json_type_of(enum schema_kind kind)
{
    switch (kind) {
    case SCHEMA_STRING:
    case SCHEMA_ENUM:
    case SCHEMA_ID:
    case SCHEMA_TIME:
        return JSON_STRING;
    case SCHEMA_INTEGER:
        return JSON_INTEGER;
    case SCHEMA_NUMBER:
        return JSON_REAL;
    case SCHEMA_BOOLEAN:
        return JSON_TRUE;
    case SCHEMA_OBJECT:
    case SCHEMA_MAP:
        return JSON_OBJECT;
    case SCHEMA_ARRAY:
        return JSON_ARRAY;
    }
    must_not_reach();
}

/* Kept in millionths, so that nothing behind the door reckons with fractions. */
void schema_bind_number(struct schema_binding *b, const struct schema *s, double value, void *ret)
{
    if (!(value >= (double)s->min && value <= (double)s->max)) {
        refuse(b, "range", "must be from %lld to %lld", (long long)s->min, (long long)s->max);
        return;
    }
    int64_t millionths = llround(value * 1e6);
    memcpy(ret, &millionths, sizeof(millionths));
}

static void bind_value(struct schema_binding *b, const struct schema *s, const json_t *value,
                       void *ret)
{
    json_type type = json_is_false(value) ? JSON_TRUE : json_typeof(value);
    if (s->kind == SCHEMA_NUMBER && json_is_number(value)) {
        schema_bind_number(b, s, json_number_value(value), ret);
        return;
    }
    if (type != json_type_of(s->kind)) {
        refuse(b, "type", "must be %s", kind_text(s->kind));
        return;
    }
    if (type == JSON_STRING) {
        struct str text = {.at = json_string_value(value), .len = json_string_length(value)};
        schema_bind_word(b, s, text, ret);
    } else if (type == JSON_INTEGER) {
        schema_bind_integer(b, s, json_integer_value(value), ret);
    } else if (type == JSON_TRUE) {
        *(bool *)ret = json_is_true(value);
    } else if (type == JSON_ARRAY) {
        bind_array(b, s, value, ret);
    } else if (s->kind == SCHEMA_MAP) {
        bind_map(b, s, value, ret);
    } else {
        bind_object(b, s, value, ret);
    }
}

static bool count_fits(struct schema_binding *b, const struct schema *s, size_t count)
{
    if ((int64_t)count >= s->min && (int64_t)count <= s->max)
        return true;
    refuse(b, "count", "must have %lld to %lld members", (long long)s->min, (long long)s->max);
    return false;
}

static void bind_array(struct schema_binding *b, const struct schema *s, const json_t *value,
                       void *ret)
{
    size_t count = json_array_size(value);
    if (!count_fits(b, s, count))
        return;
    char *at = b->alloc(b->data, (count > 0 ? count : 1) * s->item->size);
    for (size_t i = 0; i < count; i++) {
        char index[I64_TEXT_SIZE];
        size_t len = i64_format((int64_t)i, index);
        size_t mark = pointer_push(b, (struct str){.at = index, .len = len});
        const json_t *item = json_array_get(value, i);
        bind_value(b, s->item, item, at + i * s->item->size);
        for (size_t j = 0; s->is_unique && j < i; j++) {
            if (json_equal(item, json_array_get(value, j)))
                refuse(b, "duplicate", "must not be there twice");
        }
        pointer_pop(b, mark);
    }
    *(struct schema_list *)ret = (struct schema_list){.at = at, .count = count};
}

static void bind_map(struct schema_binding *b, const struct schema *s, const json_t *value,
                     void *ret)
{
    size_t count = json_object_size(value), i = 0;
    if (!count_fits(b, s, count))
        return;
    struct schema_pair *at = b->alloc(b->data, (count > 0 ? count : 1) * sizeof(*at));
    const char *key;
    json_t *item;
    json_object_foreach ((json_t *)value, key, item) {
        size_t mark = pointer_push(b, str_of(key));
        bind_string(b, s->key, str_of(key), &at[i].key);
        bind_value(b, s->item, item, &at[i].value);
        pointer_pop(b, mark);
        i++;
    }
    *(struct schema_list *)ret = (struct schema_list){.at = at, .count = count};
}

const struct schema_field *schema_field_of(const struct schema *s, const char *name)
{
    for (size_t i = 0; i < s->fields_count; i++) {
        const char *known = s->fields[i].name;
        if (known[0] == name[0] && strcmp(known, name) == 0)
            return &s->fields[i];
    }
    return NULL;
}

static void bind_field(struct schema_binding *b, const struct schema_field *field,
                       const json_t *value, char *base)
{
    if (field->not_supported != NULL) {
        refuse(b, "not_supported_yet", "%s", field->not_supported);
        return;
    }
    bind_value(b, field->schema, value, base + field->offset);
    if (field->true_not_supported != NULL && json_is_true(value))
        refuse(b, "not_supported_yet", "%s", field->true_not_supported);
    if (field->has_offset >= 0)
        *(bool *)(base + field->has_offset) = true;
}

void schema_start(const struct schema *s, void *ret)
{
    if (s->blank != NULL)
        memcpy(ret, s->blank, s->size);
}

void schema_bind_absent(struct schema_binding *b, const struct schema *s, uint64_t given)
{
    for (uint64_t missing = s->required & ~given; missing != 0; missing &= missing - 1) {
        size_t mark = pointer_push(b, str_of(s->fields[__builtin_ctzll(missing)].name));
        refuse(b, "required", "is missing");
        pointer_pop(b, mark);
    }
}

static void check_one_of(struct schema_binding *b, const struct schema *s, uint64_t given)
{
    char names[160] = "";
    size_t len = 0;
    int present = __builtin_popcountll(s->one_of & given);
    if (s->one_of == 0 || present == 1)
        return;
    for (uint64_t rest = s->one_of; rest != 0 && len < sizeof(names); rest &= rest - 1)
        len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", len > 0 ? ", " : "",
                                s->fields[__builtin_ctzll(rest)].name);
    if (present == 0)
        refuse(b, "required", "must have one of %s", names);
    else
        refuse(b, "conflict", "must have only one of %s", names);
}

void schema_check_given(struct schema_binding *b, const struct schema *s, uint64_t given)
{
    schema_bind_absent(b, s, given);
    check_one_of(b, s, given);
}

static void bind_object(struct schema_binding *b, const struct schema *s, const json_t *value,
                        void *ret)
{
    const char *key;
    json_t *item;
    uint64_t given = 0; /* bit i: fields[i] */
    schema_start(s, ret);
    json_object_foreach ((json_t *)value, key, item) {
        const struct schema_field *field = schema_field_of(s, key);
        size_t mark = pointer_push(b, str_of(key));
        if (field != NULL)
            bind_field(b, field, item, ret);
        else
            refuse(b, "unknown", "there is no such field");
        given |= field != NULL ? UINT64_C(1) << (field - s->fields) : 0;
        pointer_pop(b, mark);
    }
    schema_check_given(b, s, given);
    if (s->json_offset >= 0)
        memcpy((char *)ret + s->json_offset, &value, sizeof(value));
}

bool schema_bind(struct schema_binding *b, const struct schema *s, const json_t *value, void *ret)
{
    bind_value(b, s, value, ret);
    return b->errors_total == 0;
}

/* ---- parameters */

static void bind_text(struct schema_binding *b, const struct schema *s, struct str text, void *ret)
{
    int64_t number;
    if (s->kind == SCHEMA_INTEGER && str_to_i64(text, &number))
        schema_bind_integer(b, s, number, ret);
    else if (s->kind == SCHEMA_BOOLEAN && (str_equal_c(text, "true") || str_equal_c(text, "false")))
        *(bool *)ret = text.at[0] == 't';
    else if (s->kind == SCHEMA_INTEGER || s->kind == SCHEMA_BOOLEAN || s->kind == SCHEMA_NUMBER)
        refuse(b, "type", "must be %s", kind_text(s->kind));
    else
        schema_bind_word(b, s, text, ret);
}

bool schema_bind_text(struct schema_binding *b, const struct schema_field *field,
                      const char *pointer, struct str text, void *ret)
{
    int before = b->errors_total;
    str_format(b->pointer, sizeof(b->pointer), "%s", pointer);
    bind_text(b, field->schema, text, (char *)ret + field->offset);
    if (field->has_offset >= 0)
        *((bool *)((char *)ret + field->has_offset)) = true;
    pointer_pop(b, 0);
    return b->errors_total == before;
}
