-- Why: what tenants want run, the replicas of it, the leases that run them, and what each lease settled.
-- States change through one door each; a workload's state is derived from its replicas by one trigger.
-- Whoever locks several rows takes them in this order, each kind by id: nodes, workloads, leases, replicas,
-- devices, ledger accounts.

-- Words and bounds are domains, as in the ledger.
create domain tier_word as text check (value in ('guaranteed', 'flexible', 'spot'));
create domain trust_word as text check (value in ('simulated', 'unverified', 'verified', 'attested'));
create domain award_word as text check (value in ('auction', 'now'));
create domain price_policy_word as text check (value in ('market', 'limit'));
create domain restart_word as text check (value in ('never', 'on_failure', 'always'));
create domain interruption_word as text check (value in ('rebid', 'stop'));
create domain degraded_word as text check (value in ('continue', 'stop'));
create domain desired_word as text check (value in ('run', 'stop'));
create domain workload_state as text check (value in ('auctioning', 'starting', 'running', 'degraded',
    'paused', 'stopping', 'stopped', 'failed'));
create domain replica_state as text check (value in ('auctioning', 'starting', 'running', 'ended'));
create domain lease_state as text check (value in ('awarded', 'starting', 'running', 'closing', 'closed'));

create domain short_name as text check (length(value) between 1 and 63);
create domain some_names as text[] check (cardinality(value) between 1 and 32);
create domain at_least_none as int4 check (value >= 0);
create domain at_least_one as int4 check (value > 0);
create domain uusd_not_negative as int8 check (value >= 0);
create domain uusd_positive as int8 check (value > 0);
create domain reserve_uusd as int8 check (value between 1 and 1000000000000);
create domain block_of_devices as int4 check (value in (1, 2, 4, 8));
create domain some_replicas as int4 check (value between 1 and 100);
create domain share_bp as int4 check (value between 0 and 10000);
create domain lease_seconds as int4 check (value between 1 and 2592000);
create domain grace_seconds as int4 check (value between 0 and 300);
create domain close_pays_word as text check (value in ('usage', 'minimum', 'start', 'nothing'));
create domain close_next_word as text check (value in ('end', 'retry'));

create table workloads (
    workload_id uuid primary key,
    account_id uuid not null,
    name short_name not null,
    market text not null,
    manifest text not null,
    secrets_sealed bytea,
    image text not null,
    block_size block_of_devices not null,
    devices_count at_least_one not null,
    classes some_names not null,
    regions some_names not null,
    tier tier_word not null,
    trust_min trust_word not null,
    award award_word not null,
    price_policy price_policy_word not null,
    reserve_uusd_per_hour reserve_uusd not null,
    fee_bp share_bp not null,
    vcpu_milli at_least_one not null,
    memory_mib at_least_one not null,
    disk_mib at_least_none not null,
    replicas some_replicas not null,
    min_replicas at_least_one not null,
    restart restart_word not null,
    on_interruption interruption_word not null,
    on_degraded degraded_word not null,
    max_duration_s lease_seconds not null,
    deadline_at timestamptz,
    budget_uusd uusd_positive,
    stop_grace_s grace_seconds not null,
    labels jsonb not null default '{}',
    desired desired_word not null default 'run',
    state workload_state not null default 'auctioning',
    status_reason text,
    replicas_auctioning int4 not null,
    replicas_starting int4 not null default 0,
    replicas_running int4 not null default 0,
    replicas_ended int4 not null default 0,
    has_been_awarded bool not null default false,
    spent_uusd uusd_not_negative not null default 0,
    version int4 not null default 1,
    arrived_round int8 not null,
    message_sha256 sha256_bytes not null,
    place int8,
    hold_uusd uusd_positive,
    idem_key text,
    idem_body_sha256 bytea,
    created_at timestamptz not null default now(),
    ended_at timestamptz,
    constraint workloads_bounds check (devices_count <= block_size and min_replicas <= replicas)
) with (fillfactor = 50);
create unique index workloads_name_live on workloads (account_id, name)
    where desired = 'run' and ended_at is null;
create index workloads_name_past on workloads (account_id, name, workload_id desc)
    where desired = 'stop' or ended_at is not null;
create index workloads_due on workloads (deadline_at) where ended_at is null and deadline_at is not null;
create index workloads_degraded on workloads (workload_id)
    where on_degraded = 'stop' and desired = 'run' and ended_at is null;
comment on index workloads_degraded is
    'Its predicate leaves the state out: a row whose state changes stays where its indexes point.';
create unique index workloads_idem on workloads (account_id, idem_key) where idem_key is not null;
create index workloads_account on workloads (account_id, workload_id desc);
comment on table workloads is
    'No foreign keys, nor in replicas: the statement that inserts has just locked the wallet and the market.';
comment on column workloads.manifest is 'As the tenant sent it, in JSON, without secrets and registry_auth.';
comment on column workloads.reserve_uusd_per_hour is 'The most the tenant pays per replica-hour, fees included.';
comment on column workloads.hold_uusd is 'What the latest posting asked for in escrow, all replicas together.';
comment on column workloads.has_been_awarded is 'After the first award, replicas that lost their node re-enter with kmin = 1.';

create table replicas (
    replica_id uuid primary key with (fillfactor = 50),
    workload_id uuid not null,
    account_id uuid not null,
    replica_index at_least_none not null,
    state replica_state not null default 'auctioning',
    epoch int4 not null default 0,
    attempt int4 not null default 1,
    escrow_uusd uusd_not_negative not null,
    ran_ms int8 not null default 0,
    excluded_node_ids uuid[] not null default '{}',
    auctioning_since timestamptz not null default now(),
    not_before timestamptz,
    reason text,
    exit_code int4,
    ended_at timestamptz,
    constraint replicas_one unique (workload_id, replica_index) with (fillfactor = 50),
    constraint replicas_ended_is_empty check (state <> 'ended' or (escrow_uusd = 0 and ended_at is not null))
) with (fillfactor = 60);
create index replicas_auctioning on replicas (workload_id) where state = 'auctioning';
comment on table replicas is
    'Its rows move, out of the index of those that wait; half-full index pages take the second entry of each.';
comment on column replicas.escrow_uusd is
    'The tenant''s money set aside for this replica; the sum over an account is its lease_escrow balance.';
comment on column replicas.ran_ms is 'Healthy time of its closed leases: max_duration bounds all of them together.';
comment on column replicas.epoch is 'Fencing token: raised by every award; the live lease carries the same number.';

create table leases (
    lease_id uuid primary key,
    replica_id uuid not null,
    workload_id uuid not null,
    account_id uuid not null,
    operator_account_id uuid not null,
    node_id uuid not null,
    market text not null,
    round int8 not null,
    region text not null,
    class text not null,
    block_size int4 not null,
    tier text not null,
    trust text not null,
    replica_index int4 not null,
    epoch int4 not null,
    state lease_state not null default 'awarded',
    stage text,
    price_uusd_per_hour uusd_not_negative not null,
    fee_bp int4 not null,
    theta_uusd_per_hour int8 not null,
    adder_uusd_per_hour int8 not null,
    max_duration_s int4 not null,
    earlier_ms int8 not null default 0,
    device_ids uuid[] not null,
    is_simulated bool not null,
    awarded_at timestamptz not null default statement_timestamp(),
    acked_at timestamptz,
    running_at timestamptz,
    cut_at timestamptz,
    cut_seen_at timestamptz,
    closed_at timestamptz,
    close_reason text,
    close_pays close_pays_word,
    close_next close_next_word,
    exit_code int4,
    detail text,
    image_digest text,
    receipt_ms int8 not null default 0,
    receipt_seq int8 not null default 0,
    paused_ms int8 not null default 0,
    base_ms int8 not null default 0,
    billable_ms_max int8 not null,
    billed_ms int8 not null default 0,
    net_uusd int8 not null default 0,
    fee_uusd int8 not null default 0,
    log_bytes int8 not null default 0,
    constraint leases_closed_has_reason check (state <> 'closed' or (close_reason is not null and closed_at is not null))
) with (fillfactor = 45);
create unique index leases_one_live_per_replica on leases (replica_id) where state <> 'closed';
create index leases_live_node on leases (node_id) where state <> 'closed';
create index leases_workload on leases (workload_id, lease_id);
create index leases_account on leases (account_id, lease_id desc);
create index leases_operator on leases (operator_account_id, lease_id desc);
comment on column leases.awarded_at is
    'Not the beginning of the round''s transaction, which may lie before the end of the lease before it.';
comment on column leases.price_uusd_per_hour is 'Net: what the operator earns per block-hour. The tenant pays this plus fee_bp.';
comment on column leases.receipt_ms is 'Cumulative healthy time from the agent''s latest signed receipt.';
comment on column leases.paused_ms is 'Time while the node was unknown: the broker''s own clock stood still.';
comment on column leases.base_ms is 'Charged beside healthy time: the rest of a start over 120 s, or the minimum of an order that never ran.';
comment on column leases.earlier_ms is 'replicas.ran_ms at the award: max_duration less this is what is left for this lease.';
comment on column leases.billable_ms_max is 'The most healthy time that escrow can pay for beside base_ms, and what is left of max_duration at most.';
comment on column leases.close_pays is 'What the close of a lease that is closing will charge; decided when it was cut, like close_next.';
comment on column leases.cut_seen_at is 'When the cut was made, which may be after its instant; null: at it. The final receipt is awaited from here.';
comment on column leases.cut_at is 'The meter stops here: the owner''s stop, the end of money, the end of max_duration.';

create table settlements (
    lease_id uuid not null,
    settlement_id int8 generated always as identity,
    journal_id int8 not null,
    tick int8,
    healthy_ms int8 not null,
    gross_uusd int8 not null,
    net_uusd int8 not null,
    fee_uusd int8 not null,
    settled_at timestamptz not null default now(),
    constraint settlements_balance check (gross_uusd = net_uusd + fee_uusd)
) partition by range (settled_at);
comment on table settlements is 'One balanced row per lease and interval; its journal carries the sums per account. Negative where a close that pays nothing takes back.';
create table settlements_default partition of settlements default;
create index settlements_lease on settlements (lease_id);
create index settlements_when on settlements using brin (settled_at);

-- Makes the day partitions from today to `days_ahead` days on; says how many. A day whose rows already
-- went to the default partition stays there.
create function settlements_make_partitions(days_ahead int4) returns int4 language plpgsql as $$
declare
    day date;
    made int4 := 0;
begin
    for i in 0..days_ahead loop
        day := (now() at time zone 'utc')::date + i;
        if to_regclass('settlements_' || to_char(day, 'YYYYMMDD')) is null
            and not exists (select 1 from settlements_default
                where settled_at >= day::timestamp at time zone 'utc'
                  and settled_at < (day + 1)::timestamp at time zone 'utc') then
            execute format('create table settlements_%s partition of settlements for values from (%L) to (%L)',
                to_char(day, 'YYYYMMDD'), day::timestamp at time zone 'utc', (day + 1)::timestamp at time zone 'utc');
            made := made + 1;
        end if;
    end loop;
    return made;
end $$;

create table ticks (
    market text not null references markets,
    tick int8 not null,
    epoch int8 not null,
    leases_count int4 not null default 0,
    gross_uusd int8 not null default 0,
    settled_at timestamptz not null default now(),
    primary key (market, tick)
);
comment on table ticks is 'The row that makes a settlement happen exactly once per shard and interval.';

create table log_chunks (
    lease_id uuid not null references leases,
    log_offset int8 not null,
    stream text not null check (stream in ('out', 'err', 'gap')),
    at timestamptz not null,
    bytes bytea not null,
    xact xid8 not null default pg_current_xact_id(),
    primary key (lease_id, log_offset)
);
create index log_chunks_arrival on log_chunks (lease_id, xact, log_offset);
comment on column log_chunks.xact is 'The order of reading, as with events: (xact, lease_id, log_offset).';

create table events (
    event_id int8 generated always as identity (increment by 50),
    xact xid8 not null default pg_current_xact_id(),
    account_id uuid not null,
    kind text not null,
    workload_id uuid,
    lease_id uuid,
    node_id uuid,
    workload_ids uuid[],
    lease_ids uuid[],
    versions int4[],
    starting_counts int4[],
    ended_counts int4[],
    data jsonb not null default '{}',
    at timestamptz not null default now(),
    primary key (account_id, xact, event_id)
);
comment on column events.xact is
    'Readers take events below pg_snapshot_xmin() in (xact, event_id) order: nothing can appear behind them.';
comment on column events.event_id is 'A row may tell up to 50 events, which are numbered from its id on.';
comment on column events.workload_ids is
    'Members: each is told as an event of its own, the nth numbered event_id + n - 1. Of workload.created, what one
statement stored for the account (however many: no other event is of that transaction); of
workload.starting and lease.awarded up to 50. Null for an operator, who is not told the workload.';
comment on column events.lease_ids is
    'Of lease.awarded, beside workload_ids; what is told follows from the lease, of what never changes in it.';
comment on column events.versions is
    'Of workload.starting, beside workload_ids, as are starting_counts and ended_counts: what the workload came to.';

-- What became of each lease, for the nodes' record of failures; the sweep folds it into node_histories.
create table node_outcomes (
    outcome_id int8 generated always as identity primary key,
    node_id uuid not null,
    is_failure bool not null,
    observed_ms int8 not null
);
create table node_histories (
    node_id uuid primary key references nodes,
    failures_milli int8 not null,
    observed_ms int8 not null,
    day int4 not null
) with (fillfactor = 60);
comment on table node_histories is 'Failures in thousandths and observed time, both forgotten (half-life 30 days) up to `day` since 1970.';

-- The arithmetic of billing/meter.h: cumulative, rounded down, exact. A test compares the two.
create function meter_net(price int8, ms int8) returns int8 language sql immutable as $$
    select case when price <= 2147483647 and ms <= 4294967295 then price * ms / 3600000
        else div(price::numeric * ms, 3600000)::int8 end
$$;
create function meter_fee(net int8, fee_bp int4) returns int8 language sql immutable as $$
    select case when net <= 900000000000000 then net * fee_bp / 10000
        else div(net::numeric * fee_bp, 10000)::int8 end
$$;
create function meter_gross(price int8, fee_bp int4, ms int8) returns int8 language sql immutable as $$
    select meter_net(price, ms) + meter_fee(meter_net(price, ms), fee_bp)
$$;
-- The longest time whose gross stays within `available`: net (10000 + fee) < (available + 1) 10000, and
-- price x ms < (net + 1) hour; without numeric where int8 holds every step.
create function meter_ms_max(price int8, fee_bp int4, available int8) returns int8 language sql immutable as $$
    select case when available < 0 then 0 when price = 0 then 3162240000000
        when available <= 900000000000 then least(3162240000000,
            ((((available + 1) * 10000 - 1) / (10000 + fee_bp) + 1) * 3600000 - 1) / price)
        else least(3162240000000, div(
            (div((available::numeric + 1) * 10000 - 1, 10000 + fee_bp) + 1) * 3600000 - 1, price))::int8 end
$$;
create function ms_between(since timestamptz, until timestamptz) returns int8 language sql immutable as $$
    select floor(extract(epoch from until - since) * 1000)::int8
$$;
-- What earlier leases of a replica left of its max_duration.
create function duration_left_ms(max_duration_s int4, earlier_ms int8) returns int8 language sql immutable as $$
    select greatest(0, max_duration_s * 1000::int8 - earlier_ms)
$$;
-- Healthy time a lease may have: what `available` (posted and escrow) pays beside its base, and what is
-- left of max_duration.
create function lease_ms_max(price int8, fee_bp int4, available int8, base_ms int8, left_ms int8)
returns int8 language sql immutable as $$
    select least(left_ms, greatest(0, meter_ms_max(price, fee_bp, available) - base_ms))
$$;
-- No receipt, no charge; never more than the broker's own clock saw; never less than was posted.
create function lease_billable_ms(l leases, until timestamptz) returns int8 language sql immutable as $$
    select greatest(l.billed_ms, l.base_ms + greatest(0, least(l.receipt_ms, l.billable_ms_max,
        coalesce(ms_between(l.running_at, least(until, l.cut_at)) - l.paused_ms, 0))))
$$;

-- The one door to a workload's state: it is a function of its replicas and its owner's wish.
create function workload_derive_state(desired text, before text, min_replicas int4,
    auctioning int4, starting int4, running int4, ended int4, any_failed bool) returns text
language sql immutable as $$
    select case
        when auctioning + starting + running = 0 then
            case when any_failed then 'failed' else 'stopped' end
        when desired = 'stop' then 'stopping'
        when running >= min_replicas then 'running'
        when running > 0 and running + ended >= min_replicas then 'running'
        when running > 0 and before in ('running', 'degraded') then 'degraded'
        when running + starting > 0 then 'starting'
        else 'auctioning'
    end
$$;

create function workload_refresh() returns trigger language plpgsql as $$
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
create trigger replicas_refresh_workload after update on replicas
    referencing old table as old_replicas new table as new_replicas
    for each statement execute function workload_refresh();

-- Every change of a lease's state is an event for its tenant and for its operator.
create function lease_announce() returns trigger language plpgsql as $$
begin
    insert into events (account_id, kind, workload_id, lease_id, node_id, data)
    select who.account_id, 'lease.' || n.state, case when who.is_tenant then n.workload_id end,
        n.lease_id, n.node_id,
        jsonb_build_object('state', n.state, 'replica_index', n.replica_index, 'epoch', n.epoch,
            'region', n.region, 'class', n.class, 'is_simulated', n.is_simulated,
            'price_uusd_per_hour', n.price_uusd_per_hour, 'reason', n.close_reason,
            'exit_code', n.exit_code, 'detail', case when who.is_tenant then n.detail end,
            'gross_uusd', n.net_uusd + n.fee_uusd)
    from new_leases n
    left join old_leases o using (lease_id)
    cross join lateral (values (n.account_id, true), (n.operator_account_id, false)) who (account_id, is_tenant)
    where o.lease_id is null or o.state <> n.state
    order by n.lease_id, who.is_tenant desc;
    return null;
end $$;
create function lease_announce_new() returns trigger language plpgsql as $$
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
create trigger leases_announce_new after insert on leases
    referencing new table as new_leases
    for each statement execute function lease_announce_new();
create trigger leases_announce after update on leases
    referencing old table as old_leases new table as new_leases
    for each statement execute function lease_announce();

-- What must always hold; an empty result is a healthy ledger. Used by tests after every fault, and by `undercut admin check`.
create function invariant_violations() returns table (rule text, subject text, detail text)
language sql stable as $$
    select 'L3 sum per currency is zero', currency, sum(balance_uusd)::text
    from ledger_accounts group by currency having sum(balance_uusd) <> 0
    union all
    select 'L4 balance equals entries', a.ledger_account_id::text, a.balance_uusd || ' <> ' || coalesce(sum(e.amount_uusd), 0)
    from ledger_accounts a left join entries e using (ledger_account_id)
    group by a.ledger_account_id having a.balance_uusd <> coalesce(sum(e.amount_uusd), 0)
    union all
    select 'L1 journal balances', j.journal_id::text, coalesce(sum(e.amount_uusd), 0)::text
    from journals j left join entries e using (journal_id)
    group by j.journal_id having coalesce(sum(e.amount_uusd), 0) <> 0 or count(e.line) < 2
    union all
    select 'an entry is the sum of its parts', e.journal_id::text, e.line::text
    from entries e where e.parts is not null
        and e.amount_uusd <> (select coalesce(sum(p), 0) from unnest(e.parts_uusd) p)
    union all
    select 'an entry has its journal', e.journal_id::text, e.line::text
    from entries e where not exists (select from journals j where j.journal_id = e.journal_id)
    union all
    select 'a workload has its account', w.workload_id::text, w.account_id::text
    from workloads w where not exists (select from accounts a where a.account_id = w.account_id)
        or not exists (select from markets m where m.market = w.market)
    union all
    select 'a lease has its replica and node', l.lease_id::text, l.replica_id || ' on ' || l.node_id
    from leases l where not exists (select from replicas r
            where r.replica_id = l.replica_id and r.workload_id = l.workload_id)
        or not exists (select from nodes n
            where n.node_id = l.node_id and n.account_id = l.operator_account_id)
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
        left join devices v on v.device_id = d.id where v.lease_id is distinct from l.lease_id)
    union all
    select 'G1 a held device has a live lease', d.device_id::text, d.lease_id::text
    from devices d left join leases l on l.lease_id = d.lease_id and l.state <> 'closed'
    where d.lease_id is not null and (l.lease_id is null or not d.device_id = any (l.device_ids))
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
