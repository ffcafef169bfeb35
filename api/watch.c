#include "api/watch.h"

#define LOOK_EVERY_MS 1000 /* wake-ups may get lost */

struct workload_wanted watch_wanted(struct flow *flow, struct str id_or_name)
{
    struct workload_id id;
    struct workload_wanted wanted = {.account_id = api_call_of(flow)->principal.account_id.u};
    wanted.has_workload_id = workload_id_parse(id_or_name, &id);
    if (wanted.has_workload_id)
        wanted.workload_id = id.u;
    else
        wanted.name = id_or_name;
    return wanted;
}

enum watch_goal watch_goal_of(enum wait_for wait_for, enum watch_goal otherwise)
{
    switch (wait_for) {
    case WAIT_FOR_RUNNING:
        return WATCH_RUNNING;
    case WAIT_FOR_ENDED:
        return WATCH_ENDED;
    }
    return otherwise; /* absent */
}

static bool is_reached(enum watch_goal goal, const struct workload_get_out *row)
{
    bool has_ended = workload_is_terminal(row);
    switch (goal) {
    case WATCH_ONCE:
        return true;
    case WATCH_AWARDED:
        return has_ended || row->replicas_auctioning == 0;
    case WATCH_RUNNING:
        return has_ended || str_equal_c(row->state, "running");
    case WATCH_ENDED:
        return has_ended;
    }
    must_not_reach();
}

void watch_listen(struct flow *flow, struct workload_watch *watch)
{
    char id[ID_TEXT_SIZE], topic[HUB_TOPIC_SIZE];
    must(watch->wanted.has_workload_id);
    must(str_format(topic, sizeof(topic), "workload:%s", uuid_text(watch->wanted.workload_id, id)));
    api_wait_start(flow, &watch->wait, topic, watch->timeout_ms);
}

enum flow_next watch_look(struct flow *flow)
{
    struct workload_watch *watch = flow->state;
    const struct workload_wanted *wanted = &watch->wanted;
    struct db *db = api_call_of(flow)->thread->db;
    watch->read.flow = flow;
    if (wanted->has_workload_id)
        workload_get_submit(db, &watch->read,
                            &(struct workload_get_in){
                                .account_id = wanted->account_id,
                                .workload_id = wanted->workload_id,
                            });
    else
        workload_named_submit(db, &watch->read,
                              &(struct workload_named_in){
                                  .account_id = wanted->account_id,
                                  .name = wanted->name,
                              });
    return FLOW_WAIT;
}

enum flow_next watch_seen(struct flow *flow)
{
    struct workload_watch *watch = flow->state;
    if (db_call_check(flow, &watch->read) != ERR_OK)
        return FLOW_END;
    if (watch->read.row_count == 0)
        return flow_fail(flow, ERR_NOT_FOUND, "no workload of yours has this id or name");
    if (!watch->wanted.has_workload_id) {
        struct workload_named_out named;
        workload_named_get(&watch->read, 0, &named);
        watch->wanted.has_workload_id = true;
        watch->wanted.workload_id = named.workload_id;
        return flow_goto(flow, "look");
    }
    workload_get_get(&watch->read, 0, &watch->row);
    if (is_reached(watch->goal, &watch->row))
        return flow_goto(flow, "answer");
    if (watch->wait.flow == NULL) { /* look again behind the listening */
        watch_listen(flow, watch);
        return flow_goto(flow, "look");
    }
    if (!api_wait_is_over(&watch->wait))
        return FLOW_NEXT;
    if (watch->wait.is_gone)
        return flow_fail(flow, ERR_CANCELLED, "the client hung up");
    api_set_header(flow, "Undercut-Wait", "timeout");
    return flow_goto(flow, "answer");
}

enum flow_next watch_rest(struct flow *flow)
{
    struct workload_watch *watch = flow->state;
    return api_wait_rest(&watch->wait, LOOK_EVERY_MS);
}

enum flow_next watch_again(struct flow *flow)
{
    return flow_goto(flow, "look");
}
