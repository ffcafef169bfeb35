-- name: figure_list
-- doc: How many there are of what lives, by state: for the gauges.
-- out: name text, state text, count int8
select 'leases' as name, state, count(*) as count from leases where state <> 'closed' group by state
union all
select 'workloads', state, count(*) from workloads where ended_at is null group by state
union all
select 'nodes', state, count(*) from nodes where retired_at is null group by state
order by name, state;
