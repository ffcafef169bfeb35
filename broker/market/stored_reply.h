/* stored_reply.h - the first answer of a POST, kept sealed so that a retry gets the same one.
 *
 * pure apart from the statement. Sealed because answers may hold secrets that are shown once.
 */
#ifndef UNDERCUT_MARKET_STORED_REPLY_H
#define UNDERCUT_MARKET_STORED_REPLY_H

#include "broker/base/seal.h"
#include "gen/broker/market/stored_reply.sql.h"

enum stored_reply_match {
    STORED_REPLY_SAME = 1, /* the text was appended */
    STORED_REPLY_OTHER,    /* the key came with another body */
    STORED_REPLY_BROKEN,   /* not sealed by our key */
};

/* Compares the bodies' hashes and opens the stored text. */
enum stored_reply_match stored_reply_open(const struct stored_reply_find_out *row,
                                          const struct seal_key *key, struct str body_sha256,
                                          struct buf *to);

#endif
