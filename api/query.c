#include "api/query.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Length of the well-formed UTF-8 character at the front, 0 for none. */
static size_t utf8_length(const unsigned char *at, size_t len)
{
    size_t size = at[0] < 0x80 ? 1 : at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if ((at[0] >= 0x80 && at[0] < 0xc2) || at[0] > 0xf4 || size > len)
        return 0;
    uint32_t point = size == 1 ? at[0] : at[0] & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (at[i] & 0x3f);
    }
    bool is_surrogate = point >= 0xd800 && point <= 0xdfff;
    return point < least[size] || point > 0x10ffff || is_surrogate ? 0 : size;
}

static bool is_utf8(struct str text)
{
    size_t size = 0;
    for (size_t at = 0; at < text.len; at += size) {
        size = utf8_length((const unsigned char *)text.at + at, text.len - at);
        if (size == 0)
            return false;
    }
    return true;
}

bool query_decode(struct schema_binding *b, enum query_part part, struct str text, struct str *ret)
{
    char *at = b->alloc(b->data, text.len + 1);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (c == '+' && part == QUERY_VALUE) {
            c = ' ';
        } else if (c == '%') {
            int high = i + 2 < text.len ? hex_value(text.at[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_value(text.at[i + 2]) : -1;
            if (high < 0 || low < 0 || high + low == 0)
                return false;
            c = (char)(high * 16 + low);
            i += 2;
        }
        at[len++] = c;
    }
    *ret = (struct str){.at = at, .len = len};
    return is_utf8(*ret);
}

/* Index of the field, or fields_count. */
static size_t field_index(const struct schema *s, struct str name)
{
    size_t i = 0;
    while (i < s->fields_count && !str_equal_c(name, s->fields[i].name))
        i++;
    return i;
}

static void bind_pair(struct schema_binding *b, const struct schema *s, struct str pair,
                      uint64_t *given, void *ret)
{
    struct str value = pair, name = str_cut(&value, '=');
    char pointer[SCHEMA_POINTER_SIZE];
    if (!query_decode(b, QUERY_VALUE, name, &name) ||
        !query_decode(b, QUERY_VALUE, value, &value)) {
        schema_refuse(b, ERR_INVALID_FIELD, "?", "format", "must be UTF-8, percent-encoded");
        return;
    }
    str_format(pointer, sizeof(pointer), "?%.*s", STR_ARG(name));
    size_t index = field_index(s, name);
    if (index == s->fields_count) {
        schema_refuse(b, ERR_INVALID_FIELD, pointer, "unknown", "there is no such parameter");
    } else if ((*given >> index & 1) != 0) {
        schema_refuse(b, ERR_INVALID_FIELD, pointer, "duplicate", "must not be there twice");
    } else {
        *given |= UINT64_C(1) << index;
        schema_bind_text(b, &s->fields[index], pointer, value, ret);
    }
}

bool query_bind(struct schema_binding *b, const struct schema *s, struct str query, void *ret)
{
    uint64_t given = 0; /* bit i: fields[i] */
    schema_start(s, ret);
    for (struct str rest = query; rest.at != NULL;) {
        struct str pair = str_cut(&rest, '&');
        if (pair.len > 0)
            bind_pair(b, s, pair, &given, ret);
    }
    schema_bind_absent(b, s, given);
    return b->errors_total == 0;
}
