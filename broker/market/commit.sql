-- name: lot_round_store
-- batch: true
-- in: market text, round int8, region text, class text, block_size int4, tier text, trust text,
--     supply_count int4, demand_count int4, accounts_count int4, sold_count int4, index_uusd_per_hour int8?, unmet_count int4
-- out: ord int4
with member as (
    select *
    from unnest($1::text[], $2::int8[], $3::text[], $4::text[], $5::int4[], $6::text[], $7::text[],
        $8::int4[], $9::int4[], $10::int4[], $11::int4[], $12::int8[], $13::int4[]) with ordinality
        as m (market, round, region, class, block_size, tier, trust, supply_count, demand_count,
        accounts_count, sold_count, index_uusd_per_hour, unmet_count, ord)
), stored as (
    insert into lot_rounds (market, round, region, class, block_size, tier, trust, supply_count,
        demand_count, accounts_count, sold_count, index_uusd_per_hour, unmet_count)
    select market, round, region, class, block_size, tier, trust, supply_count, demand_count,
        accounts_count, sold_count, index_uusd_per_hour, unmet_count
    from member
)
select m.ord::int4 from member m order by m.ord;
