/* transcript.h - a transcript on its way: from a broker, to and from a folder.
 *
 * main thread. The folder holds the API's answers: heads.json, consistency.json, anchors.json,
 * leaves.json, published.json, leases.json, rounds/<number>.json and promises/<any name>.json. The
 * last are put there by whoever was promised something: the `promise` of an answer, or all of it.
 */
#ifndef UNDERCUT_CLI_TRANSCRIPT_H
#define UNDERCUT_CLI_TRANSCRIPT_H

#include "cli/cli.h"
#include "cli/verify.h"

struct transcript_range {
    int64_t from, to; /* rounds; 0: not said */
};

void transcript_start(struct verify_docs *docs); /* empty lists */
void transcript_finish(struct verify_docs *docs);

/* Adds what the folder holds; what is not there stays empty. False: a file cannot be read or is no
 * JSON, and that was said on stderr. */
MUST_USE bool transcript_read(const char *dir, struct verify_docs *docs);
/* Adds a head that somebody else was given, among the others by its size. */
MUST_USE bool transcript_read_head(const char *path, struct verify_docs *docs);
/* Replaces what the folder holds, but for the promises. */
MUST_USE bool transcript_write(const char *dir, const struct verify_docs *docs);
/* Fetches the newest head behind those in `docs`, proofs that each is the beginning of the next,
 * and everything about the rounds; without a range, of the last leaves. An exit code. */
MUST_USE int transcript_fetch(const struct cli *cli, const struct transcript_range *range,
                              struct verify_docs *docs);

#endif
