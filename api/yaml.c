/* The happy path is libyaml's events, read by one recursive descent whose depth is bounded; each
 * plain scalar becomes what the core schema says. Failure modes: the first event or scalar that we
 * do not accept ends it, with its line and column.
 */
#include "api/yaml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct reading {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one */
    int depth;
    char *why;
    size_t why_size;
};

static json_t *read_node(struct reading *r);

static json_t *refuse(struct reading *r, const char *what)
{
    if (r->why[0] == '\0')
        str_format(r->why, r->why_size, "line %zu column %zu: %s", r->event.start_mark.line + 1,
                   r->event.start_mark.column + 1, what);
    return NULL;
}

static bool next_event(struct reading *r)
{
    yaml_event_delete(&r->event);
    if (yaml_parser_parse(&r->parser, &r->event))
        return true;
    memset(&r->event, 0, sizeof(r->event));
    str_format(r->why, r->why_size, "line %zu column %zu: %s", r->parser.problem_mark.line + 1,
               r->parser.problem_mark.column + 1,
               r->parser.problem != NULL ? r->parser.problem : "not readable");
    return false;
}

static bool is_one_of(struct str text, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (str_equal_c(text, *words))
            return true;
    }
    return false;
}

static const char *const NULL_WORDS[] = {"", "~", "null", "Null", "NULL", NULL};
static const char *const TRUE_WORDS[] = {"true", "True", "TRUE", NULL};
static const char *const FALSE_WORDS[] = {"false", "False", "FALSE", NULL};

enum number { NUMBER_NONE = 1, NUMBER_INTEGER, NUMBER_REAL };

static size_t digits_at(struct str text, size_t at)
{
    size_t count = 0;
    while (at + count < text.len && text.at[at + count] >= '0' && text.at[at + count] <= '9')
        count++;
    return count;
}

static bool is_sign(struct str text, size_t at)
{
    return at < text.len && (text.at[at] == '-' || text.at[at] == '+');
}

/* 0x1f or 0o17; libyaml ends every scalar with a NUL. */
static bool is_based(struct str text)
{
    if (text.len <= 2 || text.at[0] != '0' || (text.at[1] != 'x' && text.at[1] != 'o'))
        return false;
    const char *digits = text.at[1] == 'x' ? "0123456789abcdefABCDEF" : "01234567";
    return strspn(text.at + 2, digits) == text.len - 2;
}

/* Core schema: 0x1f, 0o17, [-+]?[0-9]+ and [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? */
static enum number number_of(struct str text)
{
    size_t at = is_sign(text, 0), whole = digits_at(text, at), fraction = 0;
    if (is_based(text))
        return NUMBER_INTEGER;
    at += whole;
    if (at == text.len)
        return whole > 0 ? NUMBER_INTEGER : NUMBER_NONE;
    if (text.at[at] == '.') {
        fraction = digits_at(text, at + 1);
        at += 1 + fraction;
    }
    if (whole + fraction == 0)
        return NUMBER_NONE;
    if (at < text.len && (text.at[at] == 'e' || text.at[at] == 'E')) {
        at += 1 + is_sign(text, at + 1);
        size_t exponent = digits_at(text, at);
        at = exponent > 0 ? at + exponent : 0;
    }
    return at == text.len ? NUMBER_REAL : NUMBER_NONE;
}

static bool integer_of(struct str text, int64_t *ret)
{
    if (is_based(text)) {
        errno = 0;
        *ret = (int64_t)strtoll(text.at + 2, NULL, text.at[1] == 'x' ? 16 : 8);
        return errno == 0;
    }
    if (text.at[0] == '+')
        text = (struct str){.at = text.at + 1, .len = text.len - 1};
    return str_to_i64(text, ret);
}

/* No schema accepts one; it is refused there by pointer, unless it is beyond a double already. */
static json_t *read_real(struct reading *r, const char *text)
{
    json_t *real = json_real(strtod(text, NULL));
    return real != NULL ? real : refuse(r, "the number is out of range");
}

static json_t *read_scalar(struct reading *r)
{
    const char *at = (const char *)r->event.data.scalar.value;
    struct str text = {.at = at, .len = r->event.data.scalar.length};
    int64_t integer;
    if (r->event.data.scalar.anchor != NULL || r->event.data.scalar.tag != NULL)
        return refuse(r, "anchors and tags are not accepted");
    if (memchr(at, '\0', text.len) != NULL)
        return refuse(r, "NUL is not accepted");
    if (r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        enum number number = number_of(text);
        if (is_one_of(text, NULL_WORDS))
            return json_null();
        if (is_one_of(text, TRUE_WORDS))
            return json_true();
        if (is_one_of(text, FALSE_WORDS))
            return json_false();
        if (number == NUMBER_REAL)
            return read_real(r, at);
        if (number == NUMBER_INTEGER && !integer_of(text, &integer))
            return refuse(r, "the integer is out of range");
        if (number == NUMBER_INTEGER)
            return json_integer(integer);
    }
    json_t *string = json_stringn(text.at, text.len);
    return string != NULL ? string : refuse(r, "not UTF-8");
}

static json_t *read_sequence(struct reading *r)
{
    if (r->event.data.sequence_start.anchor != NULL || r->event.data.sequence_start.tag != NULL)
        return refuse(r, "anchors and tags are not accepted");
    json_t *array = json_array();
    while (next_event(r)) {
        if (r->event.type == YAML_SEQUENCE_END_EVENT)
            return array;
        json_t *item = read_node(r);
        if (item == NULL)
            break;
        json_array_append_new(array, item);
    }
    json_decref(array);
    return NULL;
}

/* Adds the pair whose key is the current event. */
static bool read_pair(struct reading *r, json_t *object)
{
    if (r->event.type != YAML_SCALAR_EVENT || r->event.data.scalar.anchor != NULL ||
        r->event.data.scalar.tag != NULL)
        return refuse(r, "a key must be a plain word") != NULL;
    struct str key = {.at = (const char *)r->event.data.scalar.value,
                      .len = r->event.data.scalar.length};
    char name[512];
    if (!str_format(name, sizeof(name), "%.*s", STR_ARG(key)) || strlen(name) != key.len)
        return refuse(r, "the key is too long") != NULL;
    if (strcmp(name, "<<") == 0)
        return refuse(r, "merge keys are not accepted") != NULL;
    if (json_object_get(object, name) != NULL)
        return refuse(r, "the key is there twice") != NULL;
    if (!next_event(r))
        return false;
    json_t *value = read_node(r);
    if (value == NULL)
        return false;
    if (json_object_set_new(object, name, value) != 0)
        return refuse(r, "the key is not UTF-8") != NULL;
    return true;
}

static json_t *read_mapping(struct reading *r)
{
    if (r->event.data.mapping_start.anchor != NULL || r->event.data.mapping_start.tag != NULL)
        return refuse(r, "anchors and tags are not accepted");
    json_t *object = json_object();
    while (next_event(r)) {
        if (r->event.type == YAML_MAPPING_END_EVENT)
            return object;
        if (!read_pair(r, object))
            break;
    }
    json_decref(object);
    return NULL;
}

static json_t *read_node(struct reading *r)
{
    json_t *value = NULL;
    if (++r->depth > JSON_DEPTH_MAX)
        value = refuse(r, "nested too deep");
    else if (r->event.type == YAML_SCALAR_EVENT)
        value = read_scalar(r);
    else if (r->event.type == YAML_SEQUENCE_START_EVENT)
        value = read_sequence(r);
    else if (r->event.type == YAML_MAPPING_START_EVENT)
        value = read_mapping(r);
    else
        value = refuse(r, "aliases are not accepted");
    r->depth--;
    return value;
}

static json_t *read_stream(struct reading *r)
{
    if (!next_event(r) || !next_event(r)) /* stream start, then the document or the end */
        return NULL;
    if (r->event.type != YAML_DOCUMENT_START_EVENT)
        return refuse(r, "there is no document");
    json_t *value = next_event(r) ? read_node(r) : NULL;
    bool is_alone =
        value != NULL && next_event(r) && next_event(r) && r->event.type == YAML_STREAM_END_EVENT;
    if (value == NULL || is_alone)
        return value;
    json_decref(value);
    return refuse(r, "only one document is accepted");
}

json_t *yaml_to_json(struct str text, char *ret_why, size_t why_size)
{
    struct reading r = {.why = ret_why, .why_size = why_size};
    ret_why[0] = '\0';
    must(yaml_parser_initialize(&r.parser));
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text.at, text.len);
    json_t *value = read_stream(&r);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    return value;
}
