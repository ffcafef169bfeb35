/* placement.h - where a manifest wants to run: which regions remain, how far they are, and what of
 * it no lot can say.
 *
 * pure; errors go to the binding. Countries and an estimated round trip only leave regions out,
 * which lots can express; a driver, a compute capability, an isolation, nodes to avoid, spread and
 * more of a machine than its class gives are finer than a lot and make the workload direct.
 */
#ifndef UNDERCUT_API_PLACEMENT_H
#define UNDERCUT_API_PLACEMENT_H

#include "api/schema.h"
#include "broker/market/terms.h"
#include "gen/api/operations.h"

/* Fills the regions, with their estimated distances, and what is finer than a lot. */
void placement_take(struct schema_binding *binding, const struct manifest *manifest,
                    const struct catalogue *catalogue, struct workload_terms *ret);
/* Once the classes are known: what distance adds to a score, and whether it is direct. */
void placement_weigh(const struct manifest *manifest, const struct catalogue *catalogue,
                     struct workload_terms *terms);
/* What is stored beside the terms (workloads.constraints), as JSON; nothing when there is none. */
void placement_write(const struct workload_terms *terms, struct buf *to);

#endif
