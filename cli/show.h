/* show.h - a list of the API as a table, page by page.
 *
 * main thread.
 */
#ifndef UNDERCUT_CLI_SHOW_H
#define UNDERCUT_CLI_SHOW_H

#include "broker/base/json.h"
#include "cli/cli.h"
#include "cli/table.h"

struct show {
    const char *const *titles;
    void (*row)(struct table *table, const json_t *item);
    bool (*is_wanted)(const json_t *item); /* NULL: all */
    const char *id_key;                    /* print this member alone instead of a table */
    bool is_public;                        /* the list needs no key */
    bool is_whole;                         /* the list has no pages */
    int items_max;                         /* 0: all of them */
};

/* Fetches and prints; frees `path`. With --json, one JSON array over all pages. */
MUST_USE int show_list(const struct cli *cli, struct buf *path, const struct show *show);

#endif
