/* lib_broker.h - a stand-in broker for the agent's tests: the agent's half of the protocol, in
 * memory.
 *
 * It listens on a free port of the loopback, verifies every signature, signs every answer, holds
 * syncs until something changes, and keeps the last report of each lease, its log, and every
 * receipt. What breaks the protocol (a sequence that does not rise, healthy time that falls, a bad
 * signature) is noted as a violation, and tests end by asserting that there is none.
 */
#ifndef UNDERCUT_TESTS_AGENT_LIB_BROKER_H
#define UNDERCUT_TESTS_AGENT_LIB_BROKER_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/json.h"

struct broker;

struct broker *broker_start(void);
void broker_stop(struct broker *broker);
const char *broker_url(const struct broker *broker);

/* Adds or replaces a wanted lease, given as JSON without lease_id and epoch. */
void broker_want(struct broker *broker, const char *lease_id, int64_t epoch, const char *json);
/* Lists the lease with want=stop from now on. */
void broker_want_stop(struct broker *broker, const char *lease_id);
void broker_unlist(struct broker *broker, const char *lease_id);

enum broker_mood {
    BROKER_WELL = 1,
    BROKER_SILENT,   /* drops each connection */
    BROKER_FORGING,  /* signs with another key */
    BROKER_UNACKING, /* stores no receipts */
};
void broker_set_mood(struct broker *broker, enum broker_mood mood);
void broker_set_receipt_interval(struct broker *broker, int64_t interval_ms);

/* Waits until the lease's last report has this state; false when `timeout_ms` is over. */
bool broker_wait_state(struct broker *broker, const char *lease_id, const char *state,
                       int64_t timeout_ms);
/* Waits for `count` more syncs than there are now. */
bool broker_wait_syncs(struct broker *broker, int count, int64_t timeout_ms);
/* Waits until no report names the lease any more. */
bool broker_wait_forgotten(struct broker *broker, const char *lease_id, int64_t timeout_ms);
/* Waits until the lease's log holds `text`. */
bool broker_wait_log(struct broker *broker, const char *lease_id, const char *text,
                     int64_t timeout_ms);
/* The last report of the lease (a new reference), or NULL. */
json_t *broker_report(struct broker *broker, const char *lease_id);
/* From now on answers list these workloads to bid on, given as a JSON array. */
void broker_open(struct broker *broker, const char *json);
/* Waits until the last sync's bids, as compact JSON, are this; "" stands for none at all. */
bool broker_wait_bids(struct broker *broker, const char *bids, int64_t timeout_ms);
/* The last inventory (a new reference), or NULL. */
json_t *broker_inventory(struct broker *broker);
/* Of the last receipt that names the lease; -1 when there is none. */
int64_t broker_receipt_healthy_ms(struct broker *broker, const char *lease_id, bool *ret_is_final);
int64_t broker_receipt_seq(struct broker *broker);
int broker_sync_count(struct broker *broker);
/* What was out of order, or "". */
const char *broker_violations(struct broker *broker);

#endif
