-- Rolling up what was: rounds into candles, what became of leases into hours, ladders into depth.

-- name: history_work
-- doc: Whether anything waits to be folded, so that an idle second writes nothing.
-- in: market text
-- out: has_rounds bool, has_facts bool
select
    exists (select 1 from lot_rounds l where l.market = $1
        and l.round > (select m.round from history_marks m where m.market = $1)) as has_rounds,
    exists (select 1 from lot_facts f where f.market = $1) as has_facts;

-- name: history_lots
-- doc: Gives every lot that is new in the rounds to be folded, or among facts, its small key.
-- in: market text, lot_rounds_max int8
insert into lots (market, region, class, block_size, tier, trust)
select distinct l.market, l.region, l.class, l.block_size, l.tier, l.trust
from lot_rounds l
where l.market = $1 and l.round > (select m.round from history_marks m where m.market = $1)
  and l.round <= (select history_upto($1, $2))
union
select distinct f.market, f.region, f.class, f.block_size, f.tier, f.trust from lot_facts f where f.market = $1
on conflict do nothing;

-- name: history_roll
-- doc: Folds the rounds behind the mark into candles of every step, some thousand lot-rounds at a time (a
--      round is never cut), and moves the mark. Always one row.
--      Seconds that would be forgotten at once are not made.
-- in: market text, lot_rounds_max int8, seconds_ms int8
-- out: lot_rounds_count int4, first_round int8, last_round int8
with mark as materialized (
    select m.round from history_marks m where m.market = $1 for update
), span as materialized (
    select m.round as before, history_upto($1, $2) as upto from mark m
), due as materialized (
    select o.lot_id, l.round, l.cleared_at, l.sold_count, l.unmet_count, l.accounts_count, l.index_uusd_per_hour
    from span s
    join lot_rounds l on l.market = $1 and l.round > s.before and l.round <= s.upto
    join lots o using (market, region, class, block_size, tier, trust)
), made as (
    select d.lot_id, t.step_s,
        date_bin(make_interval(secs => t.step_s), d.cleared_at, timestamptz 'epoch') as at,
        (array_agg(d.index_uusd_per_hour order by d.round)
            filter (where d.index_uusd_per_hour is not null))[1] as open_uusd,
        max(d.index_uusd_per_hour) as high_uusd, min(d.index_uusd_per_hour) as low_uusd,
        (array_agg(d.index_uusd_per_hour order by d.round desc)
            filter (where d.index_uusd_per_hour is not null))[1] as close_uusd,
        count(*)::int4 as rounds_count, sum(d.sold_count) as awards_count,
        (array_agg(d.unmet_count order by d.round desc))[1] as unmet_count,
        min(d.accounts_count) as accounts_min
    from due d cross join (values (1), (60), (3600), (86400)) t (step_s)
    where t.step_s > 1 or d.cleared_at > now() - $3 * interval '1 ms'
    group by 1, 2, 3
), stored as (
    insert into candles as c (lot_id, step_s, at, open_uusd, high_uusd, low_uusd, close_uusd,
        rounds_count, awards_count, unmet_count, accounts_min)
    select lot_id, step_s, at, open_uusd, high_uusd, low_uusd, close_uusd,
        rounds_count, awards_count, unmet_count, accounts_min
    from made
    on conflict (lot_id, step_s, at) do update set
        open_uusd = coalesce(c.open_uusd, excluded.open_uusd),
        high_uusd = greatest(c.high_uusd, excluded.high_uusd),
        low_uusd = least(c.low_uusd, excluded.low_uusd),
        close_uusd = coalesce(excluded.close_uusd, c.close_uusd),
        accounts_min = case when c.rounds_count = 0 then excluded.accounts_min
            else least(c.accounts_min, excluded.accounts_min) end,
        rounds_count = c.rounds_count + excluded.rounds_count,
        awards_count = c.awards_count + excluded.awards_count,
        unmet_count = excluded.unmet_count
), latest as (
    select distinct on (lot_id) lot_id, index_uusd_per_hour, round, cleared_at
    from due where index_uusd_per_hour is not null
    order by lot_id, round desc
), indexed as (
    update lots o set index_uusd_per_hour = l.index_uusd_per_hour, index_round = l.round, index_at = l.cleared_at
    from latest l where o.lot_id = l.lot_id
), moved as (
    update history_marks m set round = s.upto from span s where m.market = $1 and s.upto > s.before
)
select (select count(*) from due)::int4 as lot_rounds_count, s.before + 1 as first_round, s.upto as last_round
from span s;

-- name: history_fold
-- doc: Takes what became of leases out of the queue and adds it to minutes, hours and days.
-- in: market text, facts_max int8
-- out: facts_count int4
with due as (
    select f.fact_id from lot_facts f where f.market = $1 order by f.fact_id limit $2
), taken as (
    delete from lot_facts f using due d where f.fact_id = d.fact_id returning f.*
), gone as materialized (
    select o.lot_id, t.* from taken t join lots o using (market, region, class, block_size, tier, trust)
), volumes as (
    insert into candles as c (lot_id, step_s, at, volume_ms, value_uusd)
    select g.lot_id, s.step_s, date_bin(make_interval(secs => s.step_s), g.at, timestamptz 'epoch'),
        sum(g.volume_ms)::int8, sum(g.value_uusd)::int8
    from gone g cross join (values (60), (3600), (86400)) s (step_s)
    where g.kind = 'settled'
    group by 1, 2, 3
    on conflict (lot_id, step_s, at) do update set
        volume_ms = c.volume_ms + excluded.volume_ms, value_uusd = c.value_uusd + excluded.value_uusd
), times as (
    insert into lot_times as t (lot_id, at, kind, bucket, times_count)
    select g.lot_id, date_trunc('hour', g.at), k.kind, time_bucket_of(k.ms), count(*)
    from gone g cross join lateral (values ('fill', g.fill_ms), ('start', g.start_ms)) k (kind, ms)
    where g.kind = 'started'
    group by 1, 2, 3, 4
    on conflict (lot_id, at, kind, bucket) do update set times_count = t.times_count + excluded.times_count
), ends as (
    insert into lot_ends as e (lot_id, at, reason, ends_count, ran_count)
    select g.lot_id, date_trunc('hour', g.at), g.reason, count(*), count(*) filter (where g.has_run)
    from gone g
    where g.kind = 'ended'
    group by 1, 2, 3
    on conflict (lot_id, at, reason) do update set
        ends_count = e.ends_count + excluded.ends_count, ran_count = e.ran_count + excluded.ran_count
)
select count(*)::int4 as facts_count from taken;

-- name: history_depth_due
-- doc: Of the rounds $2 to $3, the newest one of every lot whose depth is older than $4 ms.
-- lane: read
-- in: market text, first_round int8, last_round int8, every_ms int8
-- out: round int8, lot_id int4, key text
select distinct on (o.lot_id) l.round, o.lot_id,
    concat_ws('/', l.region, l.class, l.block_size, l.tier, l.trust) as key
from lot_rounds l
join lots o using (market, region, class, block_size, tier, trust)
where l.market = $1 and l.round between $2 and $3
  and not exists (select 1 from lot_depths d
      where d.lot_id = o.lot_id and d.at > l.cleared_at - $4 * interval '1 ms')
order by o.lot_id, l.round desc;

-- name: history_record
-- lane: read
-- in: market text, round int8
-- out: committed_at timestamptz, record bytea
select committed_at, record from rounds where market = $1 and round = $2 and state = 'committed';

-- name: history_depth_store
-- in: lot_id int4, at timestamptz, round int8, index_uusd_per_hour int8?, accounts_count int4,
--     edges_bp int4[], blocks_counts int4[], accounts_counts int4[], asks_uusd int8[], reserves_uusd int8[]
insert into lot_depths (lot_id, at, round, index_uusd_per_hour, accounts_count, edges_bp, blocks_counts,
    accounts_counts, asks_uusd, reserves_uusd)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
on conflict do nothing;

-- name: history_supply
-- doc: Counts what is on offer now, and forgets the counts that are old.
-- in: market text, keep_ms int8
with counted as (
    select d.node_id, d.class, count(*) as devices_count, count(*) filter (where d.lease_id is null) as free_count
    from devices d
    where d.is_present and d.class is not null and d.reclaimed_at is null
    group by d.node_id, d.class
), offered as (
    select g.block_size, n.region, d.class, n.trust, sum(d.devices_count / g.block_size) as blocks_count,
        sum(d.free_count / g.block_size) as free_count
    from counted d
    join nodes n using (node_id)
    join asks a on a.account_id = n.account_id and a.class = d.class and a.region = n.region
    cross join (values (1), (2), (4), (8)) g (block_size)
    where n.state = 'live' and n.is_opted_in and n.reclaimed_at is null and a.withdrawn_at is null and d.devices_count >= g.block_size
      and floor_agrees(n.floors, d.class, a.price_uusd_per_device_hour)
    group by 1, 2, 3, 4
), forgotten as (
    delete from lot_supplies s where s.market = $1 and s.at < now() - $2 * interval '1 ms'
)
insert into lot_supplies (market, at, block_size, region, class, trust, blocks_count, free_count)
select $1, now(), o.block_size, o.region, o.class, o.trust, o.blocks_count, o.free_count
from offered o;

-- name: history_prune
-- doc: Forgets seconds and minutes that are old enough, depths but the last, and rounds in which nothing
--      traded: their records say all about them.
-- in: market text, seconds_ms int8, minutes_ms int8
-- out: pruned_count int8
with seconds as (
    delete from candles c using lots o
    where c.lot_id = o.lot_id and o.market = $1 and c.step_s = 1 and c.at < now() - $2 * interval '1 ms'
    returning 1
), minutes as (
    delete from candles c using lots o
    where c.lot_id = o.lot_id and o.market = $1 and c.step_s = 60 and c.at < now() - $3 * interval '1 ms'
    returning 1
), depths as (
    delete from lot_depths d using lots o
    where d.lot_id = o.lot_id and o.market = $1 and d.at < now() - interval '10 min'
      and exists (select 1 from lot_depths n where n.lot_id = d.lot_id and n.at > d.at
          and n.at < now() - interval '5 min')
    returning 1
), idle as (
    delete from lot_rounds l
    where l.market = $1 and l.index_uusd_per_hour is null and l.sold_count = 0
      and l.cleared_at < now() - $2 * interval '1 ms'
      and l.round <= (select m.round from history_marks m where m.market = $1)
    returning 1
)
select (select count(*) from seconds) + (select count(*) from minutes) + (select count(*) from depths)
    + (select count(*) from idle) as pruned_count;
