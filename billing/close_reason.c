#include "billing/close_reason.h"

/* clang-format off */
static const struct close_info infos[CLOSE_REASON_COUNT] = {
#define REASON(name, slug_, ends_, group_, pays_, retry_, reputation_, sentence_)          \
    [CLOSE_##name] = {.slug = (slug_), .ends = CLOSE_ENDS_##ends_,                         \
                      .group = CLOSE_BY_##group_, .pays = CLOSE_PAYS_##pays_,              \
                      .retry = CLOSE_RETRY_##retry_,                                       \
                      .reputation = CLOSE_REPUTATION_##reputation_, .sentence = (sentence_)},
#include "billing/close_reasons.def"
#undef REASON
};
/* clang-format on */

const struct close_info *close_info(enum close_reason reason)
{
    must(reason > CLOSE_NONE && reason < CLOSE_REASON_COUNT);
    return &infos[reason];
}

enum close_reason close_reason_by_slug(struct str slug)
{
    for (enum close_reason reason = CLOSE_NONE + 1; reason < CLOSE_REASON_COUNT; reason++)
        if (str_equal_c(slug, infos[reason].slug))
            return reason;
    return CLOSE_NONE;
}

const char *close_group_name(enum close_group group)
{
    static const char *const names[CLOSE_GROUP_COUNT] = {
        [CLOSE_BY_OWNER] = "owner",
        [CLOSE_BY_OPERATOR] = "operator",
        [CLOSE_BY_PLATFORM] = "platform",
        [CLOSE_BY_MONEY] = "money",
    };
    must(group > 0 && group < CLOSE_GROUP_COUNT);
    return names[group];
}

bool close_retries(enum close_reason reason, enum restart_policy restart)
{
    switch (close_info(reason)->retry) {
    case CLOSE_RETRY_YES:
    case CLOSE_RETRY_THRICE:
        return true;
    case CLOSE_RETRY_NO:
        return false;
    case CLOSE_RETRY_BY_RESTART_POLICY:
        return restart == RESTART_ALWAYS ||
               (restart == RESTART_ON_FAILURE && reason != CLOSE_COMPLETED);
    }
    must_not_reach();
}

static enum start_end start_end_of(enum close_reason reason, bool has_run)
{
    if (has_run)
        return START_RAN;
    if (reason == CLOSE_NONE)
        return START_GOES_ON;
    switch (close_info(reason)->pays) {
    case CLOSE_PAYS_MINIMUM:
        return START_OWNER_ENDED;
    case CLOSE_PAYS_START:
        return START_RAN;
    case CLOSE_PAYS_USAGE:
    case CLOSE_PAYS_NOTHING:
        return START_FAILED;
    }
    must_not_reach();
}

int64_t close_billable_ms(enum close_reason reason, const struct close_times *times)
{
    if (reason != CLOSE_NONE && close_info(reason)->pays == CLOSE_PAYS_NOTHING)
        return 0;
    int64_t start_ms = billable_start_ms(start_end_of(reason, times->has_run), times->start_ms);
    int64_t ms = start_ms + (times->has_run ? billable_run_ms(&times->run) : 0);
    return ms < METER_MS_MAX ? ms : METER_MS_MAX;
}

/* Docs -----------------------------------------------------------------------------------------*/

static const char *pays_text(enum close_pays pays)
{
    switch (pays) {
    case CLOSE_PAYS_USAGE:
        return "what ran";
    case CLOSE_PAYS_MINIMUM:
        return "what ran, at least the minimum";
    case CLOSE_PAYS_START:
        return "what ran, or a long start";
    case CLOSE_PAYS_NOTHING:
        return "nothing";
    }
    must_not_reach();
}

static const char *retry_text(enum close_retry retry)
{
    switch (retry) {
    case CLOSE_RETRY_YES:
        return "yes";
    case CLOSE_RETRY_NO:
        return "no";
    case CLOSE_RETRY_THRICE:
        return "up to the third attempt";
    case CLOSE_RETRY_BY_RESTART_POLICY:
        return "as `restart` says";
    }
    must_not_reach();
}

static void group_write(struct buf *to, enum close_group group)
{
    buf_add_format(to, "\n## %s\n\n", close_group_name(group));
    buf_add_c(to, "| reason | ends | the tenant pays | runs again | node's failure | meaning |\n"
                  "|---|---|---|---|---|---|\n");
    for (enum close_reason reason = CLOSE_NONE + 1; reason < CLOSE_REASON_COUNT; reason++) {
        const struct close_info *info = &infos[reason];
        if (info->group != group)
            continue;
        buf_add_format(to, "| `%s` | %s | %s | %s | %s | %s |\n", info->slug,
                       info->ends == CLOSE_ENDS_LEASE ? "lease" : "workload", pays_text(info->pays),
                       retry_text(info->retry),
                       info->reputation == CLOSE_REPUTATION_FAILURE ? "yes" : "no", info->sentence);
    }
}

void close_reasons_markdown(struct buf *to)
{
    buf_add_format(
        to,
        "# Why leases and workloads end\n\n"
        "<!-- Written from billing/close_reasons.def by tests/unit/test_close_reasons.c. -->\n\n"
        "Every lease and every workload that ends carries exactly one of these reasons. The\n"
        "group says whose side it came from. Time before the container is ready is free for\n"
        "%d s; the rest of a longer start is charged once it ran. Who ends an order of their\n"
        "own before it ran pays for %d s at least. A container whose readiness probe never\n"
        "passes did run: such a start is charged beyond its free time too, and each counts\n"
        "as an attempt, of which there are ten. Any other end before it ran is free.\n",
        PULL_FREE_MS / 1000, OWNER_END_MIN_MS / 1000);
    for (enum close_group group = CLOSE_BY_OWNER; group < CLOSE_GROUP_COUNT; group++)
        group_write(to, group);
}
