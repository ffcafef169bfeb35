-- Why: leases that leave with notice - for a winner of a higher tier, or because the owner takes the machine
-- back - and asks that say which tiers they are for.

alter table leases
    add column notice_at timestamptz,
    add column stop_at timestamptz,
    add column interrupt_at timestamptz,
    add column interrupt_reason text,
    add column starts_at timestamptz not null default now(),
    add constraint leases_notice_is_whole check (num_nulls(notice_at, stop_at, interrupt_at, interrupt_reason)
        in (0, 4) and notice_at <= stop_at and stop_at <= interrupt_at);
comment on column leases.notice_at is 'When it was told that it will be interrupted; a notice is never taken back.';
comment on column leases.stop_at is 'SIGTERM: from here to interrupt_at is the grace.';
comment on column leases.interrupt_at is 'SIGKILL, at the earliest.';
comment on column leases.starts_at is
    'What starting may cost and last counts from here: the award, or the end of the notice of whoever held its devices.';
create index leases_spot on leases (lease_id) where state = 'running' and tier = 'spot';
create index leases_noticed on leases (workload_id) where interrupt_at is not null and state <> 'closed';

alter table nodes add column reclaimed_at timestamptz;
comment on column nodes.reclaimed_at is 'Its owner took all of it back: it sells nothing, and its leases have their notice.';
create index nodes_reclaimed on nodes (node_id) where reclaimed_at is not null;

alter table devices
    add column next_lease_id uuid,
    add column reclaimed_at timestamptz;
create index devices_next_lease on devices (next_lease_id) where next_lease_id is not null;
create index devices_reclaimed on devices (node_id) where reclaimed_at is not null;
comment on column devices.lease_id is 'The one live lease that holds this device; set by the award, cleared by the close.';
comment on column devices.next_lease_id is
    'The one live lease that has won it and waits until lease_id, which has its notice, is closed.';

alter table asks add column tiers text[] not null default '{flexible,spot}'
    constraint asks_tiers_known check (cardinality(tiers) > 0 and tiers <@ '{guaranteed,flexible,spot}'::text[]);
comment on column asks.tiers is 'Lots of these tiers only.';

-- What is promised to an operator names the tiers too.
drop function ask_message (uuid, text, text, int8, int4, int4);
create function ask_message(account_id uuid, class text, region text, price int8, spot int4, guaranteed int4,
    tiers text[])
returns text language sql immutable as $$
    select concat_ws('|', 'undercut/ask/v1', account_id, class, region, price, spot, guaranteed,
        array_to_string(tiers, ','))
$$;

-- Bit t is set for tier t of auction/tier.h.
create function tier_mask(tiers text[]) returns int4 language sql immutable as $$
    select case when 'guaranteed' = any (tiers) then 2 else 0 end
        + case when 'flexible' = any (tiers) then 4 else 0 end
        + case when 'spot' = any (tiers) then 8 else 0 end
$$;

-- Time between SIGTERM and SIGKILL of a lease, milliseconds.
create function lease_grace_ms(l leases, stop_grace_s int4) returns int8 language sql immutable as $$
    select coalesce(ms_between(l.stop_at, l.interrupt_at), stop_grace_s * 1000::int8)
$$;

-- What must hold beside what 0004 lists; a device that is held may be won already by whoever waits for it.
alter function invariant_violations() rename to invariant_violations_0004;
create function invariant_violations() returns table (rule text, subject text, detail text)
language sql stable as $$
    select rule, subject, detail from invariant_violations_0004()
    where rule <> 'G1 a live lease holds its devices'
    union all
    select 'G1 a live lease holds its devices, or waits for them', l.lease_id::text, l.state
    from leases l where l.state <> 'closed' and exists (select 1 from unnest(l.device_ids) d (id)
        left join devices v on v.device_id = d.id
        where v.lease_id is distinct from l.lease_id and v.next_lease_id is distinct from l.lease_id)
    union all
    select 'G1 a device is won by a live lease, from one that has its notice', d.device_id::text, d.next_lease_id::text
    from devices d
    left join leases l on l.lease_id = d.next_lease_id and l.state <> 'closed' and d.device_id = any (l.device_ids)
    left join leases h on h.lease_id = d.lease_id and h.notice_at is not null
    where d.next_lease_id is not null and (l.lease_id is null or h.lease_id is null or l.lease_id = h.lease_id)
    union all
    select 'only spot is pre-empted', l.lease_id::text, l.tier from leases l
    where l.interrupt_reason = 'preempted' and l.tier <> 'spot'
$$;
