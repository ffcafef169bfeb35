#include "broker/market/lease.h"

#include <string.h>

#include "broker/base/must.h"
#include "broker/io/hub.h"

#define BACKOFF_FIRST_MS 1000

static const struct fsm_row lease_rows[] = {
    {LEASE_AWARDED, LEASE_ACK, LEASE_STARTING, "the agent acknowledged the award"},
    {LEASE_AWARDED, LEASE_READY, LEASE_RUNNING,
     "it was ready before its acknowledgement came through"},
    {LEASE_STARTING, LEASE_READY, LEASE_RUNNING, "the container is ready; the meter starts"},
    {LEASE_AWARDED, LEASE_CUT, LEASE_CLOSING, "owner or money ended it before it ran"},
    {LEASE_STARTING, LEASE_CUT, LEASE_CLOSING, "owner or money ended it before it ran"},
    {LEASE_RUNNING, LEASE_CUT, LEASE_CLOSING, "the meter stopped; the final receipt is awaited"},
    {LEASE_AWARDED, LEASE_CLOSE, LEASE_CLOSED, "not acknowledged, refused or lost"},
    {LEASE_STARTING, LEASE_CLOSE, LEASE_CLOSED, "it could not start"},
    {LEASE_RUNNING, LEASE_CLOSE, LEASE_CLOSED, "it ended by itself or its node was lost"},
    {LEASE_CLOSING, LEASE_CLOSE, LEASE_CLOSED, "the final receipt came, or time was up"},
};

const char *lease_state_name(int state)
{
    static const char *const names[LEASE_STATE_COUNT] = {
        [LEASE_AWARDED] = "awarded", [LEASE_STARTING] = "starting", [LEASE_RUNNING] = "running",
        [LEASE_CLOSING] = "closing", [LEASE_CLOSED] = "closed",
    };
    must(state > 0 && state < LEASE_STATE_COUNT);
    return names[state];
}

static const char *lease_event_name(int event)
{
    static const char *const names[LEASE_EVENT_COUNT] = {
        [LEASE_ACK] = "ack",
        [LEASE_READY] = "ready",
        [LEASE_CUT] = "cut",
        [LEASE_CLOSE] = "close",
    };
    must(event > 0 && event < LEASE_EVENT_COUNT);
    return names[event];
}

const struct fsm lease_machine = {
    .name = "lease",
    .rows = lease_rows,
    .rows_count = ARRAY_COUNT(lease_rows),
    .state_name = lease_state_name,
    .event_name = lease_event_name,
};

static const char *pays_name(enum close_pays pays)
{
    switch (pays) {
    case CLOSE_PAYS_USAGE:
        return "usage";
    case CLOSE_PAYS_MINIMUM:
        return "minimum";
    case CLOSE_PAYS_START:
        return "start";
    case CLOSE_PAYS_NOTHING:
        return "nothing";
    }
    must_not_reach();
}

static int64_t backoff_for(int32_t attempt)
{
    int64_t ms = BACKOFF_FIRST_MS;
    for (int32_t i = 1; i < attempt && ms < LEASE_BACKOFF_MAX_MS; i++)
        ms *= 2;
    return ms < LEASE_BACKOFF_MAX_MS ? ms : LEASE_BACKOFF_MAX_MS;
}

static bool is_retried(enum close_reason reason, const struct lease_facts *facts)
{
    const struct close_info *info = close_info(reason);
    bool is_interruption = info->group == CLOSE_BY_OPERATOR || reason == CLOSE_PREEMPTED;
    if (is_interruption && facts->stops_on_interruption && facts->has_run)
        return false;
    bool is_counted = facts->restart == RESTART_ON_FAILURE || info->pays == CLOSE_PAYS_START;
    bool is_capped = info->retry == CLOSE_RETRY_BY_RESTART_POLICY && is_counted &&
                     facts->attempt >= LEASE_ATTEMPTS_MAX;
    is_capped |= info->retry == CLOSE_RETRY_THRICE && facts->attempt >= LEASE_PULLS_MAX;
    return close_retries(reason, facts->restart) && !is_capped;
}

struct lease_plan lease_close_plan(enum close_reason reason, const struct lease_facts *facts)
{
    const struct close_info *info = close_info(reason);
    bool is_failure = info->reputation == CLOSE_REPUTATION_FAILURE;
    bool retries = is_retried(reason, facts);
    bool is_thrice = info->retry == CLOSE_RETRY_THRICE;
    bool backs_off = retries && (is_thrice || info->retry == CLOSE_RETRY_BY_RESTART_POLICY);
    bool is_node_bad = is_failure && reason != CLOSE_NOT_ACKNOWLEDGED;
    return (struct lease_plan){
        .pays = pays_name(info->pays),
        .next = retries ? "retry" : "end",
        .excludes_node = is_node_bad || (is_thrice && retries),
        .is_failure = is_failure,
        .backoff_ms = backs_off ? backoff_for(facts->attempt) : 0,
    };
}

enum restart_policy restart_policy_of(struct str name)
{
    if (str_equal_c(name, "never"))
        return RESTART_NEVER;
    if (str_equal_c(name, "on_failure"))
        return RESTART_ON_FAILURE;
    must(str_equal_c(name, "always"));
    return RESTART_ALWAYS;
}

void lease_plan_apply(const struct lease_plan *plan, enum close_reason reason,
                      struct lease_close_in *ret_in)
{
    ret_in->reason = str_of(close_info(reason)->slug);
    ret_in->pays = str_of(plan->pays);
    ret_in->next = str_of(plan->next);
    ret_in->exclude_node = plan->excludes_node;
    ret_in->is_failure = plan->is_failure;
    ret_in->backoff_ms = plan->backoff_ms;
}

struct lease_interrupt_in lease_notice(const struct tier_times *times, enum close_reason reason,
                                       const struct lease_noticed *lease)
{
    struct tier_notice notice =
        tier_notice_for(times, tier_of(lease->tier), (int64_t)lease->stop_grace_s * 1000);
    return (struct lease_interrupt_in){
        .lease_id = lease->lease_id,
        .epoch = lease->epoch,
        .reason = str_of(close_info(reason)->slug),
        .notice_ms = notice.notice_ms,
        .grace_ms = notice.grace_ms,
    };
}

static void wake_one(struct hub *hub, const char *kind, struct uuid id)
{
    char topic[HUB_TOPIC_SIZE];
    size_t len = strlen(kind);
    if (uuid_is_nil(id))
        return;
    _Static_assert(sizeof("workload:") + ID_TEXT_SIZE <= sizeof(topic), "a topic of any kind fits");
    memcpy(topic, kind, len);
    uuid_text(id, topic + len);
    hub_wake(hub, topic);
}

void lease_wake(struct hub *hub, const struct lease_parties *parties)
{
    if (hub == NULL)
        return;
    wake_one(hub, "node:", parties->node_id);
    wake_one(hub, "workload:", parties->workload_id);
    wake_one(hub, "account:", parties->account_id);
    if (!uuid_equal(parties->account_id, parties->operator_account_id))
        wake_one(hub, "account:", parties->operator_account_id);
}
