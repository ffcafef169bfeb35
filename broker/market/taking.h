/* taking.h - the postings that a leader was handed to store and award in one transaction.
 *
 * any thread puts, the leader's takes. Open only while the leader waits in office for work: then a
 * posting that wants an award now is stored by the round that awards it, with one commit and no
 * wake-up between them. Otherwise it takes the usual way: stored first, awarded by a round of its
 * own.
 */
#ifndef UNDERCUT_MARKET_TAKING_H
#define UNDERCUT_MARKET_TAKING_H

#include <pthread.h>

#include "broker/io/db_errand.h"

struct taking {
    pthread_mutex_t mutex;
    struct db_errand *errands, **tail;
    bool is_open;
};

void taking_init(struct taking *taking);
void taking_destroy(struct taking *taking);
/* False: closed. */
bool taking_put(struct taking *taking, struct db_errand *errands);
bool taking_has_some(struct taking *taking);
struct db_errand *taking_take(struct taking *taking); /* all of them; NULL: none */
void taking_set_open(struct taking *taking, bool is_open);

#endif
