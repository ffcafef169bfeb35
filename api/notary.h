/* notary.h - signs the promises of one turn of the loop together.
 *
 * loop thread. What one batch statement stored is answered in one turn, so its promises share one
 * signature (market/promise.h). A flow waits here until its turn ends.
 */
#ifndef UNDERCUT_API_NOTARY_H
#define UNDERCUT_API_NOTARY_H

#include "broker/io/flow.h"
#include "broker/market/promise.h"

struct loop;
struct notary;

struct notary_wait { /* in the flow's state */
    struct promise promise;
    /* private */
    struct notary *notary; /* NULL when it does not wait */
    struct flow *flow;
    struct notary_wait *next, **link;
};

struct notary *notary_create(struct loop *loop, const struct ed25519_secret *key);
void notary_destroy(struct notary *notary);
/* The promise is filled but for what signing adds; the flow's next row finds it signed. */
enum flow_next notary_sign(struct flow *flow, struct notary_wait *wait);

#endif
