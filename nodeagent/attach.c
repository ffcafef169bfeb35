#include "nodeagent/attach.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "broker/base/str.h"

#define HEAD_MAX   4096
#define PATIENCE_S 10

static bool write_all(int fd, struct str bytes)
{
    while (bytes.len) {
        ssize_t n = send(fd, bytes.at, bytes.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes = (struct str){.at = bytes.at + n, .len = bytes.len - (size_t)n};
    }
    return true;
}

/* Byte by byte, because what follows the blank line already belongs to the container's output. */
static bool head_read(int fd)
{
    char head[HEAD_MAX];
    size_t len = 0;
    while (len < sizeof(head)) {
        ssize_t n = recv(fd, head + len, 1, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        len += (size_t)n;
        if (len >= 4 && memcmp(head + len - 4, "\r\n\r\n", 4) == 0)
            break;
    }
    struct str answer = {.at = head, .len = len};
    return str_starts_with(answer, STR("HTTP/1.1 101")) ||
           str_starts_with(answer, STR("HTTP/1.1 200"));
}

int attach_open(const char *socket_path, const char *container_id)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char request[512];
    must(str_format(address.sun_path, sizeof(address.sun_path), "%s", socket_path));
    must(str_format(request, sizeof(request),
                    "POST /v1.41/containers/%s/attach?stream=1&stdout=1&stderr=1 HTTP/1.1\r\n"
                    "Host: engine\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
                    "Content-Length: 0\r\n\r\n",
                    container_id));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    struct timeval patience = {.tv_sec = PATIENCE_S};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    bool is_attached = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
                       write_all(fd, str_of(request)) && head_read(fd);
    if (!is_attached) {
        close(fd);
        return -1;
    }
    return fd;
}

static size_t head_add(struct attach_parser *parser, const char *bytes, size_t len)
{
    size_t want = sizeof(parser->head) - parser->head_len;
    size_t take = len < want ? len : want;
    memcpy(parser->head + parser->head_len, bytes, take);
    parser->head_len += take;
    if (parser->head_len == sizeof(parser->head))
        parser->payload_left = (size_t)parser->head[4] << 24 | (size_t)parser->head[5] << 16 |
                               (size_t)parser->head[6] << 8 | parser->head[7];
    return take;
}

void attach_feed(struct attach_parser *parser, const char *bytes, size_t len, attach_take *take,
                 void *arg)
{
    while (len) {
        size_t used;
        if (parser->head_len < sizeof(parser->head)) {
            used = head_add(parser, bytes, len);
        } else {
            used = len < parser->payload_left ? len : parser->payload_left;
            take(arg, parser->head[0] == ATTACH_ERR ? ATTACH_ERR : ATTACH_OUT, bytes, used);
            parser->payload_left -= used;
        }
        if (parser->head_len == sizeof(parser->head) && parser->payload_left == 0)
            parser->head_len = 0; /* the frame is complete */
        bytes += used;
        len -= used;
    }
}
