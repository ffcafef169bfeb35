/* The happy path is one walk over a copy of the text, led by the tables: each token is taken for
 * what the schema wants there, strings are closed with a NUL where their quote stood, and leaves go
 * through the binder's own checks.
 * Failure modes are not told apart: whatever is not plain and flawless ends the walk, and whoever
 * called asks json_parse() and schema_bind(), which know every answer. So nothing here may accept
 * what those refuse; tests/fuzz/fuzz_read.c holds the two against each other.
 */
#include <string.h>

#include "api/schema_inner.h"

#define DIGITS_MAX     18 /* surely within int64 */
#define LIST_COUNT_MIN 4  /* room for the first members */

struct reader {
    struct schema_binding *b;
    char *at; /* ends with a NUL, which no token goes past */
    int depth;
};

static bool read_value(struct reader *r, const struct schema *s, void *ret);

static char next_char(struct reader *r)
{
    while (*r->at == ' ' || *r->at == '\n' || *r->at == '\t' || *r->at == '\r')
        r->at++;
    return *r->at;
}

static bool take(struct reader *r, char c)
{
    if (next_char(r) != c)
        return false;
    r->at++;
    return true;
}

/* Printable ASCII without escapes; it ends in a NUL. */
static bool read_text(struct reader *r, struct str *ret)
{
    if (!take(r, '"'))
        return false;
    char *start = r->at, *at = start;
    while ((signed char)*at >= ' ' && *at != '"' && *at != '\\')
        at++;
    if (*at != '"')
        return false;
    *at = '\0';
    r->at = at + 1;
    *ret = (struct str){.at = start, .len = (size_t)(at - start)};
    return true;
}

/* A fraction, an exponent or a leading zero is left standing, where no separator is found then. */
static bool read_integer(struct reader *r, int64_t *ret)
{
    bool is_negative = take(r, '-');
    const char *start = r->at;
    int64_t value = 0;
    if (!is_negative && take(r, '0')) {
        *ret = 0;
        return true;
    }
    while (*r->at >= (r->at == start ? '1' : '0') && *r->at <= '9' && r->at - start < DIGITS_MAX)
        value = 10 * value + (*r->at++ - '0');
    *ret = is_negative ? -value : value;
    return r->at > start;
}

static bool take_word(struct reader *r, const char *word)
{
    size_t len = strlen(word);
    (void)next_char(r);
    if (strncmp(r->at, word, len) != 0)
        return false;
    r->at += len;
    return true;
}

static bool read_boolean(struct reader *r, bool *ret)
{
    *ret = take_word(r, "true");
    return *ret || take_word(r, "false");
}

/* Lists double, so that copying them costs no more than filling them. */
static char *list_grow(struct reader *r, char *list, size_t count, size_t size)
{
    bool is_full = count >= LIST_COUNT_MIN && (count & (count - 1)) == 0;
    return is_full ? memcpy(r->b->alloc(r->b->data, 2 * count * size), list, count * size) : list;
}

/* Also when two of its kind cannot be compared here. */
static bool is_repeated(const struct schema *item, const char *list, size_t last)
{
    const char *one = list + last * item->size;
    for (const char *other = list; other < one; other += item->size) {
        bool is_text = item->kind == SCHEMA_STRING;
        bool is_plain = is_text || item->kind == SCHEMA_ENUM || item->kind == SCHEMA_INTEGER;
        if (!is_plain || (is_text ? str_equal(*(const struct str *)one, *(const struct str *)other)
                                  : memcmp(one, other, item->size) == 0))
            return true;
    }
    return false;
}

static bool read_array(struct reader *r, const struct schema *s, struct schema_list *ret)
{
    size_t count = 0, size = s->item->size;
    char *list = r->b->alloc(r->b->data, LIST_COUNT_MIN * size);
    bool has_more = next_char(r) != ']';
    while (has_more) {
        if ((int64_t)count == s->max || !read_value(r, s->item, list + count * size) ||
            (s->is_unique && is_repeated(s->item, list, count)))
            return false;
        list = list_grow(r, list, ++count, size);
        has_more = take(r, ',');
    }
    *ret = (struct schema_list){.at = list, .count = count};
    return (int64_t)count >= s->min && take(r, ']');
}

static bool read_map(struct reader *r, const struct schema *s, struct schema_list *ret)
{
    size_t count = 0;
    struct schema_pair *pairs = r->b->alloc(r->b->data, LIST_COUNT_MIN * sizeof(*pairs));
    bool has_more = next_char(r) != '}';
    while (has_more) {
        struct str key;
        if ((int64_t)count == s->max || !read_text(r, &key) || !take(r, ':'))
            return false;
        for (size_t i = 0; i < count; i++)
            if (str_equal(pairs[i].key, key))
                return false;
        schema_bind_word(r->b, s->key, key, &pairs[count].key);
        if (!read_value(r, s->item, &pairs[count].value))
            return false;
        pairs = (void *)list_grow(r, (char *)pairs, ++count, sizeof(*pairs));
        has_more = take(r, ',');
    }
    *ret = (struct schema_list){.at = pairs, .count = count};
    return (int64_t)count >= s->min && take(r, '}');
}

static bool read_field(struct reader *r, const struct schema_field *field, char *base)
{
    if (field->not_supported != NULL || !read_value(r, field->schema, base + field->offset))
        return false;
    if (field->true_not_supported != NULL && *(bool *)(base + field->offset))
        return false;
    if (field->has_offset >= 0)
        *(bool *)(base + field->has_offset) = true;
    return true;
}

static bool read_object(struct reader *r, const struct schema *s, void *ret)
{
    uint64_t given = 0; /* bit i: fields[i] */
    bool has_more = next_char(r) != '}';
    if (s->json_offset >= 0) /* there is no JSON value to keep */
        return false;
    schema_start(s, ret);
    while (has_more) {
        struct str name;
        if (!read_text(r, &name) || !take(r, ':'))
            return false;
        const struct schema_field *field = schema_field_of(s, name.at);
        uint64_t bit = field != NULL ? UINT64_C(1) << (field - s->fields) : 0;
        if (bit == 0 || (given & bit) != 0 || !read_field(r, field, ret))
            return false;
        given |= bit;
        has_more = take(r, ',');
    }
    schema_check_given(r->b, s, given);
    return take(r, '}');
}

static bool read_leaf(struct reader *r, const struct schema *s, void *ret)
{
    struct str text;
    int64_t integer;
    bool is_word = s->kind == SCHEMA_STRING || s->kind == SCHEMA_ENUM || s->kind == SCHEMA_ID ||
                   s->kind == SCHEMA_TIME;
    if (s->kind == SCHEMA_BOOLEAN)
        return read_boolean(r, ret);
    if (is_word ? !read_text(r, &text) : !read_integer(r, &integer))
        return false;
    if (is_word)
        schema_bind_word(r->b, s, text, ret);
    else if (s->kind == SCHEMA_INTEGER)
        schema_bind_integer(r->b, s, integer, ret);
    else
        schema_bind_number(r->b, s, (double)integer, ret);
    return true;
}

static bool read_value(struct reader *r, const struct schema *s, void *ret)
{
    bool is_list = s->kind == SCHEMA_ARRAY, is_good;
    if (!is_list && s->kind != SCHEMA_OBJECT && s->kind != SCHEMA_MAP)
        return read_leaf(r, s, ret) && r->b->errors_total == 0;
    if (r->depth == JSON_DEPTH_MAX || !take(r, is_list ? '[' : '{'))
        return false;
    r->depth++;
    if (is_list)
        is_good = read_array(r, s, ret);
    else
        is_good = s->kind == SCHEMA_MAP ? read_map(r, s, ret) : read_object(r, s, ret);
    r->depth--;
    return is_good && r->b->errors_total == 0;
}

bool schema_read(struct schema_binding *b, const struct schema *s, struct str text, void *ret)
{
    struct reader r = {.b = b, .at = b->alloc(b->data, text.len + 1)};
    const char *end = r.at + text.len;
    if (text.len > 0)
        memcpy(r.at, text.at, text.len);
    return read_value(&r, s, ret) && next_char(&r) == '\0' && r.at == end;
}
