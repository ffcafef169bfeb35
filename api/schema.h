/* schema.h - tables that say what a request may hold, and the binder that fills C structs from
 * them.
 *
 * pure; memory comes from the binding's allocator. The tables and structs are generated from
 * openapi.yaml (operations.h); the rules of the generated structs:
 *   string  struct str (at == NULL: absent)     array   {const T *at; size_t count;}
 *   integer int64_t                             map     struct schema_pairs
 *   boolean bool                                object  nested struct
 *   enum    C enum, 0 = absent                  x-id    struct <x-id>
 *   number  int64_t, in millionths
 *   date-time  int64_t <name>_at_us             x-keep-json  also `const json_t *json`
 * Optional integers, booleans, objects, ids and times have `bool has_<name>`, unless they have a
 * default. Slices point into the JSON value, which must outlive the struct.
 */
#ifndef UNDERCUT_API_SCHEMA_H
#define UNDERCUT_API_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/err.h"
#include "broker/base/json.h"
#include "broker/base/str.h"

struct schema_pair {
    struct str key, value;
};

struct schema_pairs {
    const struct schema_pair *at;
    size_t count;
};

struct schema_strings {
    const struct str *at;
    size_t count;
};

/* The value of `key`, or STR_NONE. */
struct str schema_pairs_get(const struct schema_pairs *pairs, const char *key);

enum schema_kind {
    SCHEMA_STRING = 1,
    SCHEMA_INTEGER,
    SCHEMA_NUMBER,
    SCHEMA_BOOLEAN,
    SCHEMA_ENUM,
    SCHEMA_ID,
    SCHEMA_TIME,
    SCHEMA_OBJECT,
    SCHEMA_ARRAY,
    SCHEMA_MAP,
};

/* A pattern is a row of atoms, matched greedily: the generator's dialect needs no backtracking. */
struct schema_atom {
    uint64_t set[2];   /* ASCII characters that fit */
    uint16_t min, max; /* how many of them */
};

struct schema_word { /* an enum's value; its C value is its index + 1 */
    const char *text;
    const char *not_supported; /* NULL: it is */
};

struct schema_field;

struct schema {
    enum schema_kind kind;
    int64_t min, max; /* value, length in characters, or count */
    const struct schema_atom *pattern;
    size_t pattern_count;
    const char *pattern_text; /* as people read it */
    const struct schema_word *words;
    size_t words_count;
    const char *id_prefix;
    const struct schema_field *fields;
    size_t fields_count;
    uint64_t required, one_of; /* of an object: bit i is fields[i]; exactly one of these */
    const void *blank;         /* its C value with the defaults in; NULL: all zeros */
    const struct schema *item; /* of an array or a map */
    const struct schema *key;  /* of a map */
    size_t size;               /* of the C value */
    bool is_unique;            /* array: no value twice */
    ptrdiff_t json_offset;     /* x-keep-json; -1: no */
};

struct schema_field {
    const char *name;
    const struct schema *schema;
    size_t offset;
    ptrdiff_t has_offset; /* -1: no such member */
    bool is_required;
    const char *not_supported;      /* the whole field */
    const char *true_not_supported; /* the value true of a boolean */
    const char *default_text;       /* in the form of a query parameter; the value is in blank */
};

#define SCHEMA_ERRORS_MAX   16
#define SCHEMA_POINTER_SIZE 256

struct schema_error {
    enum err_code err; /* ERR_INVALID_FIELD or ERR_NOT_SUPPORTED_YET */
    const char *pointer;
    const char *code;
    const char *detail;
};

struct schema_binding {
    void *(*alloc)(void *data, size_t size); /* zeroed; freed by its owner, all at once */
    void *data;
    struct schema_error errors[SCHEMA_ERRORS_MAX];
    int errors_count;
    int errors_total;                  /* also those beyond the maximum */
    char pointer[SCHEMA_POINTER_SIZE]; /* private: where we are */
    size_t pointer_len;
};

/* Checks `value` and fills `ret` (of schema->size, zeroed by the caller). True when nothing was
 * wrong. */
bool schema_bind(struct schema_binding *binding, const struct schema *schema, const json_t *value,
                 void *ret);
/* The same straight from a text, for what is plain and flawless: true when `text` is JSON and fits,
 * and `ret` holds what json_parse() and schema_bind() would have made of it. False says nothing
 * about the text (it may be good, but have an escape, a fraction or another alphabet); binding and
 * `ret` are spent then. Slices point into a copy of the text in the binding's memory. */
bool schema_read(struct schema_binding *binding, const struct schema *schema, struct str text,
                 void *ret);
/* One parameter given as text; `pointer` names it in errors ("?limit"). `ret` is the whole struct.
 */
bool schema_bind_text(struct schema_binding *binding, const struct schema_field *field,
                      const char *pointer, struct str text, void *ret);
/* Puts the defaults into a zeroed object, before anything is bound to it. */
void schema_start(const struct schema *schema, void *ret);
/* Refuses required fields that are not among those given (bit i: fields[i]). */
void schema_bind_absent(struct schema_binding *binding, const struct schema *schema,
                        uint64_t given);
/* Records an error at a pointer, for checks that span fields. Texts are copied. */
void schema_refuse(struct schema_binding *binding, enum err_code err, const char *pointer,
                   const char *code, const char *detail);

#endif
