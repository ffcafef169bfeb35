/* openings.h - which rows of a round's record somebody may see.
 *
 * pure apart from malloc; the rights come from openings.sql. At once and to everybody: the key,
 * index and number sold of each lot (of a workload cleared by itself: to the parties). At once and
 * to its parties: a block's row to its operator, a workload's to its tenant, an award's to both, a
 * prefix to the tenant. To everybody 30 days after the ask was replaced or withdrawn, or the
 * workload ended: the block's or workload's row (a direct bid's with its workload's); and the rest
 * of a lot or direct clearing once all of those in it are open.
 */
#ifndef UNDERCUT_MARKET_OPENINGS_H
#define UNDERCUT_MARKET_OPENINGS_H

#include "auction/sealed.h"
#include "gen/broker/market/openings.sql.h"

struct opening_block {
    struct uuid node;
    struct str region, class;
    uint32_t place; /* of its row */
};

struct opening_demand {
    struct uuid workload;
    uint32_t place;
};

struct openings {
    struct sealed_rows rows;
    struct buf blocks, demands; /* of struct opening_block, struct opening_demand */
    uint8_t *flags;             /* per row */
    struct str record;
    uint32_t blocks_count, demands_count;
};

/* False: the record cannot be decoded. openings_finish() in any case. */
MUST_USE bool openings_make(struct str record, const struct sha256 *secret,
                            struct openings *ret_openings);
const struct opening_block *openings_block(const struct openings *openings, uint32_t i);
const struct opening_demand *openings_demand(const struct openings *openings, uint32_t i);
/* What openings.sql says of a block or workload. */
void openings_grant(struct openings *openings, uint32_t place, bool is_own, bool is_open);
/* After all grants. */
void openings_decide(struct openings *openings);
bool openings_is_shown(const struct openings *openings, uint32_t place);
void openings_finish(struct openings *openings);

#endif
