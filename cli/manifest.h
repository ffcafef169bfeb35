/* manifest.h - the manifest of a workload, from options or from a file.
 *
 * pure apart from reading the file.
 */
#ifndef UNDERCUT_CLI_MANIFEST_H
#define UNDERCUT_CLI_MANIFEST_H

#include <stdbool.h>

#include "broker/base/str.h"
#include "cli/args.h"

extern const struct option manifest_options[]; /* of `run` */

/* Appends the manifest as JSON. The first word is the image, the rest the command. False:
 * `ret_why` is a sentence. */
MUST_USE bool manifest_of_args(const struct args *args, struct buf *to, char ret_why[256]);

struct manifest_file {
    struct buf text;
    char name[64]; /* its top-level name, "" when there is none */
    bool is_yaml;
};

/* `path` "-" is stdin. A file whose first character is '{' is JSON, everything else YAML. */
MUST_USE bool manifest_read(const char *path, struct manifest_file *ret_file, char ret_why[256]);

#endif
