/* The happy path is four passes of config_set(): defaults, file, environment, --set. Failure modes
 * are a name that is not in config.def and a value outside its bounds; the first one stops the
 * start.
 */
#include "broker/config.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/log.h"

enum config_type { CONFIG_TEXT = 1, CONFIG_INT };

struct config_row {
    const char *name;
    enum config_type type;
    size_t offset;
    const char *initial;
    int64_t min, max; /* of the value, or of the text's length */
    bool can_reload, is_secret;
    const char *doc;
};

static const struct config_row ROWS[] = {
#define OPT(name, type, text, min, max, reload, secret, doc) \
    {#name, CONFIG_##type, offsetof(struct config, name), text, min, max, reload, secret, doc},
#include "broker/config.def"
#undef OPT
};

static const struct config_row *row_of(struct str name)
{
    for (size_t i = 0; i < ARRAY_COUNT(ROWS); i++) {
        if (str_equal_c(name, ROWS[i].name))
            return &ROWS[i];
    }
    return NULL;
}

static bool words_are(struct str list, const char *const *known, char *ret_why, size_t why_size)
{
    for (struct str rest = list; rest.at != NULL;) {
        struct str word = str_trim(str_cut(&rest, ','));
        size_t i = 0;
        while (known[i] != NULL && !str_equal_c(word, known[i]))
            i++;
        if (known[i] != NULL)
            continue;
        str_format(ret_why, why_size, "unknown word '%.*s'", STR_ARG(word));
        return false;
    }
    return true;
}

/* What a row's bounds cannot say. */
static bool text_makes_sense(const struct config_row *row, struct str value, char *ret_why,
                             size_t why_size)
{
    static const char *const roles[] = {"api", "market", "settle", NULL};
    static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
    if (strcmp(row->name, "roles") == 0)
        return words_are(value, roles, ret_why, why_size);
    if (strcmp(row->name, "log_level") == 0)
        return words_are(value, levels, ret_why, why_size);
    return true;
}

bool config_set(struct config *config, struct str name, struct str value, char *ret_why,
                size_t why_size)
{
    const struct config_row *row = row_of(name);
    int64_t number;
    if (row == NULL) {
        str_format(ret_why, why_size, "there is no setting '%.*s'", STR_ARG(name));
        return false;
    }
    char *at = (char *)config + row->offset;
    if (row->type == CONFIG_TEXT) {
        if ((int64_t)value.len < row->min || (int64_t)value.len > row->max) {
            str_format(ret_why, why_size, "%s must have %lld to %lld characters", row->name,
                       (long long)row->min, (long long)row->max);
            return false;
        }
        str_format(at, (size_t)row->max + 1, "%.*s", STR_ARG(value));
        return text_makes_sense(row, value, ret_why, why_size);
    }
    if (!str_to_i64(value, &number) || number < row->min || number > row->max) {
        str_format(ret_why, why_size, "%s must be a number from %lld to %lld", row->name,
                   (long long)row->min, (long long)row->max);
        return false;
    }
    memcpy(at, &number, sizeof(number));
    return true;
}

void config_defaults(struct config *ret)
{
    char why[128];
    memset(ret, 0, sizeof(*ret));
    for (size_t i = 0; i < ARRAY_COUNT(ROWS); i++)
        must(config_set(ret, str_of(ROWS[i].name), str_of(ROWS[i].initial), why, sizeof(why)));
}

bool config_parse(struct config *config, struct str text, char *ret_why, size_t why_size)
{
    int number = 0;
    for (struct str rest = text; rest.at != NULL;) {
        struct str line = str_trim(str_cut(&rest, '\n'));
        char why[200];
        number++;
        if (line.len == 0 || line.at[0] == '#')
            continue;
        struct str value = line, name = str_trim(str_cut(&value, '='));
        if (value.at == NULL) {
            str_format(ret_why, why_size, "line %d: expected name = value", number);
            return false;
        }
        if (!config_set(config, name, str_trim(value), why, sizeof(why))) {
            str_format(ret_why, why_size, "line %d: %s", number, why);
            return false;
        }
    }
    return true;
}

static void environment_name(const struct config_row *row, char ret[64])
{
    str_format(ret, 64, "UNDERCUT_%s", row->name);
    for (char *c = ret; *c != '\0'; c++)
        *c = (char)toupper((unsigned char)*c);
}

static bool read_environment(struct config *config, char *ret_why, size_t why_size)
{
    for (size_t i = 0; i < ARRAY_COUNT(ROWS); i++) {
        char name[64];
        environment_name(&ROWS[i], name);
        const char *value = getenv(name);
        if (value != NULL &&
            !config_set(config, str_of(ROWS[i].name), str_of(value), ret_why, why_size))
            return false;
    }
    return true;
}

#define CONFIG_FILE_MAX (64 * 1024)

static bool read_file(struct config *config, const char *path, char *ret_why, size_t why_size)
{
    char text[CONFIG_FILE_MAX], why[256];
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        str_format(ret_why, why_size, "%s cannot be read", path);
        return false;
    }
    size_t len = fread(text, 1, sizeof(text), file);
    fclose(file);
    if (len == sizeof(text)) {
        str_format(ret_why, why_size, "%s is too large", path);
        return false;
    }
    if (config_parse(config, (struct str){.at = text, .len = len}, why, sizeof(why)))
        return true;
    str_format(ret_why, why_size, "%s %s", path, why);
    return false;
}

/* ---- printing */

void config_write_help(struct buf *to)
{
    for (size_t i = 0; i < ARRAY_COUNT(ROWS); i++) {
        const struct config_row *row = &ROWS[i];
        char name[64];
        environment_name(row, name);
        buf_add_format(to, "%s\n    %s\n    default: %s", row->name, row->doc,
                       row->initial[0] != '\0' ? row->initial : "(empty)");
        if (row->type == CONFIG_INT)
            buf_add_format(to, "; from %lld to %lld", (long long)row->min, (long long)row->max);
        buf_add_format(to, "; environment: %s%s\n", name,
                       row->can_reload ? "; read again on SIGHUP" : "");
    }
}

void config_write_example(struct buf *to)
{
    buf_add_c(
        to, "# undercutd.conf: every setting with its default (undercutd --print-config-example).\n"
            "# The environment (UNDERCUT_<NAME>) and --set name=value win over this file.\n");
    for (size_t i = 0; i < ARRAY_COUNT(ROWS); i++)
        buf_add_format(to, "\n# %s\n#%s = %s\n", ROWS[i].doc, ROWS[i].name, ROWS[i].initial);
}

void config_write_masked(const struct config *config, struct buf *to)
{
    for (size_t i = 0; i < ARRAY_COUNT(ROWS); i++) {
        const struct config_row *row = &ROWS[i];
        const char *at = (const char *)config + row->offset;
        char quoted[512];
        int64_t number;
        buf_add_format(to, "%s%s=", i > 0 ? " " : "", row->name);
        if (row->type == CONFIG_INT) {
            memcpy(&number, at, sizeof(number));
            buf_add_format(to, "%lld", (long long)number);
        } else if (row->is_secret && at[0] != '\0') {
            buf_add_c(to, "***");
        } else {
            buf_add_c(to, log_quote(str_of(at), quoted, sizeof(quoted)));
        }
    }
}

bool config_has_role(const struct config *config, const char *role)
{
    for (struct str rest = str_of(config->roles); rest.at != NULL;) {
        if (str_equal_c(str_trim(str_cut(&rest, ',')), role))
            return true;
    }
    return false;
}

/* ---- the command line */

static const char USAGE[] =
    "usage: undercutd [--config FILE] [--port-file FILE] [--set name=value]...\n"
    "       undercutd --check | --help-config | --print-config-example | --make-admin-key | "
    "--version\n";

struct command_line {
    const char *file;
    enum config_verb verb;
    const char *print; /* the printing verb, NULL for none */
};

static bool is_printing(const char *arg)
{
    return strcmp(arg, "--help-config") == 0 || strcmp(arg, "--print-config-example") == 0 ||
           strcmp(arg, "--check") == 0 || strcmp(arg, "--help") == 0 ||
           strcmp(arg, "--version") == 0;
}

/* First pass: everything but --set, which must come after the file and the environment. */
static bool scan(int argc, char **argv, struct command_line *ret)
{
    *ret = (struct command_line){.file = getenv("UNDERCUT_CONFIG"), .verb = CONFIG_RUN};
    for (int i = 1; i < argc; i++) {
        bool has_value = i + 1 < argc;
        if (strcmp(argv[i], "--config") == 0 && has_value)
            ret->file = argv[++i];
        else if ((strcmp(argv[i], "--set") == 0 || strcmp(argv[i], "--port-file") == 0) &&
                 has_value)
            i++;
        else if (strcmp(argv[i], "--make-admin-key") == 0)
            ret->verb = CONFIG_MAKE_ADMIN_KEY;
        else if (is_printing(argv[i]))
            ret->print = argv[i];
        else
            return false;
    }
    return true;
}

static bool read_sets(int argc, char **argv, struct config *config, char *ret_why, size_t why_size)
{
    for (int i = 1; i + 1 < argc; i++) {
        struct str value = str_of(argv[i + 1]), name = STR("port_file");
        bool is_set = strcmp(argv[i], "--set") == 0;
        if (!is_set && strcmp(argv[i], "--port-file") != 0)
            continue;
        if (is_set)
            name = str_cut(&value, '=');
        if (!config_set(config, name, value, ret_why, why_size))
            return false;
        i++;
    }
    return true;
}

static bool read_all(int argc, char **argv, const char *file, struct config *ret)
{
    char why[512] = "";
    config_defaults(ret);
    if ((file == NULL || file[0] == '\0' || read_file(ret, file, why, sizeof(why))) &&
        read_environment(ret, why, sizeof(why)) && read_sets(argc, argv, ret, why, sizeof(why)))
        return true;
    fprintf(stderr, "undercutd: configuration: %s\n", why);
    return false;
}

static void print(const char *verb)
{
    struct buf text = {0};
    if (strcmp(verb, "--help-config") == 0)
        config_write_help(&text);
    else if (strcmp(verb, "--print-config-example") == 0)
        config_write_example(&text);
    else if (strcmp(verb, "--version") == 0)
        buf_add_c(&text, "undercutd " UNDERCUT_VERSION "\n");
    else if (strcmp(verb, "--check") == 0)
        buf_add_c(&text, "configuration ok\n");
    else
        buf_add_c(&text, USAGE);
    fwrite(text.at, 1, text.len, stdout);
    buf_finish(&text);
}

enum config_verb config_start(int argc, char **argv, struct config *ret)
{
    struct command_line line;
    if (!scan(argc, argv, &line)) {
        fputs(USAGE, stderr);
        return CONFIG_BAD;
    }
    bool is_about_settings = line.print == NULL || strcmp(line.print, "--check") == 0;
    if (is_about_settings && !read_all(argc, argv, line.file, ret))
        return CONFIG_BAD;
    if (line.print == NULL)
        return line.verb;
    print(line.print);
    return CONFIG_DONE;
}

bool config_reload(int argc, char **argv, struct config *config)
{
    struct command_line line;
    struct config fresh;
    if (!scan(argc, argv, &line) || !read_all(argc, argv, line.file, &fresh))
        return false;
    for (size_t i = 0; i < ARRAY_COUNT(ROWS); i++) {
        const struct config_row *row = &ROWS[i];
        size_t size = row->type == CONFIG_INT ? sizeof(int64_t) : (size_t)row->max + 1;
        if (row->can_reload)
            memcpy((char *)config + row->offset, (char *)&fresh + row->offset, size);
    }
    return true;
}
