#include "tests/lib/redis.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "broker/base/must.h"
#include "broker/base/str.h"

static struct {
    char dir[64], socket[96], url[104];
    pid_t pid, owner;
} redis;

static void stop(void)
{
    if (redis.owner != getpid())
        return;
    redis_kill9();
    unlink(redis.socket);
    rmdir(redis.dir);
}

static void spawn(void)
{
    redis.pid = fork();
    if (redis.pid != 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_RDWR);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", redis.socket, "--save",
           "", "--appendonly", "no", "--dir", redis.dir, (char *)NULL);
    _exit(127);
}

static bool answers(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char answer[8] = "";
    str_format(address.sun_path, sizeof(address.sun_path), "%s", redis.socket);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_up = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
                 send(fd, "PING\r\n", 6, MSG_NOSIGNAL) == 6 &&
                 recv(fd, answer, sizeof(answer), 0) > 0 && answer[0] == '+';
    close(fd);
    return is_up;
}

const char *redis_start(void)
{
    if (redis.owner == 0) {
        str_format(redis.dir, sizeof(redis.dir), "/tmp/undercut-redis-XXXXXX");
        must(mkdtemp(redis.dir) != NULL);
        str_format(redis.socket, sizeof(redis.socket), "%s/socket", redis.dir);
        str_format(redis.url, sizeof(redis.url), "unix:%s", redis.socket);
        redis.owner = getpid();
        atexit(stop);
    }
    if (redis.pid == 0)
        spawn();
    for (int tries = 0; !answers(); tries++) {
        must(tries < 1000 && waitpid(redis.pid, NULL, WNOHANG) == 0);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    return redis.url;
}

void redis_kill9(void)
{
    if (redis.pid == 0)
        return;
    kill(redis.pid, SIGKILL);
    waitpid(redis.pid, NULL, 0);
    redis.pid = 0;
}

void redis_pause(void)
{
    kill(redis.pid, SIGSTOP);
}

void redis_go_on(void)
{
    kill(redis.pid, SIGCONT);
}
