/* runner.h - what runs a lease: a container engine, or a stand-in that only pretends.
 *
 * A `struct run` is one lease's life on a runner and belongs to one worker thread; only `wake` may
 * be called from another. Calls block. The two runners answer alike, and the stand-in labels the
 * whole node simulated.
 */
#ifndef UNDERCUT_NODEAGENT_RUNNER_H
#define UNDERCUT_NODEAGENT_RUNNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/json.h"
#include "nodeagent/engine.h"
#include "nodeagent/gpu.h"
#include "nodeagent/lease.h"
#include "nodeagent/logs.h"
#include "nodeagent/readiness.h"

#define RUN_DETAIL_SIZE 257

enum run_outcome {
    RUN_DONE = 1,
    RUN_FAILED, /* for good: reason and detail say why */
    RUN_CUT,    /* a wake ended it */
};

enum run_sight {               /* what a look at the run shows */
                 RUN_RUNS = 1, /* verified just now */
                 RUN_ENDED,    /* `run->ended` says how */
                 RUN_GONE,     /* no trace of it */
                 RUN_UNKNOWN,  /* the engine does not answer */
};

struct run_ended {
    bool is_code_known;
    int exit_code;
    bool is_oom;           /* the runner is sure that memory ran out */
    int64_t ended_mono_ms; /* 0: only the wall clock is known */
    int64_t ended_wall_us;
};

struct run_plan { /* all that starting takes; borrowed for the call */
    const struct desired_lease *order;
    const struct device *devices;
    size_t devices_count;
};

struct runner;

struct run { /* the common head; a runner's own struct starts with it */
    const struct runner *runner;
    struct log_stream *logs; /* owned */
    char lease_id[ID_TEXT_SIZE];
    int64_t epoch;
    int64_t memory_mib;
    char container_id[CONTAINER_ID_SIZE];
    char image_id[IMAGE_ID_SIZE];
    struct run_ended ended;
    const char *reason;           /* after RUN_FAILED: what to report */
    char detail[RUN_DETAIL_SIZE]; /* the same, as a sentence */
};

struct run_key { /* which lease a run is for */
    const char *lease_id;
    int64_t epoch;
    int64_t memory_mib;
};

struct runner {
    const char *name;
    bool is_simulated;
    const struct engine *engine; /* NULL for the stand-in */
    const char *node_id;
    int64_t time_scale;
    struct run *(*open)(const struct runner *runner, const struct run_key *key);
    enum run_outcome (*fetch)(struct run *run, const struct run_plan *plan);  /* sets image_id */
    enum run_outcome (*create)(struct run *run, const struct run_plan *plan); /* container_id */
    enum run_outcome (*start)(struct run *run);
    /* Takes up a container that an earlier agent made. */
    enum run_sight (*adopt)(struct run *run, const char *container_id);
    /* Moves output along until something happens, a wake, or the time is over. */
    enum run_sight (*look)(struct run *run, int64_t timeout_ms);
    void (*signal)(struct run *run, const char *name);
    void (*remove)(struct run *run); /* leaves no trace */
    void (*wake)(struct run *run);   /* any thread */
    /* NULL when this runner does not probe: the run is ready as soon as it runs. */
    struct prober *(*probe)(struct run *run, struct probe *probe);
    void (*close)(struct run *run); /* frees; what runs goes on running */
    /* What is there from an earlier agent. The caller frees. False: the runner does not answer. */
    bool (*list)(const struct runner *runner, struct container_found **ret_found,
                 size_t *ret_count);
};

/* `engine` (borrowed) must outlive the runner. */
struct runner runner_engine(const struct engine *engine, const char *node_id);
struct runner runner_simulated(const char *node_id, int64_t time_scale);

#endif
