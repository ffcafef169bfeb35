-- What offers begin at: medians of prices that losing asks set. Settlement reckons them, the leader reads them.

-- name: benchmarks_reckon
-- doc: Medians of the last 24 h for each lot that set a price, over all other lots of its class (0 where no other
--      has one), and for the rest.
--      A price counts for as long as somebody paid for it; a price that nobody paid counts nothing. Of
--      simulated machines and real ones each has its own.
-- in: market text
-- out: lots_count int4
with price as materialized (
    select l.class, l.is_simulated, concat_ws('/', l.region, l.class, l.block_size, l.tier, l.trust) as lot,
        l.price_uusd_per_hour / l.block_size as price, sum(l.billed_ms) as weight, count(*) as prices_count
    from leases l
    where l.market = $1 and l.price_set_by_ask and l.awarded_at > now() - interval '24 hours' and l.billed_ms > 0
    group by 1, 2, 3, 4
), lot as (
    select distinct class, is_simulated, lot from price
    union
    select distinct class, is_simulated, '' from price
), ranked as (
    select o.class, o.is_simulated, o.lot, p.price,
        sum(p.weight) over (partition by o.class, o.is_simulated, o.lot
            order by p.price, p.lot rows unbounded preceding) as below,
        sum(p.weight) over (partition by o.class, o.is_simulated, o.lot) as total,
        sum(p.prices_count) over (partition by o.class, o.is_simulated, o.lot) as prices_count
    from lot o
    left join price p on p.class = o.class and p.is_simulated = o.is_simulated and p.lot <> o.lot
), median as (
    select class, is_simulated, lot, coalesce(min(price) filter (where below * 2 >= total), 0) as median,
        coalesce(max(prices_count), 0)::int4 as prices_count
    from ranked
    group by 1, 2, 3
), stored as (
    insert into benchmarks (market, class, is_simulated, lot, median_uusd_per_device_hour, prices_count)
    select $1, class, is_simulated, lot, median, prices_count from median
    on conflict (market, class, is_simulated, lot) do update set
        median_uusd_per_device_hour = excluded.median_uusd_per_device_hour,
        prices_count = excluded.prices_count, reckoned_at = now()
), gone as (
    delete from benchmarks b
    where b.market = $1 and not exists (select from median m
        where m.class = b.class and m.is_simulated = b.is_simulated and m.lot = b.lot)
)
select count(*)::int4 as lots_count from median;

-- name: benchmark_list
-- lane: read
-- in: market text
-- out: class text, is_simulated bool, lot text, median_uusd_per_device_hour int8, prices_count int4
select class, is_simulated, lot, median_uusd_per_device_hour, prices_count
from benchmarks
where market = $1
order by class, is_simulated, lot;
