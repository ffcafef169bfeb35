#include "cli/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

#include "broker/base/str.h"

#define URL_DEFAULT "http://127.0.0.1:8080"

static bool path_find(struct settings *settings, char ret_why[256])
{
    const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    bool has_base = base && *base;
    if (!has_base && !home)
        return (void)str_format(ret_why, 256, "neither XDG_CONFIG_HOME nor HOME is set"), false;
    return str_format(settings->path, sizeof settings->path, "%s%s/undercut/config.yaml",
                      has_base ? base : home, has_base ? "" : "/.config");
}

static const char *scalar_of(yaml_document_t *doc, int index)
{
    yaml_node_t *node = yaml_document_get_node(doc, index);
    return node && node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value : "";
}

static void context_read(struct settings *settings, yaml_document_t *doc, yaml_node_pair_t *pair)
{
    yaml_node_t *map = yaml_document_get_node(doc, pair->value);
    if (!map || map->type != YAML_MAPPING_NODE || settings->contexts_count == SETTINGS_CONTEXTS_MAX)
        return;
    struct settings_context *context = &settings->contexts[settings->contexts_count++];
    *context = (struct settings_context){.name = ""};
    (void)str_format(context->name, sizeof context->name, "%s", scalar_of(doc, pair->key));
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top;
         p++) {
        const char *key = scalar_of(doc, p->key), *value = scalar_of(doc, p->value);
        if (!strcmp(key, "url"))
            (void)str_format(context->url, sizeof context->url, "%s", value);
        else if (!strcmp(key, "api_key"))
            (void)str_format(context->api_key, sizeof context->api_key, "%s", value);
    }
}

static void document_read(struct settings *settings, yaml_document_t *doc)
{
    yaml_node_t *root = yaml_document_get_root_node(doc);
    if (!root || root->type != YAML_MAPPING_NODE)
        return;
    for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top;
         p++) {
        const char *key = scalar_of(doc, p->key);
        if (!strcmp(key, "current"))
            (void)str_format(settings->current, sizeof settings->current, "%s",
                             scalar_of(doc, p->value));
        yaml_node_t *value = yaml_document_get_node(doc, p->value);
        if (strcmp(key, "contexts") || !value || value->type != YAML_MAPPING_NODE)
            continue;
        for (yaml_node_pair_t *c = value->data.mapping.pairs.start;
             c < value->data.mapping.pairs.top; c++)
            context_read(settings, doc, c);
    }
}

static bool file_read(struct settings *settings, char ret_why[256])
{
    FILE *file = fopen(settings->path, "rb");
    if (!file)
        return true; /* nothing stored yet */
    yaml_parser_t parser;
    yaml_document_t doc;
    must(yaml_parser_initialize(&parser));
    yaml_parser_set_input_file(&parser, file);
    bool is_good = yaml_parser_load(&parser, &doc);
    if (is_good) {
        document_read(settings, &doc);
        yaml_document_delete(&doc);
    } else {
        (void)str_format(ret_why, 256, "%s is not valid YAML, line %zu", settings->path,
                         parser.problem_mark.line + 1);
    }
    yaml_parser_delete(&parser);
    fclose(file);
    return is_good;
}

static struct settings_context *context_find(struct settings *settings, const char *name)
{
    for (size_t i = 0; i < settings->contexts_count; i++)
        if (!strcmp(settings->contexts[i].name, name))
            return &settings->contexts[i];
    return NULL;
}

/* The first text that is there and not empty. */
static const char *first_of(const char *a, const char *b, const char *c)
{
    return a && *a ? a : b && *b ? b : c;
}

bool settings_read(struct settings *ret, const char *context, const char *url, char ret_why[256])
{
    *ret = (struct settings){.current = ""};
    if (!path_find(ret, ret_why) || !file_read(ret, ret_why))
        return false;
    const char *wanted = first_of(context, getenv("UNDERCUT_CONTEXT"), NULL);
    if (!ret->current[0] || wanted)
        (void)str_format(ret->current, sizeof ret->current, "%s", wanted ? wanted : "default");
    const struct settings_context *stored = context_find(ret, ret->current);
    const char *stored_url = stored && stored->url[0] ? stored->url : URL_DEFAULT;
    const char *key = first_of(getenv("UNDERCUT_API_KEY"), stored ? stored->api_key : "", "");
    if (!str_format(ret->url, sizeof ret->url, "%s",
                    first_of(url, getenv("UNDERCUT_URL"), stored_url)) ||
        !str_format(ret->api_key, sizeof ret->api_key, "%s", key))
        return (void)str_format(ret_why, 256, "the URL or the API key is too long"), false;
    size_t len = strlen(ret->url);
    while (len > 0 && ret->url[len - 1] == '/')
        ret->url[--len] = '\0';
    return true;
}

static void yaml_quote(FILE *to, const char *text)
{
    fputc('"', to);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', to);
        if ((unsigned char)*text >= ' ')
            fputc(*text, to);
    }
    fputc('"', to);
}

static void folders_make(const char *path)
{
    char part[SETTINGS_TEXT_SIZE];
    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/'))
        if (str_format(part, sizeof part, "%.*s", (int)(slash - path), path))
            (void)mkdir(part, 0700); /* what is there already is fine; open() will tell otherwise */
}

bool settings_store(struct settings *settings, char ret_why[256])
{
    struct settings_context *context = context_find(settings, settings->current);
    if (!context && settings->contexts_count < SETTINGS_CONTEXTS_MAX)
        context = &settings->contexts[settings->contexts_count++];
    if (!context)
        return (void)str_format(ret_why, 256, "more than %d contexts", SETTINGS_CONTEXTS_MAX),
               false;
    memcpy(context->name, settings->current, sizeof context->name);
    memcpy(context->url, settings->url, sizeof context->url);
    memcpy(context->api_key, settings->api_key, sizeof context->api_key);
    char fresh[SETTINGS_TEXT_SIZE + 8];
    must(str_format(fresh, sizeof fresh, "%s.new", settings->path));
    folders_make(settings->path);
    (void)unlink(fresh);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file)
        return (void)str_format(ret_why, 256, "%s: %s", fresh, strerror(errno)), false;
    fputs("current: ", file);
    yaml_quote(file, settings->current);
    fputs("\ncontexts:\n", file);
    for (size_t i = 0; i < settings->contexts_count; i++) {
        fputs("  ", file);
        yaml_quote(file, settings->contexts[i].name);
        fputs(": {url: ", file);
        yaml_quote(file, settings->contexts[i].url);
        fputs(", api_key: ", file);
        yaml_quote(file, settings->contexts[i].api_key);
        fputs("}\n", file);
    }
    if (fclose(file) || rename(fresh, settings->path))
        return (void)str_format(ret_why, 256, "%s: %s", settings->path, strerror(errno)), false;
    return true;
}
