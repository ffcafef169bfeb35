/* manifest.h - from a manifest that is well-formed to terms that make sense, or to what is wrong
 * with it.
 *
 * pure; errors go to the binding, each with the pointer of the field that caused it.
 */
#ifndef UNDERCUT_API_MANIFEST_H
#define UNDERCUT_API_MANIFEST_H

#include "api/schema.h"
#include "broker/market/terms.h"
#include "gen/api/operations.h"

struct manifest_context {
    const struct catalogue *catalogue;
    bool is_test; /* a test account may accept simulated hardware */
    int64_t now_us;
    int64_t hold_s; /* escrow holds this much time in advance */
};

/* True: `ret` is complete. Else the binding holds invalid_field or unplaceable errors. */
bool manifest_terms(struct schema_binding *binding, const struct manifest *manifest,
                    const struct manifest_context *context, struct workload_terms *ret);

/* CONSTRAINT_BIT (auction/explain.h) of everything in the manifest that a class does not meet. */
uint32_t manifest_class_faults(const struct manifest *manifest,
                               const struct catalogue_class *class);

/* Whether it has either of the two fields that are sealed: secrets and registry_auth. */
bool manifest_has_secret(const struct manifest *manifest);
/* A manifest's JSON without them, as it is shown again. Appends compact JSON. */
void manifest_write_public(const json_t *json, struct buf *to);
/* The two of them: {"secrets":{...},"registry_auth":{...}|null}. Likewise. */
void manifest_write_secret(const json_t *json, struct buf *to);

#endif
