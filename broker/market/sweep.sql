-- name: sweep_nodes
-- doc: Judges silence: live -> unknown -> lost, unless so many fell silent together that it must be us. One
--      row always.
-- in: market text, unknown_ms int8, lost_ms int8, freeze_pct int4, nodes_min int4, freeze_max_ms int8
-- out: is_frozen bool, unknown_count int4, lost_count int4
with heard as materialized (
    select n.node_id, n.state, greatest(n.last_seen_at, o.started_at) as heard_at
    from nodes n, (select started_at from leadership where market = $1) o
    where n.state in ('live', 'unknown')
), together as (
    select count(*) over (order by heard_at range between interval '10 s' preceding and current row) as nodes
    from heard
    where heard_at < now() - $2 * interval '1 ms' and heard_at > now() - $6 * interval '1 ms'
), verdict as (
    select coalesce((select max(nodes) from together), 0) * 100 >= $4 * count(*) and count(*) >= $5 as is_frozen
    from heard
), due as materialized (
    select h.node_id, h.heard_at,
        case when h.heard_at < now() - $3 * interval '1 ms' then 'lost' else 'unknown' end as state
    from heard h, verdict v
    where not v.is_frozen and h.heard_at < now() - $2 * interval '1 ms'
      and (h.state = 'live' or h.heard_at < now() - $3 * interval '1 ms')
), locked as materialized (
    select n.node_id, d.state, d.heard_at
    from nodes n join due d using (node_id)
    where n.last_seen_at <= d.heard_at and n.state in ('live', 'unknown')
    order by n.node_id
    for update of n
), changed as (
    update nodes n set state = k.state,
        unknown_at = coalesce(n.unknown_at, k.heard_at + $2 * interval '1 ms')
    from locked k where n.node_id = k.node_id
    returning n.node_id, n.account_id, n.state
), announced as (
    insert into events (account_id, kind, node_id)
    select account_id, 'node.' || state, node_id from changed order by node_id
)
select v.is_frozen, (select count(*) from changed where state = 'unknown')::int4 as unknown_count,
    (select count(*) from changed where state = 'lost')::int4 as lost_count
from verdict v;

-- name: sweep_degraded
-- doc: Workloads that fell below min_replicas and shall rather stop.
-- in: market text
-- out: workload_id uuid
update workloads
set desired = 'stop', state = 'stopping', status_reason = 'degraded', version = version + 1
where market = $1 and state = 'degraded' and on_degraded = 'stop' and desired = 'run' and ended_at is null
returning workload_id;

-- name: sweep_reclaim_list
-- doc: Live leases on what its owner takes back, locked, that have no notice yet.
-- lane: write
-- in: market text
-- out: lease_id uuid, epoch int4, tier text, stop_grace_s int4
with taken as materialized (
    select node_id, null::uuid as device_id from nodes where reclaimed_at is not null
    union all
    select node_id, device_id from devices where reclaimed_at is not null
)
select l.lease_id, l.epoch, l.tier, w.stop_grace_s
from leases l join workloads w using (workload_id)
where l.market = $1 and l.state in ('awarded', 'starting', 'running') and l.notice_at is null
  and exists (select from taken t where t.node_id = l.node_id
      and (t.device_id is null or t.device_id = any (l.device_ids)))
order by l.lease_id
for update of l;

-- name: sweep_cut_list
-- doc: Leases whose meter stops now, locked, each with its reason and instant.
-- lane: write
-- in: market text
-- out: lease_id uuid, epoch int4, reason text, cut_at timestamptz, restart text, on_interruption text,
--      has_run bool
with due as materialized (
    select l.lease_id, w.desired, w.status_reason, w.deadline_at, w.budget_uusd, w.spent_uusd, w.workload_id,
        w.restart, w.on_interruption
    from leases l join workloads w using (workload_id) join nodes n using (node_id)
    where l.market = $1 and l.state in ('awarded', 'starting', 'running')
      and (w.desired = 'stop' or w.deadline_at <= now() or l.stop_at <= now()
        or (l.state = 'running' and n.unknown_at is null
            and now() >= l.running_at + (l.billable_ms_max + l.paused_ms) * interval '1 ms'))
), locked as materialized (
    select l as lease, d.*, l.running_at + (l.billable_ms_max + l.paused_ms) * interval '1 ms' as spent_at
    from leases l join due d using (lease_id)
    where l.state in ('awarded', 'starting', 'running')
    order by l.lease_id
    for update of l
)
select lease_id, (lease).epoch,
    case when desired = 'stop' then case status_reason when 'replaced' then 'replaced' else 'stopped_by_owner' end
        when spent_at <= least(now(), deadline_at) then
            case when (lease).billable_ms_max >= duration_left_ms((lease).max_duration_s, (lease).earlier_ms) then 'max_duration_reached'
                when budget_uusd - spent_uusd <= (select coalesce(sum(r.escrow_uusd), 0) from replicas r
                    where r.workload_id = locked.workload_id) then 'budget_reached'
                else 'funds_exhausted' end
        when deadline_at <= now() then 'deadline_passed'
        else (lease).interrupt_reason end as reason,
    least(now(), spent_at, deadline_at) as cut_at, restart, on_interruption,
    (lease).running_at is not null as has_run
from locked
where desired = 'stop' or spent_at <= now() or deadline_at <= now() or (lease).stop_at <= now()
order by lease_id;

-- name: sweep_close_list
-- doc: Leases that nobody else will close, locked, each with its reason. A probe that is asked until the
--      time is over is the owner's, and no failure of the node.
-- lane: write
-- in: market text, ack_timeout_ms int8, start_timeout_ms int8, final_receipt_ms int8
-- out: lease_id uuid, epoch int4, node_id uuid, reason text, restart text, on_interruption text,
--      has_run bool, attempt int4
with office as (
    select started_at from leadership where market = $1
), due as materialized (
    select l.lease_id, l.workload_id, l.state, case
            when l.state = 'closing' and (n.state in ('lost', 'retired')
                or coalesce(l.cut_seen_at, l.cut_at) < now() - ($4 + lease_grace_ms(l, w.stop_grace_s)) * interval '1 ms') then l.close_reason
            when l.state = 'closing' then null
            when n.state = 'retired' then 'node_withdrawn'
            when n.state = 'lost' then 'node_lost'
            when l.state = 'awarded' and greatest(l.awarded_at, o.started_at) < now() - $2 * interval '1 ms'
                then 'not_acknowledged'
            when l.state = 'starting' and greatest(l.acked_at, l.starts_at, o.started_at) < now() - $3 * interval '1 ms'
                then case l.stage when 'probing' then 'readiness_failed' else 'start_timeout' end end as reason
    from leases l join workloads w using (workload_id) join nodes n using (node_id), office o
    where l.market = $1 and l.state <> 'closed'
      and (l.state <> 'running' or n.state in ('lost', 'retired'))
), w as materialized (
    select workload_id, restart, on_interruption
    from workloads
    where workload_id in (select workload_id from due where reason is not null)
    order by workload_id
    for update
)
select l.lease_id, l.epoch, l.node_id, d.reason, w.restart, w.on_interruption,
    l.running_at is not null as has_run, r.attempt
from leases l
join due d on d.lease_id = l.lease_id and d.state = l.state and d.reason is not null
join w on w.workload_id = l.workload_id
join replicas r using (replica_id)
where (select count(*) from w) >= 0
order by l.lease_id
for update of l;

-- name: sweep_end_list
-- doc: Replicas that wait although their workload stops, or its deadline passed.
-- lane: write
-- in: market text
-- out: replica_id uuid, reason text
select r.replica_id,
    case when w.desired = 'run' then case when w.has_been_awarded then 'deadline_passed' else 'no_capacity_at_price' end
        when w.status_reason = 'degraded' then coalesce(r.reason, 'stopped_by_owner')
        when w.status_reason = 'replaced' then 'replaced' else 'stopped_by_owner' end as reason
from replicas r join workloads w using (workload_id)
where r.state = 'auctioning' and w.market = $1 and (w.desired = 'stop' or w.deadline_at <= now())
order by r.replica_id;

-- name: node_suspect
-- doc: Nodes that did not acknowledge rest from winning for a while.
-- in: node_ids uuid[], rest_ms int8
with locked as (
    select node_id from nodes where node_id = any ($1) order by node_id for update
)
update nodes n set suspect_until = now() + $2 * interval '1 ms' from locked k where n.node_id = k.node_id;

-- name: node_outcome_take
-- doc: What became of leases since the last time, per node, beside what is on record.
-- in: market text
-- out: node_id uuid, more_milli int8, more_ms int8, failures_milli int8, observed_ms int8, history_day int4,
--      today int4
with gone as (
    delete from node_outcomes where $1 <> '' returning node_id, is_failure, observed_ms
), more as (
    select node_id, count(*) filter (where is_failure) * 1000 as more_milli, sum(observed_ms)::int8 as more_ms
    from gone group by node_id
)
select m.node_id, m.more_milli, m.more_ms, coalesce(h.failures_milli, 0) as failures_milli,
    coalesce(h.observed_ms, 0) as observed_ms, coalesce(h.day, 0) as history_day,
    floor(extract(epoch from now()) / 86400)::int4 as today
from more m join nodes n using (node_id) left join node_histories h using (node_id)
order by m.node_id;

-- name: node_history_store
-- batch: true
-- in: node_id uuid, failures_milli int8, observed_ms int8, day int4
-- out: ord int4
with member as (
    select * from unnest($1::uuid[], $2::int8[], $3::int8[], $4::int4[])
        with ordinality as m (node_id, failures_milli, observed_ms, day, ord)
), stored as (
    insert into node_histories (node_id, failures_milli, observed_ms, day)
    select node_id, failures_milli, observed_ms, day from member
    on conflict (node_id) do update set failures_milli = excluded.failures_milli,
        observed_ms = excluded.observed_ms, day = excluded.day
)
select m.ord::int4 from member m order by m.ord;
