/* A manifest from anywhere, as JSON or as YAML: bound completely, or refused with a reason. The
 * first byte says which; the target of the request is fuzzed beside it, since it goes the same way.
 */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

#include "api/query.h"
#include "api/route.h"
#include "api/yaml.h"
#include "gen/api/operations.h"

struct home { /* everything that a binding allocates, freed at once */
    void *blocks[4096];
    size_t count;
};

static void *home_alloc(void *data, size_t size)
{
    struct home *home = data;
    must(home->count < ARRAY_COUNT(home->blocks));
    return home->blocks[home->count++] = calloc(1, size ? size : 1);
}

static void home_empty(struct home *home)
{
    while (home->count > 0)
        free(home->blocks[--home->count]);
}

static void bind_body(struct schema_binding *binding, const json_t *value)
{
    void *ret = home_alloc(binding->data, manifest_schema.size);
    bool is_good = schema_bind(binding, &manifest_schema, value, ret);
    must(is_good == (binding->errors_total == 0));
    must(binding->errors_count <= SCHEMA_ERRORS_MAX);
    for (int i = 0; i < binding->errors_count; i++)
        must(binding->errors[i].pointer[0] == '\0' || binding->errors[i].pointer[0] == '/');
}

/* "METHOD /path?query" up to the first line end; returns what is behind it. */
static struct str bind_target(struct schema_binding *binding, struct str text)
{
    struct str target = str_cut(&text, '\n');
    struct str method = str_cut(&target, ' ');
    struct str query = target;
    struct str path = str_cut(&query, '?');
    if (path.len == 0 || path.at[0] != '/')
        return text;
    struct route route = route_find(method, path);
    for (int i = 0; i < route.params_count; i++) {
        struct str decoded;
        if (query_decode(binding, QUERY_PATH, route.params[i], &decoded))
            must(decoded.len <= route.params[i].len);
    }
    const struct op_info *op = &operations[route.op];
    if (op->query != NULL)
        (void)query_bind(binding, op->query, query, home_alloc(binding->data, op->query->size));
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[256] = "";
    struct home home = {.count = 0};
    if (size == 0)
        return 0;
    struct schema_binding of_target = {.alloc = home_alloc, .data = &home};
    struct str body = bind_target(&of_target, fuzz_str(data + 1, size - 1));
    if (body.at == NULL)
        body = STR("");
    json_t *value =
        data[0] == 'y' ? yaml_to_json(body, why, sizeof(why)) : json_parse(body, why, sizeof(why));
    must((value == NULL) == (why[0] != '\0'));
    if (value != NULL) {
        struct schema_binding of_body = {.alloc = home_alloc, .data = &home};
        bind_body(&of_body, value);
        json_decref(value);
    }
    home_empty(&home);
    return 0;
}
