/* converge.c - desired against actual, lease by lease.
 *
 * The happy path is: a new lease is accepted (the next report acknowledges it), a worker starts
 * when its devices are free, and when it has exited, its final receipt is stored and the broker
 * lists it no more, it is forgotten. Failure modes are: a lease that this machine cannot run
 * (refused), one that the broker no longer wants or has given a newer epoch (stopped), and whatever
 * a killed agent left: containers without a record go, records without a container go back to the
 * start or end as vanished.
 */
#include "nodeagent/converge.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/clock.h"
#include "broker/base/log.h"

static const struct container_found *found_for(const struct container_found *found, size_t count,
                                               const struct lease *lease);
static void settle(struct converge *converge, struct lease *lease,
                   const struct container_found *container_or_null);
static void stray_remove(struct converge *converge, const struct container_found *stray);
static void apply_one(struct converge *converge, const struct desired_lease *wanted);
static void unlisted_stop(struct converge *converge);
static void settled_forget(struct converge *converge);
static void workers_start(struct converge *converge);
static void workers_join(struct converge *converge);
static void stop(struct converge *converge, struct lease *lease, const char *stop_as);

bool converge_start(struct converge *converge)
{
    struct roster *roster = converge->tools.roster;
    struct container_found *found = NULL;
    size_t count = 0;
    if (!converge->tools.runner->list(converge->tools.runner, &found, &count))
        return false;
    roster_lock(roster);
    for (size_t i = 0; i < roster->leases_count; i++)
        settle(converge, roster->leases[i], found_for(found, count, roster->leases[i]));
    for (size_t i = 0; i < count; i++) {
        const struct lease *lease = roster_find(roster, found[i].lease_id, found[i].epoch);
        if (!lease || !lease->worker)
            stray_remove(converge, &found[i]);
    }
    roster_unlock(roster);
    free(found);
    return true;
}

static const struct container_found *found_for(const struct container_found *found, size_t count,
                                               const struct lease *lease)
{
    for (size_t i = 0; i < count; i++)
        if (found[i].epoch == lease->epoch && strcmp(found[i].lease_id, lease->lease_id) == 0)
            return &found[i];
    return NULL;
}

/* What an earlier agent was doing with `lease` when it ended. */
static void settle(struct converge *converge, struct lease *lease,
                   const struct container_found *container_or_null)
{
    struct roster *roster = converge->tools.roster;
    switch (lease->state) {
    case LEASE_ACCEPTED:
    case LEASE_EXITED:
    case LEASE_FORGOTTEN:
        return;
    case LEASE_PULLING:
        (void)roster_step(roster, lease, LEASE_RESTART);
        return;
    case LEASE_CREATING:
    case LEASE_PROBING:
    case LEASE_RUNNING:
    case LEASE_STOPPING:
        break;
    }
    if (container_or_null) {
        worker_start(&converge->tools, lease, NULL, 0, container_or_null->id);
    } else if (lease->state == LEASE_CREATING) {
        (void)roster_step(roster, lease, LEASE_RESTART);
    } else {
        bool is_stopping = lease->state == LEASE_STOPPING;
        lease->meter.is_counting = false;
        lease_set_end(lease, is_stopping ? lease->stop_as : "agent_refused",
                      STR("the container was gone when the agent came back"));
        (void)roster_step(roster, lease, LEASE_VANISH);
    }
}

/* A container of ours that no record claims: its lease is over, or its record is lost. */
static void stray_remove(struct converge *converge, const struct container_found *stray)
{
    const struct runner *runner = converge->tools.runner;
    struct run_key key = {.lease_id = stray->lease_id, .epoch = stray->epoch};
    struct run *run = runner->open(runner, &key);
    must(str_format(run->container_id, sizeof(run->container_id), "%s", stray->id));
    log_event(LOG_WARN, "container_stray", "lease=%s epoch=%lld container=%.12s", stray->lease_id,
              (long long)stray->epoch, stray->id);
    runner->remove(run);
    runner->close(run);
}

/* Deterministic, so that the same award is ignored in each answer. */
static bool is_ignored(const struct converge *converge, const struct desired_lease *wanted)
{
    struct sha256 digest = sha256_of(wanted->lease_id, strlen(wanted->lease_id));
    return (digest.bytes[0] << 8 | digest.bytes[1]) % 100 < converge->ignore_awards_pct;
}

void converge_apply(struct converge *converge, const struct desired *desired)
{
    struct roster *roster = converge->tools.roster;
    roster_lock(roster);
    if (desired->receipt_interval_ms != converge->receipt_interval_ms) {
        converge->receipt_interval_ms = desired->receipt_interval_ms;
        converge->receipt_due_mono_ms = clock_mono_ms() + desired->receipt_interval_ms;
    }
    receipts_acknowledge(converge->receipts, desired->receipt_seq);
    journal_sync(roster->journal);
    for (size_t i = 0; i < roster->leases_count; i++)
        roster->leases[i]->is_listed = false;
    for (size_t i = 0; i < desired->leases_count; i++)
        apply_one(converge, &desired->leases[i]);
    converge->has_answer = true;
    unlisted_stop(converge);
    workers_join(converge);
    settled_forget(converge);
    workers_start(converge);
    roster_unlock(roster);
}

/* False when we know a newer epoch of it; older ones of ours are stopped. */
static bool epochs_apply(struct converge *converge, const struct desired_lease *wanted)
{
    struct roster *roster = converge->tools.roster;
    bool is_newest = true;
    for (size_t i = 0; i < roster->leases_count; i++) {
        struct lease *lease = roster->leases[i];
        if (strcmp(lease->lease_id, wanted->lease_id) != 0)
            continue;
        if (lease->epoch < wanted->epoch)
            stop(converge, lease, "epoch_stale");
        is_newest = is_newest && lease->epoch <= wanted->epoch;
    }
    return is_newest;
}

static struct lease *accept(struct converge *converge, const struct desired_lease *wanted)
{
    struct roster *roster = converge->tools.roster;
    struct lease *lease = roster_add(roster, wanted->lease_id, wanted->epoch);
    log_event(LOG_INFO, "lease_accepted", "lease=%s epoch=%lld", lease->lease_id,
              (long long)lease->epoch);
    lease_take_order(lease, wanted);
    roster_save(roster, lease);
    return lease;
}

static void apply_one(struct converge *converge, const struct desired_lease *wanted)
{
    struct roster *roster = converge->tools.roster;
    struct lease *lease = roster_find(roster, wanted->lease_id, wanted->epoch);
    if (!epochs_apply(converge, wanted))
        return;
    if (!lease && is_ignored(converge, wanted))
        return;
    if (!lease)
        lease = accept(converge, wanted);
    lease->is_listed = true;
    if (!lease->order.json && lease->state == LEASE_ACCEPTED)
        lease_take_order(lease, wanted);
    else if (!lease->order.json)
        lease->order = desired_lease_copy(wanted); /* taken up: its worker has what it needs */
    if (wanted->has_notice && !lease->is_notice_wanted) {
        lease->is_notice_wanted = true;
        if (lease->worker)
            worker_wake(lease->worker);
    }
    if (wanted->want == LEASE_WANT_STOP) {
        lease->stop_grace_ms = wanted->stop_grace_ms;
        stop(converge, lease, "stopped");
    }
}

/* Once is enough: the first reason stays. */
static void stop(struct converge *converge, struct lease *lease, const char *stop_as)
{
    if (lease->state == LEASE_EXITED || lease->is_stop_wanted)
        return;
    if (!lease->stop_as[0])
        must(str_format(lease->stop_as, sizeof(lease->stop_as), "%s", stop_as));
    lease->is_stop_wanted = true;
    if (lease->worker) {
        worker_wake(lease->worker);
    } else {
        lease_set_end(lease, lease->stop_as, STR("it never ran"));
        (void)roster_step(converge->tools.roster, lease, LEASE_STOP);
    }
}

/* What the broker did not list is not wanted any more. */
static void unlisted_stop(struct converge *converge)
{
    const struct roster *roster = converge->tools.roster;
    for (size_t i = 0; i < roster->leases_count; i++)
        if (!roster->leases[i]->is_listed)
            stop(converge, roster->leases[i], "stopped");
}

/* When the broker lists it no more and has stored its final receipt, a lease is over. */
static void settled_forget(struct converge *converge)
{
    struct roster *roster = converge->tools.roster;
    for (size_t i = 0; converge->has_answer && i < roster->leases_count;) {
        struct lease *lease = roster->leases[i];
        bool is_settled = !lease->is_listed && lease->state == LEASE_EXITED && !lease->worker &&
                          receipts_is_acknowledged(converge->receipts, lease->final_receipt_seq);
        if (is_settled)
            roster_forget(roster, lease); /* another one takes its place in the list */
        else
            i++;
    }
}

/* Fills the devices that the order names; false: one of them is not of this machine. */
static bool devices_find(const struct converge *converge, const struct lease *lease,
                         struct device *ret_devices, size_t *ret_count)
{
    size_t count = desired_lease_devices_count(&lease->order);
    if (count > DEVICES_MAX)
        return false;
    for (size_t i = 0; i < count; i++) {
        const struct device *device =
            inventory_find(converge->inventory, desired_lease_device(&lease->order, i));
        if (!device)
            return false;
        ret_devices[i] = *device;
    }
    *ret_count = count;
    return true;
}

static bool shares_device(const struct lease *a, const struct lease *b)
{
    for (size_t i = 0; i < desired_lease_devices_count(&a->order); i++)
        for (size_t j = 0; j < desired_lease_devices_count(&b->order); j++)
            if (str_equal(desired_lease_device(&a->order, i), desired_lease_device(&b->order, j)))
                return true;
    return false;
}

/* Devices are free when no lease that has begun and not exited holds one of them. A lease whose
 * devices we do not know yet could hold any. */
static bool devices_are_free(const struct roster *roster, const struct lease *lease)
{
    for (size_t i = 0; i < roster->leases_count; i++) {
        const struct lease *other = roster->leases[i];
        bool has_begun = other->worker && other->state != LEASE_EXITED && other != lease;
        if (has_begun && (!other->order.json || shares_device(lease, other)))
            return false;
    }
    return true;
}

static void workers_start(struct converge *converge)
{
    struct roster *roster = converge->tools.roster;
    for (size_t i = 0; i < roster->leases_count; i++) {
        struct lease *lease = roster->leases[i];
        struct device devices[DEVICES_MAX];
        size_t devices_count = 0;
        bool is_due = lease->state == LEASE_ACCEPTED && !lease->worker && lease->order.json;
        if (!is_due || !devices_are_free(roster, lease))
            continue;
        if (devices_find(converge, lease, devices, &devices_count)) {
            worker_start(&converge->tools, lease, devices, devices_count, NULL);
        } else {
            lease_set_end(lease, "agent_refused", STR("this machine has no such device now"));
            (void)roster_step(roster, lease, LEASE_REFUSE);
        }
    }
}

static void workers_join(struct converge *converge)
{
    struct roster *roster = converge->tools.roster;
    for (size_t i = 0; i < roster->leases_count; i++) {
        struct lease *lease = roster->leases[i];
        if (!lease->is_over)
            continue;
        worker_end(lease->worker);
        lease->worker = NULL;
        lease->is_over = false;
    }
}

/* The leases are noted before the receipt that quotes them: an agent that is killed in between
 * reads back a meter that is never behind what it signed. */
static void receipt_make(struct converge *converge)
{
    struct roster *roster = converge->tools.roster;
    struct receipt_line *lines = calloc(roster->leases_count + 1, sizeof(*lines));
    must(lines);
    size_t count = 0;
    for (size_t i = 0; i < roster->leases_count; i++) {
        struct lease *lease = roster->leases[i];
        bool is_final = lease->state == LEASE_EXITED && !lease->final_receipt_seq;
        bool is_open = lease->state != LEASE_EXITED && lease->was_ready;
        if (!is_final && !is_open)
            continue;
        roster_save(roster, lease);
        lines[count++] = (struct receipt_line){.lease_id = lease->lease_id,
                                               .epoch = lease->epoch,
                                               .healthy_ms = lease->meter.healthy_ms,
                                               .image_digest = lease->image_id,
                                               .is_final = is_final};
    }
    int64_t seq = receipts_make(converge->receipts, lines, count);
    journal_sync(roster->journal);
    for (size_t i = 0; i < roster->leases_count; i++) {
        struct lease *lease = roster->leases[i];
        if (lease->state != LEASE_EXITED || lease->final_receipt_seq)
            continue;
        lease->final_receipt_seq = seq;
        roster_save(roster, lease);
    }
    free(lines);
}

void converge_prepare(struct converge *converge)
{
    const struct roster *roster = converge->tools.roster;
    int64_t now_mono_ms = clock_mono_ms();
    bool has_final = false;
    bool has_open = false;
    workers_join(converge);
    settled_forget(converge);
    workers_start(converge); /* a device may just have become free */
    for (size_t i = 0; i < roster->leases_count; i++) {
        const struct lease *lease = roster->leases[i];
        has_final |= lease->state == LEASE_EXITED && !lease->final_receipt_seq;
        has_open |= lease->state != LEASE_EXITED && lease->was_ready;
    }
    bool is_due = has_open && now_mono_ms >= converge->receipt_due_mono_ms;
    if (has_final || is_due)
        receipt_make(converge);
    if (now_mono_ms >= converge->receipt_due_mono_ms)
        converge->receipt_due_mono_ms = now_mono_ms + converge->receipt_interval_ms;
}

void converge_end(struct converge *converge)
{
    struct roster *roster = converge->tools.roster;
    for (size_t i = 0; i < roster->leases_count; i++) {
        worker_end(roster->leases[i]->worker);
        roster->leases[i]->worker = NULL;
    }
}
