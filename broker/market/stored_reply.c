#include "broker/market/stored_reply.h"

enum stored_reply_match stored_reply_open(const struct stored_reply_find_out *row,
                                          const struct seal_key *key, struct str body_sha256,
                                          struct buf *to)
{
    if (!str_equal(row->body_sha256, body_sha256))
        return STORED_REPLY_OTHER;
    return seal_open(key, row->response_sealed, to) ? STORED_REPLY_SAME : STORED_REPLY_BROKEN;
}
