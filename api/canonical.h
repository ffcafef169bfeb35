/* canonical.h - do two manifests say the same?
 *
 * pure apart from malloc. A default that is written out is the same as one that is left out, and so
 * are an empty list or map and none; the order of keys does not matter. The defaults are the
 * schema's.
 */
#ifndef UNDERCUT_API_CANONICAL_H
#define UNDERCUT_API_CANONICAL_H

#include <stdbool.h>

#include "broker/base/json.h"

/* Apart from their names and from what may change in place: reserve, labels, budget, max_duration.
 */
bool manifest_is_same_work(const json_t *left, const json_t *right);

#endif
