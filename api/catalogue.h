/* catalogue.h - what is traded and where, as each thread last read it.
 *
 * loop thread. Two steps that operations put in front of whatever reads a manifest: they ask the
 * database when the thread's copy is missing or older than ten seconds, and live with the old copy
 * when the database does not answer.
 */
#ifndef UNDERCUT_API_CATALOGUE_H
#define UNDERCUT_API_CATALOGUE_H

#include "broker/io/flow.h"
#include "broker/market/terms.h"

struct api_catalogue; /* one per thread, in struct api_thread */

/* clang-format off */
#define CATALOGUE_STEPS {"catalogue", catalogue_load}, {"catalogue_read", catalogue_read}
/* clang-format on */
enum flow_next catalogue_load(struct flow *flow);
enum flow_next catalogue_read(struct flow *flow);

/* After CATALOGUE_STEPS. Good for this step only: a later one may find another copy. */
const struct catalogue *catalogue_of(struct flow *flow);
/* At the end of a thread. NULL is fine. */
void api_catalogue_release(struct api_catalogue *catalogue);

#endif
