#include "tests/agent/lib_process.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/base/must.h"
#include "broker/base/str.h"

#define ARGS_MAX 48

pid_t process_start(const char *const *argv)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent)
        execvp(argv[0], (char *const *)argv);
    _exit(127);
}

static int wait_for(pid_t pid)
{
    int status;
    if (waitpid(pid, &status, 0) != pid)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int process_end(pid_t pid, int signal)
{
    kill(pid, signal);
    return wait_for(pid);
}

int process_run(const char *const *argv)
{
    pid_t pid = process_start(argv);
    return pid < 0 ? -1 : wait_for(pid);
}

void folder_make_temporary(char *ret_path)
{
    must(str_format(ret_path, 64, "/tmp/uc-agent-XXXXXX"));
    must(mkdtemp(ret_path));
}

void folder_remove(const char *path)
{
    must(strncmp(path, "/tmp/uc-agent-", 14) == 0);
    const char *const argv[] = {"rm", "-rf", path, NULL};
    (void)process_run(argv);
}

void file_put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    must(fd >= 0);
    must(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

void program_path(const char *name, char *ret_path, size_t size)
{
    char self[512];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    must(n > 0);
    self[n] = '\0';
    char *slash = strrchr(self, '/');
    must(slash);
    *slash = '\0';
    must(str_format(ret_path, size, "%s/../%s", self, name));
}

pid_t agent_start(const char *url, const char *state_dir, const char *const *more)
{
    char program[512];
    const char *argv[ARGS_MAX] = {program,       "run",     "--url",   url,
                                  "--state-dir", state_dir, "--token", "uct_good"};
    size_t count = 8;
    program_path("bin/undercut-agent", program, sizeof(program));
    for (size_t i = 0; more[i]; i++) {
        must(count + 1 < ARGS_MAX);
        argv[count++] = more[i];
    }
    return process_start(argv);
}
