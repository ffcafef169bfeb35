/* id.h - UUIDv7 (RFC 9562) ids, one C type per entity, shown as prefixed Crockford base32.
 *
 * any thread. "wl_01jd3k..." is a prefix, an underscore and 26 characters (130 bits, top two zero).
 * Ids sort by time of creation, so they serve as keyset cursors.
 */
#ifndef UNDERCUT_BASE_ID_H
#define UNDERCUT_BASE_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/must.h"
#include "broker/base/str.h"

struct uuid {
    uint8_t bytes[16];
};

/* Two ids of different entities must not compile when swapped. */
#define ID_TYPES(X)       \
    X(account_id, "acct") \
    X(api_key_id, "key")  \
    X(workload_id, "wl")  \
    X(replica_id, "rep")  \
    X(lease_id, "lse")    \
    X(node_id, "node")    \
    X(device_id, "dev")   \
    X(request_id, "req")  \
    X(token_id, "tok")

#define ID_TEXT_SIZE 40 /* prefix <= 8, '_', 26 characters, NUL, rounded up */

#define ID_DECLARE(type, prefix)                                     \
    struct type {                                                    \
        struct uuid u;                                               \
    };                                                               \
    struct type type##_new(void);                                    \
    const char *type##_text(struct type id, char buf[ID_TEXT_SIZE]); \
    MUST_USE bool type##_parse(struct str text, struct type *ret_id);
ID_TYPES(ID_DECLARE)
#undef ID_DECLARE

struct uuid uuid_v7(void);
bool uuid_equal(struct uuid a, struct uuid b);
bool uuid_is_nil(struct uuid a);
/* Plain 36-character form, for logs of SQL values. */
const char *uuid_text(struct uuid id, char buf[ID_TEXT_SIZE]);
MUST_USE bool uuid_parse(struct str text, struct uuid *ret_id);
/* Prefixed form by prefix, for table-driven code (generated emitters and parsers). */
const char *uuid_prefixed(struct uuid id, const char *prefix, char buf[ID_TEXT_SIZE]);
MUST_USE bool uuid_parse_prefixed(struct str text, const char *prefix, struct uuid *ret_id);

#endif
