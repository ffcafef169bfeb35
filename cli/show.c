#include "cli/show.h"

#include <stdio.h>
#include <stdlib.h>

#include "cli/call.h"

/* One page more; `*io_cursor` is NULL at the end. */
static int page_fetch(const struct cli *cli, const struct buf *base, const struct show *show,
                      char **io_cursor, json_t *all)
{
    struct buf path = {.at = NULL};
    buf_add(&path, base->at, base->len);
    if (!show->is_whole)
        query_add(&path, "limit", show->items_max ? "50" : "200");
    if (*io_cursor)
        query_add(&path, "cursor", *io_cursor);
    buf_add(&path, "", 1);
    free(*io_cursor);
    *io_cursor = NULL;
    struct reply reply;
    int code = call_api(cli, &(struct call){.path = path.at, .is_public = show->is_public}, &reply);
    size_t i;
    json_t *item;
    json_array_foreach (json_object_get(reply.json, "data"), i, item)
        if (!show->is_wanted || show->is_wanted(item))
            json_array_append(all, item);
    struct str next = json_str(reply.json, "next_cursor");
    bool has_enough = show->items_max && json_array_size(all) >= (size_t)show->items_max;
    if (code == EXIT_OK && next.len && !has_enough)
        must(asprintf(io_cursor, "%.*s", STR_ARG(next)) >= 0);
    reply_finish(&reply);
    buf_finish(&path);
    return code;
}

static void all_print(const struct cli *cli, const struct show *show, const json_t *all)
{
    size_t i;
    const json_t *item;
    struct table table;
    if (cli->is_json) {
        char *text = json_dumps(all, JSON_COMPACT);
        must(text != NULL);
        puts(text);
        free(text);
        return;
    }
    if (show->id_key) {
        json_array_foreach (all, i, item)
            printf("%.*s\n", STR_ARG(json_str(item, show->id_key)));
        return;
    }
    table_start(&table, show->titles);
    json_array_foreach (all, i, item) {
        if (!show->items_max || i < (size_t)show->items_max)
            show->row(&table, item);
    }
    table_end(&table);
}

int show_list(const struct cli *cli, struct buf *path, const struct show *show)
{
    json_t *all = json_array();
    char *cursor = NULL;
    int code;
    do
        code = page_fetch(cli, path, show, &cursor, all);
    while (code == EXIT_OK && cursor && !cli->is_curl);
    free(cursor);
    if (code == EXIT_OK && !cli->is_curl)
        all_print(cli, show, all);
    json_decref(all);
    buf_finish(path);
    return code;
}
