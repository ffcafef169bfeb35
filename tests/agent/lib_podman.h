/* lib_podman.h - a private Podman service for one test program, in a throw-away folder.
 *
 * It shares nothing with an engine that may run on the machine: own storage, own run folder, own
 * socket. The image localhost/uc-test:1 is busybox and nothing else.
 */
#ifndef UNDERCUT_TESTS_AGENT_LIB_PODMAN_H
#define UNDERCUT_TESTS_AGENT_LIB_PODMAN_H

#include <stddef.h>
#include <sys/types.h>

#define PODMAN_IMAGE "localhost/uc-test:1"

struct podman {
    char folder[64];
    char url[128]; /* unix:///... */
    pid_t service;
};

/* Fails the test run when Podman is not there: these tests must not pass by absence. */
void podman_start(struct podman *podman);
void podman_stop(struct podman *podman);
/* Number of containers with the label undercut.lease=`lease_id`, running or not. */
size_t podman_count(const struct podman *podman, const char *lease_id);

#endif
