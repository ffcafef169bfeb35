#include "tests/lib/loopback.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/base/clock.h"

int loopback_connect(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    close(fd);
    return -1;
}

bool loopback_send(int fd, struct str bytes)
{
    while (bytes.len > 0) {
        ssize_t sent = send(fd, bytes.at, bytes.len, MSG_NOSIGNAL);
        if (sent <= 0)
            return false; /* the server may have refused and closed already */
        bytes.at += sent;
        bytes.len -= (size_t)sent;
    }
    return true;
}

struct str loopback_header(const struct answer *answer, const char *name)
{
    struct str rest = answer->head;
    while (rest.at != NULL) {
        struct str line = str_cut(&rest, '\n');
        struct str key = str_cut(&line, ':');
        if (key.len == strlen(name) && strncasecmp(key.at, name, key.len) == 0 && line.len > 0)
            return str_trim((struct str){.at = line.at, .len = line.len - 1});
    }
    return STR_NONE;
}

/* Finds head, status and body in what has come so far. */
static void look(struct answer *answer, bool is_head, bool has_ended)
{
    int64_t status = 0, length = -1;
    char *end = memmem(answer->bytes.at, answer->bytes.len, "\r\n\r\n", 4);
    if (end == NULL || answer->bytes.len < 12)
        return;
    answer->head =
        (struct str){.at = answer->bytes.at, .len = (size_t)(end - answer->bytes.at) + 2};
    if (str_to_i64((struct str){.at = answer->bytes.at + 9, .len = 3}, &status))
        answer->status = (int)status;
    answer->body = (struct str){.at = end + 4, .len = answer->bytes.len - answer->head.len - 2};
    struct str text = loopback_header(answer, "content-length");
    bool is_chunked = loopback_header(answer, "transfer-encoding").at != NULL;
    bool has_length = text.at != NULL && str_to_i64(text, &length);
    if (is_head || answer->status == 204)
        answer->is_whole = true;
    else if (has_length)
        answer->is_whole = (int64_t)answer->body.len >= length;
    else if (is_chunked)
        answer->is_whole = memmem(end, answer->body.len + 4, "\r\n0\r\n\r\n", 7) != NULL;
    else
        answer->is_whole = has_ended;
}

struct answer loopback_read(int fd, bool is_head, int limit_ms)
{
    struct answer answer = {0};
    int64_t until_ms = clock_mono_ms() + limit_ms;
    bool has_ended = false;
    while (!answer.is_whole && !has_ended) {
        int64_t left_ms = until_ms - clock_mono_ms();
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        if (left_ms <= 0 || poll(&wait, 1, (int)left_ms) <= 0)
            break;
        buf_reserve(&answer.bytes, 65536);
        ssize_t got = recv(fd, answer.bytes.at + answer.bytes.len, 65536, 0);
        has_ended = got <= 0;
        answer.bytes.len += got > 0 ? (size_t)got : 0;
        if (answer.bytes.len > 0)
            look(&answer, is_head, has_ended);
    }
    return answer;
}

void loopback_finish(struct answer *answer)
{
    buf_finish(&answer->bytes);
    *answer = (struct answer){0};
}

bool loopback_closes(int fd, int limit_ms)
{
    char byte;
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    return poll(&wait, 1, limit_ms) > 0 && recv(fd, &byte, 1, 0) <= 0;
}

struct answer loopback_ask(int port, const char *request, int limit_ms)
{
    struct answer answer = {0};
    int fd = loopback_connect(port);
    if (fd < 0)
        return answer;
    loopback_send(fd, str_of(request));
    answer = loopback_read(fd, strncmp(request, "HEAD", 4) == 0, limit_ms);
    close(fd);
    return answer;
}
