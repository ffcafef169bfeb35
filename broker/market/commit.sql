-- name: award_lock_nodes
-- doc: Which of these nodes may still win; they stay so until the commit.
-- lane: write
-- in: node_ids uuid[]
-- out: node_id uuid
select node_id
from nodes
where node_id = any ($1) and state = 'live' and is_opted_in
  and (suspect_until is null or suspect_until <= now()) and reclaimed_at is null
order by node_id
for share;

-- name: award_lock_workloads
-- doc: Holds the workloads that won, so that what follows is locked in the common order.
-- lane: write
-- in: workload_ids uuid[]
-- out: workload_id uuid
select workload_id from workloads where workload_id = any ($1) order by workload_id for update;

-- name: award_lock_holders
-- doc: Which of these leases may still be pre-empted; left_ms: the rest of the notice of one that has it.
-- lane: write
-- in: lease_ids uuid[]
-- out: lease_id uuid, epoch int4, tier text, stop_grace_s int4, left_ms int8?
select l.lease_id, l.epoch, l.tier, w.stop_grace_s, greatest(0, ms_between(now(), l.interrupt_at)) as left_ms
from leases l join workloads w using (workload_id)
where l.lease_id = any ($1) and l.state = 'running' and l.tier = 'spot'
  and coalesce(l.interrupt_reason, 'preempted') = 'preempted'
order by l.lease_id
for update of l;

-- name: award_lock_replicas
-- doc: The replicas of these workloads that still wait, of workloads that did not change since the freeze.
-- lane: write
-- in: workload_ids uuid[], round int8
-- out: replica_id uuid, workload_id uuid, replica_index int4
with w as materialized (
    select workload_id
    from workloads
    where workload_id = any ($1) and desired = 'run' and arrived_round <= $2
    order by workload_id
    for update
)
select r.replica_id, r.workload_id, r.replica_index
from replicas r join w using (workload_id)
where r.state = 'auctioning' and coalesce(r.not_before, '-infinity') <= now()
  and (select count(*) from w) >= 0
order by r.workload_id, r.replica_index
for update of r;

-- name: award_lock_devices
-- doc: Which of these devices nobody has won yet, and who holds them.
-- lane: write
-- in: device_ids uuid[]
-- out: device_id uuid, holder_id uuid?
select device_id, lease_id as holder_id
from devices
where device_id = any ($1) and next_lease_id is null and is_present and reclaimed_at is null
order by device_id
for update;

-- name: award_store
-- doc: Makes the leases of locked replicas on locked devices; a device that somebody holds is won and
--      passes at that lease's close, in wait_ms at the latest if all goes well. What escrow can pay for and
--      what earlier leases left of max_duration bound each of them; no money moves.
-- batch: true
-- in: lease_id uuid, replica_id uuid, node_id uuid, round int8, region text, class text, block_size int4,
--     tier text, trust text, price_uusd_per_hour int8, theta_uusd_per_hour int8,
--     adder_uusd_per_hour int8, device_ids text, is_simulated bool, wait_ms int8
-- out: ord int4
with member as (
    select lease_id, replica_id, node_id, round, region, class, block_size, tier, trust, price, theta,
        adder, string_to_array(device_ids, ',')::uuid[] as device_ids, is_simulated, wait_ms, ord
    from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int8[], $5::text[], $6::text[], $7::int4[],
        $8::text[], $9::text[], $10::int8[], $11::int8[], $12::int8[], $13::text[], $14::bool[],
        $15::int8[])
        with ordinality as m (lease_id, replica_id, node_id, round, region, class, block_size, tier,
        trust, price, theta, adder, device_ids, is_simulated, wait_ms, ord)
), awarded as (
    update replicas r set state = 'starting', epoch = r.epoch + 1, not_before = null
    from member m
    where r.replica_id = m.replica_id and r.state = 'auctioning'
    returning r.replica_id, r.workload_id, r.replica_index, r.epoch, r.escrow_uusd, r.ran_ms
), made as (
    insert into leases (lease_id, replica_id, workload_id, account_id, operator_account_id, node_id,
        market, round, region, class, block_size, tier, trust, replica_index, epoch,
        price_uusd_per_hour, fee_bp, theta_uusd_per_hour, adder_uusd_per_hour, max_duration_s,
        earlier_ms, device_ids, is_simulated, starts_at, billable_ms_max)
    select m.lease_id, a.replica_id, a.workload_id, w.account_id, n.account_id, m.node_id,
        w.market, m.round, m.region, m.class, m.block_size, m.tier, m.trust, a.replica_index, a.epoch,
        m.price, w.fee_bp, m.theta, m.adder, w.max_duration_s,
        a.ran_ms, m.device_ids, m.is_simulated, now() + m.wait_ms * interval '1 ms', lease_ms_max(m.price, w.fee_bp, a.escrow_uusd, 0,
            duration_left_ms(w.max_duration_s, a.ran_ms))
    from member m
    join awarded a using (replica_id)
    join workloads w using (workload_id)
    join nodes n on n.node_id = m.node_id
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
