-- Workloads that are cleared by themselves: what nodes are like beyond their class.

-- name: direct_fact_load
-- doc: What the nodes of these regions and classes have to offer beyond the class.
-- lane: read
-- in: regions text[], classes text[]
-- out: node_id uuid, class text, driver text, compute text, isolation text, vcpu_spare_milli int8,
--      memory_spare_mib int8, disk_spare_mib int8, vcpu_min int4, memory_mib_min int4, disk_mib_min int4,
--      takes_bids bool
select node_id, class, coalesce(driver, '') as driver, coalesce(compute, '') as compute, isolation,
    vcpu_spare_milli::int8, memory_spare_mib::int8, disk_spare_mib::int8, vcpu_min, memory_mib_min, disk_mib_min,
    takes_bids
from node_facts
where region = any ($1) and class = any ($2) and state = 'live'
order by node_id, class collate "C";
