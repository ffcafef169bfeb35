/* roster.h - the leases of this node: one list, one lock, one door for every change.
 *
 * any thread, under roster_lock(). Each step is journaled before the lock is let go, so that what
 * the broker hears was on disk first. Leases live until roster_forget(); pointers stay good
 * meanwhile.
 */
#ifndef UNDERCUT_NODEAGENT_ROSTER_H
#define UNDERCUT_NODEAGENT_ROSTER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nodeagent/journal.h"
#include "nodeagent/lease.h"

struct roster {
    pthread_mutex_t lock;
    struct journal *journal;
    struct lease **leases;
    size_t leases_count;
    void (*wake)(void *arg); /* the broker should hear of it now */
    void *wake_arg;
};

void roster_start(struct roster *roster, struct journal *journal);
void roster_finish(struct roster *roster);
void roster_lock(struct roster *roster);
void roster_unlock(struct roster *roster);

/* All below: with the lock held. */
struct lease *roster_find(struct roster *roster, const char *lease_id, int64_t epoch);
/* Adds and journals it. */
struct lease *roster_add(struct roster *roster, const char *lease_id, int64_t epoch);
/* Takes the road, logs it, journals it, wakes the sync. False when there is no such road. */
bool roster_step(struct roster *roster, struct lease *lease, enum lease_event event);
/* Journals the lease as it is, without a step. */
void roster_save(struct roster *roster, struct lease *lease);
/* Steps to forgotten, drops the record and frees the lease. */
void roster_forget(struct roster *roster, struct lease *lease);
/* Sets how it ended. `detail` is cut to 256 bytes. */
void lease_set_end(struct lease *lease, const char *reason, struct str detail);

#endif
