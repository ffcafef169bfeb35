/* worker.c - one lease, step by step.
 *
 * The happy path is: fetch the image, make and start the container, wait until it is ready, watch
 * it while it runs, and when it has ended write down how, then remove it. Failure modes are: each
 * step's own reason; a stop at any moment (SIGTERM, grace, SIGKILL); an agent that is killed
 * anywhere in between (the journal and the container's labels tell the next one where to go on); an
 * engine that does not answer (nothing is counted until it does).
 */
#include "nodeagent/worker.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/clock.h"
#include "broker/base/log.h"

#define LOOK_MS            1000
#define FLUSH_MS           1000 /* the last output should be there before the end is told */
#define SAVE_MS            5000 /* how stale the journaled meter may get */
#define STACK_SIZE         (512 * 1024)
#define UNKNOWN_PAUSE_MS   200
#define NOTICE_SIGNAL_SIZE 16

struct worker {
    struct worker_tools tools;
    struct lease *lease;
    struct run *run;
    struct prober *prober;
    struct device devices[DEVICES_MAX];
    size_t devices_count;
    char container_id[CONTAINER_ID_SIZE]; /* to take up; empty: a fresh lease */
    pthread_t thread;
    atomic_bool is_ending;
    bool is_term_sent;
    bool is_kill_sent;
    int64_t kill_mono_ms;
};

static void *worker_main(void *arg);
static bool bring_up(struct worker *worker);
static bool take_up(struct worker *worker);
static void watch(struct worker *worker);
static void conclude(struct worker *worker, enum lease_event event);
static void probe_start(struct worker *worker);

struct worker *worker_start(const struct worker_tools *tools, struct lease *lease,
                            const struct device *devices, size_t devices_count,
                            const char *container_id_or_null)
{
    struct worker *worker = calloc(1, sizeof(*worker));
    must(worker && devices_count <= DEVICES_MAX);
    worker->tools = *tools;
    worker->lease = lease;
    worker->devices_count = devices_count;
    if (devices_count)
        memcpy(worker->devices, devices, devices_count * sizeof(*devices));
    if (container_id_or_null)
        must(str_format(worker->container_id, sizeof(worker->container_id), "%s",
                        container_id_or_null));
    struct run_key key = {
        .lease_id = lease->lease_id, .epoch = lease->epoch, .memory_mib = lease->memory_mib};
    worker->run = tools->runner->open(tools->runner, &key);
    worker->run->logs = log_stream_open(tools->logs, lease->lease_id, lease->epoch,
                                        container_id_or_null ? LOG_RESUMED : LOG_FRESH);
    lease->worker = worker;

    pthread_attr_t attr;
    must(pthread_attr_init(&attr) == 0);
    must(pthread_attr_setstacksize(&attr, STACK_SIZE) == 0);
    must(pthread_create(&worker->thread, &attr, worker_main, worker) == 0);
    pthread_attr_destroy(&attr);
    return worker;
}

void worker_wake(struct worker *worker)
{
    worker->tools.runner->wake(worker->run);
}

void worker_end(struct worker *worker)
{
    if (!worker)
        return;
    worker->is_ending = true;
    worker_wake(worker);
    pthread_join(worker->thread, NULL);
    worker->tools.runner->close(worker->run);
    free(worker);
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    bool is_up = worker->container_id[0] ? take_up(worker) : bring_up(worker);
    if (is_up)
        watch(worker);
    prober_stop(worker->prober);
    worker->prober = NULL;

    struct roster *roster = worker->tools.roster;
    roster_lock(roster);
    worker->lease->is_over = true;
    if (!worker->lease->is_listed && roster->wake)
        roster->wake(roster->wake_arg); /* it can be forgotten now */
    roster_unlock(roster);
    return NULL;
}

static bool step(struct worker *worker, enum lease_event event)
{
    roster_lock(worker->tools.roster);
    bool is_taken = roster_step(worker->tools.roster, worker->lease, event);
    roster_unlock(worker->tools.roster);
    return is_taken;
}

static bool is_stop_wanted(struct worker *worker)
{
    roster_lock(worker->tools.roster);
    bool is_wanted = worker->lease->is_stop_wanted;
    roster_unlock(worker->tools.roster);
    return is_wanted;
}

/* The road out of a start that came to nothing. */
static void give_up(struct worker *worker, enum lease_event event)
{
    struct lease *lease = worker->lease;
    const struct run *run = worker->run;
    bool is_stop = event == LEASE_STOP;
    log_stream_flush(worker->run->logs, FLUSH_MS);
    roster_lock(worker->tools.roster);
    if (is_stop)
        lease_set_end(lease, lease->stop_as[0] ? lease->stop_as : "stopped", STR("it never ran"));
    else
        lease_set_end(lease, run->reason, str_of(run->detail));
    must(roster_step(worker->tools.roster, lease, event));
    roster_unlock(worker->tools.roster);
    worker->tools.runner->remove(worker->run);
}

static void ids_save(struct worker *worker)
{
    struct lease *lease = worker->lease;
    roster_lock(worker->tools.roster);
    must(str_format(lease->container_id, sizeof(lease->container_id), "%s",
                    worker->run->container_id));
    must(str_format(lease->image_id, sizeof(lease->image_id), "%s", worker->run->image_id));
    must(str_format(lease->boot_id, sizeof(lease->boot_id), "%s", worker->tools.boot_id));
    roster_save(worker->tools.roster, lease);
    roster_unlock(worker->tools.roster);
}

/* True when the container runs and is to be watched. */
static bool bring_up(struct worker *worker)
{
    const struct runner *runner = worker->tools.runner;
    struct run_plan plan = {.order = &worker->lease->order,
                            .devices = worker->devices,
                            .devices_count = worker->devices_count};
    if (!step(worker, LEASE_BEGIN))
        return false;
    enum run_outcome outcome;
    do {
        outcome = runner->fetch(worker->run, &plan);
        if (worker->is_ending)
            return false;
    } while (outcome == RUN_CUT && !is_stop_wanted(worker));
    if (is_stop_wanted(worker)) {
        give_up(worker, LEASE_STOP);
        return false;
    }
    if (outcome != RUN_DONE) {
        give_up(worker, LEASE_IMAGE_FAILED);
        return false;
    }
    ids_save(worker);
    (void)step(worker, LEASE_IMAGE_READY);
    if (runner->create(worker->run, &plan) != RUN_DONE) {
        give_up(worker, LEASE_START_FAILED);
        return false;
    }
    ids_save(worker);
    if (runner->start(worker->run) != RUN_DONE) {
        give_up(worker, LEASE_START_FAILED);
        return false;
    }
    (void)step(worker, LEASE_STARTED);
    probe_start(worker);
    return true;
}

static bool take_up(struct worker *worker)
{
    enum run_sight sight;
    while ((sight = worker->tools.runner->adopt(worker->run, worker->container_id)) ==
           RUN_UNKNOWN) {
        if (worker->is_ending)
            return false;
        (void)worker->tools.runner->look(worker->run, UNKNOWN_PAUSE_MS);
    }
    struct lease *lease = worker->lease;
    /* The marks of another boot of this machine cannot be compared with today's clock. */
    if (strcmp(lease->boot_id, worker->tools.boot_id) != 0)
        lease->meter.is_counting = false;
    if (sight == RUN_GONE && lease->state == LEASE_CREATING) {
        worker->tools.runner->remove(worker->run);
        (void)step(worker, LEASE_RESTART);
        return false;
    }
    if (sight == RUN_GONE) {
        worker->run->ended = (struct run_ended){0};
        conclude(worker, LEASE_VANISH);
        return false;
    }
    ids_save(worker);
    if (sight == RUN_ENDED) {
        conclude(worker, LEASE_END);
        return false;
    }
    if (lease->state == LEASE_CREATING)
        (void)step(worker, LEASE_STARTED);
    log_event(LOG_INFO, "container_adopted", "lease=%s epoch=%lld container=%.12s", lease->lease_id,
              (long long)lease->epoch, worker->container_id);
    probe_start(worker);
    return true;
}

static void probe_start(struct worker *worker)
{
    struct probe probe;
    const struct runner *runner = worker->tools.runner;
    bool has_probe = runner->probe && worker->lease->readiness &&
                     probe_parse(str_of(worker->lease->readiness), &probe);
    if (has_probe)
        worker->prober = runner->probe(worker->run, &probe);
}

/* Marks the meter: the container was seen running just now. Once it was ready it counts, whatever
 * the probe says later: the answer is the tenant's own, and the machine is theirs in any case. */
static void observe(struct worker *worker)
{
    struct lease *lease = worker->lease;
    int64_t now_mono_ms = clock_mono_ms();
    bool is_counting = lease->state == LEASE_RUNNING;
    bool was_counting = lease->meter.is_counting;
    meter_observe(&lease->meter, is_counting, now_mono_ms, clock_now_us());
    bool is_due = now_mono_ms - lease->saved_mono_ms >= SAVE_MS;
    if (is_due || was_counting != is_counting)
        roster_save(worker->tools.roster, lease);
}

/* With the lock held: what readiness says moves the lease along. */
static void readiness_apply(struct worker *worker)
{
    struct lease *lease = worker->lease;
    struct probe_result result = {.is_passing = true};
    if (worker->prober)
        result = prober_read(worker->prober);
    if (result.is_passing && lease->state == LEASE_PROBING) {
        lease->was_ready = true;
        (void)roster_step(worker->tools.roster, lease, LEASE_READY);
    }
    if (result.has_given_up && lease->state == LEASE_PROBING) {
        (void)str_format(lease->stop_as, sizeof(lease->stop_as), "readiness_failed");
        (void)str_format(lease->detail, sizeof(lease->detail), "%s", result.why);
        (void)roster_step(worker->tools.roster, lease, LEASE_NEVER_READY);
    }
}

/* SIGTERM once, and SIGKILL when the grace is over. */
static void stop_drive(struct worker *worker, int64_t grace_ms)
{
    int64_t now_mono_ms = clock_mono_ms();
    if (!worker->is_term_sent) {
        worker->tools.runner->signal(worker->run, "SIGTERM");
        worker->is_term_sent = true;
        worker->kill_mono_ms = now_mono_ms + grace_ms;
    } else if (now_mono_ms >= worker->kill_mono_ms) {
        worker->tools.runner->signal(worker->run, "SIGKILL");
        worker->is_kill_sent = true;
        worker->kill_mono_ms = now_mono_ms + LOOK_MS; /* again, should the engine have been away */
    }
}

static int64_t look_ms(const struct worker *worker)
{
    if (!worker->is_term_sent)
        return LOOK_MS;
    int64_t left_ms = worker->kill_mono_ms - clock_mono_ms();
    return left_ms < 0 ? 0 : left_ms < LOOK_MS ? left_ms : LOOK_MS;
}

/* With the lock held: the signal that announces an interruption, once; "" for none. */
static void notice_take(struct worker *worker, char ret_signal[NOTICE_SIGNAL_SIZE])
{
    struct lease *lease = worker->lease;
    ret_signal[0] = '\0';
    bool is_due = lease->is_notice_wanted && !lease->was_noticed && lease->order.json;
    if (!is_due || (lease->state != LEASE_PROBING && lease->state != LEASE_RUNNING))
        return;
    lease->was_noticed = true;
    roster_save(worker->tools.roster, lease);
    struct str signal = desired_lease_notice_signal(&lease->order);
    if (signal.at)
        (void)str_format(ret_signal, NOTICE_SIGNAL_SIZE, "%.*s", STR_ARG(signal));
    log_event(LOG_INFO, "interruption_noticed", "lease=%s epoch=%lld signal=%s", lease->lease_id,
              (long long)lease->epoch, ret_signal[0] ? ret_signal : "none");
}

/* One turn after a look that saw the container run. */
static void tend(struct worker *worker)
{
    struct lease *lease = worker->lease;
    char notice_signal[NOTICE_SIGNAL_SIZE];
    roster_lock(worker->tools.roster);
    readiness_apply(worker);
    observe(worker);
    notice_take(worker, notice_signal);
    if (lease->is_stop_wanted && lease->state != LEASE_STOPPING) {
        if (!lease->stop_as[0])
            (void)str_format(lease->stop_as, sizeof(lease->stop_as), "stopped");
        lease->meter.is_counting = false;
        (void)roster_step(worker->tools.roster, lease, LEASE_STOP);
    }
    bool is_stopping = lease->state == LEASE_STOPPING;
    int64_t grace_ms = lease->stop_grace_ms;
    roster_unlock(worker->tools.roster);
    if (notice_signal[0])
        worker->tools.runner->signal(worker->run, notice_signal);
    if (is_stopping)
        stop_drive(worker, grace_ms);
}

static void watch(struct worker *worker)
{
    tend(worker);
    while (!worker->is_ending) {
        enum run_sight sight = worker->tools.runner->look(worker->run, look_ms(worker));
        switch (sight) {
        case RUN_RUNS:
            tend(worker);
            break;
        case RUN_ENDED:
            conclude(worker, LEASE_END);
            return;
        case RUN_GONE:
            worker->run->ended = (struct run_ended){0};
            conclude(worker, LEASE_VANISH);
            return;
        case RUN_UNKNOWN:
            break;
        }
    }
}

const char *worker_reason(const struct run_ended *ended, const char *stop_as)
{
    if (stop_as[0])
        return stop_as;
    if (!ended->is_code_known)
        return "command_failed";
    if (ended->is_oom)
        return "out_of_memory";
    return ended->exit_code == 0 ? "completed" : "command_failed";
}

static void end_describe(struct worker *worker, enum lease_event event, char ret_detail[257])
{
    const struct lease *lease = worker->lease;
    const struct run_ended *ended = &worker->run->ended;
    if (lease->detail[0])
        (void)str_format(ret_detail, 257, "%s", lease->detail);
    else if (event == LEASE_VANISH)
        (void)str_format(ret_detail, 257,
                         "the container is gone: the machine was restarted, or "
                         "somebody removed it");
    else if (!ended->is_code_known)
        (void)str_format(ret_detail, 257, "the engine lost the exit code");
    else if (ended->is_oom)
        (void)str_format(ret_detail, 257, "memory ran out at %lld MiB",
                         (long long)worker->run->memory_mib);
    else
        (void)str_format(ret_detail, 257, "the command exited with %d%s", ended->exit_code,
                         worker->is_kill_sent ? " after SIGKILL" : "");
}

static void meter_close(struct meter *meter, const struct run_ended *ended)
{
    if (ended->ended_mono_ms)
        meter_end(meter, ended->ended_mono_ms);
    else
        meter_end_by_wall(meter, ended->ended_wall_us, clock_mono_ms(), clock_now_us());
}

/* Writes down the end before the container goes: a kill in between finds one or the other. */
static void conclude(struct worker *worker, enum lease_event event)
{
    struct lease *lease = worker->lease;
    const struct run_ended *ended = &worker->run->ended;
    char detail[257];
    log_stream_flush(worker->run->logs, FLUSH_MS);
    roster_lock(worker->tools.roster);
    meter_close(&lease->meter, ended);
    end_describe(worker, event, detail);
    /* A container that ended before our SIGTERM ended for its own reason. */
    const char *stop_as = lease->state == LEASE_STOPPING ? lease->stop_as : "";
    bool is_vanished = event == LEASE_VANISH && !stop_as[0];
    lease_set_end(lease, is_vanished ? "agent_refused" : worker_reason(ended, stop_as),
                  str_of(detail));
    lease->has_exit_code = ended->is_code_known;
    lease->exit_code = ended->exit_code;
    must(roster_step(worker->tools.roster, lease, event));
    roster_unlock(worker->tools.roster);
    worker->tools.runner->remove(worker->run);
}
