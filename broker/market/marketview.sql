-- What the market was, for whoever looks back: candles, depth, statistics, and what is cheapest now.

-- name: market_candles
-- doc: Candles of one lot, newest first; of a lot that has none in this time one row of nothing. No row: the lot
--      was never cleared.
-- in: market text, region text, class text, block_size int4, tier text, trust text, step_s int4,
--     since timestamptz?, before timestamptz?, limit_count int4
-- out: at timestamptz?, open_uusd int8?, high_uusd int8?, low_uusd int8?, close_uusd int8?,
--      rounds_count int4, awards_count int8, unmet_count int4, accounts_min int4, volume_ms int8, value_uusd int8
select c.at, c.open_uusd, c.high_uusd, c.low_uusd, c.close_uusd, coalesce(c.rounds_count, 0) as rounds_count,
    coalesce(c.awards_count, 0) as awards_count, coalesce(c.unmet_count, 0) as unmet_count,
    coalesce(c.accounts_min, 0) as accounts_min, coalesce(c.volume_ms, 0) as volume_ms,
    coalesce(c.value_uusd, 0) as value_uusd
from lots o
left join lateral ( -- of one lot: so its candles come in the index's order
    select * from candles k
    where k.lot_id = o.lot_id and k.step_s = $7 and k.at >= coalesce($8, '-infinity')
        and k.at < coalesce($9, 'infinity')
    order by k.at desc
    limit $10) c on true
where o.market = $1 and o.region = $2 and o.class = $3 and o.block_size = $4 and o.tier = $5 and o.trust = $6
order by c.at desc;

-- name: market_depth
-- doc: The newest ladder of a lot that is old enough to be shown.
-- in: market text, region text, class text, block_size int4, tier text, trust text, sealed_age_ms int8
-- out: at timestamptz, round int8, index_uusd_per_hour int8?, buckets jsonb, asks jsonb?, reserves jsonb?
select d.at, d.round, d.index_uusd_per_hour,
    (select coalesce(jsonb_agg(jsonb_build_object('edge_bp', nullif(b.edge_bp, -1),
            'blocks_count', b.blocks_count, 'accounts_count', b.accounts_count) order by b.i), '[]')
        from unnest(d.edges_bp, d.blocks_counts, d.accounts_counts)
            with ordinality b (edge_bp, blocks_count, accounts_count, i)) as buckets,
    case when cardinality(d.asks_uusd) > 0 then to_jsonb(d.asks_uusd) end as asks,
    case when cardinality(d.reserves_uusd) > 0 then to_jsonb(d.reserves_uusd) end as reserves
from lots o join lot_depths d using (lot_id)
where o.market = $1 and o.region = $2 and o.class = $3 and o.block_size = $4 and o.tier = $5 and o.trust = $6
  and d.at <= now() - $7 * interval '1 ms'
order by d.at desc
limit 1;

-- name: market_stats
-- doc: A lot's last hours: percentiles of its index, what was had of what was wanted, and how long it took.
-- in: market text, region text, class text, block_size int4, tier text, trust text, hours int4
-- out: index_uusd_per_hour int8?, index_round int8?, prices jsonb?, awards_count int8, unmet_count int4,
--      accounts_min int4, volume_ms int8, value_uusd int8, fill_p50_ms int8?, fill_p90_ms int8?,
--      start_p50_ms int8?, start_p90_ms int8?
with lot as materialized (
    select * from lots o
    where o.market = $1 and o.region = $2 and o.class = $3 and o.block_size = $4 and o.tier = $5 and o.trust = $6
), since as materialized (
    select date_trunc('hour', now()) - ($7 - 1) * interval '1 h' as at
), price as (
    select to_jsonb(percentile_disc(array[0.1, 0.25, 0.5, 0.75, 0.9]) within group (order by c.close_uusd)) as prices
    from lot join candles c using (lot_id), since s
    where c.step_s = case when $7 <= 24 then 60 else 3600 end and c.at >= s.at and c.close_uusd is not null
), sums as (
    select coalesce(sum(c.awards_count), 0)::int8 as awards_count,
        coalesce((array_agg(c.unmet_count order by c.at desc) filter (where c.rounds_count > 0))[1], 0) as unmet_count,
        coalesce(min(c.accounts_min) filter (where c.rounds_count > 0), 0) as accounts_min,
        coalesce(sum(c.volume_ms), 0)::int8 as volume_ms, coalesce(sum(c.value_uusd), 0)::int8 as value_uusd
    from lot join candles c using (lot_id), since s
    where c.step_s = 3600 and c.at >= s.at
), times as (
    select t.kind, t.bucket, sum(sum(t.times_count)) over (partition by t.kind order by t.bucket) as upto,
        sum(sum(t.times_count)) over (partition by t.kind) as total
    from lot join lot_times t using (lot_id), since s
    where t.at >= s.at
    group by t.kind, t.bucket
), quantiles as (
    select min(time_bucket_end_ms(bucket)) filter (where kind = 'fill' and upto * 10 >= total * 5) as fill_p50_ms,
        min(time_bucket_end_ms(bucket)) filter (where kind = 'fill' and upto * 10 >= total * 9) as fill_p90_ms,
        min(time_bucket_end_ms(bucket)) filter (where kind = 'start' and upto * 10 >= total * 5) as start_p50_ms,
        min(time_bucket_end_ms(bucket)) filter (where kind = 'start' and upto * 10 >= total * 9) as start_p90_ms
    from times
)
select l.index_uusd_per_hour, l.index_round, p.prices, s.awards_count, s.unmet_count, s.accounts_min,
    s.volume_ms, s.value_uusd, q.fill_p50_ms, q.fill_p90_ms, q.start_p50_ms, q.start_p90_ms
from lot l, price p, sums s, quantiles q;

-- name: market_ends
-- doc: How leases of a lot ended in its last hours.
-- in: market text, region text, class text, block_size int4, tier text, trust text, hours int4
-- out: reason text, ends_count int8, ran_count int8
select e.reason, sum(e.ends_count)::int8 as ends_count, sum(e.ran_count)::int8 as ran_count
from lots o join lot_ends e using (lot_id)
where o.market = $1 and o.region = $2 and o.class = $3 and o.block_size = $4 and o.tier = $5 and o.trust = $6
  and e.at >= date_trunc('hour', now()) - ($7 - 1) * interval '1 h'
group by e.reason
order by e.reason;

-- name: market_cheapest
-- doc: Per class and region the lot that was cheapest per device at its last index, if that is of the last
--      24 hours, else the catalogue; all of them by price.
-- in: market text, region text?, class text?, vram_mib_min int4?, trust text
-- out: region text, class text, vram_mib int4, block_size int4, tier text, price_uusd_per_device_hour int8,
--      round int8?
select distinct on (price_uusd_per_device_hour, c.class, r.region) r.region, c.class, c.vram_mib,
    coalesce(o.block_size, 1) as block_size, coalesce(o.tier, 'flexible') as tier,
    coalesce(div(o.index_uusd_per_hour + o.block_size - 1, o.block_size)::int8, c.catalogue_uusd_per_hour)
        as price_uusd_per_device_hour, o.index_round as round
from regions r
cross join device_classes c
left join lateral (
    select l.block_size, l.tier, l.index_uusd_per_hour, l.index_round
    from lots l
    where l.market = $1 and l.region = r.region and l.class = c.class and l.trust = $5
      and l.index_at > now() - interval '24 h'
    order by l.index_uusd_per_hour::numeric / l.block_size, l.block_size, l.tier
    limit 1) o on true
where ($2 is null or r.region = $2) and ($3 is null or c.class = $3) and ($4 is null or c.vram_mib >= $4)
order by price_uusd_per_device_hour, c.class, r.region;
