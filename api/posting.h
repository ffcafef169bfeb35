/* posting.h - a workload about to be stored: the manifest of a request in the market's words.
 *
 * loop thread. Everything points into the flow's pool. Steps that use it need CATALOGUE_STEPS
 * before.
 */
#ifndef UNDERCUT_API_POSTING_H
#define UNDERCUT_API_POSTING_H

#include "api/notary.h"
#include "api/watch.h"
#include "broker/io/db.h"
#include "broker/market/terms.h"

struct posting {
    const struct manifest *manifest;
    struct workload_terms terms;
    struct workload_store_in in;
    struct workload_id id;
};

/* The state of create and apply, and of their dry runs. */
struct workload_order {
    struct workload_watch watch; /* first */
    struct posting posting;
    const char *change; /* "none", "created", "updated" or "replaced" */
    struct db_call found, stored, twin;
    struct outlook_read *outlook; /* of a dry run */
    struct workload_store_out row;
    struct notary_wait notary;
    int tries_count;
};

/* Reads the call's body; `name` (of the path) is STR_NONE for a workload that names itself. False:
 * the flow has failed and its problem lists the fields. */
MUST_USE bool posting_make(struct flow *flow, struct str name, struct posting *ret);
/* What the answer waits for. */
void posting_want(struct workload_order *order, enum wait_for wait_for, int64_t timeout_s);
/* Listens for it from before the store. */
void posting_listen(struct flow *flow, struct workload_order *order);
/* What may be lent to the market, to be awarded in the transaction that stores it. */
bool posting_may_be_lent(const struct posting *posting);
/* Tells the account's listeners, and the market when it shall award at once and has not yet. */
void posting_announce(struct flow *flow, const struct workload_order *order);
/* The workload as stored, without reading it again. */
struct workload_get_out posting_stored(const struct posting *posting,
                                       const struct workload_store_out *row);
/* Fails the flow with what is missing, in USD. */
enum flow_next posting_refuse_short(struct flow *flow, int64_t hold_uusd, int64_t wallet_uusd);
/* Has the promise of the order's latest arrival signed among those of this turn; waits. */
enum flow_next posting_sign(struct flow *flow, struct workload_order *order);
/* "promise": {...}, signed alone unless posting_sign() was there before. */
void posting_put_promise(struct flow *flow, struct json_out *out, struct workload_order *order);

#endif
