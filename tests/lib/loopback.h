/* loopback.h - a raw client of a server on 127.0.0.1: sends bytes as they are, reads one answer.
 *
 * one thread. Nothing is corrected on the way, so that broken requests stay broken.
 */
#ifndef UNDERCUT_TESTS_LIB_LOOPBACK_H
#define UNDERCUT_TESTS_LIB_LOOPBACK_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/str.h"

struct answer {
    int status;       /* 0: none came */
    struct buf bytes; /* head and body */
    struct str head, body;
    bool is_whole; /* the body is as long as the head says, or ended with the connection */
};

int loopback_connect(int port); /* -1: refused */
bool loopback_send(int fd, struct str bytes);
/* Reads until the answer is whole, the peer closes, or `limit_ms` have gone by. */
struct answer loopback_read(int fd, bool is_head, int limit_ms);
/* Value of a header of the answer; STR_NONE when absent. */
struct str loopback_header(const struct answer *answer, const char *name);
void loopback_finish(struct answer *answer);
/* True: the peer closes (or resets) within `limit_ms` without sending more. */
bool loopback_closes(int fd, int limit_ms);
/* connect, send, read, close. */
struct answer loopback_ask(int port, const char *request, int limit_ms);

#endif
