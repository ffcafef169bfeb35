-- Rounds, prices, and what is traded where: what anybody may read, and the record for auditors.

-- name: roundview_list
-- doc: Rounds of a market: newest first below `before`, or oldest first above `after`. Void rounds are rounds.
-- in: market text, before int8?, after int8?, only_awarded bool, limit_count int4
-- out: round int8, kind text, state text, arrivals_count int4, awards_count int4, inputs_root bytea,
--      seed bytea?, record_sha256 bytea?, previous_sha256 bytea?, frozen_at timestamptz,
--      committed_at timestamptz?, record bytea?
select r.round, r.kind, r.state, r.arrivals_count, r.awards_count, r.inputs_root, r.seed, r.record_sha256,
    r.previous_sha256, r.frozen_at, r.committed_at, null::bytea as record
from rounds r
where r.market = $1
    and ($2 is null or r.round < $2)
    and ($3 is null or r.round > $3)
    and (not $4 or r.awards_count > 0)
order by case when $3 is null then -r.round else r.round end
limit $5;

-- name: roundview_get
-- doc: One round with its record.
-- in: market text, round int8
-- out: round int8, kind text, state text, arrivals_count int4, awards_count int4, inputs_root bytea,
--      seed bytea?, record_sha256 bytea?, previous_sha256 bytea?, frozen_at timestamptz,
--      committed_at timestamptz?, record bytea?
select r.round, r.kind, r.state, r.arrivals_count, r.awards_count, r.inputs_root, r.seed, r.record_sha256,
    r.previous_sha256, r.frozen_at, r.committed_at, r.record
from rounds r
where r.market = $1 and r.round = $2;

-- name: roundview_lots
-- doc: The lots of some rounds, as the public may see them: counts only where three accounts met.
-- in: market text, rounds int8[], region text?, class text?, block_size int4?
-- out: round int8, region text, class text, block_size int4, tier text, trust text,
--      index_uusd_per_hour int8?, sold_count int4, supply_count int4?, demand_count int4?
select l.round, l.region, l.class, l.block_size, l.tier, l.trust, l.index_uusd_per_hour, l.sold_count,
    case when l.accounts_count >= 3 then l.supply_count end as supply_count,
    case when l.accounts_count >= 3 then l.demand_count end as demand_count
from lot_rounds l
where l.market = $1
    and l.round = any ($2)
    and ($3 is null or l.region = $3)
    and ($4 is null or l.class = $4)
    and ($5 is null or l.block_size = $5)
order by l.round, l.region, l.class, l.block_size, l.tier, l.trust;

-- name: price_list
-- doc: The last index of every lot that traded, and the catalogue price of single flexible blocks that never
--      did.
-- in: region text?, class text?
-- out: region text, class text, block_size int4, tier text, trust text, price_uusd_per_hour int8, round int8?
select r.region, c.class, g.block_size, s.tier, t.trust,
    coalesce(i.index_uusd_per_hour, c.catalogue_uusd_per_hour * g.block_size) as price_uusd_per_hour, i.round
from regions r
cross join device_classes c
cross join (values (1), (2), (4), (8)) g (block_size)
cross join (values ('flexible'), ('spot')) s (tier)
cross join (values ('simulated'), ('unverified')) t (trust)
left join lateral (
    select l.index_uusd_per_hour, l.round
    from lot_rounds l
    where l.region = r.region and l.class = c.class and l.block_size = g.block_size
        and l.tier = s.tier and l.trust = t.trust and l.index_uusd_per_hour is not null
    order by l.round desc
    limit 1) i on true
where ($1 is null or r.region = $1) and ($2 is null or c.class = $2)
    and (g.block_size = 1 or c.vendor <> 'cpu')
    and (i.round is not null or (g.block_size = 1 and s.tier = 'flexible' and t.trust = 'unverified'))
order by r.region, c.class, g.block_size, s.tier, t.trust;

-- name: price_of_lots
-- doc: What the lots that a workload would try cost lately, raised by 2 %, cheapest first: never younger than
--      sealed_age_ms, and from the catalogue where fewer than three accounts offered.
-- in: market text, regions text[], classes text[], block_size int4, tier text, trusts text[], sealed_age_ms int8
-- out: region text, class text, block_size int4, tier text, trust text, price_uusd_per_hour int8, round int8?
select r.region, c.class, $4 as block_size, $5 as tier, t.trust,
    coalesce(div(i.index_uusd_per_hour::numeric * 102 + 99, 100)::int8, c.catalogue_uusd_per_hour * $4)
        as price_uusd_per_hour, i.round
from regions r
cross join device_classes c
cross join unnest($6) t (trust)
left join lots o on o.market = $1 and o.region = r.region and o.class = c.class and o.block_size = $4
    and o.tier = $5 and o.trust = t.trust
left join lateral (
    select d.index_uusd_per_hour, d.round
    from lot_depths d
    where d.lot_id = o.lot_id and d.at <= now() - $7 * interval '1 ms' and d.at > now() - interval '24 h'
        and d.accounts_count >= 3 and d.index_uusd_per_hour is not null
    order by d.at desc
    limit 1) i on true
where r.region = any ($2) and c.class = any ($3)
order by price_uusd_per_hour, r.region, c.class, t.trust;

-- name: device_class_list
-- doc: What is traded. Classes are rows: adding a GPU changes no program.
-- out: class text, vendor text, models jsonb, vram_mib int4, vcpu_min int4, memory_mib_min int4,
--      disk_mib_min int4, catalogue_uusd_per_hour int8
select class, vendor, to_jsonb(models) as models, vram_mib, vcpu_min, memory_mib_min, disk_mib_min,
    catalogue_uusd_per_hour
from device_classes
order by vendor, class;

-- name: region_list
-- doc: Where it is traded.
-- out: region text, title text, country text, lat_udeg int4, lon_udeg int4
select region, title, country, lat_udeg, lon_udeg from regions order by region;
