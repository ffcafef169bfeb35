#include "api/route.h"

static const char *const METHOD_TEXTS[METHOD_COUNT] = {
    [METHOD_GET] = "GET",
    [METHOD_POST] = "POST",
    [METHOD_PUT] = "PUT",
    [METHOD_DELETE] = "DELETE",
};

static const struct route_node *child_of(const struct route_node *node, struct str segment)
{
    for (unsigned i = 0; i < node->children_count; i++) {
        const struct route_node *child = &route_nodes[node->first_child + i];
        if (child->segment == NULL || str_equal_c(segment, child->segment))
            return child;
    }
    return NULL;
}

static void find_node(struct route *route, struct str path)
{
    const struct route_node *node = &route_nodes[0];
    struct str rest = path, before = str_cut(&rest, '/');
    if (before.len > 0)
        return;
    while (rest.at != NULL) {
        struct str segment = str_cut(&rest, '/');
        node = segment.len > 0 ? child_of(node, segment) : NULL;
        if (node == NULL)
            return;
        if (node->segment == NULL) {
            must(route->params_count < ROUTE_PARAMS_MAX);
            route->params[route->params_count++] = segment;
        }
    }
    route->node = node;
}

struct route route_find(struct str method, struct str path)
{
    struct route route = {
        .is_head = str_equal_c(method, "HEAD"),
        .is_options = str_equal_c(method, "OPTIONS"),
    };
    find_node(&route, path);
    if (route.node == NULL)
        return route;
    bool has_any = false;
    for (int i = METHOD_GET; i < METHOD_COUNT; i++) {
        bool is_asked = str_equal_c(method, METHOD_TEXTS[i]) || (route.is_head && i == METHOD_GET);
        has_any = has_any || route.node->ops[i] != OP_NONE;
        if (is_asked)
            route.op = (enum op)route.node->ops[i];
    }
    if (!has_any)
        route.node = NULL; /* only a way station, such as /v1 */
    return route;
}

void route_allow(const struct route_node *node, struct buf *to)
{
    for (int i = METHOD_GET; i < METHOD_COUNT; i++) {
        if (node->ops[i] != OP_NONE)
            buf_add_format(to, "%s, ", METHOD_TEXTS[i]);
    }
    if (node->ops[METHOD_GET] != OP_NONE)
        buf_add_c(to, "HEAD, ");
    buf_add_c(to, "OPTIONS");
}
