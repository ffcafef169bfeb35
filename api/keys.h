/* keys.h - how an API key is shown. */
#ifndef UNDERCUT_API_KEYS_H
#define UNDERCUT_API_KEYS_H

#include <stdint.h>

#include "broker/base/json.h"

/* {"scopes": [...]} of a set of bits. */
void scopes_put(struct json_out *out, const char *key, uint32_t scopes);

#endif
