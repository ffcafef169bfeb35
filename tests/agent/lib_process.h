/* lib_process.h - child processes and throw-away folders of the agent's tests, owned by pid. */
#ifndef UNDERCUT_TESTS_AGENT_LIB_PROCESS_H
#define UNDERCUT_TESTS_AGENT_LIB_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Starts `argv` (NULL-ended); -1 when it cannot. It dies with the test. */
pid_t process_start(const char *const *argv);
/* Sends `signal` and waits; returns the exit code, or 128 + the signal that ended it. */
int process_end(pid_t pid, int signal);
/* Runs to its end; returns the same. */
int process_run(const char *const *argv);
/* A fresh folder below /tmp; `ret_path` holds 64 bytes. */
void folder_make_temporary(char *ret_path);
/* With everything in it, other file systems' mounts included. */
void folder_remove(const char *path);
void file_put(const char *path, const char *text);
/* The program `name` of this build: beside ../bin of the running test. */
void program_path(const char *name, char *ret_path, size_t size);

/* An agent of this build against `url`, with its state in `state_dir`; `more` is NULL-ended. */
pid_t agent_start(const char *url, const char *state_dir, const char *const *more);

#endif
