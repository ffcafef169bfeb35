-- Why: leases that leave with notice - for a winner of a higher tier, or because the owner takes the machine
-- back - and asks that say which tiers they are for.

alter table leases
    add column notice_at timestamptz,
    add column stop_at timestamptz,
    add column interrupt_at timestamptz,
    add column interrupt_reason text,
    add column starts_at timestamptz not null default now(),
    add constraint leases_notice_is_whole check (
        (notice_at is null) = (interrupt_at is null) and (notice_at is null) = (stop_at is null)
        and (notice_at is null) = (interrupt_reason is null)
        and (notice_at is null or (notice_at <= stop_at and stop_at <= interrupt_at)));
comment on column leases.notice_at is 'When it was told that it will be interrupted; a notice is never taken back.';
comment on column leases.stop_at is 'SIGTERM: from here to interrupt_at is the grace.';
comment on column leases.interrupt_at is 'SIGKILL, at the earliest.';
comment on column leases.starts_at is
    'What starting may cost and last counts from here: the award, or the end of the notice of whoever held its devices.';
create index leases_interrupted on leases (stop_at) where stop_at is not null and state in ('awarded', 'starting', 'running');

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

-- What must always hold; an empty result is a healthy ledger. Used by tests after every fault, and by `undercut admin check`.
create or replace function invariant_violations() returns table (rule text, subject text, detail text)
language sql stable as $$
    select 'L3 sum per currency is zero', currency, sum(balance_uusd)::text
    from ledger_accounts group by currency having sum(balance_uusd) <> 0
    union all
    select 'L4 balance equals entries', a.ledger_account_id::text, a.balance_uusd || ' <> ' || coalesce(sum(e.amount_uusd), 0)
    from ledger_accounts a left join entries e using (ledger_account_id)
    group by a.ledger_account_id having a.balance_uusd <> coalesce(sum(e.amount_uusd), 0)
    union all
    select 'L1 journal balances', journal_id::text, sum(amount_uusd)::text
    from entries group by journal_id having sum(amount_uusd) <> 0
    union all
    select 'an entry has its journal', e.journal_id::text, e.line::text
    from entries e where not exists (select from journals j where j.journal_id = e.journal_id)
    union all
    select 'a workload has its account', w.workload_id::text, w.account_id::text
    from workloads w where not exists (select from accounts a where a.account_id = w.account_id)
        or not exists (select from markets m where m.market = w.market)
    union all
    select 'a replica has its workload', r.replica_id::text, r.workload_id::text
    from replicas r where not exists (select from workloads w
        where w.workload_id = r.workload_id and w.account_id = r.account_id)
    union all
    select 'E2 escrow equals replicas', a.account_id::text, a.balance_uusd || ' <> ' || coalesce(sum(r.escrow_uusd), 0)
    from ledger_accounts a left join replicas r on r.account_id = a.account_id
    where a.kind = 'lease_escrow' group by a.ledger_account_id, a.account_id, a.balance_uusd
    having a.balance_uusd <> coalesce(sum(r.escrow_uusd), 0)
    union all
    select 'G1 a live lease holds its devices', l.lease_id::text, l.state
    from leases l where l.state <> 'closed' and exists (select 1 from unnest(l.device_ids) d (id)
        left join devices v on v.device_id = d.id
        where v.lease_id is distinct from l.lease_id and v.next_lease_id is distinct from l.lease_id)
    union all
    select 'G1 a held device has a live lease', d.device_id::text, d.lease_id::text
    from devices d left join leases l on l.lease_id = d.lease_id and l.state <> 'closed'
    where d.lease_id is not null and (l.lease_id is null or not d.device_id = any (l.device_ids))
    union all
    select 'G1 a device is won by a live lease, from one that has its notice', d.device_id::text, d.next_lease_id::text
    from devices d
    left join leases l on l.lease_id = d.next_lease_id and l.state <> 'closed' and d.device_id = any (l.device_ids)
    left join leases h on h.lease_id = d.lease_id and h.notice_at is not null
    where d.next_lease_id is not null and (l.lease_id is null or h.lease_id is null or l.lease_id = h.lease_id)
    union all
    select 'only spot is pre-empted', l.lease_id::text, l.tier from leases l
    where l.interrupt_reason = 'preempted' and l.tier <> 'spot'
    union all
    select 'G2 live lease has its replica''s epoch', l.lease_id::text, l.epoch || ' <> ' || r.epoch
    from leases l join replicas r using (replica_id) where l.state <> 'closed' and l.epoch <> r.epoch
    union all
    select 'replica state matches its lease', r.replica_id::text, r.state || ' with ' || coalesce(l.state, 'no lease')
    from replicas r left join leases l on l.replica_id = r.replica_id and l.state <> 'closed'
    where (r.state in ('auctioning', 'ended')) <> (l.lease_id is null)
       or (r.state = 'running') <> coalesce(l.state in ('running') or (l.state = 'closing' and l.running_at is not null), false)
    union all
    select 'E4 lease figures equal its settlements', l.lease_id::text,
        (l.net_uusd + l.fee_uusd) || ' <> ' || coalesce(sum(s.gross_uusd), 0)
    from leases l left join settlements s using (lease_id)
    group by l.lease_id having l.net_uusd <> coalesce(sum(s.net_uusd), 0) or l.fee_uusd <> coalesce(sum(s.fee_uusd), 0)
    union all
    select 'meter: net and fee follow from billed time', l.lease_id::text, l.net_uusd || ' ' || l.fee_uusd
    from leases l where l.net_uusd <> div(l.price_uusd_per_hour::numeric * l.billed_ms, 3600000)
       or l.fee_uusd <> div(l.net_uusd::numeric * l.fee_bp, 10000)
    union all
    select 'E6 spent equals what its leases paid', w.workload_id::text, w.spent_uusd || ' <> ' || coalesce(sum(l.net_uusd + l.fee_uusd), 0)
    from workloads w left join leases l using (workload_id)
    group by w.workload_id having w.spent_uusd <> coalesce(sum(l.net_uusd + l.fee_uusd), 0)
    union all
    select 'E8 nothing billed beyond receipts', l.lease_id::text, l.billed_ms || ' > ' || l.receipt_ms + l.base_ms
    from leases l where l.billed_ms > l.receipt_ms + l.base_ms
    union all
    select 'workload state equals its replicas', w.workload_id::text, w.state
    from workloads w join (
        select workload_id, count(*) filter (where state = 'auctioning') a, count(*) filter (where state = 'starting') s,
            count(*) filter (where state = 'running') r, count(*) filter (where state = 'ended') e
        from replicas group by workload_id) c using (workload_id)
    where (w.replicas_auctioning, w.replicas_starting, w.replicas_running, w.replicas_ended) <> (c.a, c.s, c.r, c.e)
       or (w.ended_at is not null) <> (c.a + c.s + c.r = 0)
$$;
