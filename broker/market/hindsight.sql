-- What an operator's ask came to, and what another one would have come to: from rounds that are old enough.

-- name: hindsight_rounds
-- doc: The newest rounds of the last 10 000 in which lots of a class and region were cleared, with their
--      records, as far as those come to $6 bytes at most. is_open: everybody may see all asks of others in it,
--      since each was replaced or withdrawn $8 s ago.
-- in: account_id uuid, market text, region text, class text, rounds_max int4, bytes_max int8,
--     sealed_age_ms int8, openings_age_s int8
-- out: round int8, committed_at timestamptz, record bytea, is_open bool
with touched as (
    select distinct l.round
    from lot_rounds l
    where l.market = $2 and l.region = $3 and l.class = $4 and l.cleared_at <= now() - $7 * interval '1 ms'
      and l.round > (select max(m.round) - 10000 from markets m where m.market = $2)
    order by l.round desc
    limit $5
), sized as (
    select r.round, r.committed_at, r.record, sum(length(r.record)) over (order by r.round desc) as upto
    from touched t join rounds r on r.market = $2 and r.round = t.round
    where r.state = 'committed'
), standing as materialized (
    select min(a.arrived_round) as since from asks a
    where a.account_id <> $1 and a.region = $3 and a.class = $4 and a.withdrawn_at is null
), closed as materialized (
    select e.arrived_round, e.ended_at from ask_ends e
    where e.account_id <> $1 and e.region = $3 and e.class = $4
      and e.ended_at > now() - $8 * interval '1 s'
)
select s.round, s.committed_at, s.record,
    s.round < coalesce((select t.since from standing t), s.round + 1)
        and not exists (select from closed c where c.arrived_round <= s.round and c.ended_at >= s.committed_at)
        as is_open
from sized s
where s.upto <= $6
order by s.round desc;

-- name: hindsight_ask
-- doc: The account's ask and why devices of that class are not on offer with it, each device once. No row:
--      there never was an ask.
-- scope: account
-- in: account_id uuid, region text, class text
-- out: price_uusd_per_device_hour int8, spot_multiplier_bp int4, guaranteed_multiplier_bp int4, is_standing bool,
--      devices_count int8, silent_count int8, opted_out_count int8, reclaimed_count int8,
--      floor_differs_count int8, suspect_count int8, leased_count int8
select a.price_uusd_per_device_hour, a.spot_multiplier_bp, a.guaranteed_multiplier_bp,
    a.withdrawn_at is null as is_standing, count(d.why) as devices_count,
    count(*) filter (where d.why = 'silent') as silent_count,
    count(*) filter (where d.why = 'opted_out') as opted_out_count,
    count(*) filter (where d.why = 'reclaimed') as reclaimed_count,
    count(*) filter (where d.why = 'floor_differs') as floor_differs_count,
    count(*) filter (where d.why = 'suspect') as suspect_count,
    count(*) filter (where d.why = 'leased') as leased_count
from asks a
left join lateral (
    select case
        when n.state <> 'live' then 'silent'
        when not n.is_opted_in then 'opted_out'
        when coalesce(n.reclaimed_at, d.reclaimed_at) is not null then 'reclaimed'
        when not floor_agrees(n.floors, d.class, a.price_uusd_per_device_hour)
            then 'floor_differs'
        when n.suspect_until > now() then 'suspect'
        when d.lease_id is not null then 'leased'
        else 'free' end as why
    from nodes n join devices d using (node_id)
    where n.account_id = a.account_id and n.region = a.region and n.retired_at is null
      and d.class = a.class and d.is_present) d on true
where a.account_id = $1 and a.region = $2 and a.class = $3
group by a.account_id, a.class, a.region;
