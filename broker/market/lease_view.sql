-- Leases as their two parties see them. Columns are the same everywhere, so that one function reads them.

-- name: lease_view_of_tenant
-- doc: Leases that the account pays for, newest first, after `before`.
-- scope: account
-- in: account_id uuid, workload_id uuid?, state text?, before uuid?, limit_count int4
-- out: lease_id uuid, is_tenant bool, workload_id uuid, workload_name text, replica_index int4, node_id uuid,
--      node_name text, region text, class text, block_size int4, devices_count int4, tier text,
--      is_simulated bool, epoch int4, state text, stage text?, price_uusd_per_hour int8, fee_bp int4, awarded_at timestamptz,
--      running_at timestamptz?, closed_at timestamptz?, close_reason text?, exit_code int4?, detail text?,
--      receipt_ms int8, billed_ms int8, net_uusd int8, fee_uusd int8, round int8,
--      interrupt_at timestamptz?, interrupt_reason text?
select l.lease_id, true as is_tenant, l.workload_id, w.name as workload_name, l.replica_index, l.node_id,
    n.name as node_name, l.region, l.class, l.block_size, cardinality(l.device_ids) as devices_count,
    l.tier, l.is_simulated, l.epoch, l.state, l.stage, l.price_uusd_per_hour, l.fee_bp, l.awarded_at, l.running_at,
    l.closed_at, l.close_reason, l.exit_code, l.detail, l.receipt_ms, l.billed_ms, l.net_uusd, l.fee_uusd,
    l.round, l.interrupt_at, l.interrupt_reason
from leases l
join workloads w on w.workload_id = l.workload_id
join nodes n on n.node_id = l.node_id
where l.account_id = $1
    and ($2 is null or l.workload_id = $2)
    and ($3 is null or l.state = $3)
    and ($4 is null or l.lease_id < $4)
order by l.lease_id desc
limit $5;

-- name: lease_view_of_workload
-- doc: The leases of one workload, newest first.
-- scope: account
-- in: account_id uuid, workload_id uuid, limit_count int4
-- out: lease_id uuid, is_tenant bool, workload_id uuid, workload_name text, replica_index int4, node_id uuid,
--      node_name text, region text, class text, block_size int4, devices_count int4, tier text,
--      is_simulated bool, epoch int4, state text, stage text?, price_uusd_per_hour int8, fee_bp int4, awarded_at timestamptz,
--      running_at timestamptz?, closed_at timestamptz?, close_reason text?, exit_code int4?, detail text?,
--      receipt_ms int8, billed_ms int8, net_uusd int8, fee_uusd int8, round int8,
--      interrupt_at timestamptz?, interrupt_reason text?
select l.lease_id, true as is_tenant, l.workload_id, w.name as workload_name, l.replica_index, l.node_id,
    n.name as node_name, l.region, l.class, l.block_size, cardinality(l.device_ids) as devices_count,
    l.tier, l.is_simulated, l.epoch, l.state, l.stage, l.price_uusd_per_hour, l.fee_bp, l.awarded_at, l.running_at,
    l.closed_at, l.close_reason, l.exit_code, l.detail, l.receipt_ms, l.billed_ms, l.net_uusd, l.fee_uusd,
    l.round, l.interrupt_at, l.interrupt_reason
from leases l
join workloads w on w.workload_id = l.workload_id
join nodes n on n.node_id = l.node_id
where l.account_id = $1 and l.workload_id = $2
order by l.lease_id desc
limit $3;

-- name: lease_view_of_operator
-- doc: Leases on the account's nodes, newest first, after `before`.
-- scope: account
-- in: account_id uuid, workload_id uuid?, state text?, before uuid?, limit_count int4
-- out: lease_id uuid, is_tenant bool, workload_id uuid, workload_name text, replica_index int4, node_id uuid,
--      node_name text, region text, class text, block_size int4, devices_count int4, tier text,
--      is_simulated bool, epoch int4, state text, stage text?, price_uusd_per_hour int8, fee_bp int4, awarded_at timestamptz,
--      running_at timestamptz?, closed_at timestamptz?, close_reason text?, exit_code int4?, detail text?,
--      receipt_ms int8, billed_ms int8, net_uusd int8, fee_uusd int8, round int8,
--      interrupt_at timestamptz?, interrupt_reason text?
select l.lease_id, false as is_tenant, l.workload_id, '' as workload_name, l.replica_index, l.node_id,
    n.name as node_name, l.region, l.class, l.block_size, cardinality(l.device_ids) as devices_count,
    l.tier, l.is_simulated, l.epoch, l.state, l.stage, l.price_uusd_per_hour, l.fee_bp, l.awarded_at, l.running_at,
    l.closed_at, l.close_reason, l.exit_code, null::text as detail, l.receipt_ms, l.billed_ms, l.net_uusd,
    l.fee_uusd, l.round, l.interrupt_at, l.interrupt_reason
from leases l
join nodes n on n.node_id = l.node_id
where l.operator_account_id = $1 and n.account_id = $1
    and ($2 is null or l.workload_id = $2)
    and ($3 is null or l.state = $3)
    and ($4 is null or l.lease_id < $4)
order by l.lease_id desc
limit $5;

-- name: lease_view_get
-- doc: One lease, for its tenant or its operator.
-- scope: account
-- in: account_id uuid, lease_id uuid
-- out: lease_id uuid, is_tenant bool, workload_id uuid, workload_name text, replica_index int4, node_id uuid,
--      node_name text, region text, class text, block_size int4, devices_count int4, tier text,
--      is_simulated bool, epoch int4, state text, stage text?, price_uusd_per_hour int8, fee_bp int4, awarded_at timestamptz,
--      running_at timestamptz?, closed_at timestamptz?, close_reason text?, exit_code int4?, detail text?,
--      receipt_ms int8, billed_ms int8, net_uusd int8, fee_uusd int8, round int8,
--      interrupt_at timestamptz?, interrupt_reason text?
select l.lease_id, l.account_id = $1 as is_tenant, l.workload_id, w.name as workload_name, l.replica_index,
    l.node_id, n.name as node_name, l.region, l.class, l.block_size,
    cardinality(l.device_ids) as devices_count, l.tier, l.is_simulated, l.epoch, l.state, l.stage,
    l.price_uusd_per_hour, l.fee_bp, l.awarded_at, l.running_at, l.closed_at, l.close_reason, l.exit_code,
    l.detail, l.receipt_ms, l.billed_ms, l.net_uusd, l.fee_uusd, l.round, l.interrupt_at, l.interrupt_reason
from leases l
join workloads w on w.workload_id = l.workload_id
join nodes n on n.node_id = l.node_id
where l.lease_id = $2 and (l.account_id = $1 or l.operator_account_id = $1);
