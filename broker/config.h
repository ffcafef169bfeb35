/* config.h - the daemon's settings, from config.def.
 *
 * pure apart from reading the file and the environment. Later sources win: defaults, file,
 * environment,
 * --set. Immutable once the threads run, but for what `reload` allows (the log level).
 */
#ifndef UNDERCUT_CONFIG_H
#define UNDERCUT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/must.h"
#include "broker/base/str.h"

#define CONFIG_FIELD_TEXT(name, max) char name[(max) + 1];
#define CONFIG_FIELD_INT(name, max)  int64_t name;

struct config {
#define OPT(name, type, text, min, max, reload, secret, doc) CONFIG_FIELD_##type(name, max)
#include "broker/config.def"
#undef OPT
};

enum config_verb {
    CONFIG_RUN = 1,
    CONFIG_DONE,           /* help, example or check was printed */
    CONFIG_BAD,            /* said why on stderr */
    CONFIG_MAKE_ADMIN_KEY, /* --make-admin-key */
};

/* Reads the command line and all sources. `ret` is complete for CONFIG_RUN and
 * CONFIG_MAKE_ADMIN_KEY. */
enum config_verb config_start(int argc, char **argv, struct config *ret);
/* Takes over what may change while running, from the same sources; false: said why, nothing
 * changed. */
bool config_reload(int argc, char **argv, struct config *config);

void config_defaults(struct config *ret);
/* One setting; false: `ret_why` says what is wrong with it. */
MUST_USE bool config_set(struct config *config, struct str name, struct str value, char *ret_why,
                         size_t why_size);
/* A whole file's text. */
MUST_USE bool config_parse(struct config *config, struct str text, char *ret_why, size_t why_size);
void config_write_help(struct buf *to);
void config_write_example(struct buf *to);
/* "name=value ..." with secrets masked. */
void config_write_masked(const struct config *config, struct buf *to);
bool config_has_role(const struct config *config, const char *role);

#endif
