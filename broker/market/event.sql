-- Events of an account, in an order in which nothing can appear behind what was read: (xact, event_id),
-- below the oldest running transaction. Transaction numbers travel as int8.

-- name: event_horizon
-- doc: Where "from now on" starts: whatever is committed later has at least this transaction number.
-- out: horizon_xact int8
select pg_snapshot_xmin(pg_current_snapshot())::text::int8 as horizon_xact;

-- name: event_read
-- doc: Events behind (after_xact, after_event_id), oldest first; always at least one row, of a null event
--      when there is none. Below horizon_xact all is settled; is_held_back: something of the account waits
--      behind a transaction that still runs.
-- scope: account
-- in: account_id uuid, after_xact int8, after_event_id int8, only_workload_id uuid?, limit_count int4
-- out: horizon_xact int8, is_held_back bool, xact int8?, event_id int8?, kind text?, workload_id uuid?,
--      lease_id uuid?, node_id uuid?, data jsonb?, at timestamptz?
with edge as materialized (
    select pg_snapshot_xmin(pg_current_snapshot()) as xmin
)
select edge.xmin::text::int8 as horizon_xact,
    exists (select from events e where e.account_id = $1 and e.xact >= edge.xmin) as is_held_back,
    e.xact::text::int8 as xact, e.event_id, e.kind, e.workload_id, e.lease_id,
    coalesce(e.node_id, l.node_id) as node_id, case
        when e.nth is null then e.data
        when l.lease_id is not null then jsonb_build_object('state', 'awarded', 'replica_index', l.replica_index,
            'epoch', l.epoch, 'region', l.region, 'class', l.class, 'is_simulated', l.is_simulated,
            'price_uusd_per_hour', l.price_uusd_per_hour, 'round', l.round)
        when e.version is not null then jsonb_build_object('name', w.name, 'state', 'starting',
            'status_reason', null, 'version', e.version,
            'replicas_auctioning', w.replicas - e.starting_count - e.ended_count,
            'replicas_starting', e.starting_count, 'replicas_running', 0, 'replicas_ended', e.ended_count)
        else jsonb_build_object('name', w.name, 'state', 'auctioning', 'version', 1,
            'replicas_auctioning', w.replicas) end as data, e.at
from edge
left join lateral (
    select v.xact, v.event_id + coalesce(m.nth - 1, 0) as event_id, v.kind, m.nth,
        coalesce(m.workload_id, v.workload_id) as workload_id, coalesce(m.lease_id, v.lease_id) as lease_id,
        v.node_id, m.version, m.starting_count, m.ended_count, v.data, v.at
    from (
        select *
        from events v
        where v.account_id = $1
            and v.xact >= $2::text::xid8
            and (v.xact, v.event_id + coalesce(cardinality(v.workload_ids), 1) - 1) > ($2::text::xid8, $3)
            and v.xact < edge.xmin
            and ($4 is null or v.workload_id = $4 or $4 = any (v.workload_ids))
        order by v.xact, v.event_id
        limit $5 + 1) v -- of the first, the wanted member may stand before the cursor
    left join lateral unnest(v.workload_ids, v.lease_ids, v.versions, v.starting_counts, v.ended_counts)
        with ordinality m (workload_id, lease_id, version, starting_count, ended_count, nth) on true
    where (v.xact, v.event_id + coalesce(m.nth - 1, 0)) > ($2::text::xid8, $3)
        and ($4 is null or coalesce(m.workload_id, v.workload_id) = $4)
    order by v.xact, v.event_id, m.nth
    limit $5) e on true
left join leases l on e.nth is not null and l.lease_id = e.lease_id
left join workloads w on e.nth is not null and e.lease_id is null and w.workload_id = e.workload_id
order by e.xact, e.event_id;
