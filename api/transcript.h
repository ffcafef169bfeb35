/* transcript.h - how the log's answers write hashes.
 *
 * loop thread.
 */
#ifndef UNDERCUT_API_TRANSCRIPT_H
#define UNDERCUT_API_TRANSCRIPT_H

#include "broker/base/json.h"
#include "broker/base/merkle.h"

/* 32 bytes, in hex. */
void sha256_put(struct json_out *out, const char *key_or_null, struct str bytes);
void merkle_proof_put(struct json_out *out, const char *key_or_null,
                      const struct merkle_proof *proof);

#endif
