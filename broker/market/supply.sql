-- name: supply_load
-- doc: Every free device that may be sold in round $4, where demand looks: one row each, nodes together. An
--      ask that arrived after the freeze keeps its nodes out of this round, an owner's other floor out of all.
-- lane: read
-- in: market text, regions text[], classes text[], round int8
-- out: region text, class text, trust text, catalogue_uusd_per_hour int8, node_id uuid, account_id uuid,
--      price_uusd_per_device_hour int8, spot_multiplier_bp int4, guaranteed_multiplier_bp int4,
--      failures_milli int8, observed_ms int8, history_day int4, device_id uuid, is_simulated bool
select n.region, d.class, n.trust, c.catalogue_uusd_per_hour, n.node_id, n.account_id,
    a.price_uusd_per_device_hour, a.spot_multiplier_bp, a.guaranteed_multiplier_bp,
    coalesce(h.failures_milli, 0) as failures_milli, coalesce(h.observed_ms, 0) as observed_ms,
    coalesce(h.day, 0) as history_day, d.device_id, d.is_simulated
from nodes n
join devices d using (node_id)
join device_classes c on c.class = d.class
join asks a on a.account_id = n.account_id and a.class = d.class and a.region = n.region
left join node_histories h using (node_id)
where $1 <> '' and n.region = any ($2) and d.class = any ($3)
  and n.state = 'live' and n.is_opted_in and (n.suspect_until is null or n.suspect_until <= now())
  and d.is_present and d.lease_id is null
  and a.withdrawn_at is null and a.arrived_round <= $4
  and coalesce(floor_of(n.floors, d.class), a.price_uusd_per_device_hour) = a.price_uusd_per_device_hour
order by n.region, d.class, n.trust, n.node_id, d.device_index, d.device_id;
