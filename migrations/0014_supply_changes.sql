-- Why: the leader keeps supply in memory from round to round. What changed since it last looked stands here,
-- written by triggers, so that no statement can forget it. Only who changed is written: the leader reads the
-- rows themselves, and what it reads is what its guards then lock.

create unlogged table supply_changes (
    xact int8 not null default pg_current_xact_id()::text::int8,
    node_id uuid,
    account_id uuid
);
create index supply_changes_xact on supply_changes (xact);
comment on table supply_changes is
    'A node whose devices, or an account whose asks, changed; neither: everything did. Unlogged: a leader whose
connection broke reads all supply anew.';
comment on column supply_changes.xact is
    'Read from the xmin of the snapshot before, as with events: nothing can appear behind what was read.';

create function supply_node_changed() returns trigger language plpgsql as $$
begin
    insert into supply_changes (node_id) values (new.node_id);
    return null;
end $$;
create trigger nodes_supply_changed after update on nodes
    for each row when ((old.state, old.is_opted_in, old.suspect_until, old.reclaimed_at, old.floors, old.trust,
        old.region, old.account_id) is distinct from (new.state, new.is_opted_in, new.suspect_until,
        new.reclaimed_at, new.floors, new.trust, new.region, new.account_id))
    execute function supply_node_changed();

-- A running spot lease may be evicted: from when it runs until somebody else has it leave.
create trigger leases_supply_changed after update on leases
    for each row when (new.tier = 'spot' and (old.state, old.running_at, old.notice_at, old.interrupt_reason)
        is distinct from (new.state, new.running_at, new.notice_at, new.interrupt_reason))
    execute function supply_node_changed();

-- A new bid is seen by the devices that it commits.
create trigger direct_bids_supply_changed after update on direct_bids
    for each row when ((old.state, old.arrived_round, old.expires_at, old.price_uusd_per_hour)
        is distinct from (new.state, new.arrived_round, new.expires_at, new.price_uusd_per_hour))
    execute function supply_node_changed();

create function supply_nodes_changed() returns trigger language plpgsql as $$
begin
    insert into supply_changes (node_id) select distinct node_id from changed;
    return null;
end $$;
create trigger devices_supply_made after insert on devices referencing new table as changed
    for each statement execute function supply_nodes_changed();
create trigger devices_supply_changed after update on devices referencing new table as changed
    for each statement execute function supply_nodes_changed();
create trigger devices_supply_gone after delete on devices referencing old table as changed
    for each statement execute function supply_nodes_changed();
create trigger histories_supply_made after insert on node_histories referencing new table as changed
    for each statement execute function supply_nodes_changed();
create trigger histories_supply_changed after update on node_histories referencing new table as changed
    for each statement execute function supply_nodes_changed();

create function supply_asks_changed() returns trigger language plpgsql as $$
begin
    insert into supply_changes (account_id) select distinct account_id from changed;
    return null;
end $$;
create trigger asks_supply_made after insert on asks referencing new table as changed
    for each statement execute function supply_asks_changed();
create trigger asks_supply_changed after update on asks referencing new table as changed
    for each statement execute function supply_asks_changed();

-- What a spot lease is worth to its tenant orders who has to leave.
create function supply_reserve_changed() returns trigger language plpgsql as $$
begin
    insert into supply_changes (node_id)
    select distinct node_id from leases where workload_id = new.workload_id and state <> 'closed';
    return null;
end $$;
create trigger workloads_supply_changed after update of reserve_uusd_per_hour on workloads
    for each row when (old.reserve_uusd_per_hour <> new.reserve_uusd_per_hour and new.tier = 'spot')
    execute function supply_reserve_changed();

create function supply_all_changed() returns trigger language plpgsql as $$
begin
    insert into supply_changes default values;
    return null;
end $$;
create trigger classes_supply_changed after insert or update or delete on device_classes
    for each statement execute function supply_all_changed();
create trigger regions_supply_changed after insert or update or delete on regions
    for each statement execute function supply_all_changed();
create trigger nodes_supply_gone after delete or truncate on nodes
    for each statement execute function supply_all_changed();
create trigger devices_supply_emptied after truncate on devices
    for each statement execute function supply_all_changed();
create trigger asks_supply_gone after delete or truncate on asks
    for each statement execute function supply_all_changed();

-- Every device that may be sold, whatever its ask says and unless a clock says otherwise: free ones, and those
-- of running spot leases, which may have to leave for a higher tier. What its owner takes back, and what
-- somebody has won already, is nobody's. One with a bid_id is committed.
create view supply_rows as
select n.region, d.class, n.trust, n.node_id, d.device_index, d.device_id, n.account_id, n.suspect_until,
    floor_of(n.floors, d.class) as floor_uusd_per_device_hour, c.catalogue_uusd_per_hour,
    coalesce(h.failures_milli, 0) as failures_milli, coalesce(h.observed_ms, 0) as observed_ms,
    coalesce(h.day, 0) as history_day, d.is_simulated, l.lease_id as holder_id,
    l.running_at as holder_running_at, l.notice_at is not null as holder_is_preempted,
    coalesce(w.reserve_uusd_per_hour, 0) as holder_reserve_uusd_per_hour,
    coalesce(l.fee_bp, 0) as holder_fee_bp, coalesce(l.block_size, 1) as holder_block_size,
    d.bid_id, b.workload_id as bid_workload_id, b.price_uusd_per_hour as bid_uusd_per_hour,
    b.arrived_round as bid_arrived_round, b.expires_at as bid_expires_at
from nodes n
join devices d using (node_id)
join device_classes c on c.class = d.class
left join node_histories h using (node_id)
left join leases l on l.lease_id = d.lease_id and l.state = 'running' and l.tier = 'spot'
    and coalesce(l.interrupt_reason, 'preempted') = 'preempted'
left join workloads w on w.workload_id = l.workload_id
left join direct_bids b on b.bid_id = d.bid_id and b.state = 'standing'
where n.state = 'live' and n.is_opted_in and n.reclaimed_at is null
  and d.is_present and d.reclaimed_at is null and d.next_lease_id is null
  and (d.lease_id is null or l.lease_id is not null);
