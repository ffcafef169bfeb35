-- name: award_store
-- doc: Makes the leases of locked replicas on locked devices; a device that somebody holds is won and
--      passes at that lease's close, in wait_ms at the latest if all goes well. What escrow can pay for and
--      what earlier leases left of max_duration bound each of them; no money moves.
-- batch: true
-- in: lease_id uuid, replica_id uuid, operator_account_id uuid, node_id uuid, market text, round int8,
--     region text, class text, block_size int4, tier text, trust text, price_uusd_per_hour int8, fee_bp int4,
--     theta_uusd_per_hour int8, adder_uusd_per_hour int8, max_duration_s int4, device_ids text,
--     is_simulated bool, wait_ms int8, price_set_by_ask bool
-- out: ord int4
with member as (
    select lease_id, replica_id, operator_account_id, node_id, market, round, region, class, block_size, tier,
        trust, price, fee_bp, theta, adder, max_duration_s, string_to_array(device_ids, ',')::uuid[] as device_ids,
        is_simulated, wait_ms, price_set_by_ask, ord
    from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::int8[], $7::text[], $8::text[],
        $9::int4[], $10::text[], $11::text[], $12::int8[], $13::int4[], $14::int8[], $15::int8[], $16::int4[],
        $17::text[], $18::bool[], $19::int8[], $20::bool[])
        with ordinality as m (lease_id, replica_id, operator_account_id, node_id, market, round, region, class,
        block_size, tier, trust, price, fee_bp, theta, adder, max_duration_s, device_ids, is_simulated, wait_ms,
        price_set_by_ask, ord)
), awarded as (
    update replicas r set state = 'starting', epoch = r.epoch + 1, not_before = null
    from member m
    where r.replica_id = m.replica_id and r.state = 'auctioning'
    returning m.*, r.workload_id, r.account_id, r.replica_index, r.epoch, r.escrow_uusd, r.ran_ms
), made as (
    insert into leases (lease_id, replica_id, workload_id, account_id, operator_account_id, node_id,
        market, round, region, class, block_size, tier, trust, replica_index, epoch,
        price_uusd_per_hour, fee_bp, theta_uusd_per_hour, adder_uusd_per_hour, max_duration_s,
        earlier_ms, device_ids, is_simulated, starts_at, price_set_by_ask, billable_ms_max)
    select lease_id, replica_id, workload_id, account_id, operator_account_id, node_id,
        market, round, region, class, block_size, tier, trust, replica_index, epoch,
        price, fee_bp, theta, adder, max_duration_s,
        ran_ms, device_ids, is_simulated, now() + wait_ms * interval '1 ms', price_set_by_ask,
        lease_ms_max(price, fee_bp, escrow_uusd, 0, duration_left_ms(max_duration_s, ran_ms))
    from awarded
    returning lease_id
), taken as (
    update devices d set lease_id = coalesce(d.lease_id, m.lease_id),
        next_lease_id = case when d.lease_id is not null then m.lease_id end
    from member m
    where d.device_id = any (m.device_ids) and d.next_lease_id is null
)
select m.ord::int4 from member m join made using (lease_id) order by m.ord;

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
