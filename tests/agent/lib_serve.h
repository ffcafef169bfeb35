/* lib_serve.h - a small HTTP/1.1 server for stand-ins: a thread per connection on a free port. */
#ifndef UNDERCUT_TESTS_AGENT_LIB_SERVE_H
#define UNDERCUT_TESTS_AGENT_LIB_SERVE_H

#include <stdbool.h>

#include "broker/base/str.h"

struct request {
    char path[256];
    char boot[64];
    char seq[32];
    char signature[128];
    struct str body;
};

/* Answers one request on `fd`, in the connection's thread; false: hang up. */
typedef bool serve_answer(void *arg, int fd, const struct request *request);

struct serve;

struct serve *serve_start(serve_answer *answer, void *arg);
/* Waits for all connections; `answer` must return soon when the test asks it to end. */
void serve_stop(struct serve *serve);
int serve_port(const struct serve *serve);

#endif
