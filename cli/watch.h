/* watch.h - follows a workload: its events as stages with seconds, its output, its end.
 *
 * main thread. Stages go to stderr, the container's stdout to stdout and its stderr to stderr.
 */
#ifndef UNDERCUT_CLI_WATCH_H
#define UNDERCUT_CLI_WATCH_H

#include "cli/call.h"

struct watch {
    const struct cli *cli;
    char workload_id[64];
    char name[64];
    int64_t started_mono_ms;
    int64_t give_up_mono_ms; /* 0: never */
    char after[128];         /* cursor of the events seen */
    int64_t replicas;
    bool is_terminal;
    bool is_running;
    bool is_awarded;
    bool is_hinted; /* told how to ask why it waits */
};

/* `workload` is the API's object. */
void watch_start(struct watch *watch, const struct cli *cli, const json_t *workload);
/* "  0.81s awarded   ..." on stderr; silent with --json. */
void watch_stage(const struct watch *watch, const char *stage, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* Prints stages until the workload runs or has ended. EXIT_OK, EXIT_TIMEOUT, EXIT_INTERRUPTED, or
 * the exit code of a failed call. */
MUST_USE int watch_until_running(struct watch *watch);
/* Prints output, of one replica or of all (-1), from the beginning; with `is_following` until the
 * workload has ended, over lost connections. */
MUST_USE int watch_output(const struct cli *cli, const char *workload, int64_t replica,
                          bool is_following);
/* Waits for the end and reports it. The exit code is the containers': the first that is not 0. */
MUST_USE int watch_until_ended(struct watch *watch);

#endif
