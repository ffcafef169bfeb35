/* identity.h - who this node is: its key from installation, and what enrolment gave it.
 *
 * pure apart from files. `key.ed25519` (0600) is the secret seed, made once and before enrolment,
 * so that enrolling again after a lost answer gives the same node. `agent.json` (0600) is the rest.
 */
#ifndef UNDERCUT_NODEAGENT_IDENTITY_H
#define UNDERCUT_NODEAGENT_IDENTITY_H

#include <stdbool.h>

#include "broker/base/hash.h"
#include "broker/base/id.h"
#include "broker/base/str.h"

struct identity {
    struct ed25519_public public_key;
    struct ed25519_secret secret_key;
    bool is_enrolled; /* what follows is set */
    char node_id[ID_TEXT_SIZE];
    char account_id[ID_TEXT_SIZE];
    char region[64];
    char market[128];
    char url[256]; /* of the broker that it enrolled with */
    struct ed25519_public market_key;
};

/* Reads both files below `state_dir` (made, 0700, when absent); makes the key when there is none.
 */
MUST_USE bool identity_load(const char *state_dir, struct identity *ret_identity,
                            char ret_why[256]);
/* Takes the answer of the enrolment, and writes agent.json durably. */
MUST_USE bool identity_enrol(struct identity *io_identity, const char *state_dir, const char *url,
                             struct str answer, char ret_why[256]);

#endif
