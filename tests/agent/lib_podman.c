#include "tests/agent/lib_podman.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/base/clock.h"
#include "broker/base/must.h"
#include "broker/base/str.h"
#include "tests/agent/lib_process.h"

#define PATH_SIZE 256
#define START_MS  20000

/* crun does not fit every cgroup layout that runc does; limits are named because the machine may
 * lack the right to raise them. */
static const char containers_conf[] =
    "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n"
    "[engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n";

static void path_of(const struct podman *podman, const char *name, char ret_path[PATH_SIZE])
{
    must(str_format(ret_path, PATH_SIZE, "%s/%s", podman->folder, name));
}

static void image_make(const struct podman *podman)
{
    char context[PATH_SIZE];
    char file[PATH_SIZE];
    char root[PATH_SIZE];
    char runroot[PATH_SIZE];
    char script[4 * PATH_SIZE];
    path_of(podman, "image", context);
    path_of(podman, "Containerfile", file);
    path_of(podman, "root", root);
    path_of(podman, "run", runroot);
    file_put(file, "FROM scratch\nCOPY . /\n");
    must(str_format(script, sizeof(script),
                    "mkdir -p %s/bin %s/tmp && chmod 1777 %s/tmp && cp $(command -v busybox) "
                    "%s/bin/busybox && for a in sh sleep echo cat nc head tail true touch test; do "
                    "ln -s busybox %s/bin/$a; done",
                    context, context, context, context, context));
    const char *const prepare[] = {"sh", "-c", script, NULL};
    must(process_run(prepare) == 0);
    const char *const build[] = {"podman", "--root",      root,         "--runroot", runroot,
                                 "build",  "--isolation", "chroot",     "--network", "host",
                                 "-q",     "-t",          PODMAN_IMAGE, "-f",        file,
                                 context,  NULL};
    must(process_run(build) == 0);
}

void podman_start(struct podman *podman)
{
    char conf[PATH_SIZE];
    char registries[PATH_SIZE];
    char root[PATH_SIZE];
    char runroot[PATH_SIZE];
    char socket[PATH_SIZE];
    folder_make_temporary(podman->folder);
    path_of(podman, "containers.conf", conf);
    path_of(podman, "registries.conf", registries);
    path_of(podman, "root", root);
    path_of(podman, "run", runroot);
    path_of(podman, "podman.sock", socket);
    file_put(conf, containers_conf);
    file_put(registries, "unqualified-search-registries = []\n");
    setenv("CONTAINERS_CONF", conf, 1);
    setenv("CONTAINERS_REGISTRIES_CONF", registries, 1);
    image_make(podman);

    must(str_format(podman->url, sizeof(podman->url), "unix://%s", socket));
    /* In its own folder, where conmon may leave its marks; env execs, so the pid is podman's. */
    const char *const service[] = {
        "env",   "-C",     podman->folder, "podman",   "--root",    root, "--runroot",
        runroot, "system", "service",      "--time=0", podman->url, NULL};
    podman->service = process_start(service);
    must(podman->service > 0);
    int64_t until_mono_ms = clock_mono_ms() + START_MS;
    while (access(socket, F_OK) != 0) {
        must(clock_mono_ms() < until_mono_ms);
        usleep(20000);
    }
}

static size_t lines_of(const struct podman *podman, const char *filter, char *ret, size_t size)
{
    char command[2 * PATH_SIZE];
    must(str_format(command, sizeof(command),
                    "podman --root %s/root --runroot %s/run ps -aq --filter %s", podman->folder,
                    podman->folder, filter));
    FILE *pipe = popen(command, "re");
    must(pipe);
    size_t len = fread(ret, 1, size - 1, pipe);
    ret[len] = '\0';
    pclose(pipe);
    size_t lines_count = 0;
    for (size_t i = 0; i < len; i++)
        lines_count += ret[i] == '\n';
    return lines_count;
}

size_t podman_count(const struct podman *podman, const char *lease_id)
{
    char filter[PATH_SIZE];
    char ids[4096];
    must(str_format(filter, sizeof(filter), "label=undercut.lease=%s", lease_id));
    return lines_of(podman, filter, ids, sizeof(ids));
}

void podman_stop(struct podman *podman)
{
    char root[PATH_SIZE];
    char runroot[PATH_SIZE];
    path_of(podman, "root", root);
    path_of(podman, "run", runroot);
    process_end(podman->service, SIGTERM);
    const char *const remove[] = {"podman", "--root", root, "--runroot", runroot, "rm",
                                  "-f",     "-a",     "-t", "0",         NULL};
    (void)process_run(remove);
    /* Storage mounts go only when nothing of it is mounted any more. */
    char script[2 * PATH_SIZE];
    must(str_format(script, sizeof(script),
                    "awk '$2 ~ \"^%s/\" {print $2}' /proc/mounts | sort -r | xargs -r umount -l",
                    podman->folder));
    const char *const unmount[] = {"sh", "-c", script, NULL};
    (void)process_run(unmount);
    folder_remove(podman->folder);
}
