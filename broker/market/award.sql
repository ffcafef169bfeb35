-- name: award_store
-- doc: Makes the leases of locked replicas on locked devices; a device that somebody holds is won and
--      passes at that lease's close, in waits_ms at the latest if all goes well. What escrow can pay for and
--      what earlier leases left of max_duration bound each of them; no money moves. The nth of each list is
--      the nth lease's, but for device_ids, of which it has block_sizes from device_firsts on (from 1), and for
--      the words, which pools and tiers tell it.
-- in: market text, round int8, lease_ids uuid[], replica_ids uuid[], operator_account_ids uuid[],
--     node_ids uuid[], pools int4[], tiers int4[], prices_uusd_per_hour int8[], fees_bp int4[],
--     thetas_uusd_per_hour int8[], adders_uusd_per_hour int8[], max_durations_s int4[], waits_ms int8[],
--     are_simulated bool[], are_set_by_ask bool[], device_firsts int4[], block_sizes int4[],
--     device_ids uuid[], device_lease_ids uuid[], regions text[], classes text[], trusts text[],
--     tier_words text[]
-- out: leases_count int4
with awarded as (
    update replicas r set state = 'starting', epoch = r.epoch + 1, not_before = null
    from unnest($4) with ordinality m (replica_id, ord)
    where r.replica_id = m.replica_id and r.state = 'auctioning'
    returning m.ord::int4 as n, r.replica_id, r.workload_id, r.account_id, r.replica_index, r.epoch,
        r.escrow_uusd, r.ran_ms
), made as (
    insert into leases (lease_id, replica_id, workload_id, account_id, operator_account_id, node_id,
        market, round, region, class, block_size, tier, trust, replica_index, epoch,
        price_uusd_per_hour, fee_bp, theta_uusd_per_hour, adder_uusd_per_hour, max_duration_s,
        earlier_ms, device_ids, is_simulated, starts_at, price_set_by_ask, billable_ms_max)
    select ($3)[n], replica_id, workload_id, account_id, ($5)[n], ($6)[n],
        $1, $2, ($21)[($7)[n]], ($22)[($7)[n]], ($18)[n], ($24)[($8)[n]],
        ($23)[($7)[n]], replica_index, epoch,
        ($9)[n], ($10)[n], ($11)[n], ($12)[n], ($13)[n],
        ran_ms, ($19)[($17)[n] : ($17)[n] + ($18)[n] - 1], ($15)[n], statement_timestamp() + ($14)[n] * interval '1 ms',
        ($16)[n], lease_ms_max(($9)[n], ($10)[n], escrow_uusd, 0, duration_left_ms(($13)[n], ran_ms))
    from awarded
    returning lease_id
), taken as (
    update devices d set lease_id = coalesce(d.lease_id, m.lease_id),
        next_lease_id = case when d.lease_id is not null then m.lease_id end
    from unnest($19, $20) m (device_id, lease_id)
    where d.device_id = m.device_id and d.next_lease_id is null
)
select count(*)::int4 as leases_count from made;
