/* keyfile.h - secrets in files of their own (mode 0600), made at the first start.
 *
 * start-up only. Several processes may start at once on the same files: exactly one makes each.
 */
#ifndef UNDERCUT_KEYFILE_H
#define UNDERCUT_KEYFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/must.h"
#include "broker/base/str.h"

#define KEYFILE_MAX 16384

/* Appends the file's text to `ret`; a missing file is first written with what `make` gives. */
MUST_USE bool keyfile_load(const char *path, void (*make)(struct buf *to), struct buf *ret,
                           char *ret_why, size_t why_size);
/* 32 random bytes as hex and a newline: for keyfile_load(). */
void keyfile_make_seed(struct buf *to);
/* The seed of such a file. */
MUST_USE bool keyfile_load_seed(const char *path, uint8_t ret[32], char *ret_why, size_t why_size);

#endif
