/* runner_engine.c - leases as containers of Podman or Docker.
 *
 * The happy path is: find or pull the image, make the container, attach to its output, start it,
 * then sleep in poll() on three descriptors: the process (a pidfd, which fires the moment it ends,
 * even when the engine's monitor was killed), its output, and the wake-up. Failure modes are: an
 * engine that goes away (the container runs on; looks say unknown until it is back, and the missing
 * output is marked), a process that cannot be watched directly (then the engine is asked each
 * second), and an exit code that the engine never learns.
 */
#include "nodeagent/runner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "broker/base/clock.h"
#include "broker/base/log.h"
#include "nodeagent/attach.h"
#include "nodeagent/cgroup.h"
#include "nodeagent/container.h"

#define CHUNK_SIZE     65536
#define DRAIN_MS       2000  /* for output that is still on its way when the process has ended */
#define EXIT_CODE_MS   10000 /* for the engine to notice the end that we saw */
#define REATTACH_MS    2000
#define REATTACHES_MAX 30
#define ASK_MS         500 /* how often, when the process cannot be watched directly */
#define KILLED_CODE    137

struct engine_run {
    struct run run;
    struct engine *engine;
    atomic_bool is_fetching;
    int wake_fd;
    int output_fd; /* -1: not attached */
    int pid_fd;    /* -1: ask the engine instead */
    pid_t pid;
    struct attach_parser parser;
    int64_t reattach_mono_ms; /* not before */
    int64_t asked_mono_ms;    /* when the engine was last asked */
    int reattaches_count;
};

static struct engine_run *engine_run_of(struct run *run)
{
    return (struct engine_run *)run;
}

static void fail(struct run *run, const char *reason, const char *detail)
{
    run->reason = reason;
    (void)str_format(run->detail, sizeof(run->detail), "%s", detail);
}

static struct run *engine_run_open(const struct runner *runner, const struct run_key *key)
{
    struct engine_run *own = calloc(1, sizeof(*own));
    must(own);
    own->run.runner = runner;
    own->run.epoch = key->epoch;
    own->run.memory_mib = key->memory_mib;
    must(str_format(own->run.lease_id, sizeof(own->run.lease_id), "%s", key->lease_id));
    own->engine = engine_clone(runner->engine);
    own->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    must(own->wake_fd >= 0);
    own->output_fd = -1;
    own->pid_fd = -1;
    return &own->run;
}

static void fd_drop(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void engine_run_close(struct run *run)
{
    struct engine_run *own = engine_run_of(run);
    fd_drop(&own->output_fd);
    fd_drop(&own->pid_fd);
    fd_drop(&own->wake_fd);
    engine_close(own->engine);
    if (run->logs)
        log_stream_close(run->logs);
    free(own);
}

static enum run_outcome engine_run_fetch(struct run *run, const struct run_plan *plan)
{
    struct engine_run *own = engine_run_of(run);
    char why[ENGINE_WHY_SIZE];
    struct str reference = json_str(desired_lease_manifest(plan->order), "image");
    own->is_fetching = true;
    enum image_outcome outcome =
        engine_image_get(own->engine, reference.at ? reference : STR(""),
                         json_object_get(plan->order->json, "registry_auth"), run->image_id, why);
    own->is_fetching = false;
    switch (outcome) {
    case IMAGE_PRESENT:
        return RUN_DONE;
    case IMAGE_NOT_FOUND:
        fail(run, "image_not_found", why);
        return RUN_FAILED;
    case IMAGE_PULL_FAILED:
        fail(run, "image_pull_failed", why);
        return RUN_FAILED;
    case IMAGE_UNREACHABLE:
        fail(run, "agent_refused", "the container engine on this machine does not answer");
        return RUN_FAILED;
    case IMAGE_CUT:
        return RUN_CUT;
    }
    must_not_reach();
}

/* An engine that cannot place the container in our cgroup still runs it, with less to measure. */
static enum run_outcome engine_run_create(struct run *run, const struct run_plan *plan)
{
    struct engine_run *own = engine_run_of(run);
    char name[CONTAINER_NAME_SIZE];
    char why[ENGINE_WHY_SIZE] = "";
    container_name(run->lease_id, run->epoch, name);
    enum engine_outcome outcome = ENGINE_REFUSED;
    for (int attempt = 0; attempt < 3 && outcome != ENGINE_OK; attempt++) {
        struct container_spec spec = {
            .flavour = engine_facts(own->engine)->flavour,
            .node_id = run->runner->node_id,
            .order = plan->order,
            .image_id = run->image_id,
            .devices = plan->devices,
            .devices_count = plan->devices_count,
            .has_cgroup_parent = !strstr(why, "cgroup"),
        };
        struct buf body = {0};
        container_body(&spec, &body);
        outcome =
            engine_container_create(own->engine, name, buf_str(&body), run->container_id, why);
        buf_finish(&body);
        /* A leftover of a try that was killed between making and noting it; it never ran, else it
         * would have been adopted. */
        if (outcome != ENGINE_OK && engine_container_remove(own->engine, name) != ENGINE_OK)
            break;
    }
    if (outcome == ENGINE_OK)
        return RUN_DONE;
    bool is_mistake = engine_blames_author(outcome, why);
    fail(run, is_mistake ? "command_failed" : "container_create_failed", why);
    return RUN_FAILED;
}

/* A pid may be used again; the cgroup path, which holds the container's id, tells whose it is. */
static bool pid_is_of(pid_t pid, const char *container_id)
{
    char path[64];
    char text[8192];
    must(str_format(path, sizeof(path), "/proc/%d/cgroup", (int)pid));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return strstr(text, container_id) != NULL;
}

static void pid_watch(struct engine_run *own, pid_t pid)
{
    own->pid = pid;
    own->pid_fd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    if (own->pid_fd >= 0 && !pid_is_of(pid, own->run.container_id))
        fd_drop(&own->pid_fd);
}

static void output_attach(struct engine_run *own)
{
    own->parser = (struct attach_parser){0};
    own->output_fd = attach_open(engine_facts(own->engine)->socket_path, own->run.container_id);
}

/* Podman finds out at attaching that a command cannot run, and says why again at the start. */
static enum run_outcome engine_run_start(struct run *run)
{
    struct engine_run *own = engine_run_of(run);
    char why[ENGINE_WHY_SIZE] = "the engine does not hand out the container's output";
    struct container_state state = {0};
    output_attach(own);
    enum engine_outcome outcome = engine_container_start(own->engine, run->container_id, why);
    if (outcome != ENGINE_OK || own->output_fd < 0) {
        bool is_refused = engine_blames_author(outcome, why);
        fail(run, is_refused ? "command_failed" : "container_create_failed", why);
        return RUN_FAILED;
    }
    if (engine_container_inspect(own->engine, run->container_id, &state) == ENGINE_OK)
        pid_watch(own, state.pid);
    return RUN_DONE;
}

static void state_take(struct run *run, const struct container_state *state)
{
    run->ended.is_code_known = true;
    run->ended.exit_code = state->exit_code;
    run->ended.ended_wall_us = state->finished_at_us;
    run->ended.is_oom = state->is_oom || (state->exit_code == KILLED_CODE && run->memory_mib > 0 &&
                                          cgroup_hit_memory_limit(CGROUP_ROOT, run->lease_id,
                                                                  run->memory_mib << 20));
}

static enum run_sight ask_engine(struct engine_run *own, struct container_state *ret_state)
{
    enum engine_outcome outcome =
        engine_container_inspect(own->engine, own->run.container_id, ret_state);
    if (outcome == ENGINE_NO_SUCH)
        return RUN_GONE;
    if (outcome != ENGINE_OK)
        return RUN_UNKNOWN;
    return ret_state->is_running ? RUN_RUNS : RUN_ENDED;
}

static enum run_sight engine_run_adopt(struct run *run, const char *container_id)
{
    struct engine_run *own = engine_run_of(run);
    struct container_state state = {0};
    must(str_format(run->container_id, sizeof(run->container_id), "%s", container_id));
    enum run_sight sight = ask_engine(own, &state);
    if (sight == RUN_RUNS || sight == RUN_ENDED)
        must(str_format(run->image_id, sizeof(run->image_id), "%s", state.image_id));
    if (sight == RUN_ENDED && state.is_created)
        return RUN_GONE; /* made and never started: as good as not there */
    if (sight == RUN_ENDED)
        state_take(run, &state);
    if (sight == RUN_RUNS) {
        static const char gap[] = "output while the agent was restarted is missing here";
        log_stream_add(run->logs, LOG_GAP, gap, sizeof(gap) - 1);
        output_attach(own);
        pid_watch(own, state.pid);
    }
    return sight;
}

static void output_take(void *arg, enum attach_stream stream, const char *bytes, size_t len)
{
    struct engine_run *own = arg;
    log_stream_add(own->run.logs, stream == ATTACH_ERR ? LOG_ERR : LOG_OUT, bytes, len);
}

/* One read; false at the end of the output. */
static bool output_read(struct engine_run *own)
{
    char chunk[CHUNK_SIZE];
    ssize_t n = recv(own->output_fd, chunk, sizeof(chunk), MSG_DONTWAIT);
    if (n > 0)
        attach_feed(&own->parser, chunk, (size_t)n, output_take, own);
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return true;
    fd_drop(&own->output_fd);
    own->reattach_mono_ms = clock_mono_ms() + REATTACH_MS;
    return false;
}

static void output_drain(struct engine_run *own)
{
    int64_t until_mono_ms = clock_mono_ms() + DRAIN_MS;
    while (own->output_fd >= 0) {
        struct pollfd output = {.fd = own->output_fd, .events = POLLIN};
        int64_t left_ms = until_mono_ms - clock_mono_ms();
        if (left_ms <= 0 || (poll(&output, 1, (int)left_ms) > 0 && !output_read(own)))
            return;
    }
}

/* The process is gone; the engine learns of it a moment later, and keeps the exit code. */
static enum run_sight end_learn(struct engine_run *own, int64_t ended_mono_ms)
{
    int64_t until_mono_ms = clock_mono_ms() + EXIT_CODE_MS;
    struct container_state state;
    enum run_sight sight;
    output_drain(own);
    while ((sight = ask_engine(own, &state)) == RUN_RUNS && clock_mono_ms() < until_mono_ms)
        (void)poll(NULL, 0, 50);
    if (sight == RUN_UNKNOWN)
        return RUN_UNKNOWN;
    own->run.ended = (struct run_ended){0};
    if (sight == RUN_ENDED)
        state_take(&own->run, &state);
    own->run.ended.ended_mono_ms = ended_mono_ms;
    return RUN_ENDED;
}

static void reattach(struct engine_run *own)
{
    bool is_due = own->output_fd < 0 && own->reattaches_count < REATTACHES_MAX &&
                  clock_mono_ms() >= own->reattach_mono_ms;
    if (!is_due)
        return;
    output_attach(own);
    own->reattach_mono_ms = clock_mono_ms() + REATTACH_MS;
    if (own->output_fd < 0)
        return;
    static const char gap[] = "output is missing here: the engine let go of the container";
    own->reattaches_count++;
    log_stream_add(own->run.logs, LOG_GAP, gap, sizeof(gap) - 1);
}

static enum run_sight engine_run_look(struct run *run, int64_t timeout_ms)
{
    struct engine_run *own = engine_run_of(run);
    reattach(own);
    struct pollfd fds[] = {
        {.fd = own->wake_fd, .events = POLLIN},
        {.fd = own->pid_fd, .events = POLLIN}, /* -1 is skipped */
        {.fd = own->output_fd, .events = POLLIN},
    };
    (void)poll(fds, ARRAY_COUNT(fds), (int)timeout_ms);
    eventfd_t count;
    if (fds[0].revents)
        (void)eventfd_read(own->wake_fd, &count);
    if (fds[1].revents)
        return end_learn(own, clock_mono_ms());
    bool is_output_over = fds[2].revents && !output_read(own);
    if (own->pid_fd >= 0)
        return RUN_RUNS;
    if (!is_output_over && clock_mono_ms() < own->asked_mono_ms + ASK_MS)
        return RUN_UNKNOWN;

    struct container_state state = {0};
    own->asked_mono_ms = clock_mono_ms();
    enum run_sight sight = ask_engine(own, &state);
    if (sight == RUN_RUNS && state.pid != own->pid)
        pid_watch(own, state.pid);
    if (sight == RUN_ENDED) {
        output_drain(own);
        state_take(run, &state);
    }
    return sight;
}

static void engine_run_signal(struct run *run, const char *name)
{
    struct engine_run *own = engine_run_of(run);
    if (engine_container_kill(own->engine, run->container_id, name) != ENGINE_OK)
        log_event(LOG_WARN, "signal_failed", "lease=%s signal=%s", run->lease_id, name);
}

static void engine_run_remove(struct run *run)
{
    struct engine_run *own = engine_run_of(run);
    if (run->container_id[0] &&
        engine_container_remove(own->engine, run->container_id) != ENGINE_OK)
        log_event(LOG_WARN, "container_remove_failed", "lease=%s", run->lease_id);
    cgroup_remove(CGROUP_ROOT, run->lease_id);
}

static void engine_run_wake(struct run *run)
{
    struct engine_run *own = engine_run_of(run);
    (void)eventfd_write(own->wake_fd, 1);
    if (own->is_fetching)
        engine_cut(own->engine);
}

static struct prober *engine_run_probe(struct run *run, struct probe *probe)
{
    struct engine_run *own = engine_run_of(run);
    return prober_start(probe, own->engine, run->container_id, own->pid, own->wake_fd);
}

static bool engine_runner_list(const struct runner *runner, struct container_found **ret_found,
                               size_t *ret_count)
{
    struct engine *engine = engine_clone(runner->engine);
    bool is_listed =
        engine_container_list(engine, runner->node_id, ret_found, ret_count) == ENGINE_OK;
    engine_close(engine);
    return is_listed;
}

struct runner runner_engine(const struct engine *engine, const char *node_id)
{
    return (struct runner){
        .name = "engine",
        .engine = engine,
        .node_id = node_id,
        .open = engine_run_open,
        .fetch = engine_run_fetch,
        .create = engine_run_create,
        .start = engine_run_start,
        .adopt = engine_run_adopt,
        .look = engine_run_look,
        .signal = engine_run_signal,
        .remove = engine_run_remove,
        .wake = engine_run_wake,
        .probe = engine_run_probe,
        .close = engine_run_close,
        .list = engine_runner_list,
    };
}
