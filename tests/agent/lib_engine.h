/* lib_engine.h - a stand-in container engine: answers a unix socket from a script.
 *
 * Each row says which request gets which answer; the first row that fits counts. Requests are
 * noted, so that a test can read what was sent.
 */
#ifndef UNDERCUT_TESTS_AGENT_LIB_ENGINE_H
#define UNDERCUT_TESTS_AGENT_LIB_ENGINE_H

#include <stddef.h>

struct engine_row {
    const char *request; /* begins with: "GET /v1.41/version" */
    int status;
    const char *body;
};

struct fake_engine;

struct fake_engine *fake_engine_start(const struct engine_row *rows, size_t count);
void fake_engine_stop(struct fake_engine *engine);
const char *fake_engine_url(const struct fake_engine *engine);
/* Everything that was asked so far, request lines and bodies; valid until the next request. */
const char *fake_engine_asked(struct fake_engine *engine);

#endif
