#include "nodeagent/roster.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/clock.h"
#include "broker/base/log.h"

#define KEY_PREFIX "lease:"
#define KEY_SIZE   96

static void key_of(const struct lease *lease, char ret_key[KEY_SIZE])
{
    must(str_format(ret_key, KEY_SIZE, KEY_PREFIX "%s/%lld", lease->lease_id,
                    (long long)lease->epoch));
}

static void append(struct roster *roster, struct lease *lease)
{
    size_t size = (roster->leases_count + 1) * sizeof(struct lease *);
    roster->leases = realloc(roster->leases, size);
    must(roster->leases);
    roster->leases[roster->leases_count++] = lease;
}

void roster_start(struct roster *roster, struct journal *journal)
{
    *roster = (struct roster){.journal = journal};
    must(pthread_mutex_init(&roster->lock, NULL) == 0);
    struct str key;
    struct str json;
    for (size_t i = 0; journal_each(journal, i, &key, &json); i++) {
        struct lease *lease = str_starts_with(key, STR(KEY_PREFIX)) ? lease_read(json) : NULL;
        if (lease)
            append(roster, lease);
    }
}

void roster_finish(struct roster *roster)
{
    for (size_t i = 0; i < roster->leases_count; i++)
        lease_destroy(roster->leases[i]);
    free(roster->leases);
    pthread_mutex_destroy(&roster->lock);
}

void roster_lock(struct roster *roster)
{
    must(pthread_mutex_lock(&roster->lock) == 0);
}

void roster_unlock(struct roster *roster)
{
    must(pthread_mutex_unlock(&roster->lock) == 0);
}

struct lease *roster_find(struct roster *roster, const char *lease_id, int64_t epoch)
{
    for (size_t i = 0; i < roster->leases_count; i++) {
        struct lease *lease = roster->leases[i];
        if (lease->epoch == epoch && strcmp(lease->lease_id, lease_id) == 0)
            return lease;
    }
    return NULL;
}

struct lease *roster_add(struct roster *roster, const char *lease_id, int64_t epoch)
{
    struct lease *lease = lease_create(lease_id, epoch);
    append(roster, lease);
    roster_save(roster, lease);
    return lease;
}

void roster_save(struct roster *roster, struct lease *lease)
{
    char key[KEY_SIZE];
    struct buf json = {0};
    key_of(lease, key);
    lease_emit(lease, &json);
    journal_put(roster->journal, key, buf_str(&json));
    journal_sync(roster->journal);
    lease->saved_mono_ms = clock_mono_ms();
    buf_finish(&json);
}

bool roster_step(struct roster *roster, struct lease *lease, enum lease_event event)
{
    const struct fsm_row *row = lease_step(lease, event);
    if (!row)
        return false;
    char why[160];
    char reason[64];
    log_event(LOG_INFO, "lease_stepped",
              "lease=%s epoch=%lld from=%s to=%s why=%s reason=%s healthy_ms=%lld", lease->lease_id,
              (long long)lease->epoch, lease_state_name((enum lease_state)row->from),
              lease_state_name(lease->state), log_quote(str_of(row->why), why, sizeof(why)),
              lease->reason[0] ? log_quote(str_of(lease->reason), reason, sizeof(reason)) : "-",
              (long long)lease->meter.healthy_ms);
    roster_save(roster, lease);
    /* These two change money; the stages in between can wait for the next sync. */
    bool is_urgent = lease->state == LEASE_RUNNING || lease->state == LEASE_EXITED;
    if (roster->wake && is_urgent)
        roster->wake(roster->wake_arg);
    return true;
}

void roster_forget(struct roster *roster, struct lease *lease)
{
    char key[KEY_SIZE];
    must(lease_step(lease, LEASE_RELEASE));
    log_event(LOG_INFO, "lease_forgotten", "lease=%s epoch=%lld", lease->lease_id,
              (long long)lease->epoch);
    key_of(lease, key);
    journal_drop(roster->journal, key);
    journal_sync(roster->journal);
    size_t at = 0;
    while (roster->leases[at] != lease)
        at++;
    roster->leases[at] = roster->leases[--roster->leases_count];
    lease_destroy(lease);
}

void lease_set_end(struct lease *lease, const char *reason, struct str detail)
{
    must(str_format(lease->reason, sizeof(lease->reason), "%s", reason));
    (void)str_format(lease->detail, sizeof(lease->detail), "%.*s", STR_ARG(detail));
    /* Plain ASCII, so that the cut cannot fall into a character and the length is what it seems. */
    for (char *c = lease->detail; *c; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
}
