/* attach.h - the live output of a container: a hijacked engine connection and its frames.
 *
 * Attaching before the start loses nothing on either engine; following the log does (Podman 4.3.1).
 * A frame is {u8 stream, 0, 0, 0, u32be length} and so many bytes; frames are not lines. The parser
 * is pure and keeps its place between feeds.
 */
#ifndef UNDERCUT_NODEAGENT_ATTACH_H
#define UNDERCUT_NODEAGENT_ATTACH_H

#include <stddef.h>
#include <stdint.h>

#include "broker/base/must.h"

enum attach_stream { ATTACH_OUT = 1, ATTACH_ERR = 2 };

struct attach_parser {
    uint8_t head[8];
    size_t head_len;
    size_t payload_left;
};

typedef void attach_take(void *arg, enum attach_stream stream, const char *bytes, size_t len);

/* The connected socket, or -1. */
MUST_USE int attach_open(const char *socket_path, const char *container_id);
void attach_feed(struct attach_parser *parser, const char *bytes, size_t len, attach_take *take,
                 void *arg);

#endif
