/* journal.h - a small durable map from key to JSON text, on one append-only file.
 *
 * Not thread-safe: the roster's lock guards it. A line is "<checksum> <key> <json>"; the last line
 * of a key counts, "null" drops it. Opening reads up to the first line that is torn or wrong (a
 * kill or a power cut in mid-write), keeps what came before, and rewrites the file without the dead
 * lines. What journal_sync() has returned for is still there after kill -9, and after a power cut
 * too with JOURNAL_DURABLE.
 */
#ifndef UNDERCUT_NODEAGENT_JOURNAL_H
#define UNDERCUT_NODEAGENT_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "broker/base/must.h"
#include "broker/base/str.h"

enum journal_mode {
    JOURNAL_DURABLE = 1, /* fsync */
    JOURNAL_RELAXED,     /* no fsync: simulated nodes, hundreds on one disk */
    JOURNAL_READ_ONLY,   /* a look from outside, while an agent may be writing */
};

struct journal;

/* NULL when the file cannot be read or written; `ret_why` says why. */
struct journal *journal_open(const char *path, enum journal_mode mode, char ret_why[256]);
void journal_close(struct journal *journal); /* NULL is fine */

/* `key` has no blanks. A put lands with the next sync; a failing disk aborts the agent, because
 * going on without a memory could pay or run twice. */
void journal_put(struct journal *journal, const char *key, struct str json);
void journal_drop(struct journal *journal, const char *key);
void journal_sync(struct journal *journal);

struct str journal_get(const struct journal *journal, const char *key); /* none when absent */
/* Walks the live keys; returns false behind the last. Slices live until the next put or drop. */
bool journal_each(const struct journal *journal, size_t at, struct str *ret_key,
                  struct str *ret_json);

#endif
