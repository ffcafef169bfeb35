/* office.h - being the one leader: an epoch in the database, claimed, renewed, and checked by every
 * mutating transaction, so that a leader who was overtaken while it slept cannot commit.
 *
 * one blocking thread. A name is a market ("main") or its settlement ("main/settle"); each has its
 * own row in `leadership`. Office is lost when another epoch stands there; then epoch is 0 and the
 * thread goes on as a standby.
 */
#ifndef UNDERCUT_MARKET_OFFICE_H
#define UNDERCUT_MARKET_OFFICE_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/io/sql.h"

#define OFFICE_POLL_MS 500

struct transcript;

struct office {
    const char *conninfo;
    const char *name;        /* the row's key */
    const char *holder;      /* unique per process; the same one takes over from itself at once */
    const char *address;     /* where others reach it */
    bool plans_anew;         /* its statements work on whole tables: see session_plan_anew() */
    struct session *session; /* NULL until connected */
    uint64_t connection;     /* how many sessions there were, this one included */
    struct transcript *transcript; /* where the market's log ends; NULL for its settlement */
    int64_t epoch;                 /* 0: not in office */
};

/* Connects if need be and claims if need be. True: in office. */
bool office_hold(struct office *office);
/* Every second; false: lost, or the database is away. */
bool office_renew(struct office *office);
/* BEGIN and the fence. Any error: nothing is open. */
MUST_USE enum err_code office_begin(struct office *office);
/* The fence alone, in a transaction that is already open. */
MUST_USE enum err_code office_fence(struct office *office);
/* COMMIT; on an error the transaction is gone and its outcome may be unknown. */
MUST_USE enum err_code office_commit(struct office *office);
/* Logs what failed, rolls back, drops a broken connection. */
void office_fail(struct office *office, const char *what, enum err_code err);
/* Leaves office if in it, and disconnects. */
void office_leave(struct office *office);

#endif
