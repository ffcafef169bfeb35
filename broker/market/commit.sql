-- name: award_store
-- doc: Makes the leases of locked replicas on locked devices; a device that somebody holds is won and
--      passes at that lease's close, in wait_ms at the latest if all goes well. What escrow can pay for and
--      what earlier leases left of max_duration bound each of them; no money moves.
-- batch: true
-- in: lease_id uuid, replica_id uuid, node_id uuid, round int8, region text, class text, block_size int4,
--     tier text, trust text, price_uusd_per_hour int8, theta_uusd_per_hour int8,
--     adder_uusd_per_hour int8, device_ids text, is_simulated bool, wait_ms int8,
--     price_set_by_ask bool
-- out: ord int4
with member as (
    select lease_id, replica_id, node_id, round, region, class, block_size, tier, trust, price, theta,
        adder, string_to_array(device_ids, ',')::uuid[] as device_ids, is_simulated, wait_ms,
        price_set_by_ask, ord
    from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int8[], $5::text[], $6::text[], $7::int4[],
        $8::text[], $9::text[], $10::int8[], $11::int8[], $12::int8[], $13::text[], $14::bool[],
        $15::int8[], $16::bool[])
        with ordinality as m (lease_id, replica_id, node_id, round, region, class, block_size, tier,
        trust, price, theta, adder, device_ids, is_simulated, wait_ms, price_set_by_ask, ord)
), awarded as (
    update replicas r set state = 'starting', epoch = r.epoch + 1, not_before = null
    from member m
    where r.replica_id = m.replica_id and r.state = 'auctioning'
    returning m.*, r.workload_id, r.replica_index, r.epoch, r.escrow_uusd, r.ran_ms
), made as (
    insert into leases (lease_id, replica_id, workload_id, account_id, operator_account_id, node_id,
        market, round, region, class, block_size, tier, trust, replica_index, epoch,
        price_uusd_per_hour, fee_bp, theta_uusd_per_hour, adder_uusd_per_hour, max_duration_s,
        earlier_ms, device_ids, is_simulated, starts_at, price_set_by_ask, billable_ms_max)
    select a.lease_id, a.replica_id, a.workload_id, w.account_id, n.account_id, a.node_id,
        w.market, a.round, a.region, a.class, a.block_size, a.tier, a.trust, a.replica_index, a.epoch,
        a.price, w.fee_bp, a.theta, a.adder, w.max_duration_s,
        a.ran_ms, a.device_ids, a.is_simulated, now() + a.wait_ms * interval '1 ms',
        a.price_set_by_ask,
        lease_ms_max(a.price, w.fee_bp, a.escrow_uusd, 0,
            duration_left_ms(w.max_duration_s, a.ran_ms))
    from awarded a
    join workloads w using (workload_id)
    join nodes n using (node_id)
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
