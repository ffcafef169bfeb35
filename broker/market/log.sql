-- What containers wrote, kept after their end; read in the order of arrival, like events.

-- name: log_read
-- doc: Chunks of a workload behind (after_xact, after_lease_id, after_offset), in the order in which they
--      came; always at least one row, of a null chunk when there is none. No row: no such workload.
--      Below horizon_xact all is settled. ended_ms: how long ago the workload ended, -1 while it lives.
-- scope: account
-- in: account_id uuid, workload_id uuid, only_replica_index int4?, after_xact int8, after_lease_id uuid,
--     after_offset int8, limit_count int4
-- out: horizon_xact int8, is_held_back bool, ended_ms int8, xact int8?, lease_id uuid?, log_offset int8?,
--      replica_index int4?, stream text?, at timestamptz?, bytes bytea?
with edge as materialized (
    select pg_snapshot_xmin(pg_current_snapshot()) as xmin, w.workload_id,
        coalesce(ms_between(w.ended_at, now()), -1) as ended_ms
    from workloads w
    where w.account_id = $1 and w.workload_id = $2
)
select edge.xmin::text::int8 as horizon_xact,
    exists (select from leases l join log_chunks c on c.lease_id = l.lease_id
        where l.workload_id = edge.workload_id and c.xact >= edge.xmin) as is_held_back,
    edge.ended_ms, c.xact::text::int8 as xact, c.lease_id, c.log_offset, c.replica_index, c.stream, c.at,
    c.bytes
from edge
left join lateral (
    select l.lease_id, l.replica_index, n.xact, n.log_offset, n.stream, n.at, n.bytes
    from leases l
    cross join lateral (
        select k.xact, k.log_offset, k.stream, k.at, k.bytes
        from log_chunks k
        where k.lease_id = l.lease_id
            and k.xact >= $4::text::xid8 and k.xact < edge.xmin
            and (k.xact, k.lease_id, k.log_offset) > ($4::text::xid8, $5, $6)
        order by k.xact, k.log_offset
        limit $7) n
    where l.workload_id = edge.workload_id and ($3 is null or l.replica_index = $3)
    order by n.xact, l.lease_id, n.log_offset
    limit $7) c on true
order by c.xact, c.lease_id, c.log_offset;
