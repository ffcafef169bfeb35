/* explain.h - reading what a workload's chances are, for dry runs and for workloads that wait.
 *
 * loop thread. Everything lives in the flow's pool. The order is: make the wish (of terms, or of a
 * stored workload), outlook_load(), in the next step outlook_ask(), and in the one behind it
 * outlook_answered() and outlook_read_put().
 */
#ifndef UNDERCUT_API_EXPLAIN_H
#define UNDERCUT_API_EXPLAIN_H

#include "api/call.h"
#include "broker/io/db.h"
#include "broker/market/outlook.h"

struct outlook_read {
    const struct manifest *manifest;
    struct outlook_wish wish;
    struct outlook outlook;
    struct str classes[TERMS_CHOICES_MAX];
    int classes_count;
    struct db_call pools, apart, facts, lot;
};

/* Of a workload that would be posted now. */
struct outlook_read *outlook_of_terms(struct flow *flow, const struct manifest *manifest,
                                      const struct workload_terms *terms);
void outlook_load(struct flow *flow, struct outlook_read *read);
/* Judges, and asks for the history of the lot that is shown. Needs CATALOGUE_STEPS before. */
enum flow_next outlook_ask(struct flow *flow, struct outlook_read *read);
/* Not ERR_OK: the flow has failed. */
enum err_code outlook_answered(struct flow *flow, struct outlook_read *read);
void outlook_read_put(struct json_out *out, const struct outlook_read *read);

#endif
