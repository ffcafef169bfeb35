/* call.c - what every operation answers with: replies, ETags, cursors and lists.
 *
 * The happy path is: a handler writes JSON into the call's buffer and sends it with one header or
 * two. Failure modes are: a cursor that is not ours and an ETag that no longer matches, each
 * refused; a client that has gone, for whom nothing is sent.
 */
#include "api/call.h"

#define REPLY_SIZE_USUAL 2048 /* one allocation holds most answers */

struct api_end {
    void (*run)(void *data);
    void *data;
    struct api_end *next;
};

struct api_call *api_call_of(struct flow *flow)
{
    return flow->user;
}

const json_t *api_body_json(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    char why[200];
    if (call->json == NULL) /* it was read without */
        call->json = json_parse(call->raw_body, why, sizeof(why));
    must(call->json != NULL);
    return call->json;
}

bool principal_has(const struct principal *principal, enum scope scope)
{
    return (principal->scopes & 1u << scope) != 0;
}

void *api_state(struct flow *flow, size_t size)
{
    if (flow->state == NULL)
        flow->state = flow_alloc(flow, size);
    return flow->state;
}

void api_extend_deadline(struct flow *flow, int64_t ms)
{
    timer_arm_in(flow->loop, &flow->deadline, ms);
}

void api_at_end(struct flow *flow, void (*run)(void *data), void *data)
{
    struct api_call *call = api_call_of(flow);
    struct api_end *end = flow_alloc(flow, sizeof(*end));
    *end = (struct api_end){.run = run, .data = data, .next = call->ends};
    call->ends = end;
}

void api_run_ends(struct api_call *call)
{
    for (struct api_end *end = call->ends; end != NULL; end = end->next)
        end->run(end->data);
    call->ends = NULL;
}

struct json_out *api_json(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    if (call->out.to == NULL) {
        call->reply = call->thread->spare;
        call->thread->spare = (struct buf){.at = NULL};
        buf_reserve(&call->reply, REPLY_SIZE_USUAL);
        json_out_start(&call->out, &call->reply);
    }
    return &call->out;
}

struct str api_reply_text_so_far(struct flow *flow)
{
    return buf_str(&api_call_of(flow)->reply);
}

enum flow_next api_reply_json(struct flow *flow, int status)
{
    return api_reply_text(flow, status, "application/json", api_reply_text_so_far(flow));
}

enum flow_next api_reply_empty(struct flow *flow, int status)
{
    return api_reply_text(flow, status, NULL, STR_NONE);
}

/* ---- ETags: the version in quotes */

#define ETAG_SIZE (I64_TEXT_SIZE + 2)

static void etag_format(int64_t version, char etag[ETAG_SIZE])
{
    size_t len = i64_format(version, etag + 1);
    etag[0] = etag[len + 1] = '"';
    etag[len + 2] = '\0';
}

static bool list_names(struct str list, const char *etag)
{
    for (struct str rest = list; rest.at != NULL;) {
        struct str item = str_trim(str_cut(&rest, ','));
        if (str_equal_c(item, etag) || str_equal_c(item, "*"))
            return true;
    }
    return false;
}

void api_set_etag(struct flow *flow, int64_t version)
{
    char etag[ETAG_SIZE];
    etag_format(version, etag);
    api_set_header(flow, "ETag", etag);
}

bool api_etag_matched(struct flow *flow, int64_t version)
{
    char etag[ETAG_SIZE];
    etag_format(version, etag);
    api_set_header(flow, "ETag", etag);
    struct str wanted = api_header(flow, "if-none-match");
    /* If-None-Match compares weakly: W/"1" and "1" are the same for a reader. */
    if (str_starts_with(wanted, STR("W/")))
        wanted = (struct str){.at = wanted.at + 2, .len = wanted.len - 2};
    if (wanted.at == NULL || !list_names(wanted, etag))
        return false;
    api_reply_empty(flow, 304);
    return true;
}

bool api_etag_allows(struct flow *flow, int64_t version)
{
    char etag[ETAG_SIZE];
    etag_format(version, etag);
    struct str wanted = api_header(flow, "if-match");
    if (wanted.at == NULL || list_names(wanted, etag))
        return true;
    flow_fail(flow, ERR_PRECONDITION_FAILED, "the current ETag is %s", etag);
    return false;
}

/* ---- cursors and lists */

static bool refuse_cursor(struct flow *flow)
{
    flow_field_error(flow, ERR_INVALID_FIELD, "?cursor", "format",
                     "must be a next_cursor of this list, unchanged");
    return false;
}

bool api_cursor_open(struct flow *flow, struct str cursor, struct str *ret_text)
{
    *ret_text = STR_NONE;
    if (cursor.at == NULL)
        return true;
    char *text = flow_alloc(flow, cursor.len + 1);
    ptrdiff_t len = base64url_decode(cursor, (uint8_t *)text, cursor.len);
    if (len <= 0)
        return refuse_cursor(flow);
    *ret_text = (struct str){.at = text, .len = (size_t)len};
    return true;
}

bool api_cursor_open_id(struct flow *flow, struct str cursor, const char *prefix,
                        struct uuid *ret_id)
{
    struct str text;
    *ret_id = (struct uuid){{0}};
    if (!api_cursor_open(flow, cursor, &text))
        return false;
    if (text.at == NULL || uuid_parse_prefixed(text, prefix, ret_id))
        return true;
    return refuse_cursor(flow);
}

struct json_out *api_list_open(struct flow *flow)
{
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    json_array_open(out, "data");
    return out;
}

/* The request's own target with another cursor. */
static void set_link(struct flow *flow, const char *cursor)
{
    const struct api_call *call = api_call_of(flow);
    struct buf link = {0};
    buf_add_format(&link, "<%.*s?", STR_ARG(call->url_path));
    for (struct str rest = call->url_query; rest.at != NULL;) {
        struct str pair = str_cut(&rest, '&');
        if (pair.len > 0 && !str_starts_with(pair, STR("cursor=")))
            buf_add_format(&link, "%.*s&", STR_ARG(pair));
    }
    buf_add_format(&link, "cursor=%s>; rel=\"next\"", cursor);
    buf_add(&link, "", 1);
    api_set_header(flow, "Link", link.at);
    buf_finish(&link);
}

enum flow_next api_list_reply(struct flow *flow, struct str last)
{
    struct json_out *out = api_json(flow);
    json_array_close(out);
    if (last.at != NULL) {
        char *cursor = flow_alloc(flow, 4 * ((last.len + 2) / 3) + 1);
        base64url_encode((const uint8_t *)last.at, last.len, cursor);
        json_put_c(out, "next_cursor", cursor);
        set_link(flow, cursor);
    } else {
        json_put_null(out, "next_cursor");
    }
    json_put_bool(out, "has_more", last.at != NULL);
    json_object_close(out);
    return api_reply_json(flow, 200);
}
