-- name: round_work
-- doc: What there is to do for a market's leader.
-- lane: read
-- in: market text
-- out: has_arrivals bool, has_demand bool, has_now bool, has_frozen bool
select
    exists (select 1 from arrivals a join markets m using (market)
        where a.market = $1 and a.round = m.round) as has_arrivals,
    exists (select 1 from replicas r join workloads w using (workload_id)
        where r.state = 'auctioning' and coalesce(r.not_before, '-infinity') <= now()
          and w.market = $1 and w.desired = 'run') as has_demand,
    exists (select 1 from replicas r join workloads w using (workload_id) join markets m using (market)
        where r.state = 'auctioning' and w.market = $1 and w.desired = 'run' and w.award = 'now'
          and w.arrived_round = m.round and not w.has_been_awarded) as has_now,
    exists (select 1 from rounds r where r.market = $1 and r.state = 'frozen') as has_frozen;

-- name: market_set_key
-- doc: Publishes the key that signs promises and replies.
-- in: market text, signing_public_key bytea
update markets set signing_public_key = $2
where market = $1 and signing_public_key is distinct from $2;

-- name: lot_index_load
-- doc: The last public index of every lot that ever traded.
-- lane: read
-- in: market text
-- out: region text, class text, block_size int4, tier text, trust text, index_uusd_per_hour int8
select r.region, c.class, g.block_size, s.tier, t.trust, l.index_uusd_per_hour
from regions r
cross join device_classes c
cross join (values (1), (2), (4), (8)) g (block_size)
cross join (values ('flexible'), ('spot')) s (tier)
cross join (values ('simulated'), ('unverified'), ('verified'), ('attested')) t (trust)
cross join lateral (
    select i.index_uusd_per_hour from lot_rounds i
    where i.region = r.region and i.class = c.class and i.block_size = g.block_size
      and i.tier = s.tier and i.trust = t.trust and i.index_uusd_per_hour is not null
    order by i.round desc limit 1) l
where $1 <> '';
