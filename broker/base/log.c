#include "broker/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "broker/base/clock.h"

#define LOG_LINE_SIZE 4096

static _Atomic int level_min = LOG_INFO;
static const char *const level_names[] = {
    [LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn", [LOG_ERROR] = "error"};

void log_set_level(enum log_level level)
{
    level_min = (int)level;
}

bool log_is_on(enum log_level level)
{
    return (int)level >= level_min;
}

enum log_level log_level_of(struct str name)
{
    for (enum log_level level = LOG_DEBUG; level <= LOG_ERROR; level++)
        if (str_equal_c(name, level_names[level]))
            return level;
    return LOG_INFO;
}

/* One write per line: lines of several threads never mix, and a killed process loses none. */
static void line_write(const char *line, size_t len)
{
    while (write(STDERR_FILENO, line, len) < 0 && errno == EINTR)
        ;
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
    if ((int)level < level_min)
        return;
    must(level >= LOG_DEBUG && level <= LOG_ERROR);

    char stamp[32];
    char line[LOG_LINE_SIZE];
    int head = snprintf(line, sizeof(line) - 1, "ts=%s level=%s event=%s ",
                        clock_format(clock_now_us(), stamp), level_names[level], event);
    must(head > 0 && (size_t)head < sizeof(line) - 1);

    va_list args;
    va_start(args, format);
    int rest = vsnprintf(line + head, sizeof(line) - 1 - (size_t)head, format, args);
    va_end(args);
    must(rest >= 0);

    size_t len = strlen(line);
    /* A value that missed log_quote() may be ugly, but it cannot start a line of its own. */
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = '?';
    while (len && line[len - 1] == ' ')
        len--;
    line[len++] = '\n';
    line_write(line, len);
}

static bool is_plain(struct str value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.at[i];
        if (c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '=')
            return false;
    }
    return value.len > 0;
}

static size_t escape(char c, char ret[4])
{
    static const char digits[] = "0123456789abcdef";
    if (c >= ' ' && c < 0x7f) {
        ret[0] = '\\';
        bool is_special = c == '"' || c == '\\';
        ret[is_special ? 1 : 0] = c;
        return is_special ? 2 : 1;
    }
    ret[0] = '\\';
    ret[1] = 'x';
    ret[2] = digits[(unsigned char)c >> 4];
    ret[3] = digits[c & 15];
    return 4;
}

const char *log_quote(struct str value, char *buf, size_t size)
{
    must(size >= 8);
    if (is_plain(value) && value.len < size) {
        memcpy(buf, value.at, value.len);
        buf[value.len] = '\0';
        return buf;
    }
    size_t len = 0;
    buf[len++] = '"';
    for (size_t i = 0; i < value.len; i++) {
        char escaped[4];
        size_t more = escape(value.at[i], escaped);
        if (len + more + 2 > size)
            break;
        memcpy(buf + len, escaped, more);
        len += more;
    }
    buf[len++] = '"';
    buf[len] = '\0';
    return buf;
}
