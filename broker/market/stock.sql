-- Supply as the leader keeps it in memory.

-- name: stock_look
-- doc: What changed in transactions that were not settled at since_xact, a node or an account a row, by
--      node; neither in a change: everything did. Always at least one row. Below horizon_xact all is
--      settled, so what is read after this is complete from there on.
-- lane: read
-- in: since_xact int8
-- out: horizon_xact int8, is_change bool, node_id uuid?, account_id uuid?
select pg_snapshot_xmin(pg_current_snapshot())::text::int8 as horizon_xact,
    coalesce(c.is_change, false) as is_change, c.node_id, c.account_id
from (select 1) one
left join (select distinct node_id, account_id, true as is_change
    from supply_changes where xact >= $1) c on true
order by c.node_id, c.account_id;

-- name: stock_changes_forget
-- doc: Changes that every leader has read long ago.
-- in: before_xact int8
delete from supply_changes where xact < $1;

-- name: stock_nodes
-- doc: What these nodes offer, a device a row; see the view.
-- lane: read
-- in: node_ids uuid[]
-- out: region text, class text, trust text, node_id uuid, device_index int4, device_id uuid,
--      account_id uuid, suspect_until timestamptz?, floor_uusd_per_device_hour int8?,
--      catalogue_uusd_per_hour int8, failures_milli int8, observed_ms int8, history_day int4,
--      is_simulated bool, holder_id uuid?, holder_running_at timestamptz?, holder_is_preempted bool,
--      holder_reserve_uusd_per_hour int8, holder_fee_bp int4, holder_block_size int4, bid_id uuid?,
--      bid_workload_id uuid?, bid_uusd_per_hour int8?, bid_arrived_round int8?,
--      bid_expires_at timestamptz?
select * from supply_rows
where node_id = any ($1)
order by node_id, class, device_index, device_id;

-- name: stock_all_nodes
-- doc: What all nodes offer. Columns as stock_nodes.
-- lane: read
-- out: region text, class text, trust text, node_id uuid, device_index int4, device_id uuid,
--      account_id uuid, suspect_until timestamptz?, floor_uusd_per_device_hour int8?,
--      catalogue_uusd_per_hour int8, failures_milli int8, observed_ms int8, history_day int4,
--      is_simulated bool, holder_id uuid?, holder_running_at timestamptz?, holder_is_preempted bool,
--      holder_reserve_uusd_per_hour int8, holder_fee_bp int4, holder_block_size int4, bid_id uuid?,
--      bid_workload_id uuid?, bid_uusd_per_hour int8?, bid_arrived_round int8?,
--      bid_expires_at timestamptz?
select * from supply_rows
order by node_id, class, device_index, device_id;

-- name: stock_asks
-- doc: The asks of these accounts.
-- lane: read
-- in: account_ids uuid[]
-- out: owner_id uuid, region text, class text, price_uusd_per_device_hour int8,
--      spot_multiplier_bp int4, guaranteed_multiplier_bp int4, tier_mask int4, arrived_round int8,
--      is_withdrawn bool
select account_id as owner_id, region, class, price_uusd_per_device_hour, spot_multiplier_bp,
    guaranteed_multiplier_bp, tier_mask(tiers) as tier_mask, arrived_round,
    withdrawn_at is not null as is_withdrawn
from asks
where account_id = any ($1);

-- name: stock_all_asks
-- doc: All asks. Columns as stock_asks.
-- lane: read
-- out: owner_id uuid, region text, class text, price_uusd_per_device_hour int8,
--      spot_multiplier_bp int4, guaranteed_multiplier_bp int4, tier_mask int4, arrived_round int8,
--      is_withdrawn bool
select account_id as owner_id, region, class, price_uusd_per_device_hour, spot_multiplier_bp,
    guaranteed_multiplier_bp, tier_mask(tiers) as tier_mask, arrived_round,
    withdrawn_at is not null as is_withdrawn
from asks;
