-- Why: a round of 10,000 awards wrote 30,000 events, counted 10,000 workloads anew and moved 10,000 devices
-- to other places in three indexes. What one transaction tells an account shares rows, an award moves the
-- counts by what it won, and an award leaves every device where its indexes point.

-- An event's row may tell up to 50 events, which are numbered from its id on: so ids are 50 apart.
alter table events alter column event_id set increment by 50;
alter table events
    add column lease_ids uuid[],
    add column versions int4[],
    add column starting_counts int4[],
    add column ended_counts int4[];
comment on column events.workload_ids is
    'Members: each is told as an event of its own, the nth numbered event_id + n - 1. Of workload.created, what one
statement stored for the account (however many: no other event is of that transaction); of
workload.starting and lease.awarded up to 50. Null for an operator, who is not told the workload.';
comment on column events.lease_ids is
    'Of lease.awarded, beside workload_ids; what is told follows from the lease, of what never changes in it.';
comment on column events.versions is
    'Of workload.starting, beside workload_ids, as are starting_counts and ended_counts: what the workload came to.';

create or replace function lease_announce_new() returns trigger language plpgsql as $$
begin
    insert into events (account_id, kind, workload_ids, lease_ids)
    select t.account_id, 'lease.awarded', t.workload_ids[nth : nth + 49], t.lease_ids[nth : nth + 49]
    from (
        select account_id, array_agg(workload_id) as workload_ids, array_agg(lease_id) as lease_ids
        from (
            select who.account_id, case when who.is_tenant then n.workload_id end as workload_id, n.lease_id
            from new_leases n
            cross join lateral (values (n.account_id, true), (n.operator_account_id, false))
                who (account_id, is_tenant)
            order by who.account_id, n.lease_id, who.is_tenant desc) s
        group by account_id) t
    cross join lateral generate_series(1, cardinality(t.lease_ids), 50) nth
    order by t.account_id, nth;
    return null;
end $$;
comment on function lease_announce_new is 'A lease begins as awarded, whatever it becomes in the same transaction.';

-- A row that changes stays where its indexes point if its page has room and no index covers what changed. So
-- nothing looks a device up by its lease: a lease knows its devices. All of a page's rows fit twice.
drop index devices_lease;
alter table devices set (fillfactor = 45);
alter table workloads set (fillfactor = 50);
-- Replicas do move, out of the index of those that wait. Half-full pages take the second entry of each
-- without splits.
alter index replicas_pkey set (fillfactor = 50);
alter index replicas_one set (fillfactor = 50);

-- As in 0004, without numeric where int8 holds every step.
create or replace function meter_ms_max(price int8, fee_bp int4, available int8) returns int8 language sql immutable as $$
    select case when available < 0 then 0 when price = 0 then 3162240000000
        when available <= 900000000000 then least(3162240000000,
            ((((available + 1) * 10000 - 1) / (10000 + fee_bp) + 1) * 3600000 - 1) / price)
        else least(3162240000000, div(
            (div((available::numeric + 1) * 10000 - 1, 10000 + fee_bp) + 1) * 3600000 - 1, price))::int8 end
$$;

create or replace function workload_refresh() returns trigger language plpgsql as $$
begin
    -- An award, or money for what starts: nothing but the counts can have changed, by what waited before and
    -- starts now. Whoever awards has locked the workloads (award_lock_replicas).
    if not exists (select from new_replicas where state <> 'starting')
        and not exists (select from old_replicas where state not in ('auctioning', 'starting')) then
        with won as (
            select workload_id, count(*)::int4 as won_count
            from old_replicas where state = 'auctioning' group by workload_id
        ), stored as (
            update workloads w set
                replicas_auctioning = w.replicas_auctioning - n.won_count,
                replicas_starting = w.replicas_starting + n.won_count,
                state = workload_derive_state(w.desired, w.state, w.min_replicas,
                    w.replicas_auctioning - n.won_count, w.replicas_starting + n.won_count,
                    w.replicas_running, w.replicas_ended, false),
                has_been_awarded = true, version = w.version + 1
            from won n where w.workload_id = n.workload_id
            returning w.workload_id, w.account_id, w.version, w.replicas_starting, w.replicas_ended,
                w.state = 'starting' and w.replicas_starting = n.won_count and w.replicas_running = 0 as is_first
        )
        insert into events (account_id, kind, workload_ids, versions, starting_counts, ended_counts)
        select t.account_id, 'workload.starting', t.workload_ids[nth : nth + 49], t.versions[nth : nth + 49],
            t.starting_counts[nth : nth + 49], t.ended_counts[nth : nth + 49]
        from (
            select account_id, array_agg(workload_id) as workload_ids, array_agg(version) as versions,
                array_agg(replicas_starting) as starting_counts, array_agg(replicas_ended) as ended_counts
            from (select * from stored where is_first order by account_id, workload_id) s
            group by account_id) t
        cross join lateral generate_series(1, cardinality(t.workload_ids), 50) nth
        order by t.account_id, nth;
        return null;
    end if;
    -- Locked in a statement of its own: the next one then sees what others did while this one waited.
    perform 1 from workloads where workload_id in (
        select n.workload_id from new_replicas n join old_replicas o using (replica_id)
        where n.state <> o.state) order by workload_id for update;
    with touched as (
        select distinct n.workload_id from new_replicas n join old_replicas o using (replica_id)
        where n.state <> o.state
    ), counts as (
        select r.workload_id,
            count(*) filter (where r.state = 'auctioning')::int4 as auctioning,
            count(*) filter (where r.state = 'starting')::int4 as starting,
            count(*) filter (where r.state = 'running')::int4 as running,
            count(*) filter (where r.state = 'ended')::int4 as ended,
            bool_or(r.state = 'ended' and coalesce(r.reason, '') not in
                ('completed', 'stopped_by_owner', 'replaced', 'max_duration_reached')) as any_failed,
            (array_agg(r.reason order by
                (coalesce(r.reason, '') in ('completed', 'stopped_by_owner', 'replaced')), r.ended_at desc)
                filter (where r.state = 'ended'))[1] as reason
        from replicas r join touched using (workload_id) group by r.workload_id
    ), derived as (
        select c.*, workload_derive_state(w.desired, w.state, w.min_replicas,
            c.auctioning, c.starting, c.running, c.ended, c.any_failed) as state, w.state as before
        from counts c join workloads w using (workload_id)
    ), stored as (
        update workloads w set
            replicas_auctioning = d.auctioning, replicas_starting = d.starting,
            replicas_running = d.running, replicas_ended = d.ended, state = d.state,
            has_been_awarded = w.has_been_awarded or d.starting + d.running > 0,
            status_reason = case when d.state in ('stopped', 'failed') then d.reason else w.status_reason end,
            ended_at = case when d.state in ('stopped', 'failed') then coalesce(w.ended_at, now()) end,
            version = w.version + 1
        from derived d where w.workload_id = d.workload_id
        returning w.workload_id, w.account_id, w.name, w.state, d.before, w.status_reason, w.version,
            w.replicas_auctioning, w.replicas_starting, w.replicas_running, w.replicas_ended
    )
    insert into events (account_id, kind, workload_id, data)
    select account_id, 'workload.' || state, workload_id, jsonb_build_object('name', name,
        'state', state, 'status_reason', status_reason, 'version', version,
        'replicas_auctioning', replicas_auctioning, 'replicas_starting', replicas_starting,
        'replicas_running', replicas_running, 'replicas_ended', replicas_ended)
    from stored where state <> before
    order by workload_id;
    return null;
end $$;
