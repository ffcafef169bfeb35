/* route.h - from a path and a method to an operation, over the generated trie.
 *
 * pure. A literal segment wins over a parameter; no path has both below one parent for long enough
 * to need backtracking.
 */
#ifndef UNDERCUT_API_ROUTE_H
#define UNDERCUT_API_ROUTE_H

#include "gen/api/operations.h"

#define ROUTE_PARAMS_MAX 4

struct route {
    const struct route_node *node;       /* NULL: no such path */
    enum op op;                          /* OP_NONE: the path does not know the method */
    struct str params[ROUTE_PARAMS_MAX]; /* as sent, still escaped */
    int params_count;
    bool is_head, is_options;
};

/* `path` begins with "/" and has no query. */
struct route route_find(struct str method, struct str path);
/* "GET, HEAD, OPTIONS" */
void route_allow(const struct route_node *node, struct buf *to);

#endif
