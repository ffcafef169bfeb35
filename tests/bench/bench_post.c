/* bench_post.c - clients that post and wait, as pgbench's do: one thread, N connections.
 *
 * Without a rate it is a closed loop: each sends a request, reads its answer, sends again. With one
 * the requests are due at random instants of that mean rate, whatever the answers do, and time
 * counts from the instant at which a request was due, as with pgbench --rate. Reads the whole HTTP
 * request on standard input and prints a line per answer, "NAME DUE_US TOOK_US STATUS WAITING": the
 * workload's name, when its request was due (microseconds since 1970), how long the answer took,
 * and how many of its replicas still waited for an award then. Exit 1 when a connection breaks.
 *     bench_post PORT CLIENTS COUNT [RATE_PER_S] < request
 */
#include <arpa/inet.h>
#include <math.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS_MAX 64
#define REQUEST_MAX 65536
#define ANSWER_MAX  65536

struct client {
    int64_t due_us;
    bool is_waiting;
    size_t len;
    char answer[ANSWER_MAX];
};

static char request[REQUEST_MAX];
static size_t request_len;
static struct client clients[CLIENTS_MAX];
static struct pollfd polls[CLIENTS_MAX];

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int client_connect(uint16_t port)
{
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at)) != 0)
        fail("bench_post: connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static void client_post(size_t i, int64_t due_us)
{
    clients[i].len = 0;
    clients[i].due_us = due_us;
    clients[i].is_waiting = true;
    if (send(polls[i].fd, request, request_len, 0) != (ssize_t)request_len)
        fail("bench_post: send");
}

/* The number or the text behind `key`, or nothing. */
static const char *value_of(const char *answer, const char *key)
{
    const char *at = strstr(answer, key);
    return at != NULL ? at + strlen(key) : "?";
}

static bool answer_is_whole(const struct client *client)
{
    const char *body = strstr(client->answer, "\r\n\r\n");
    const char *length = strcasestr(client->answer, "content-length:");
    if (body == NULL || length == NULL || length > body)
        return false;
    size_t head_len = (size_t)(body + 4 - client->answer);
    return client->len >= head_len + strtoul(length + strlen("content-length:"), NULL, 10);
}

static void answer_print(const struct client *client)
{
    const char *name = value_of(client->answer, "\"name\":\"");
    printf("%.*s %lld %lld %ld %ld\n", (int)strcspn(name, "\""), name, (long long)client->due_us,
           (long long)(now_us() - client->due_us),
           strtol(value_of(client->answer, "HTTP/1.1 "), NULL, 10),
           strtol(value_of(client->answer, "\"replicas_auctioning\":"), NULL, 10));
}

/* True: its answer is there. */
static bool client_read(size_t i)
{
    struct client *client = &clients[i];
    ssize_t got = recv(polls[i].fd, client->answer + client->len, ANSWER_MAX - 1 - client->len, 0);
    if (got <= 0)
        fail("bench_post: recv");
    client->len += (size_t)got;
    client->answer[client->len] = '\0';
    return answer_is_whole(client);
}

/* The next instant, exponentially far; always now in a closed loop. */
static int64_t due_next(int64_t due_us, double rate_per_s)
{
    if (rate_per_s <= 0)
        return now_us();
    return due_us + (int64_t)(-log(1.0 - drand48()) / rate_per_s * 1e6);
}

/* Sleeps until an answer comes, or until `due_us` where somebody could send then. */
static void wait_for(size_t count, bool can_send, int64_t due_us)
{
    int64_t left_us = due_us - now_us();
    struct timespec limit = {.tv_sec = left_us / 1000000, .tv_nsec = left_us % 1000000 * 1000};
    if ((!can_send || left_us > 0) && ppoll(polls, count, can_send ? &limit : NULL, NULL) < 0)
        fail("bench_post: poll");
}

static void post_all(size_t count, long left, double rate_per_s)
{
    size_t idle_count = count;
    int64_t due_us = due_next(now_us(), rate_per_s);
    while (left > 0 || idle_count < count) {
        for (size_t i = 0; i < count && left > 0 && due_us <= now_us(); i++) {
            if (clients[i].is_waiting)
                continue;
            client_post(i, due_us);
            due_us = due_next(due_us, rate_per_s);
            idle_count--;
            left--;
        }
        wait_for(count, left > 0 && idle_count > 0, due_us);
        for (size_t i = 0; i < count; i++) {
            if (polls[i].revents == 0 || !client_read(i))
                continue;
            answer_print(&clients[i]);
            clients[i].is_waiting = false;
            idle_count++;
        }
    }
}

int main(int argc, char **argv)
{
    bool is_complete = argc == 4 || argc == 5;
    long port = is_complete ? strtol(argv[1], NULL, 10) : 0;
    long count = is_complete ? strtol(argv[2], NULL, 10) : 0;
    long left = is_complete ? strtol(argv[3], NULL, 10) : 0;
    double rate_per_s = argc == 5 ? strtod(argv[4], NULL) : 0;
    request_len = fread(request, 1, sizeof(request), stdin);
    if (port < 1 || port > UINT16_MAX || count < 1 || count > CLIENTS_MAX || left < count ||
        request_len == 0 || request_len == sizeof(request)) {
        fprintf(stderr, "bench_post: PORT CLIENTS COUNT [RATE_PER_S], and a request on stdin\n");
        return 2;
    }
    srand48((long)now_us());
    for (long i = 0; i < count; i++)
        polls[i] = (struct pollfd){.fd = client_connect((uint16_t)port), .events = POLLIN};
    post_all((size_t)count, left, rate_per_s);
    return 0;
}
