/* settings.h - where the broker is and who we are: environment first, then the config file.
 *
 * main thread. The file is $XDG_CONFIG_HOME/undercut/config.yaml (else ~/.config/...), mode 0600:
 *   current: default
 *   contexts:
 *     default: {url: "http://127.0.0.1:8080", api_key: "uc_live_..."}
 * A key never comes from an option: options show in process lists and shell histories.
 */
#ifndef UNDERCUT_CLI_SETTINGS_H
#define UNDERCUT_CLI_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "broker/base/must.h"

#define SETTINGS_TEXT_SIZE    512
#define SETTINGS_KEY_SIZE     4128 /* a token is longer than a key, and at most 4 KiB */
#define SETTINGS_CONTEXTS_MAX 32

struct settings_context {
    char name[64];
    char url[SETTINGS_TEXT_SIZE];
    char api_key[SETTINGS_KEY_SIZE];
};

struct settings {
    char path[SETTINGS_TEXT_SIZE]; /* of the config file */
    char current[64];
    struct settings_context contexts[SETTINGS_CONTEXTS_MAX];
    size_t contexts_count;
    char url[SETTINGS_TEXT_SIZE];    /* what holds for this call; never ends in a slash */
    char api_key[SETTINGS_KEY_SIZE]; /* "" when there is none */
};

/* `context` and `url` come from options and may be NULL. False: `ret_why` is a sentence. */
MUST_USE bool settings_read(struct settings *ret, const char *context, const char *url,
                            char ret_why[256]);
/* Stores url and api_key as the current context, writing the file anew with mode 0600. */
MUST_USE bool settings_store(struct settings *settings, char ret_why[256]);

#endif
