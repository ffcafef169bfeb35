/* desired.h - the broker's answer to a sync: the whole state that it wants this node to be in.
 *
 * pure. The answer is already verified to be the market's; it is parsed strictly all the same,
 * because names from it become container names and paths.
 */
#ifndef UNDERCUT_NODEAGENT_DESIRED_H
#define UNDERCUT_NODEAGENT_DESIRED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/id.h"
#include "broker/base/json.h"

#define DESIRED_WHY_SIZE 256

enum lease_want { LEASE_WANT_RUN = 1, LEASE_WANT_STOP };

struct desired_lease {
    char lease_id[ID_TEXT_SIZE];
    int64_t epoch; /* fencing token: a higher one supersedes */
    enum lease_want want;
    bool has_notice; /* it will be interrupted */
    int64_t stop_grace_ms;
    int64_t replica_index;
    int64_t replica_count;
    int64_t vcpu_milli;
    int64_t memory_mib;
    int64_t disk_mib;
    char stop_reason[48];
    char workload_name[128];
    json_t *json; /* owned reference: manifest, secrets, registry_auth, devices */
};

struct desired {
    json_t *json; /* owned */
    char version[80];
    int64_t receipt_seq; /* the broker's last stored one */
    int64_t receipt_interval_ms;
    int64_t log_bytes_max;
    bool want_inventory;
    struct desired_lease *leases; /* owned */
    size_t leases_count;
};

MUST_USE bool desired_parse(struct str text, struct desired *ret_desired,
                            char ret_why[DESIRED_WHY_SIZE]);
void desired_finish(struct desired *desired);

/* A copy with its own reference to the JSON. */
struct desired_lease desired_lease_copy(const struct desired_lease *lease);
void desired_lease_finish(struct desired_lease *lease);
/* Name of the signal that announces an interruption; NONE when its owner wants none. */
struct str desired_lease_notice_signal(const struct desired_lease *lease);
const json_t *desired_lease_manifest(const struct desired_lease *lease);
/* The number of devices, and the hardware id at `at`. */
size_t desired_lease_devices_count(const struct desired_lease *lease);
struct str desired_lease_device(const struct desired_lease *lease, size_t at);

#endif
