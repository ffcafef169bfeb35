/* engine.h - the container engine on this machine: Docker Engine API v1.41 over its unix socket.
 *
 * A handle belongs to one thread (only engine_cut() may come from another). Two flavours, Podman
 * and Docker, are told apart by GET /version; their differences end here and in container.c. Errors
 * carry the engine's own sentence, for the operator's log and the lease's detail. Source:
 * docs.docker.com/engine/api/v1.41, and measurements on Podman 4.3.1 and Docker 20.10.
 */
#ifndef UNDERCUT_NODEAGENT_ENGINE_H
#define UNDERCUT_NODEAGENT_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "broker/base/json.h"
#include "broker/base/must.h"
#include "broker/base/str.h"

#define ENGINE_WHY_SIZE   256
#define CONTAINER_ID_SIZE 80
#define IMAGE_ID_SIZE     80

enum engine_flavour { ENGINE_PODMAN = 1, ENGINE_DOCKER };

struct engine_facts {
    char socket_path[108];
    enum engine_flavour flavour;
    char version[32];
    char isolation[32]; /* the OCI runtime: runc, crun, runsc */
};

struct engine; /* one thread's connection to it */

enum engine_outcome {
    ENGINE_OK = 1,
    ENGINE_NO_SUCH,     /* 404: no such container, or no such image */
    ENGINE_CONFLICT,    /* 409: the name is taken, or the state does not allow it */
    ENGINE_REFUSED,     /* any other answer but success */
    ENGINE_UNREACHABLE, /* no answer */
    ENGINE_CUT,         /* engine_cut() ended the call */
};

enum image_outcome {
    IMAGE_PRESENT = 1,
    IMAGE_NOT_FOUND,
    IMAGE_PULL_FAILED,
    IMAGE_UNREACHABLE, /* the engine does not answer */
    IMAGE_CUT,
};

struct container_state {
    bool is_running;
    bool is_created; /* made but never started */
    bool is_oom;     /* as the engine says; Podman on cgroup v1 always says no */
    int exit_code;
    pid_t pid;              /* 0 when not running */
    int64_t started_at_us;  /* 0 when never */
    int64_t finished_at_us; /* 0 while running */
    char image_id[IMAGE_ID_SIZE];
};

struct container_found { /* a container that carries our label */
    char id[CONTAINER_ID_SIZE];
    char lease_id[48];
    int64_t epoch;
};

/* NULL when `url` (unix:///path) is not understood or nobody answers; `ret_why` then says which. */
struct engine *engine_open(const char *url, char ret_why[ENGINE_WHY_SIZE]);
struct engine *engine_clone(const struct engine *engine); /* for another thread */
void engine_close(struct engine *engine);                 /* NULL is fine */
const struct engine_facts *engine_facts(const struct engine *engine);
const char *engine_flavour_name(enum engine_flavour flavour);
void engine_cut(struct engine *engine); /* any thread: the running or next pull ends */

/* Finds `reference` in the engine's store, else pulls it. `ret_id` is its config digest, the one
 * name of an image on which both engines agree. */
MUST_USE enum image_outcome engine_image_get(struct engine *engine, struct str reference,
                                             const json_t *registry_auth_or_null,
                                             char ret_id[IMAGE_ID_SIZE],
                                             char ret_why[ENGINE_WHY_SIZE]);

MUST_USE enum engine_outcome engine_container_create(struct engine *engine, const char *name,
                                                     struct str body,
                                                     char ret_id[CONTAINER_ID_SIZE],
                                                     char ret_why[ENGINE_WHY_SIZE]);
MUST_USE enum engine_outcome engine_container_start(struct engine *engine, const char *id,
                                                    char ret_why[ENGINE_WHY_SIZE]);
MUST_USE enum engine_outcome engine_container_inspect(struct engine *engine, const char *id,
                                                      struct container_state *ret_state);
/* `signal` is "SIGTERM" or "SIGKILL". Not running any more counts as OK. */
MUST_USE enum engine_outcome engine_container_kill(struct engine *engine, const char *id,
                                                   const char *signal);
/* Running or not; gone already counts as OK. */
MUST_USE enum engine_outcome engine_container_remove(struct engine *engine, const char *id);
/* All containers of `node_id`, running or not. The caller frees `ret_found`. */
MUST_USE enum engine_outcome engine_container_list(struct engine *engine, const char *node_id,
                                                   struct container_found **ret_found,
                                                   size_t *ret_count);
/* Runs a command inside and waits for its exit code, at most `timeout_ms`. */
MUST_USE enum engine_outcome engine_exec(struct engine *engine, const char *id,
                                         const json_t *command, int64_t timeout_ms,
                                         int *ret_exit_code);
/* Pure helpers, open for tests. */
int64_t engine_time_parse(struct str rfc3339); /* us; 0 for the engines' "never" and for nonsense */
/* Was a container refused for what its author wrote, which no machine can run: a command, user or
 * working directory that the image lacks, or no command at all? An absent engine, 404 and 409
 * never say so. Beyond that words are all there is: Podman answers every refusal with 500, leaves
 * the exit code at 0 and calls each missing file the same cause, be it the tenant's command or a
 * device of ours; Docker's 400 is its own reading of the same words, and counts our mounts too. */
bool engine_blames_author(enum engine_outcome outcome, const char *why);
/* The last line of a pull's answer decides; IMAGE_PRESENT when it holds no error. */
enum image_outcome engine_pull_verdict(struct str answer, char ret_why[ENGINE_WHY_SIZE]);

#endif
