/* lease.c - the state table of a lease on its node, and its durable record.
 *
 * The happy path is: accepted, pulling, creating, probing, running, exited, forgotten.
 * Failure modes are rows of the table: every state but the last two has a road to exited, and after
 * a restart a lease goes back to accepted or is taken up where its container is.
 */
#include "nodeagent/lease.h"

#include <stdlib.h>
#include <string.h>

/* clang-format off */
#define ROW(from, event, to, why) {LEASE_##from, LEASE_##event, LEASE_##to, why}
static const struct fsm_row rows[] = {
    ROW(ACCEPTED, BEGIN,        PULLING,   "its devices are free, so the image comes first"),
    ROW(ACCEPTED, REFUSE,       EXITED,    "this machine cannot do what the lease says"),
    ROW(ACCEPTED, STOP,         EXITED,    "it was stopped before anything was started"),
    ROW(PULLING,  IMAGE_READY,  CREATING,  "the image is here"),
    ROW(PULLING,  IMAGE_FAILED, EXITED,    "the image cannot be had"),
    ROW(PULLING,  STOP,         EXITED,    "it was stopped while the image was fetched"),
    ROW(PULLING,  RESTART,      ACCEPTED,  "the agent was restarted while the image was fetched"),
    ROW(CREATING, STARTED,      PROBING,   "the container runs"),
    ROW(CREATING, START_FAILED, EXITED,    "the engine could not make or start the container"),
    ROW(CREATING, STOP,         EXITED,    "it was stopped before its container ran"),
    ROW(CREATING, RESTART,      ACCEPTED,  "the agent was restarted before the container ran"),
    ROW(CREATING, END,          EXITED,    "the container ran and ended while the agent was away"),
    ROW(PROBING,  READY,        RUNNING,   "it is ready, so healthy time starts"),
    ROW(PROBING,  NEVER_READY,  STOPPING,  "its readiness probe failed too often"),
    ROW(PROBING,  STOP,         STOPPING,  "it was stopped before it was ready"),
    ROW(PROBING,  END,          EXITED,    "the container ended before it was ready"),
    ROW(PROBING,  VANISH,       EXITED,    "the container is gone and nobody saw it end"),
    ROW(RUNNING,  STOP,         STOPPING,  "its stop was asked for, so its grace starts"),
    ROW(RUNNING,  END,          EXITED,    "the container ended by itself"),
    ROW(RUNNING,  VANISH,       EXITED,    "the container is gone and nobody saw it end"),
    ROW(STOPPING, END,          EXITED,    "the container ended after its stop"),
    ROW(STOPPING, VANISH,       EXITED,    "the container is gone, as it should be"),
    ROW(EXITED,   RELEASE,      FORGOTTEN, "the broker has its end and its final receipt"),
};
#undef ROW
/* clang-format on */

const char *lease_state_name(enum lease_state state)
{
    switch (state) {
    case LEASE_ACCEPTED:
        return "accepted";
    case LEASE_PULLING:
        return "pulling";
    case LEASE_CREATING:
        return "creating";
    case LEASE_PROBING:
        return "probing";
    case LEASE_RUNNING:
        return "running";
    case LEASE_STOPPING:
        return "stopping";
    case LEASE_EXITED:
        return "exited";
    case LEASE_FORGOTTEN:
        return "forgotten";
    }
    return NULL;
}

static const char *state_name(int state)
{
    return lease_state_name((enum lease_state)state);
}

static const char *event_name(int event)
{
    static const char *const names[] = {
        [LEASE_BEGIN] = "begin",
        [LEASE_REFUSE] = "refuse",
        [LEASE_IMAGE_READY] = "image_ready",
        [LEASE_IMAGE_FAILED] = "image_failed",
        [LEASE_STARTED] = "started",
        [LEASE_START_FAILED] = "start_failed",
        [LEASE_READY] = "ready",
        [LEASE_NEVER_READY] = "never_ready",
        [LEASE_STOP] = "stop",
        [LEASE_END] = "end",
        [LEASE_VANISH] = "vanish",
        [LEASE_RESTART] = "restart",
        [LEASE_RELEASE] = "release",
    };
    return names[event];
}

const struct fsm lease_fsm = {
    .name = "lease on its node",
    .rows = rows,
    .rows_count = ARRAY_COUNT(rows),
    .state_name = state_name,
    .event_name = event_name,
};

struct lease *lease_create(const char *lease_id, int64_t epoch)
{
    struct lease *lease = calloc(1, sizeof(*lease));
    must(lease);
    must(str_format(lease->lease_id, sizeof(lease->lease_id), "%s", lease_id));
    lease->epoch = epoch;
    lease->state = LEASE_ACCEPTED;
    return lease;
}

void lease_destroy(struct lease *lease)
{
    if (!lease)
        return;
    desired_lease_finish(&lease->order);
    free(lease->readiness);
    free(lease);
}

void lease_take_order(struct lease *lease, const struct desired_lease *order)
{
    desired_lease_finish(&lease->order);
    lease->order = desired_lease_copy(order);
    lease->stop_grace_ms = order->stop_grace_ms;
    lease->memory_mib = order->memory_mib;
    const json_t *readiness = json_object_get(desired_lease_manifest(order), "readiness");
    free(lease->readiness);
    lease->readiness = json_is_object(readiness) ? json_dumps(readiness, JSON_COMPACT) : NULL;
}

const struct fsm_row *lease_step(struct lease *lease, enum lease_event event)
{
    const struct fsm_row *row = fsm_find(&lease_fsm, (int)lease->state, (int)event);
    if (row)
        lease->state = (enum lease_state)row->to;
    return row;
}

const char *lease_report_state(const struct lease *lease)
{
    switch (lease->state) {
    case LEASE_ACCEPTED:
    case LEASE_PULLING:
    case LEASE_CREATING:
    case LEASE_PROBING:
        return "starting";
    case LEASE_RUNNING:
        return "running";
    case LEASE_STOPPING:
        return lease->was_ready ? "running" : "starting";
    case LEASE_EXITED:
    case LEASE_FORGOTTEN:
        return "exited";
    }
    must_not_reach();
}

const char *lease_stage(enum lease_state state)
{
    bool is_starting = state >= LEASE_PULLING && state <= LEASE_PROBING;
    return is_starting ? lease_state_name(state) : NULL;
}

void lease_emit(const struct lease *lease, struct buf *to)
{
    struct json_out out;
    json_out_start(&out, to);
    json_object_open(&out, NULL);
    json_put_c(&out, "lease_id", lease->lease_id);
    json_put_i64(&out, "epoch", lease->epoch);
    json_put_c(&out, "state", lease_state_name(lease->state));
    json_put_i64(&out, "healthy_ms", lease->meter.healthy_ms);
    json_put_i64(&out, "mark_mono_ms", lease->meter.mark_mono_ms);
    json_put_i64(&out, "mark_wall_us", lease->meter.mark_wall_us);
    json_put_bool(&out, "is_counting", lease->meter.is_counting);
    json_put_c(&out, "boot_id", lease->boot_id);
    json_put_bool(&out, "was_ready", lease->was_ready);
    json_put_bool(&out, "was_noticed", lease->was_noticed);
    json_put_c(&out, "container_id", lease->container_id);
    json_put_c(&out, "image_id", lease->image_id);
    json_put_i64(&out, "stop_grace_ms", lease->stop_grace_ms);
    json_put_i64(&out, "memory_mib", lease->memory_mib);
    json_put_c(&out, "readiness", lease->readiness);
    json_put_c(&out, "stop_as", lease->stop_as);
    json_put_c(&out, "reason", lease->reason);
    json_put_bool(&out, "has_exit_code", lease->has_exit_code);
    json_put_i64(&out, "exit_code", lease->exit_code);
    json_put_c(&out, "detail", lease->detail);
    json_put_i64(&out, "final_receipt_seq", lease->final_receipt_seq);
    json_object_close(&out);
}

static enum lease_state state_of(struct str name)
{
    for (enum lease_state state = LEASE_ACCEPTED; state <= LEASE_FORGOTTEN; state++)
        if (str_equal_c(name, lease_state_name(state)))
            return state;
    return 0;
}

static void text_read(const json_t *json, const char *key, char *ret, size_t size)
{
    (void)str_format(ret, size, "%.*s", STR_ARG(json_str(json, key)));
}

static void meter_read(const json_t *json, struct meter *ret_meter)
{
    ret_meter->healthy_ms = json_i64(json, "healthy_ms", 0);
    ret_meter->mark_mono_ms = json_i64(json, "mark_mono_ms", 0);
    ret_meter->mark_wall_us = json_i64(json, "mark_wall_us", 0);
    ret_meter->is_counting = json_bool(json, "is_counting", false);
}

struct lease *lease_read(struct str text)
{
    char why[128];
    json_t *json = json_parse(text, why, sizeof(why));
    enum lease_state state = state_of(json_str(json, "state"));
    struct lease_id id;
    if (!state || !lease_id_parse(json_str(json, "lease_id"), &id)) {
        json_decref(json);
        return NULL;
    }
    char id_text[ID_TEXT_SIZE];
    struct lease *lease = lease_create(lease_id_text(id, id_text), json_i64(json, "epoch", 0));
    lease->state = state;
    meter_read(json, &lease->meter);
    text_read(json, "boot_id", lease->boot_id, sizeof(lease->boot_id));
    lease->was_ready = json_bool(json, "was_ready", false);
    lease->was_noticed = json_bool(json, "was_noticed", false);
    text_read(json, "container_id", lease->container_id, sizeof(lease->container_id));
    text_read(json, "image_id", lease->image_id, sizeof(lease->image_id));
    lease->stop_grace_ms = json_i64(json, "stop_grace_ms", 0);
    lease->memory_mib = json_i64(json, "memory_mib", 0);
    struct str readiness = json_str(json, "readiness");
    lease->readiness = readiness.at ? strndup(readiness.at, readiness.len) : NULL;
    text_read(json, "stop_as", lease->stop_as, sizeof(lease->stop_as));
    text_read(json, "reason", lease->reason, sizeof(lease->reason));
    lease->has_exit_code = json_bool(json, "has_exit_code", false);
    lease->exit_code = (int)json_i64(json, "exit_code", 0);
    text_read(json, "detail", lease->detail, sizeof(lease->detail));
    lease->final_receipt_seq = json_i64(json, "final_receipt_seq", 0);
    json_decref(json);
    return lease;
}
