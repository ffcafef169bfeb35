/* A body read straight from its text is what the parser and the binder make of it. The first byte
 * says which operation's; what they refuse must not be read, and what is read must be the same.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "gen/api/operations.h"
#include "tests/lib/arena.h"

static bool same(const struct schema *s, const char *one, const char *other);

struct list { /* the shape of every generated list */
    const char *at;
    size_t count;
};

static bool same_list(const struct schema *s, const struct list *one, const struct list *other)
{
    size_t size = s->kind == SCHEMA_MAP ? sizeof(struct schema_pair) : s->item->size;
    must((one->at != NULL) == (other->at != NULL));
    if (one->count != other->count)
        return false;
    for (size_t at = 0; at < one->count * size; at += size) {
        if (s->kind == SCHEMA_MAP && !same(s->key, one->at + at, other->at + at))
            return false;
        size_t value_at = s->kind == SCHEMA_MAP ? offsetof(struct schema_pair, value) : 0;
        if (!same(s->item, one->at + at + value_at, other->at + at + value_at))
            return false;
    }
    return true;
}

static bool same_object(const struct schema *s, const char *one, const char *other)
{
    for (size_t i = 0; i < s->fields_count; i++) {
        const struct schema_field *field = &s->fields[i];
        ptrdiff_t has = field->has_offset;
        if (has >= 0 && *(const bool *)(one + has) != *(const bool *)(other + has))
            return false;
        if (field->schema != NULL &&
            !same(field->schema, one + field->offset, other + field->offset))
            return false;
    }
    return true;
}

static bool same(const struct schema *s, const char *one, const char *other)
{
    if (s->kind == SCHEMA_OBJECT)
        return same_object(s, one, other);
    if (s->kind == SCHEMA_ARRAY || s->kind == SCHEMA_MAP)
        return same_list(s, (const void *)one, (const void *)other);
    if (s->kind != SCHEMA_STRING)
        return memcmp(one, other, s->size) == 0;
    const struct str *left = (const void *)one, *right = (const void *)other;
    must(left->at == NULL || left->at[left->len] == '\0');
    return (left->at == NULL) == (right->at == NULL) && str_equal(*left, *right);
}

static void check(const struct schema *s, struct str text)
{
    char why[256];
    struct arena arena = {0};
    struct schema_binding binding = {.alloc = arena_alloc, .data = &arena};
    char *read = arena_alloc(&arena, s->size), *bound = arena_alloc(&arena, s->size);
    bool is_read = schema_read(&binding, s, text, read);
    binding = (struct schema_binding){.alloc = arena_alloc, .data = &arena};
    json_t *json = json_parse(text, why, sizeof(why));
    bool is_bound = json != NULL && schema_bind(&binding, s, json, bound);
    must(!is_read || (is_bound && same(s, read, bound)));
    json_decref(json);
    arena_finish(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct op_info *op = &operations[data[0] % OP_COUNT];
    check(op->body != NULL ? op->body : &manifest_schema, fuzz_str(data + 1, size - 1));
    return 0;
}
