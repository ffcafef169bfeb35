/* desired.h - the answer to a sync: the whole state that a node shall be in.
 *
 * pure; reads rows of finished calls. The version is a hash over what an agent acts upon, so that
 * it can say "I have that" and be told only of changes.
 */
#ifndef UNDERCUT_API_DESIRED_H
#define UNDERCUT_API_DESIRED_H

#include "broker/base/hash.h"
#include "broker/base/json.h"
#include "broker/base/seal.h"
#include "broker/io/db.h"

struct desired_rows {
    const struct db_call *leases; /* node_lease_list */
    const struct db_call *asks;   /* ask_list_of_node */
    const struct db_call *open;   /* direct_open_list; NULL: it takes no bids */
};

struct sha256 desired_version(const struct desired_rows *rows);
/* {"asks": [...]}, {"leases": [...]} and {"direct_workloads": [...]} of the open object. False: a
 * secret cannot be opened. */
MUST_USE bool desired_put(struct json_out *out, const struct desired_rows *rows,
                          const struct seal_key *secret_key);

#endif
