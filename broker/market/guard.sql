-- name: award_lock_nodes
-- doc: Which of these nodes may still win; they stay so until the commit.
-- lane: write
-- in: node_ids uuid[]
-- out: node_id uuid
select node_id
from nodes
where node_id = any ($1) and state = 'live' and is_opted_in
  and (suspect_until is null or suspect_until <= now()) and reclaimed_at is null
order by node_id
for share;

-- name: award_lock_workloads
-- doc: Holds the workloads that won, so that what follows is locked in the common order.
-- lane: write
-- in: workload_ids uuid[]
-- out: workload_id uuid
select workload_id from workloads where workload_id = any ($1) order by workload_id for update;

-- name: award_lock_holders
-- doc: Which of these leases may still be pre-empted; left_ms: the rest of the notice of one that has it.
-- lane: write
-- in: lease_ids uuid[]
-- out: lease_id uuid, epoch int4, tier text, stop_grace_s int4, left_ms int8?
select l.lease_id, l.epoch, l.tier, w.stop_grace_s,
    case when l.interrupt_at is not null then greatest(0, ms_between(now(), l.interrupt_at)) end as left_ms
from leases l join workloads w using (workload_id)
where l.lease_id = any ($1) and l.state = 'running' and l.tier = 'spot'
  and coalesce(l.interrupt_reason, 'preempted') = 'preempted'
order by l.lease_id
for update of l;

-- name: award_lock_replicas
-- doc: The replicas of these workloads that still wait, of workloads that did not change since the freeze,
--      with what their leases take over from the workload.
-- lane: write
-- in: workload_ids uuid[], round int8
-- out: replica_id uuid, workload_id uuid, replica_index int4, market text, fee_bp int4, max_duration_s int4
with w as materialized (
    select workload_id, market, fee_bp, max_duration_s
    from workloads
    where workload_id = any ($1) and desired = 'run' and arrived_round <= $2
    order by workload_id
    for update
)
select r.replica_id, r.workload_id, r.replica_index, w.market, w.fee_bp, w.max_duration_s
from replicas r join w using (workload_id)
where r.state = 'auctioning' and coalesce(r.not_before, '-infinity') <= now()
  and (select count(*) from w) >= 0
order by r.workload_id, r.replica_index
for update of r;

-- name: award_lock_devices
-- doc: Which of these devices nobody has won yet, and who holds them. One that is committed to a direct bid
--      is for its workload alone, which must be among the winners.
-- lane: write
-- in: device_ids uuid[], workload_ids uuid[]
-- out: device_id uuid, holder_id uuid?
select device_id, lease_id as holder_id
from devices
where device_id = any ($1) and next_lease_id is null and is_present and reclaimed_at is null
  and (bid_id is null or exists (select from direct_bids b
    where b.bid_id = devices.bid_id and b.workload_id = any ($2)))
order by device_id
for update;
