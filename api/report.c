/* report.c - receipts and lease reports of one sync.
 *
 * The happy path is: each new receipt verifies and its healthy times are applied before it counts
 * as taken; each reported lease that the database sees in an earlier state moves on by one
 * statement.
 *
 * Failure modes are: a receipt with a bad signature, for another node or with another seq inside
 * (it is left out, and the agent sees that receipt_seq does not rise), a lease that is closed or
 * has another epoch (the answer tells the agent), a reason that only the broker may give.
 */
#include "api/report.h"

#include "api/inventory.h"
#include "broker/base/log.h"
#include "broker/market/lease.h"

#define SEEN_FRESH_MS 2000 /* a node heard of more recently is not written again for that alone */

/* ---- the node itself */

static json_t *floors_of(const struct node_sync_request *body)
{
    json_t *floors = json_object();
    for (size_t i = 0; i < body->asks.count; i++) {
        const struct sync_ask *ask = &body->asks.at[i];
        json_object_setn_new(floors, ask->class.at, ask->class.len,
                             json_integer(ask->price_uusd_per_device_hour));
    }
    return floors;
}

static bool floors_differ(const json_t *reported, struct str stored)
{
    char why[128];
    json_t *before = json_parse(stored, why, sizeof(why));
    bool do_differ = !json_equal(reported, before);
    json_decref(before);
    return do_differ;
}

bool report_node_is_due(const struct report *report, struct node_sync_store_in *ret)
{
    const struct node_sync_request *body = report->body;
    const struct node_auth *auth = report->auth;
    struct str sha256 = body->inventory_sha256.at ? body->inventory_sha256 : STR("");
    bool is_new_inventory =
        body->has_inventory && (sha256.len == 0 || !str_equal(sha256, auth->node.inventory_sha256));
    json_t *floors = floors_of(body);
    bool is_due = is_new_inventory || floors_differ(floors, auth->node.floors) ||
                  body->is_opted_in != auth->node.is_opted_in ||
                  body->takes_bids != auth->node.takes_bids || !auth->node.has_boot ||
                  !uuid_equal(auth->call.boot, auth->node.boot) ||
                  !str_equal_c(auth->node.state, "live") || auth->node.silent_ms >= SEEN_FRESH_MS;
    char *floors_text = json_dumps(floors, JSON_COMPACT);
    must(floors_text);
    *ret = (struct node_sync_store_in){
        .node_id = auth->call.node_id.u,
        .boot = auth->call.boot,
        .seq = auth->call.seq,
        .is_opted_in = body->is_opted_in,
        .takes_bids = body->takes_bids,
        .floors = str_of(flow_strdup(report->flow, str_of(floors_text))),
        .inventory = STR_NONE,
        .inventory_sha256 = is_new_inventory ? sha256 : STR_NONE,
    };
    free(floors_text);
    json_decref(floors);
    if (is_new_inventory && !inventory_text(report->flow, &body->inventory, &ret->inventory))
        return false; /* the flow has failed */
    return is_due;
}

/* ---- calls of a step */

static struct db_call *call_next(struct report *report, struct report_calls *calls,
                                 size_t count_max)
{
    if (!calls->at)
        calls->at = flow_alloc(report->flow, sizeof(*calls->at) * count_max);
    must(calls->count < count_max);
    struct db_call *call = &calls->at[calls->count++];
    call->flow = report->flow;
    return call;
}

static struct db *db_of(const struct report *report)
{
    return api_call_of(report->flow)->thread->db;
}

/* ---- receipts */

static void *pool_alloc(void *data, size_t size)
{
    return flow_alloc(data, size);
}

static void json_release(void *json)
{
    json_decref(json);
}

/* The receipt's body when it is what it says: ours to believe, as far as billing allows. */
static const struct receipt_body *receipt_read(struct report *report,
                                               const struct sync_receipt *receipt)
{
    char why[128], node_text[ID_TEXT_SIZE];
    struct ed25519_signature signature;
    const char *fault = "signature";
    json_t *json = NULL;
    struct receipt_body *body = flow_alloc(report->flow, sizeof(*body));
    struct schema_binding binding = {.alloc = pool_alloc, .data = report->flow};
    if (node_receipt_verify(receipt->body, report->auth->node.public_key, receipt->signature,
                            &signature)) {
        json = json_parse(receipt->body, why, sizeof(why));
        fault = "content";
    }
    if (json) {
        api_at_end(report->flow, json_release, json); /* the body's slices point into it */
        if (schema_bind(&binding, &receipt_body_schema, json, body) && body->seq == receipt->seq &&
            uuid_equal(body->node_id.u, report->auth->call.node_id.u))
            return body;
    }
    log_event(LOG_WARN, "receipt_refused", "node=%s seq=%lld why=%s",
              node_id_text(report->auth->call.node_id, node_text), (long long)receipt->seq, fault);
    return NULL;
}

static size_t receipts_read(struct report *report)
{
    size_t leases_count = 0;
    const struct node_sync_request *body = report->body;
    report->good = flow_alloc(report->flow, sizeof(*report->good) * (body->receipts.count + 1));
    for (size_t i = 0; i < body->receipts.count; i++) {
        if (body->receipts.at[i].seq <= report->auth->node.receipt_seq)
            continue;
        report->good[i] = receipt_read(report, &body->receipts.at[i]);
        leases_count += report->good[i] ? report->good[i]->leases.count : 0;
    }
    return leases_count;
}

size_t report_submit_heard(struct report *report)
{
    size_t count_max = receipts_read(report);
    for (size_t i = 0; i < report->body->receipts.count; i++) {
        const struct receipt_body *receipt = report->good[i];
        for (size_t k = 0; receipt && k < receipt->leases.count; k++) {
            const struct receipt_lease *lease = &receipt->leases.at[k];
            struct str digest = lease->image_digest.len ? lease->image_digest : STR_NONE;
            lease_receipt_submit(db_of(report), call_next(report, &report->heard, count_max),
                                 &(struct lease_receipt_in){
                                     .lease_id = lease->lease_id.u,
                                     .node_id = report->auth->call.node_id.u,
                                     .epoch = (int32_t)lease->epoch,
                                     .healthy_ms = lease->healthy_ms,
                                     .seq = receipt->seq,
                                     .image_digest = digest,
                                 });
        }
    }
    return report->heard.count;
}

size_t report_submit_receipts(struct report *report)
{
    const struct node_sync_request *body = report->body;
    report->receipt_seq = report->auth->node.receipt_seq;
    for (size_t i = 0; i < body->receipts.count; i++) {
        const struct sync_receipt *receipt = &body->receipts.at[i];
        struct ed25519_signature signature;
        if (!report->good[i])
            continue;
        must(base64url_decode(receipt->signature, signature.bytes, sizeof(signature.bytes)) ==
             sizeof(signature.bytes));
        node_receipt_store_submit(
            db_of(report), call_next(report, &report->receipts, body->receipts.count),
            &(struct node_receipt_store_in){
                .node_id = report->auth->call.node_id.u,
                .seq = receipt->seq,
                .body = receipt->body,
                .signature = {.at = (const char *)signature.bytes, .len = sizeof(signature.bytes)},
            });
        if (receipt->seq > report->receipt_seq)
            report->receipt_seq = receipt->seq;
    }
    return report->receipts.count;
}

/* ---- leases */

/* What the agent's word means here. Reasons that are the broker's to give, or that come without
 * having been asked for, count as the operator's refusal: nobody's lease ends for good by a node's
 * whim. */
static enum close_reason reason_of(const struct sync_lease *lease)
{
    switch (lease->reason) {
    case SYNC_LEASE_REASON_COMPLETED:
    case SYNC_LEASE_REASON_COMMAND_FAILED:
    case SYNC_LEASE_REASON_OUT_OF_MEMORY:
    case SYNC_LEASE_REASON_IMAGE_NOT_FOUND:
    case SYNC_LEASE_REASON_IMAGE_PULL_FAILED:
    case SYNC_LEASE_REASON_CONTAINER_CREATE_FAILED:
    case SYNC_LEASE_REASON_READINESS_FAILED:
    case SYNC_LEASE_REASON_AGENT_REFUSED:
        return close_reason_by_slug(str_of(sync_lease_reason_text(lease->reason)));
    case SYNC_LEASE_REASON_STOPPED:
    case SYNC_LEASE_REASON_EPOCH_STALE:
        return CLOSE_AGENT_REFUSED;
    }
    if (!lease->has_exit_code)
        return CLOSE_AGENT_REFUSED;
    return lease->exit_code == 0 ? CLOSE_COMPLETED : CLOSE_COMMAND_FAILED;
}

/* Who has its notice and leaves with an error leaves for it; a good end is its own. */
static enum close_reason reason_under_notice(enum close_reason reason,
                                             const struct node_lease_list_out *row)
{
    bool is_early = reason == CLOSE_COMMAND_FAILED && row->has_interrupt_at && row->has_run;
    return is_early ? close_reason_by_slug(row->interrupt_reason) : reason;
}

static void close_submit(struct report *report, const struct sync_lease *lease,
                         const struct node_lease_list_out *row, struct db_call *call)
{
    char text[ID_TEXT_SIZE];
    enum close_reason reason = reason_under_notice(reason_of(lease), row);
    struct lease_facts facts = node_lease_facts(row);
    struct lease_plan plan = lease_close_plan(reason, &facts);
    struct lease_close_in in = {
        .lease_id = row->lease_id,
        .epoch = row->epoch,
        .has_exit_code = lease->has_exit_code,
        .exit_code = (int32_t)lease->exit_code,
        .detail = lease->detail.len ? lease->detail : STR_NONE,
    };
    lease_plan_apply(&plan, reason, &in);
    /* A lease that was cut keeps the reason it was cut for; this one's plan then has no say. */
    if (str_equal_c(row->state, "closing")) {
        in.exclude_node = in.is_failure = false;
        in.backoff_ms = 0;
    }
    lease_close_submit(db_of(report), call, &in);
    log_event(LOG_INFO, "lease_exited", "lease=%s reason=%s exit_code=%lld",
              lease_id_text(lease->lease_id, text), close_info(reason)->slug,
              (long long)lease->exit_code);
}

static void starting_submit(struct report *report, const struct sync_lease *lease,
                            const struct node_lease_list_out *row, size_t count_max)
{
    struct uuid node_id = report->auth->call.node_id.u;
    struct str stage = str_of(sync_lease_stage_text(lease->stage));
    bool is_starting = str_equal_c(row->state, "awarded") || str_equal_c(row->state, "starting");
    if (str_equal_c(row->state, "awarded"))
        lease_ack_submit(db_of(report), call_next(report, &report->moved, count_max),
                         &(struct lease_ack_in){
                             .lease_id = row->lease_id, .node_id = node_id, .epoch = row->epoch});
    if (is_starting && stage.at && !str_equal(stage, row->stage))
        lease_stage_submit(db_of(report), call_next(report, &report->moved, count_max),
                           &(struct lease_stage_in){.lease_id = row->lease_id,
                                                    .node_id = node_id,
                                                    .epoch = row->epoch,
                                                    .stage = stage});
}

static void running_submit(struct report *report, const struct sync_lease *lease,
                           const struct node_lease_list_out *row, size_t count_max)
{
    if (!str_equal_c(row->state, "awarded") && !str_equal_c(row->state, "starting"))
        return;
    struct str digest = lease->image_digest.len ? lease->image_digest : STR_NONE;
    lease_mark_running_submit(db_of(report), call_next(report, &report->moved, count_max),
                              &(struct lease_mark_running_in){
                                  .lease_id = row->lease_id,
                                  .node_id = report->auth->call.node_id.u,
                                  .epoch = row->epoch,
                                  .image_digest = digest,
                              });
}

static bool lease_find(const struct report *report, const struct sync_lease *lease,
                       struct node_lease_list_out *ret)
{
    for (int i = 0; i < report->leases->row_count; i++) {
        node_lease_list_get(report->leases, i, ret);
        if (uuid_equal(ret->lease_id, lease->lease_id.u))
            return ret->epoch == lease->epoch;
    }
    return false;
}

size_t report_submit_moves(struct report *report)
{
    size_t count_max = 2 * report->body->leases.count; /* an acknowledgement may bring a stage */
    for (size_t i = 0; i < report->body->leases.count; i++) {
        const struct sync_lease *lease = &report->body->leases.at[i];
        struct node_lease_list_out row;
        if (!lease_find(report, lease, &row))
            continue;
        switch (lease->state) {
        case SYNC_LEASE_STATE_STARTING:
            starting_submit(report, lease, &row, count_max);
            break;
        case SYNC_LEASE_STATE_RUNNING:
            running_submit(report, lease, &row, count_max);
            break;
        case SYNC_LEASE_STATE_EXITED:
            close_submit(report, lease, &row, call_next(report, &report->moved, count_max));
            break;
        }
    }
    return report->moved.count;
}

/* The parties stand in the same columns of every statement of a lease's life, behind ord and
 * lease_id: lease_ack's shape reads them all. */
bool report_finish_calls(struct flow *flow, const struct report_calls *calls)
{
    for (size_t i = 0; i < calls->count; i++) {
        struct lease_ack_out row;
        if (db_call_check(flow, &calls->at[i]) != ERR_OK)
            return false;
        if (calls->at[i].row_count == 0)
            continue;
        lease_ack_get(&calls->at[i], 0, &row);
        lease_wake(api_call_of(flow)->thread->hub,
                   &(struct lease_parties){row.workload_id, row.account_id, row.operator_account_id,
                                           row.node_id});
    }
    return true;
}
