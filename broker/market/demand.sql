-- name: demand_load
-- doc: Workloads with replicas to place in round $2 (null: the one closed last); with $3 only those that want an award now and arrived
--      in this round. After the first award lost replicas come back one by one.
-- lane: read
-- in: market text, round int8?, only_now bool
-- out: workload_id uuid, account_id uuid, block_size int4, classes text, regions text, tier text,
--      trust_min text, price_policy text, reserve_uusd_per_hour int8, fee_bp int4, max_duration_s int4,
--      created_at timestamptz, deadline_at timestamptz?, arrived_round int8, k int4, kmin int4,
--      excluded text, at timestamptz, constraints jsonb?, is_direct bool, vcpu_milli int4,
--      memory_mib int4, disk_mib int4, held text
with of as materialized (
    select coalesce($2, (select m.round - 1 from markets m where m.market = $1)) as round
)
select w.workload_id, w.account_id, w.block_size, array_to_string(w.classes, ',') as classes,
    array_to_string(w.regions, ',') as regions, w.tier, w.trust_min, w.price_policy,
    w.reserve_uusd_per_hour, w.fee_bp, w.max_duration_s, w.created_at, w.deadline_at, w.arrived_round,
    r.k, case when w.has_been_awarded then 1 else least(w.min_replicas, r.k) end as kmin,
    concat_ws(',', nullif(r.excluded, ''), w.constraints ->> 'excluded') as excluded, now() as at, w.constraints,
    is_direct(w.constraints) as is_direct, w.vcpu_milli, w.memory_mib, w.disk_mib,
    case when is_direct(w.constraints) then coalesce((
        select string_agg(case w.constraints ->> 'spread' when 'node' then l.node_id::text else l.region end, ',')
        from leases l where l.workload_id = w.workload_id and l.state <> 'closed'
            and w.constraints ->> 'spread' <> 'none'), '') else '' end as held
from (
    select workload_id, count(*)::int4 as k,
        coalesce(string_agg(nullif(array_to_string(excluded_node_ids, ','), ''), ','), '') as excluded
    from replicas
    where state = 'auctioning' and coalesce(not_before, '-infinity') <= now()
    group by workload_id
) r
join workloads w using (workload_id)
where w.market = $1 and w.desired = 'run' and w.arrived_round <= (select round from of)
  and (w.deadline_at is null or w.deadline_at > now())
  and (not $3 or (w.award = 'now' and w.arrived_round = (select round from of) and not w.has_been_awarded))
order by w.workload_id;
