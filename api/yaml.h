/* yaml.h - one strict YAML document as a JSON value (libyaml underneath).
 *
 * pure apart from malloc. YAML 1.2 core schema for plain scalars ("no" and "on" are words, 010 is
 * ten). Refused: anchors, aliases, tags, merge keys, duplicate or non-scalar keys, several
 * documents, depth over JSON_DEPTH_MAX, integers beyond int64, text that is not UTF-8. So a
 * document can never be larger in memory than it is on the wire.
 */
#ifndef UNDERCUT_API_YAML_H
#define UNDERCUT_API_YAML_H

#include "broker/base/json.h"

/* NULL on a bad text; `ret_why` then says what and where. Caller decrefs. */
MUST_USE json_t *yaml_to_json(struct str text, char *ret_why, size_t why_size);

#endif
