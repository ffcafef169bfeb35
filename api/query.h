/* query.h - what stands in a request's target: percent-decoding, and query strings into structs.
 *
 * pure; memory from the binding's allocator.
 */
#ifndef UNDERCUT_API_QUERY_H
#define UNDERCUT_API_QUERY_H

#include "api/schema.h"

enum query_part { QUERY_PATH = 1, QUERY_VALUE }; /* in a value, "+" is a blank */

/* False for a bad escape, an encoded NUL, or what is not UTF-8. */
MUST_USE bool query_decode(struct schema_binding *binding, enum query_part part, struct str text,
                           struct str *ret);
/* "a=1&b=x" into the struct of `schema`; unknown and repeated names are refused. */
bool query_bind(struct schema_binding *binding, const struct schema *schema, struct str query,
                void *ret);

#endif
