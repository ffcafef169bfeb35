/* readiness.c - the probing thread and its three kinds of question.
 *
 * The happy path is: join the container's network namespace once, then per period one question with
 * a time limit, and a note of the answer for the worker to read. Failure modes are: nobody listens
 * yet, no answer in time, a bad status, a command that fails; and a namespace that cannot be
 * joined, which fails every question with that sentence.
 */
#include "nodeagent/readiness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/base/clock.h"

#define PERIOD_S          2 /* these two as the manifest documents them */
#define FAILURES_MAX      30
#define ANSWER_TIMEOUT_MS 2000

struct prober {
    struct probe probe;
    struct engine *engine;
    char container_id[CONTAINER_ID_SIZE];
    pid_t pid;
    int wake_fd;
    int end_fd; /* written to end the thread */
    pthread_t thread;
    pthread_mutex_t lock; /* result */
    struct probe_result result;
};

static void *prober_main(void *arg);
static bool ask(struct prober *prober, char ret_why[160]);
static int connect_local(int port, int64_t until_mono_ms);
static bool ask_http(const struct probe *probe, char ret_why[160]);

bool probe_parse(struct str text, struct probe *ret_probe)
{
    char why[128];
    json_t *json = json_parse(text, why, sizeof(why));
    const json_t *http = json_object_get(json, "http_get");
    const json_t *tcp = json_object_get(json, "tcp");
    json_t *command = json_object_get(json_object_get(json, "exec"), "command");
    struct probe probe = {
        .period_ms = json_i64(json, "period_s", PERIOD_S) * 1000,
        .failures_max = (int)json_i64(json, "failures", FAILURES_MAX),
    };
    struct str path = json_str(http, "path");
    if (http) {
        probe.kind = PROBE_HTTP_GET;
        probe.port = (int)json_i64(http, "port", 0);
        if (!str_format(probe.path, sizeof(probe.path), "%.*s", STR_ARG(path.at ? path : STR("/"))))
            probe.kind = 0;
    } else if (tcp) {
        probe.kind = PROBE_TCP;
        probe.port = (int)json_i64(tcp, "port", 0);
    } else if (json_array_size(command) > 0) {
        probe.kind = PROBE_EXEC;
        probe.command = json_incref(command);
    }
    bool has_port = probe.port > 0 && probe.port < 65536;
    bool is_good = probe.kind && (has_port || probe.kind == PROBE_EXEC) && probe.period_ms > 0 &&
                   probe.failures_max > 0;
    if (is_good)
        *ret_probe = probe;
    else
        json_decref(probe.command);
    json_decref(json);
    return is_good;
}

void probe_finish(struct probe *probe)
{
    json_decref(probe->command);
    probe->command = NULL;
}

struct prober *prober_start(struct probe *probe, const struct engine *engine,
                            const char *container_id, pid_t pid, int wake_fd)
{
    struct prober *prober = calloc(1, sizeof(*prober));
    must(prober);
    prober->probe = *probe;
    *probe = (struct probe){0};
    prober->engine = engine_clone(engine);
    prober->pid = pid;
    prober->wake_fd = wake_fd;
    prober->end_fd = eventfd(0, EFD_CLOEXEC);
    must(prober->end_fd >= 0);
    must(str_format(prober->container_id, sizeof(prober->container_id), "%s", container_id));
    must(pthread_mutex_init(&prober->lock, NULL) == 0);
    must(pthread_create(&prober->thread, NULL, prober_main, prober) == 0);
    return prober;
}

struct probe_result prober_read(struct prober *prober)
{
    pthread_mutex_lock(&prober->lock);
    struct probe_result result = prober->result;
    pthread_mutex_unlock(&prober->lock);
    return result;
}

void prober_stop(struct prober *prober)
{
    if (!prober)
        return;
    must(eventfd_write(prober->end_fd, 1) == 0);
    pthread_join(prober->thread, NULL);
    close(prober->end_fd);
    engine_close(prober->engine);
    probe_finish(&prober->probe);
    pthread_mutex_destroy(&prober->lock);
    free(prober);
}

static bool namespace_join(const struct prober *prober)
{
    char path[64];
    if (prober->probe.kind == PROBE_EXEC)
        return true;
    must(str_format(path, sizeof(path), "/proc/%d/ns/net", (int)prober->pid));
    int fd = prober->pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return false;
    bool is_joined = setns(fd, CLONE_NEWNET) == 0;
    close(fd);
    return is_joined;
}

static void note(struct prober *prober, bool is_passing, const char *why)
{
    pthread_mutex_lock(&prober->lock);
    struct probe_result *result = &prober->result;
    bool is_news = !result->is_known || result->is_passing != is_passing || !is_passing;
    result->is_known = true;
    result->is_passing = is_passing;
    result->failures_count = is_passing ? 0 : result->failures_count + 1;
    result->has_given_up = result->failures_count >= prober->probe.failures_max;
    if (!is_passing)
        (void)str_format(result->why, sizeof(result->why), "%s", why);
    pthread_mutex_unlock(&prober->lock);
    if (is_news)
        (void)eventfd_write(prober->wake_fd, 1);
}

static void *prober_main(void *arg)
{
    struct prober *prober = arg;
    bool is_inside = namespace_join(prober);
    struct pollfd end = {.fd = prober->end_fd, .events = POLLIN};
    /* Asking at once makes a quick service ready without waiting for a whole period. */
    int64_t next_mono_ms = clock_mono_ms();
    do {
        char why[160] = "the container's network namespace cannot be joined";
        bool is_passing = is_inside && ask(prober, why);
        note(prober, is_passing, why);
        next_mono_ms += prober->probe.period_ms;
        int64_t left_ms = next_mono_ms - clock_mono_ms();
        if (left_ms < 0) {
            next_mono_ms = clock_mono_ms();
            left_ms = 0;
        }
        (void)poll(&end, 1, (int)left_ms);
    } while (!(end.revents & POLLIN));
    return NULL;
}

static bool ask(struct prober *prober, char ret_why[160])
{
    const struct probe *probe = &prober->probe;
    if (probe->kind == PROBE_HTTP_GET)
        return ask_http(probe, ret_why);
    if (probe->kind == PROBE_TCP) {
        int fd = connect_local(probe->port, clock_mono_ms() + ANSWER_TIMEOUT_MS);
        if (fd >= 0)
            close(fd);
        else
            (void)str_format(ret_why, 160, "nobody accepts on port %d", probe->port);
        return fd >= 0;
    }
    int exit_code = -1;
    int64_t timeout_ms =
        ANSWER_TIMEOUT_MS > probe->period_ms ? ANSWER_TIMEOUT_MS : probe->period_ms;
    enum engine_outcome outcome =
        engine_exec(prober->engine, prober->container_id, probe->command, timeout_ms, &exit_code);
    if (outcome == ENGINE_OK && exit_code == 0)
        return true;
    if (outcome == ENGINE_OK)
        (void)str_format(ret_why, 160, "the probe's command exited with %d", exit_code);
    else
        (void)str_format(ret_why, 160, "the probe's command could not run or ran too long");
    return false;
}

/* Waits for `events` on `fd`; false when time is up. */
static bool wait_for(int fd, short events, int64_t until_mono_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};
    for (;;) {
        int64_t left_ms = until_mono_ms - clock_mono_ms();
        if (left_ms <= 0)
            return false;
        int ready = poll(&poll_fd, 1, (int)left_ms);
        if (ready > 0)
            return true;
        if (ready < 0 && errno != EINTR)
            return false;
    }
}

static int connect_local(int port, int64_t until_mono_ms)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    int result = connect(fd, (struct sockaddr *)&address, sizeof(address));
    int error = result == 0 ? 0 : errno;
    socklen_t size = sizeof(error);
    if (error == EINPROGRESS && (!wait_for(fd, POLLOUT, until_mono_ms) ||
                                 getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0))
        error = ETIMEDOUT;
    if (error) {
        close(fd);
        return -1;
    }
    return fd;
}

/* "HTTP/1.1 204 ..." is enough of an answer. */
static int status_read(int fd, int64_t until_mono_ms)
{
    char line[64];
    size_t len = 0;
    while (len < 12) {
        if (!wait_for(fd, POLLIN, until_mono_ms))
            return 0;
        ssize_t n = recv(fd, line + len, sizeof(line) - 1 - len, 0);
        if (n <= 0)
            return 0;
        len += (size_t)n;
    }
    line[len] = '\0';
    return strncmp(line, "HTTP/1.", 7) == 0 ? (int)strtol(line + 9, NULL, 10) : 0;
}

static bool ask_http(const struct probe *probe, char ret_why[160])
{
    char request[768];
    int64_t until_mono_ms = clock_mono_ms() + ANSWER_TIMEOUT_MS;
    must(str_format(request, sizeof(request),
                    "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
                    "User-Agent: undercut-agent\r\n\r\n",
                    probe->path));
    int fd = connect_local(probe->port, until_mono_ms);
    if (fd < 0) {
        (void)str_format(ret_why, 160, "nobody accepts on port %d", probe->port);
        return false;
    }
    size_t len = strlen(request);
    bool is_sent = send(fd, request, len, MSG_NOSIGNAL) == (ssize_t)len;
    int status = is_sent ? status_read(fd, until_mono_ms) : 0;
    close(fd);
    bool is_passing = status >= 200 && status < 400;
    if (!is_passing)
        (void)str_format(ret_why, 160, "port %d answers %d", probe->port, status);
    return is_passing;
}
