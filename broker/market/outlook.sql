-- What explain and dry runs speak from: nothing younger than sealed_age_ms shows in it, and no price of a lot
-- in which fewer than three accounts offered.

-- name: outlook_wish
-- doc: What a workload still wants, and on which terms it waits.
-- scope: account
-- in: account_id uuid, workload_id uuid
-- out: waiting_count int4, has_been_awarded bool, fee_bp int4, max_duration_s int4, deadline_at timestamptz?,
--      excluded text, constraints jsonb?, is_direct bool, vcpu_milli int4, memory_mib int4, disk_mib int4
select count(r.replica_id)::int4 as waiting_count, w.has_been_awarded, w.fee_bp, w.max_duration_s, w.deadline_at,
    concat_ws(',', nullif(w.constraints ->> 'excluded', ''),
        string_agg(nullif(array_to_string(r.excluded_node_ids, ','), ''), ',')) as excluded,
    w.constraints, is_direct(w.constraints) as is_direct, w.vcpu_milli, w.memory_mib, w.disk_mib
from workloads w left join replicas r on r.workload_id = w.workload_id and r.state = 'auctioning'
where w.account_id = $1 and w.workload_id = $2
group by w.workload_id;

-- name: outlook_pools
-- doc: What is on offer in every lot of a block size, in every tier, and what the lot cost lately, raised by
--      2 %; as it was when it was old enough.
-- in: market text, block_size int4, sealed_age_ms int8
-- out: at timestamptz, region text, class text, trust text, tier text, blocks_count int8, free_count int8,
--      catalogue_uusd_per_hour int8, price_uusd_per_hour int8?, round int8?, median_uusd_per_hour int8,
--      prices_count int4
select s.at, s.region, s.class, s.trust, t.tier, s.blocks_count, s.free_count,
    c.catalogue_uusd_per_hour * $2 as catalogue_uusd_per_hour,
    div(i.index_uusd_per_hour::numeric * 102 + 99, 100)::int8 as price_uusd_per_hour, i.round,
    coalesce(b.median_uusd_per_device_hour, 0) * $2 as median_uusd_per_hour,
    coalesce(b.prices_count, 0) as prices_count
from lot_supplies s
join device_classes c using (class)
cross join (values ('guaranteed'), ('flexible'), ('spot')) t (tier)
left join lots o on o.market = s.market and o.region = s.region and o.class = s.class
    and o.block_size = s.block_size and o.tier = t.tier and o.trust = s.trust
left join lateral (
    select d.index_uusd_per_hour, d.round
    from lot_depths d
    where d.lot_id = o.lot_id and d.at <= now() - $3 * interval '1 ms' and d.at > now() - interval '24 h'
      and d.accounts_count >= 3 and d.index_uusd_per_hour is not null
    order by d.at desc
    limit 1) i on true
left join lateral (
    select b.median_uusd_per_device_hour, b.prices_count
    from benchmarks b
    where b.market = s.market and b.class = s.class and b.is_simulated = (s.trust = 'simulated')
      and b.lot in ('', concat_ws('/', s.region, s.class, s.block_size, t.tier, s.trust))
    order by b.lot desc
    limit 1) b on true
where s.market = $1 and s.block_size = $2
  and s.at = (select max(l.at) from lot_supplies l where l.market = $1 and l.at <= now() - $3 * interval '1 ms')
order by s.region, s.class, s.trust, t.tier;

-- name: outlook_apart
-- doc: Blocks that this account may not have or will not: of its own lots, and of nodes that it avoids.
-- scope: account
-- in: account_id uuid, block_size int4, excluded uuid[]
-- out: region text, class text, trust text, is_own bool, blocks_count int8, free_count int8
select n.region, d.class, n.trust, n.account_id = $1 as is_own,
    sum(d.devices_count / $2)::int8 as blocks_count, sum(d.free_count / $2)::int8 as free_count
from nodes n
join lateral (
    select e.class, count(*) as devices_count, count(*) filter (where e.lease_id is null) as free_count
    from devices e
    where e.node_id = n.node_id and e.is_present and e.class is not null and e.reclaimed_at is null
    group by e.class) d on true
where (n.account_id = $1 or n.node_id = any ($3)) and n.state = 'live' and n.is_opted_in
    and n.reclaimed_at is null
group by 1, 2, 3, 4;

-- name: outlook_facts
-- doc: What nodes have to offer beyond their class, of regions and classes that are asked for, at most 5000.
-- in: regions text[], classes text[], block_size int4
-- out: node_id uuid, account_id uuid, region text, class text, trust text, driver text, compute text,
--      isolation text, vcpu_spare_milli int8, memory_spare_mib int8, disk_spare_mib int8, vcpu_min int4,
--      memory_mib_min int4, disk_mib_min int4, blocks_count int8, free_count int8
select f.node_id, f.account_id, f.region, f.class, f.trust, coalesce(f.driver, '') as driver,
    coalesce(f.compute, '') as compute, f.isolation, f.vcpu_spare_milli::int8, f.memory_spare_mib::int8,
    f.disk_spare_mib::int8, f.vcpu_min, f.memory_mib_min, f.disk_mib_min, d.blocks_count, d.free_count
from node_facts f
cross join lateral (
    select count(*) / $3 as blocks_count, count(*) filter (where e.lease_id is null) / $3 as free_count
    from devices e where e.node_id = f.node_id and e.class = f.class and e.is_present) d
where f.region = any ($1) and f.class = any ($2) and f.state = 'live' and f.is_opted_in
limit 5000;

-- name: outlook_lot
-- doc: A lot's last 24 hours as far as they are old enough: prices raised by 2 %, times to start, and the
--      last rounds that cleared.
-- in: market text, region text, class text, block_size int4, tier text, trust text, sealed_age_ms int8
-- out: price_p50_uusd int8?, price_p90_uusd int8?, start_p50_ms int8?, start_p90_ms int8?, rounds jsonb
with lot as materialized (
    select * from lots o
    where o.market = $1 and o.region = $2 and o.class = $3 and o.block_size = $4 and o.tier = $5 and o.trust = $6
), until as materialized (
    select now() - $7 * interval '1 ms' as at
), close as (
    select c.close_uusd from lot join candles c using (lot_id), until u
    where c.step_s = 60 and c.at > now() - interval '24 h' and c.at <= u.at - interval '1 min'
      and c.accounts_min >= 3 and c.close_uusd is not null
    union all
    select c.close_uusd from lot join candles c using (lot_id), until u
    where c.step_s = 1 and c.at > date_trunc('minute', u.at) - interval '1 min' and c.at <= u.at - interval '1 s'
      and c.accounts_min >= 3 and c.close_uusd is not null
), price as (
    select percentile_disc(0.5) within group (order by close_uusd) as p50,
        percentile_disc(0.9) within group (order by close_uusd) as p90
    from close
), times as (
    select t.bucket, sum(sum(t.times_count)) over (order by t.bucket) as upto,
        sum(sum(t.times_count)) over () as total
    from lot join lot_times t using (lot_id), until u
    where t.kind = 'start' and t.at > now() - interval '24 h' and t.at <= u.at
    group by t.bucket
), recent as (
    select d.round, d.at, d.index_uusd_per_hour
    from lot join lot_depths d using (lot_id), until u
    where d.at <= u.at and d.accounts_count >= 3 and d.index_uusd_per_hour is not null
    order by d.at desc
    limit 5
)
select div(p.p50::numeric * 102 + 99, 100)::int8 as price_p50_uusd,
    div(p.p90::numeric * 102 + 99, 100)::int8 as price_p90_uusd,
    (select min(time_bucket_end_ms(bucket)) from times where upto * 10 >= total * 5) as start_p50_ms,
    (select min(time_bucket_end_ms(bucket)) from times where upto * 10 >= total * 9) as start_p90_ms,
    (select coalesce(jsonb_agg(jsonb_build_object('round', r.round, 'price_uusd_per_hour',
        div(r.index_uusd_per_hour::numeric * 102 + 99, 100)::int8) order by r.at desc), '[]') from recent r) as rounds
from price p;
