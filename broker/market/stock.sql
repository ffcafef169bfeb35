-- name: stock_load
-- doc: Every device that may be sold in round $4, where demand looks: one row each, nodes together. An
--      ask that arrived after the freeze keeps its nodes out of this round, an owner's other floor out of all.
--      Free ones, and with $5 those of running spot leases, which may have to leave for a higher tier. What
--      its owner takes back, and what somebody has won already, is nobody's. One with a bid_id is committed;
--      without a bid_workload_id that bid does not count in this round.
-- lane: read
-- in: market text, regions text[], classes text[], round int8, with_held bool
-- out: region text, class text, trust text, catalogue_uusd_per_hour int8, node_id uuid, account_id uuid,
--      price_uusd_per_device_hour int8, spot_multiplier_bp int4, guaranteed_multiplier_bp int4,
--      tier_mask int4, failures_milli int8, observed_ms int8, history_day int4, device_id uuid,
--      is_simulated bool, holder_id uuid?, holder_running_at timestamptz?, holder_is_preempted bool,
--      holder_reserve_uusd_per_hour int8, holder_fee_bp int4, holder_block_size int4,
--      bid_id uuid?, bid_workload_id uuid?, bid_uusd_per_hour int8?
select n.region, d.class, n.trust, c.catalogue_uusd_per_hour, n.node_id, n.account_id,
    a.price_uusd_per_device_hour, a.spot_multiplier_bp, a.guaranteed_multiplier_bp,
    tier_mask(a.tiers) as tier_mask,
    coalesce(h.failures_milli, 0) as failures_milli, coalesce(h.observed_ms, 0) as observed_ms,
    coalesce(h.day, 0) as history_day, d.device_id, d.is_simulated, l.lease_id as holder_id,
    l.running_at as holder_running_at, l.notice_at is not null as holder_is_preempted,
    coalesce(w.reserve_uusd_per_hour, 0) as holder_reserve_uusd_per_hour,
    coalesce(l.fee_bp, 0) as holder_fee_bp, coalesce(l.block_size, 1) as holder_block_size,
    d.bid_id, b.workload_id as bid_workload_id, b.price_uusd_per_hour as bid_uusd_per_hour
from nodes n
join devices d using (node_id)
join device_classes c on c.class = d.class
join asks a on a.account_id = n.account_id and a.class = d.class and a.region = n.region
left join node_histories h using (node_id)
left join leases l on l.lease_id = case when $5 then d.lease_id end and l.state = 'running' and l.tier = 'spot'
    and coalesce(l.interrupt_reason, 'preempted') = 'preempted'
left join workloads w on w.workload_id = l.workload_id
left join direct_bids b on b.bid_id = d.bid_id and b.state = 'standing' and b.arrived_round <= $4
    and b.expires_at > now()
where $1 <> '' and n.region = any ($2) and d.class = any ($3)
  and n.state = 'live' and n.is_opted_in and (n.suspect_until is null or n.suspect_until <= now())
  and n.reclaimed_at is null and d.reclaimed_at is null
  and d.is_present and d.next_lease_id is null and (d.lease_id is null or l.lease_id is not null)
  and a.withdrawn_at is null and a.arrived_round <= $4
  and coalesce(floor_of(n.floors, d.class), a.price_uusd_per_device_hour) = a.price_uusd_per_device_hour
order by n.region, d.class, n.trust, n.node_id, d.device_index, d.device_id;
