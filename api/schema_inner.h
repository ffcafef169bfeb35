/* schema_inner.h - what schema.c and schema_read.c share; nobody else includes it.
 *
 * pure; memory comes from the binding's allocator. What is wrong is recorded in the binding.
 */
#ifndef UNDERCUT_API_SCHEMA_INNER_H
#define UNDERCUT_API_SCHEMA_INNER_H

#include "api/schema.h"

/* Everything that a JSON string or a parameter's text can be: string, enum, id, time. */
void schema_bind_word(struct schema_binding *b, const struct schema *s, struct str text, void *ret);
void schema_bind_integer(struct schema_binding *b, const struct schema *s, int64_t value,
                         void *ret);
void schema_bind_number(struct schema_binding *b, const struct schema *s, double value, void *ret);
/* NULL: the object has no such field. */
const struct schema_field *schema_field_of(const struct schema *s, const char *name);
/* Refuses an object whose given fields (bit i: fields[i]) leave out what is required. */
void schema_check_given(struct schema_binding *b, const struct schema *s, uint64_t given);

struct schema_list { /* the shape of every generated list */
    const void *at;
    size_t count;
};

#endif
