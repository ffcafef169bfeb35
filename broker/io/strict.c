/* The happy path is: request line, header lines, blank line, each ending in CR LF; the facts that
 * decide where the body ends are collected on the way and judged together at the end.
 * Failure modes are: everything a second parser could read differently. The order of the checks is
 * syntax, then sizes, then the body; the first that fails is the answer.
 */
#include "broker/io/strict.h"

#include <h2o.h>
#include <string.h>
#include <strings.h>

#define HEADERS_COUNT_MAX 64
#define METHOD_MAX        16
#define HOST_MAX          255

struct head {
    struct str rest; /* not looked at yet */
    struct str method, target;
    bool is_http_1_0, is_chunked;
    size_t content_length;
    unsigned seen; /* bits of singletons */
    struct strict_verdict verdict;
};

enum { HOST, CONTENT_LENGTH, TRANSFER_ENCODING, EXPECT, SINGLETONS_COUNT = 11 };

/* A second one of these is a sign of smuggling, or of confusion about who is asking for what. */
static const struct str singletons[SINGLETONS_COUNT] = {
    [HOST] = STR("host"),
    [CONTENT_LENGTH] = STR("content-length"),
    [TRANSFER_ENCODING] = STR("transfer-encoding"),
    [EXPECT] = STR("expect"),
    STR("authorization"),
    STR("content-type"),
    STR("idempotency-key"),
    STR("if-match"),
    STR("if-none-match"),
    STR("last-event-id"),
    STR("user-agent"),
};

static bool refuse(struct head *head, enum err_code err, const char *detail)
{
    head->verdict.err = err;
    head->verdict.detail = detail;
    return false;
}

static bool refuse_syntax(struct head *head, const char *detail)
{
    return refuse(head, ERR_MALFORMED_REQUEST, detail);
}

static bool is_alnum(unsigned char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

/* tchar of RFC 9110 */
static bool is_token_char(unsigned char c)
{
    return is_alnum(c) || c == '-' || (c != '\0' && strchr("!#$%&'*+.^_`|~", c) != NULL);
}

static bool is_token(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!is_token_char((unsigned char)s.at[i]))
            return false;
    }
    return s.len > 0;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Takes the next line without its CR LF. */
static bool next_line(struct head *head, struct str *ret_line)
{
    const char *at = head->rest.at;
    const char *feed = at != NULL ? memchr(at, '\n', head->rest.len) : NULL;
    if (feed == NULL)
        return refuse_syntax(head, "The head does not end.");
    size_t len = (size_t)(feed - at);
    if (len == 0 || at[len - 1] != '\r')
        return refuse_syntax(head, "A line ends in a bare line feed.");
    if (memchr(at, '\r', len - 1) != NULL)
        return refuse_syntax(head, "A carriage return stands within a line.");
    *ret_line = (struct str){.at = at, .len = len - 1};
    head->rest.at = feed + 1;
    head->rest.len -= len + 1;
    return true;
}

/* The character that stands at `i` of a path or query, decoded; -1: not allowed there. */
static int target_char(struct str target, size_t i)
{
    unsigned char c = (unsigned char)target.at[i];
    if (c <= 0x20 || c >= 0x7f || c == '#' || c == '\\')
        return -1;
    if (c != '%')
        return c;
    int high = i + 1 < target.len ? hex_value(target.at[i + 1]) : -1;
    int low = i + 2 < target.len ? hex_value(target.at[i + 2]) : -1;
    int value = high < 0 || low < 0 ? 0 : 16 * high + low;
    return value == 0 ? -1 : value;
}

/* Segments of dots, and slashes in disguise, are read differently by proxies and by us. */
static bool check_path(struct head *head, struct str path)
{
    size_t dots_count = 0, chars_count = 0;
    for (size_t i = 0; i <= path.len; i++) {
        int c = i < path.len ? target_char(path, i) : '/';
        bool is_encoded = i < path.len && path.at[i] == '%';
        if (c < 0)
            return refuse_syntax(head,
                                 "The target has a character or an escape that is not allowed.");
        if (is_encoded && (c == '/' || c == '\\'))
            return refuse_syntax(head, "The path has an escaped slash.");
        if (c == '/') {
            if (chars_count > 0 && chars_count == dots_count && dots_count <= 2)
                return refuse_syntax(head, "The path has a segment of dots.");
            dots_count = chars_count = 0;
        } else {
            chars_count++;
            dots_count += c == '.';
        }
        i += is_encoded ? 2 : 0;
    }
    return true;
}

static bool check_target(struct head *head)
{
    struct str query = head->target;
    if (head->target.len > STRICT_TARGET_MAX)
        return refuse(head, ERR_URI_TOO_LONG, "The target exceeds 8 KiB.");
    if (str_equal_c(head->target, "*"))
        return str_equal_c(head->method, "OPTIONS") ||
               refuse_syntax(head, "The target * is for OPTIONS only.");
    if (head->target.len == 0 || head->target.at[0] != '/')
        return refuse_syntax(head, "The target does not start with a slash.");
    struct str path = str_cut(&query, '?');
    for (size_t i = 0; i < query.len; i++) {
        if (target_char(query, i) < 0)
            return refuse_syntax(head,
                                 "The query has a character or an escape that is not allowed.");
    }
    return check_path(head, path);
}

static bool read_request_line(struct head *head)
{
    struct str line, rest;
    if (!next_line(head, &line))
        return false;
    rest = line;
    head->method = str_cut(&rest, ' ');
    head->target = str_cut(&rest, ' ');
    if (!is_token(head->method) || head->method.len > METHOD_MAX)
        return refuse_syntax(head, "The method is not a token.");
    head->is_http_1_0 = str_equal_c(rest, "HTTP/1.0");
    if (!head->is_http_1_0 && !str_equal_c(rest, "HTTP/1.1"))
        return refuse_syntax(head, "The request line is not `METHOD /target HTTP/1.1`.");
    return check_target(head);
}

static bool check_host(struct head *head, struct str value)
{
    bool is_fine = value.len > 0 && value.len <= HOST_MAX;
    for (size_t i = 0; is_fine && i < value.len; i++) {
        unsigned char c = (unsigned char)value.at[i];
        is_fine = is_alnum(c) || (c != '\0' && strchr("-._:[]", c) != NULL);
    }
    return is_fine || refuse_syntax(head, "The Host is not a host name.");
}

static bool read_content_length(struct head *head, struct str value)
{
    int64_t length = 0;
    bool is_number =
        value.len > 0 && value.len <= 15 && value.at[0] != '-' && str_to_i64(value, &length);
    if (!is_number)
        return refuse_syntax(head, "The Content-Length is not a number.");
    head->content_length = (size_t)length;
    return true;
}

static bool equals_ignoring_case(struct str s, struct str other)
{
    return s.len == other.len && strncasecmp(s.at, other.at, s.len) == 0;
}

static bool read_singleton(struct head *head, int which, struct str value)
{
    if ((head->seen & 1u << which) != 0)
        return refuse_syntax(head, "A header that may stand once stands twice.");
    head->seen |= 1u << which;
    if (which == HOST)
        return check_host(head, value);
    if (which == CONTENT_LENGTH)
        return read_content_length(head, value);
    if (which == EXPECT)
        return equals_ignoring_case(value, STR("100-continue")) ||
               refuse_syntax(head, "The only expectation is 100-continue.");
    if (which == TRANSFER_ENCODING)
        head->is_chunked = true;
    return which != TRANSFER_ENCODING || equals_ignoring_case(value, STR("chunked")) ||
           refuse_syntax(head, "The only transfer encoding is chunked.");
}

static bool read_header(struct head *head, struct str line)
{
    struct str value = line;
    struct str name = str_cut(&value, ':');
    if (line.at[0] == ' ' || line.at[0] == '\t')
        return refuse_syntax(head, "A header goes on over several lines.");
    if (value.at == NULL || !is_token(name))
        return refuse_syntax(head, "A header is not `name: value`.");
    value = str_trim(value);
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.at[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return refuse_syntax(head, "A header has a control character.");
    }
    for (int which = 0; which < SINGLETONS_COUNT; which++) {
        if (equals_ignoring_case(name, singletons[which]))
            return read_singleton(head, which, value);
    }
    return true;
}

static bool read_headers(struct head *head)
{
    const char *start = head->rest.at;
    for (int count = 0;; count++) {
        struct str line;
        if (!next_line(head, &line))
            return false;
        if ((size_t)(head->rest.at - start) > STRICT_HEADERS_MAX)
            return refuse(head, ERR_HEADERS_TOO_LARGE, "The headers exceed 16 KiB.");
        if (count > HEADERS_COUNT_MAX)
            return refuse(head, ERR_HEADERS_TOO_LARGE, "There are more than 64 headers.");
        if (line.len == 0)
            return true;
        if (!read_header(head, line))
            return false;
    }
}

static bool has_seen(const struct head *head, int which)
{
    return (head->seen & 1u << which) != 0;
}

static bool check_body(struct head *head, size_t body_max)
{
    bool has_body = head->is_chunked || head->content_length > 0;
    bool is_bodiless = str_equal_c(head->method, "GET") || str_equal_c(head->method, "HEAD") ||
                       str_equal_c(head->method, "OPTIONS");
    if (head->is_chunked && has_seen(head, CONTENT_LENGTH))
        return refuse_syntax(head, "Content-Length and Transfer-Encoding exclude each other.");
    if (head->is_http_1_0 && has_body)
        return refuse_syntax(head, "A request with a body must be HTTP/1.1.");
    if (!head->is_http_1_0 && !has_seen(head, HOST))
        return refuse_syntax(head, "The Host header is missing.");
    if (has_body && is_bodiless)
        return refuse_syntax(head, "GET, HEAD and OPTIONS have no body.");
    if (head->content_length > body_max)
        return refuse(head, ERR_BODY_TOO_LARGE, "The Content-Length exceeds the limit.");
    /* How exactly the chunks were cut is no longer to be seen, so nothing may follow them. */
    head->verdict.must_close = head->is_http_1_0 || head->is_chunked;
    return true;
}

struct strict_verdict strict_head(struct str raw, size_t body_max)
{
    struct head head = {.rest = raw, .verdict = {.err = ERR_OK, .detail = ""}};
    if (read_request_line(&head) && read_headers(&head))
        (void)check_body(&head, body_max);
    return head.verdict;
}

bool strict_check(h2o_req_t *req, size_t body_max, enum err_code *ret_err, const char **ret_detail)
{
    struct strict_verdict verdict = {.err = ERR_OK};
    h2o_socket_t *sock = NULL;
    if (req->conn->callbacks->get_socket != NULL)
        sock = req->conn->callbacks->get_socket(req->conn);
    if (sock != NULL)
        verdict =
            strict_head((struct str){.at = sock->input->bytes, .len = sock->input->size}, body_max);
    if (verdict.err == ERR_OK && req->entity.base != NULL && req->entity.len > body_max)
        verdict = (struct strict_verdict){.err = ERR_BODY_TOO_LARGE,
                                          .detail = "The body exceeds the limit."};
    if (verdict.err != ERR_OK || verdict.must_close)
        req->http1_is_persistent = 0;
    if (verdict.err == ERR_OK)
        return true;
    *ret_err = verdict.err;
    *ret_detail = verdict.detail;
    return false;
}
