#include "broker/market/event.h"

#include "broker/base/id.h"

bool event_cursor_parse(struct str text, struct event_cursor *ret_cursor)
{
    struct event_cursor cursor = {.event_id = 0};
    struct str rest = text;
    struct str xact = str_cut(&rest, '-');
    if (!str_to_i64(xact, &cursor.xact) || cursor.xact < 0)
        return false;
    if (rest.at != NULL && (!str_to_i64(rest, &cursor.event_id) || cursor.event_id < 0))
        return false;
    *ret_cursor = cursor;
    return true;
}

const char *event_cursor_text(struct event_cursor cursor, char buf[EVENT_CURSOR_SIZE])
{
    must(str_format(buf, EVENT_CURSOR_SIZE, "%lld-%lld", (long long)cursor.xact,
                    (long long)cursor.event_id));
    return buf;
}

struct event_cursor event_cursor_behind(const struct event_read_out *event)
{
    if (event->has_xact)
        return (struct event_cursor){.xact = event->xact, .event_id = event->event_id};
    return (struct event_cursor){.xact = event->horizon_xact};
}

static void put_id(struct json_out *out, const char *key, const struct uuid *id, const char *prefix)
{
    char text[ID_TEXT_SIZE];
    json_put_c(out, key, id != NULL ? uuid_prefixed(*id, prefix, text) : NULL);
}

void event_put(struct json_out *out, const struct event_read_out *event)
{
    char cursor[EVENT_CURSOR_SIZE];
    must(event->has_xact);
    json_object_open(out, NULL);
    json_put_c(out, "event_id", event_cursor_text(event_cursor_behind(event), cursor));
    json_put_str(out, "kind", event->kind);
    json_put_time(out, "at", event->at_us);
    put_id(out, "workload_id", event->has_workload_id ? &event->workload_id : NULL, "wl");
    put_id(out, "lease_id", event->has_lease_id ? &event->lease_id : NULL, "lse");
    put_id(out, "node_id", event->has_node_id ? &event->node_id : NULL, "node");
    json_put_raw(out, "data", event->data);
    json_object_close(out);
}
