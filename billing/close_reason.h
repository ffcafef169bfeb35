/* close_reason.h - why a lease or a workload ended, and what follows from it, from one table.
 *
 * pure (close_reasons_markdown allocates). close_reasons.def is the table; docs/close-reasons.md is
 * written from it and a test keeps the two the same.
 */
#ifndef UNDERCUT_BILLING_CLOSE_REASON_H
#define UNDERCUT_BILLING_CLOSE_REASON_H

#include <stdbool.h>

#include "billing/meter.h"
#include "broker/base/str.h"

enum close_reason {
    CLOSE_NONE = 0, /* not closed */
#define REASON(name, slug, ends, group, pays, retry, reputation, sentence) CLOSE_##name,
#include "billing/close_reasons.def"
#undef REASON
    CLOSE_REASON_COUNT
};

enum close_ends { CLOSE_ENDS_LEASE = 1, CLOSE_ENDS_WORKLOAD };
enum close_group {
    CLOSE_BY_OWNER = 1,
    CLOSE_BY_OPERATOR,
    CLOSE_BY_PLATFORM,
    CLOSE_BY_MONEY,
    CLOSE_GROUP_COUNT
};
enum close_pays {
    CLOSE_PAYS_USAGE = 1,
    CLOSE_PAYS_MINIMUM,
    CLOSE_PAYS_START,   /* a container that is never ready ran all the same */
    CLOSE_PAYS_NOTHING, /* what was posted before goes back by a reversing journal */
};
enum close_retry {
    CLOSE_RETRY_YES = 1,
    CLOSE_RETRY_NO,
    CLOSE_RETRY_THRICE, /* the caller counts attempts */
    CLOSE_RETRY_BY_RESTART_POLICY
};
enum close_reputation { CLOSE_REPUTATION_NONE = 1, CLOSE_REPUTATION_FAILURE };

struct close_info {
    const char *slug;
    enum close_ends ends;
    enum close_group group;
    enum close_pays pays;
    enum close_retry retry;
    enum close_reputation reputation;
    const char *sentence; /* for people */
};

const struct close_info *close_info(enum close_reason reason);
/* CLOSE_NONE when there is none. */
enum close_reason close_reason_by_slug(struct str slug);
const char *close_group_name(enum close_group group);

/* Whether the replica goes back into the auction. */
enum restart_policy { RESTART_NEVER = 1, RESTART_ON_FAILURE, RESTART_ALWAYS };
bool close_retries(enum close_reason reason, enum restart_policy restart);

/* The whole billable time of a lease that ended, or goes on (CLOSE_NONE): start and run together.
 * `has_run` says whether it was ever ready. */
struct close_times {
    bool has_run;
    int64_t start_ms; /* from award to ready, or to the end if it never was */
    struct meter_times run;
};
int64_t close_billable_ms(enum close_reason reason, const struct close_times *times);

/* Appends docs/close-reasons.md. */
void close_reasons_markdown(struct buf *to);

#endif
