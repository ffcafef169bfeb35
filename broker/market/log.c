#include "broker/market/log.h"

#include <string.h>

bool log_cursor_parse(struct str text, struct log_cursor *ret_cursor)
{
    struct log_cursor cursor = {.xact = 0};
    struct str rest = text;
    struct str xact = str_cut(&rest, '.');
    struct str lease = str_cut(&rest, '.');
    if (!str_to_i64(xact, &cursor.xact) || cursor.xact < 0)
        return false;
    if (!lease_id_parse(lease, &cursor.lease_id))
        return false;
    if (!str_to_i64(rest, &cursor.offset) || cursor.offset < -1)
        return false;
    *ret_cursor = cursor;
    return true;
}

const char *log_cursor_text(const struct log_cursor *cursor, char buf[LOG_CURSOR_SIZE])
{
    char lease[ID_TEXT_SIZE];
    must(str_format(buf, LOG_CURSOR_SIZE, "%lld.%s.%lld", (long long)cursor->xact,
                    lease_id_text(cursor->lease_id, lease), (long long)cursor->offset));
    return buf;
}

struct log_cursor log_cursor_behind(const struct log_read_out *chunk)
{
    if (!chunk->has_xact) /* before any chunk of that transaction: no lease has the nil id */
        return (struct log_cursor){.xact = chunk->horizon_xact, .offset = -1};
    return (struct log_cursor){
        .xact = chunk->xact,
        .lease_id.u = chunk->lease_id,
        .offset = chunk->log_offset,
    };
}

static void line_put(const struct log_text *text, int32_t replica, struct str line, struct buf *to)
{
    if (text->is_prefixed)
        buf_add_format(to, "[%d] ", (int)replica);
    buf_add_str(to, line);
    buf_add_c(to, "\n");
}

static void rest_put(struct log_text *text, int32_t replica, struct buf *to)
{
    struct buf *rest = &text->rests[replica];
    if (rest->len > 0)
        line_put(text, replica, buf_str(rest), to);
    rest->len = 0;
}

/* A line that was begun is ended first, so that the notice stands by itself. */
static void gap_put(struct log_text *text, const struct log_read_out *chunk, struct buf *to)
{
    struct buf notice = {.at = NULL};
    rest_put(text, chunk->replica_index, to);
    buf_add_format(&notice, "[...: %.*s]", STR_ARG(chunk->bytes));
    line_put(text, chunk->replica_index, buf_str(&notice), to);
    buf_finish(&notice);
}

void log_text_add(struct log_text *text, const struct log_read_out *chunk, struct buf *to)
{
    must(chunk->replica_index >= 0 && chunk->replica_index < LOG_REPLICAS_MAX);
    if (str_equal_c(chunk->stream, "gap")) {
        gap_put(text, chunk, to);
        return;
    }
    if (!text->is_prefixed) {
        buf_add_str(to, chunk->bytes);
        return;
    }
    struct buf *rest = &text->rests[chunk->replica_index];
    struct str left = chunk->bytes;
    while (left.len > 0) {
        const char *end = memchr(left.at, '\n', left.len);
        struct str line = str_cut(&left, '\n');
        buf_add_str(rest, line);
        if (end != NULL && rest->len == 0)
            line_put(text, chunk->replica_index, STR(""), to);
        else if (end != NULL || rest->len >= LOG_LINE_MAX)
            rest_put(text, chunk->replica_index, to);
    }
}

void log_text_end(struct log_text *text, struct buf *to)
{
    for (int32_t i = 0; i < LOG_REPLICAS_MAX; i++)
        rest_put(text, i, to);
    log_text_finish(text);
}

void log_text_finish(struct log_text *text)
{
    for (int i = 0; i < LOG_REPLICAS_MAX; i++)
        buf_finish(&text->rests[i]);
}

void log_put_line(struct buf *to, const struct log_read_out *chunk)
{
    struct log_cursor cursor = log_cursor_behind(chunk);
    char lease[ID_TEXT_SIZE], text[LOG_CURSOR_SIZE];
    struct json_out out;
    json_out_start(&out, to);
    json_object_open(&out, NULL);
    json_put_i64(&out, "replica", chunk->replica_index);
    json_put_c(&out, "lease_id", lease_id_text(cursor.lease_id, lease));
    json_put_str(&out, "stream", chunk->stream);
    json_put_time(&out, "at", chunk->at_us);
    if (json_is_utf8(chunk->bytes))
        json_put_str(&out, "data", chunk->bytes);
    else
        json_put_base64(&out, "data_base64", chunk->bytes);
    json_put_c(&out, "cursor", log_cursor_text(&cursor, text));
    json_object_close(&out);
    buf_add_c(to, "\n");
}
