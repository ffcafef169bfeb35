/* report.h - what an agent reports of its leases, turned into statements.
 *
 * loop thread. Reports are level-triggered: the same report comes again until the broker's answer
 * no longer asks for it, so everything here is safe to repeat and skips what the database already
 * has. Each function submits what is due on the flow and says how many calls that were: 0 is
 * FLOW_NEXT.
 */
#ifndef UNDERCUT_API_REPORT_H
#define UNDERCUT_API_REPORT_H

#include "api/node_auth.h"

struct report_calls { /* of one step */
    struct db_call *at;
    size_t count;
};

struct report {
    struct flow *flow;
    struct node_auth *auth;
    const struct node_sync_request *body;
    const struct db_call *leases;     /* node_lease_list: what the database says */
    struct report_calls heard;        /* lease_receipt */
    struct report_calls receipts;     /* node_receipt_store */
    struct report_calls moved;        /* lease_ack, lease_stage, lease_mark_running, lease_close */
    const struct receipt_body **good; /* receipts that verify and are new, by position; else NULL */
    int64_t receipt_seq;              /* the highest one stored */
};

/* What has to be written about the node itself, if anything. True: `ret` is filled. */
bool report_node_is_due(const struct report *report, struct node_sync_store_in *ret);
/* Healthy times of new receipts; then the receipts themselves, which makes them count as taken. */
size_t report_submit_heard(struct report *report);
size_t report_submit_receipts(struct report *report);
/* Acknowledgements, stages, readiness and ends. */
size_t report_submit_moves(struct report *report);
/* Tells everybody whose lease changed. False: the flow failed. */
bool report_finish_calls(struct flow *flow, const struct report_calls *calls);

#endif
