/* runner_simulated.c - a runner without containers, for benches with many nodes on one machine.
 *
 * The happy path is: a pretended pull, then time passing. UNDERCUT_SIM_RUN_S in the manifest's env
 * (or its max_duration_s, or a minute) says how long, divided by the time scale; UNDERCUT_SIM_EXIT
 * says with which code. Healthy time is real time all the same: only the work is pretended. Failure
 * modes are: a stop (ends it at once, as a well-behaved program would), and the end of the agent's
 * process, which ends every simulated run with it.
 */
#include "nodeagent/runner.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "broker/base/clock.h"
#include "broker/base/hash.h"

#define PULL_MS 50
#define RUN_S   60

struct simulated_run {
    struct run run;
    int wake_fd;
    int64_t run_ms;
    int exit_code;
    int64_t ends_mono_ms; /* 0: not started */
};

static struct simulated_run *simulated_run_of(struct run *run)
{
    return (struct simulated_run *)run;
}

static struct run *simulated_run_open(const struct runner *runner, const struct run_key *key)
{
    struct simulated_run *own = calloc(1, sizeof(*own));
    must(own);
    own->run.runner = runner;
    own->run.epoch = key->epoch;
    must(str_format(own->run.lease_id, sizeof(own->run.lease_id), "%s", key->lease_id));
    own->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    must(own->wake_fd >= 0);
    return &own->run;
}

static void simulated_run_close(struct run *run)
{
    struct simulated_run *own = simulated_run_of(run);
    close(own->wake_fd);
    if (run->logs)
        log_stream_close(run->logs);
    free(own);
}

static bool is_woken(struct simulated_run *own, int64_t timeout_ms)
{
    struct pollfd wake = {.fd = own->wake_fd, .events = POLLIN};
    eventfd_t count;
    if (poll(&wake, 1, (int)timeout_ms) <= 0)
        return false;
    (void)eventfd_read(own->wake_fd, &count);
    return true;
}

static int64_t env_number(const json_t *manifest, const char *name, int64_t otherwise)
{
    struct str text = json_str(json_object_get(manifest, "env"), name);
    int64_t number;
    return str_to_i64(text, &number) && number >= 0 ? number : otherwise;
}

static enum run_outcome simulated_run_fetch(struct run *run, const struct run_plan *plan)
{
    struct simulated_run *own = simulated_run_of(run);
    const json_t *manifest = desired_lease_manifest(plan->order);
    struct str image = json_str(manifest, "image");
    struct sha256 digest = sha256_of(image.at ? image.at : "", image.len);
    char hex[65];
    hex_encode(digest.bytes, sizeof(digest.bytes), hex);
    must(str_format(run->image_id, sizeof(run->image_id), "sha256:%s", hex));
    int64_t run_s =
        env_number(manifest, "UNDERCUT_SIM_RUN_S", json_i64(manifest, "max_duration_s", RUN_S));
    own->run_ms = run_s * 1000 / run->runner->time_scale;
    own->exit_code = (int)env_number(manifest, "UNDERCUT_SIM_EXIT", 0);
    return is_woken(own, PULL_MS) ? RUN_CUT : RUN_DONE;
}

static enum run_outcome simulated_run_create(struct run *run, const struct run_plan *plan)
{
    (void)plan;
    must(str_format(run->container_id, sizeof(run->container_id), "simulated-%s-%lld",
                    run->lease_id, (long long)run->epoch));
    return RUN_DONE;
}

static enum run_outcome simulated_run_start(struct run *run)
{
    static const char said[] = "simulated: no container runs behind this lease\n";
    struct simulated_run *own = simulated_run_of(run);
    own->ends_mono_ms = clock_mono_ms() + own->run_ms;
    log_stream_add(run->logs, LOG_OUT, said, sizeof(said) - 1);
    return RUN_DONE;
}

static enum run_sight simulated_run_adopt(struct run *run, const char *container_id)
{
    (void)run;
    (void)container_id;
    return RUN_GONE;
}

static enum run_sight simulated_run_look(struct run *run, int64_t timeout_ms)
{
    struct simulated_run *own = simulated_run_of(run);
    int64_t left_ms = own->ends_mono_ms - clock_mono_ms();
    if (left_ms > 0)
        (void)is_woken(own, left_ms < timeout_ms ? left_ms : timeout_ms);
    int64_t now_mono_ms = clock_mono_ms();
    if (own->ends_mono_ms > now_mono_ms)
        return RUN_RUNS;
    run->ended = (struct run_ended){
        .is_code_known = true, .exit_code = own->exit_code, .ended_mono_ms = own->ends_mono_ms};
    return RUN_ENDED;
}

static void simulated_run_signal(struct run *run, const char *name)
{
    struct simulated_run *own = simulated_run_of(run);
    if (strcmp(name, "SIGTERM") != 0 && strcmp(name, "SIGKILL") != 0)
        return; /* a well-behaved program goes on */
    own->ends_mono_ms = clock_mono_ms();
    own->exit_code = strcmp(name, "SIGKILL") == 0 ? 137 : 143;
}

static void simulated_run_remove(struct run *run)
{
    (void)run;
}

static void simulated_run_wake(struct run *run)
{
    (void)eventfd_write(simulated_run_of(run)->wake_fd, 1);
}

static bool simulated_runner_list(const struct runner *runner, struct container_found **ret_found,
                                  size_t *ret_count)
{
    (void)runner;
    *ret_found = NULL;
    *ret_count = 0;
    return true;
}

struct runner runner_simulated(const char *node_id, int64_t time_scale)
{
    return (struct runner){
        .name = "simulated",
        .is_simulated = true,
        .node_id = node_id,
        .time_scale = time_scale,
        .open = simulated_run_open,
        .fetch = simulated_run_fetch,
        .create = simulated_run_create,
        .start = simulated_run_start,
        .adopt = simulated_run_adopt,
        .look = simulated_run_look,
        .signal = simulated_run_signal,
        .remove = simulated_run_remove,
        .wake = simulated_run_wake,
        .close = simulated_run_close,
        .list = simulated_runner_list,
    };
}
