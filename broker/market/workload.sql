-- What tenants want run: posted with money behind it, read, changed and stopped.
-- Locks, here as everywhere: the arrivals' advisory lock, workloads, leases, replicas, ledger accounts.

-- name: workload_store
-- doc: Posts workloads: stamps the arrival, moves the hold into escrow, makes the replicas. A member that
--      its wallet cannot pay for, or whose name or idempotency key is taken, changes nothing: is_stored is
--      false, and wallet_uusd is what the account had. The sum over an account's members runs in order, so
--      a refusal may be owed to a neighbour: whoever can pay alone asks again. With `replaces`, that
--      workload of that version is told to stop in the same breath; its leases are not yet cut.
-- batch: true
-- in: workload_id uuid, account_id uuid, name text, market text, manifest text, secrets_sealed bytea?,
--     image text, block_size int4, devices_count int4, classes text, regions text, tier text,
--     trust_min text, award text, price_policy text, reserve_uusd_per_hour int8, fee_bp int4,
--     vcpu_milli int4, memory_mib int4, disk_mib int4, replicas int4, min_replicas int4, restart text,
--     on_interruption text, on_degraded text, max_duration_s int4, deadline_at timestamptz?,
--     budget_uusd int8?, stop_grace_s int4, labels jsonb, idem_key text?, idem_body_sha256 bytea?,
--     message_sha256 bytea, hold_uusd int8, request_id uuid, replaces uuid?, replaces_version int4?,
--     constraints jsonb?
-- out: ord int4, is_stored bool, wallet_uusd int8, round int8?, place int8?, created_at timestamptz?
with member as materialized (
    select *
    from unnest($1::uuid[], $2::uuid[], $4::text[], $34::int8[], $36::uuid[], $37::int4[])
        with ordinality as m (workload_id, account_id, market, hold_uusd, replaces, replaces_version,
        ord)
), stamp as materialized (
    select d.market, arrival_stamp(d.market) as round
    from (select distinct market from member order by market) d
), held as materialized (
    select w.workload_id
    from member m
    cross join (select count(*) as stamps from stamp) s
    cross join lateral (
        select w.workload_id, w.account_id, w.version, w.desired, w.ended_at
        from workloads w
        where w.workload_id = m.replaces and s.stamps > 0
        offset 0
        for update) w
    where m.replaces is not null and w.account_id = m.account_id and w.version = m.replaces_version
        and w.desired = 'run' and w.ended_at is null
), purse as materialized (
    select a.ledger_account_id, a.account_id, a.kind, a.balance_uusd
    from ledger_accounts a
    cross join (select count(*) as locks from held) h
    where a.account_id in (select account_id from member) and a.currency = 'USD'
        and a.kind in ('tenant_wallet', 'lease_escrow') and h.locks >= 0
    order by a.ledger_account_id
    for update of a
), priced as materialized (
    select m.ord, m.replaces, s.round,
        sum(m.hold_uusd) over (partition by m.account_id order by m.ord) <= p.balance_uusd
            and (m.replaces is null or m.replaces in (select workload_id from held)) as is_admitted
    from member m
    join purse p on p.account_id = m.account_id and p.kind = 'tenant_wallet'
    join stamp s on s.market = m.market
), replaced as materialized (
    update workloads w
    set desired = 'stop', state = 'stopping', status_reason = 'replaced', version = w.version + 1
    from priced p
    where p.replaces is not null and w.workload_id = p.replaces and p.is_admitted
    returning w.workload_id
), stored as materialized (
    insert into workloads (workload_id, account_id, name, market, manifest, secrets_sealed, image,
        block_size, devices_count, classes, regions, tier, trust_min, award, price_policy,
        reserve_uusd_per_hour, fee_bp, vcpu_milli, memory_mib, disk_mib, replicas, min_replicas,
        restart, on_interruption, on_degraded, max_duration_s, deadline_at, budget_uusd, stop_grace_s,
        labels, replicas_auctioning, arrived_round, message_sha256, place, hold_uusd, idem_key,
        idem_body_sha256, constraints)
    select w.workload_id, w.account_id, w.name, w.market, w.manifest, w.secrets_sealed, w.image,
        w.block_size, w.devices_count, string_to_array(w.classes, ','), string_to_array(w.regions, ','),
        w.tier, w.trust_min, w.award, w.price_policy, w.reserve_uusd_per_hour, w.fee_bp, w.vcpu_milli,
        w.memory_mib, w.disk_mib, w.replicas, w.min_replicas, w.restart, w.on_interruption,
        w.on_degraded, w.max_duration_s, w.deadline_at, w.budget_uusd, w.stop_grace_s, w.labels,
        w.replicas, p.round, w.message_sha256, nextval('arrivals_place_seq'), w.hold_uusd, w.idem_key,
        w.idem_body_sha256, w.constraints
    from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::text[],
        $8::int4[], $9::int4[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[],
        $15::text[], $16::int8[], $17::int4[], $18::int4[], $19::int4[], $20::int4[], $21::int4[],
        $22::int4[], $23::text[], $24::text[], $25::text[], $26::int4[], $27::timestamptz[],
        $28::int8[], $29::int4[], $30::jsonb[], $31::text[], $32::bytea[], $33::bytea[], $34::int8[],
        $38::jsonb[])
        with ordinality as w (workload_id, account_id, name, market, manifest, secrets_sealed, image,
        block_size, devices_count, classes, regions, tier, trust_min, award, price_policy,
        reserve_uusd_per_hour, fee_bp, vcpu_milli, memory_mib, disk_mib, replicas, min_replicas,
        restart, on_interruption, on_degraded, max_duration_s, deadline_at, budget_uusd, stop_grace_s,
        labels, idem_key, idem_body_sha256, message_sha256, hold_uusd, constraints, ord)
    join priced p on p.ord = w.ord and p.is_admitted
    where (select count(*) from replaced) >= 0
    on conflict do nothing
    returning workload_id, account_id, name, market, replicas, hold_uusd, arrived_round, place,
        message_sha256, created_at
), made as (
    insert into replicas (replica_id, workload_id, account_id, replica_index, escrow_uusd)
    select (left(s.workload_id::text, 32) || lpad(to_hex(i), 4, '0'))::uuid, s.workload_id,
        s.account_id, i, s.hold_uusd / s.replicas + (i < s.hold_uusd % s.replicas)::int4
    from (select *, generate_series(0, replicas - 1) as i from stored) s
), arrived as (
    insert into arrival_batches (market, round, first_place, kind, places, account_ids, messages_sha256)
    select market, arrived_round, min(place), 'workload', array_agg(place), array_agg(account_id),
        array_agg(message_sha256)
    from (select * from stored order by place) s
    group by market, arrived_round
), share as materialized (
    select account_id, sum(hold_uusd)::int8 as hold_uusd, array_agg(workload_id) as workload_ids,
        array_agg(hold_uusd::int8) as holds_uusd, array_agg(-hold_uusd) as payments_uusd
    from (select * from stored order by place) s
    group by account_id
), journal as materialized (
    insert into journals (kind, actor, request_id)
    select 'hold', 'api', ($35::uuid[])[1]
    where exists (select from stored)
    returning journal_id
), moved as (
    insert into entries (journal_id, line, ledger_account_id, amount_uusd, parts, parts_uusd)
    select j.journal_id, sum(cardinality(s.workload_ids)) over (order by p.ledger_account_id)
            - cardinality(s.workload_ids) + 1, p.ledger_account_id,
        case p.kind when 'tenant_wallet' then -s.hold_uusd else s.hold_uusd end, s.workload_ids,
        case p.kind when 'tenant_wallet' then s.payments_uusd else s.holds_uusd end
    from journal j
    cross join share s
    join purse p on p.account_id = s.account_id
), announced as (
    insert into events (account_id, kind, workload_ids)
    select account_id, 'workload.created', workload_ids from share
)
select m.ord::int4 as ord, s.workload_id is not null as is_stored,
    coalesce(p.balance_uusd, 0) as wallet_uusd, s.arrived_round as round, s.place, s.created_at
from member m
left join stored s on s.workload_id = m.workload_id
left join purse p on p.account_id = m.account_id and p.kind = 'tenant_wallet'
order by m.ord;

-- name: workload_get
-- doc: One workload by id. A batch of reads: the calls of one turn share one execution.
-- scope: account
-- batch: true
-- lane: read
-- in: account_id uuid, workload_id uuid
-- out: ord int4, workload_id uuid, name text, state text, status_reason text?, desired text, image text, tier text,
--      award text, price_policy text, reserve_uusd_per_hour int8, replicas int4, min_replicas int4,
--      replicas_running int4, replicas_auctioning int4, replicas_starting int4, replicas_ended int4,
--      classes text, regions text, block_size int4, trust_min text, escrow_uusd int8, spent_uusd int8,
--      version int4, created_at timestamptz, ended_at timestamptz?, labels jsonb, manifest text,
--      market text, arrived_round int8, place int8, message_sha256 bytea, interrupt_at timestamptz?
select m.ord::int4, w.*
from unnest($1::uuid[], $2::uuid[]) with ordinality as m (account_id, workload_id, ord)
cross join lateral (
    select w.workload_id, w.name, w.state, w.status_reason, w.desired, w.image, w.tier, w.award,
        w.price_policy, w.reserve_uusd_per_hour, w.replicas, w.min_replicas, w.replicas_running,
        w.replicas_auctioning, w.replicas_starting, w.replicas_ended, array_to_string(w.classes, ',') as classes,
        array_to_string(w.regions, ',') as regions, w.block_size, w.trust_min,
        case when w.ended_at is null then (select sum(r.escrow_uusd) from replicas r
            where r.workload_id = w.workload_id)::int8 else 0 end as escrow_uusd,
        w.spent_uusd, w.version, w.created_at, w.ended_at, w.labels, w.manifest, w.market, w.arrived_round,
        coalesce(w.place, 0) as place, w.message_sha256,
        case when w.replicas_starting + w.replicas_running > 0 then (select min(l.interrupt_at) from leases l
            where l.workload_id = w.workload_id and l.interrupt_at is not null and l.state <> 'closed')
            end as interrupt_at
    from workloads w
    where w.account_id = m.account_id and w.workload_id = m.workload_id
    offset 0) w -- one look-up a member, whatever the planner thinks of the table's size
order by m.ord;

-- name: workload_named
-- doc: Which workload has a name: the live one, else the latest.
-- scope: account
-- in: account_id uuid, name text
-- out: workload_id uuid
select w.workload_id
from workloads w
where w.account_id = $1 and w.workload_id = coalesce(
    (select n.workload_id from workloads n
     where n.account_id = $1 and n.name = $2 and n.desired = 'run' and n.ended_at is null),
    (select n.workload_id from workloads n
     where n.account_id = $1 and n.name = $2 and (n.desired = 'stop' or n.ended_at is not null)
     order by n.workload_id desc limit 1));

-- name: workload_list
-- doc: A page of an account's workloads, newest first, after `before`. Columns as workload_get.
-- scope: account
-- in: account_id uuid, before uuid?, state text?, name text?, labels jsonb?, limit_count int4
-- out: ord int4, workload_id uuid, name text, state text, status_reason text?, desired text, image text, tier text,
--      award text, price_policy text, reserve_uusd_per_hour int8, replicas int4, min_replicas int4,
--      replicas_running int4, replicas_auctioning int4, replicas_starting int4, replicas_ended int4,
--      classes text, regions text, block_size int4, trust_min text, escrow_uusd int8, spent_uusd int8,
--      version int4, created_at timestamptz, ended_at timestamptz?, labels jsonb, manifest text,
--      market text, arrived_round int8, place int8, message_sha256 bytea, interrupt_at timestamptz?
select 0 as ord, w.workload_id, w.name, w.state, w.status_reason, w.desired, w.image, w.tier, w.award,
    w.price_policy, w.reserve_uusd_per_hour, w.replicas, w.min_replicas, w.replicas_running,
    w.replicas_auctioning, w.replicas_starting, w.replicas_ended, array_to_string(w.classes, ',') as classes,
    array_to_string(w.regions, ',') as regions, w.block_size, w.trust_min,
    case when w.ended_at is null then (select sum(r.escrow_uusd) from replicas r
        where r.workload_id = w.workload_id)::int8 else 0 end as escrow_uusd,
    w.spent_uusd, w.version, w.created_at, w.ended_at, w.labels, w.manifest, w.market, w.arrived_round,
    coalesce(w.place, 0) as place, w.message_sha256,
    case when w.replicas_starting + w.replicas_running > 0 then (select min(l.interrupt_at) from leases l
        where l.workload_id = w.workload_id and l.interrupt_at is not null and l.state <> 'closed')
        end as interrupt_at
from workloads w
where w.account_id = $1
    and ($2 is null or w.workload_id < $2)
    and ($3 is null or w.state = $3)
    and ($4 is null or w.name = $4)
    and ($5 is null or w.labels @> $5)
order by w.workload_id desc
limit $6;

-- name: workload_twin
-- doc: Why a posting was not stored: the workload of the same idempotency key, else of the same live name.
-- scope: account
-- in: account_id uuid, idem_key text?, name text
-- out: workload_id uuid, is_twin bool, idem_body_sha256 bytea?
select w.workload_id, w.idem_key is not null and w.idem_key is not distinct from $2 as is_twin,
    w.idem_body_sha256
from workloads w
where w.account_id = $1
    and (w.idem_key = $2 or (w.name = $3 and w.desired = 'run' and w.ended_at is null))
order by is_twin desc
limit 1;

-- name: workload_update
-- doc: Changes what a live workload of this version may cost and how long it may run, in place: a new
--      arrival. Replicas that wait for an award get what the new hold lacks, as far as the budget reaches
--      beyond what is spent and set aside. No row: it has moved on.
-- scope: account
-- in: account_id uuid, workload_id uuid, version int4, manifest text, reserve_uusd_per_hour int8,
--     max_duration_s int4, budget_uusd int8?, labels jsonb, message_sha256 bytea, hold_uusd int8,
--     request_id uuid
-- out: is_stored bool, wallet_uusd int8, missing_uusd int8, round int8, place int8, version int4
with stamp as materialized (
    select w.market, arrival_stamp(w.market) as round
    from workloads w
    where w.account_id = $1 and w.workload_id = $2
), held as materialized (
    select w.workload_id, w.account_id, w.replicas, w.spent_uusd, s.market, s.round
    from workloads w
    cross join stamp s
    where w.account_id = $1 and w.workload_id = $2 and w.version = $3 and w.desired = 'run'
        and w.ended_at is null
    for update of w
), running as materialized (
    select l.lease_id
    from leases l
    where l.workload_id = (select workload_id from held) and l.state <> 'closed'
        and l.max_duration_s <> $6
    order by l.lease_id
    for update
), stood as materialized (
    select r.replica_id, r.state, r.escrow_uusd, h.spent_uusd,
        greatest(0, $10 / h.replicas + (r.replica_index < $10 % h.replicas)::int4 - r.escrow_uusd) as lacking_uusd
    from replicas r
    join held h on h.workload_id = r.workload_id
    where r.state <> 'ended' and (select count(*) from running) >= 0
    order by r.replica_id
    for update of r
), waiting as materialized (
    select replica_id, case when $7 is null then lacking_uusd else greatest(0, least(lacking_uusd,
        $7 - spent_uusd - (select sum(escrow_uusd) from stood)
        - (sum(lacking_uusd) over (order by replica_id) - lacking_uusd)))::int8 end as delta_uusd
    from stood
    where state = 'auctioning'
), purse as materialized (
    select a.ledger_account_id, a.kind, a.balance_uusd
    from ledger_accounts a
    where a.account_id = (select account_id from held) and a.currency = 'USD'
        and a.kind in ('tenant_wallet', 'lease_escrow') and (select count(*) from waiting) >= 0
    order by a.ledger_account_id
    for update
), bill as materialized (
    select h.*, p.balance_uusd as wallet_uusd, n.delta_uusd, n.delta_uusd <= p.balance_uusd as is_paid
    from held h
    join purse p on p.kind = 'tenant_wallet'
    cross join (select coalesce(sum(delta_uusd), 0)::int8 as delta_uusd from waiting) n
), stored as materialized (
    update workloads w
    set manifest = $4, reserve_uusd_per_hour = $5, max_duration_s = $6, budget_uusd = $7, labels = $8,
        message_sha256 = $9, hold_uusd = $10, arrived_round = b.round,
        place = nextval('arrivals_place_seq'), version = w.version + 1
    from bill b
    where w.workload_id = b.workload_id and b.is_paid
    returning w.workload_id, w.account_id, w.name, w.state, w.version, w.place, b.market, b.round,
        b.delta_uusd
), topped as (
    update replicas r
    set escrow_uusd = r.escrow_uusd + t.delta_uusd
    from waiting t
    where r.replica_id = t.replica_id and t.delta_uusd > 0 and exists (select from stored)
), capped as (
    update leases l
    set max_duration_s = $6, billable_ms_max = least(l.billable_ms_max, duration_left_ms($6, l.earlier_ms))
    from running k
    where l.lease_id = k.lease_id and exists (select from stored)
), arrived as (
    insert into arrivals (market, round, place, kind, account_id, message_sha256)
    select market, round, place, 'workload', account_id, $9 from stored
), journal as materialized (
    insert into journals (kind, actor, request_id)
    select 'hold', 'api', $11 from stored where delta_uusd > 0
    returning journal_id
), moved as (
    insert into entries (journal_id, line, ledger_account_id, amount_uusd, ref)
    select j.journal_id, row_number() over (), p.ledger_account_id,
        case p.kind when 'tenant_wallet' then -s.delta_uusd else s.delta_uusd end, s.workload_id
    from journal j
    cross join stored s
    cross join purse p
), announced as (
    insert into events (account_id, kind, workload_id, data)
    select account_id, 'workload.updated', workload_id,
        jsonb_build_object('name', name, 'state', state, 'version', version)
    from stored
)
select b.is_paid as is_stored, b.wallet_uusd, greatest(0, b.delta_uusd - b.wallet_uusd) as missing_uusd,
    b.round, coalesce(s.place, 0) as place, coalesce(s.version, 0) as version
from bill b
left join stored s on s.workload_id = b.workload_id;

-- name: workload_stop
-- doc: Stops a workload, as often as one asks: replicas that wait end with their money back, live leases
--      are cut now and close with the agent's last receipt. One row per node to tell, at least one; none:
--      no such workload. is_complete is false when an award crossed this statement: ask again.
-- scope: account
-- in: account_id uuid, workload_id uuid?, name text?, reason text, message_sha256 bytea, request_id uuid?
-- out: workload_id uuid, was_ended bool, is_complete bool, node_id uuid?
with found as materialized (
    select coalesce($2,
        (select n.workload_id from workloads n
         where n.account_id = $1 and n.name = $3 and n.desired = 'run' and n.ended_at is null),
        (select n.workload_id from workloads n
         where n.account_id = $1 and n.name = $3 and (n.desired = 'stop' or n.ended_at is not null)
         order by n.workload_id desc limit 1)) as workload_id
), stamp as materialized (
    select w.market, arrival_stamp(w.market) as round
    from workloads w
    join found f on f.workload_id = w.workload_id
    where w.account_id = $1
), held as materialized (
    select w.workload_id, w.account_id, w.name, w.desired, w.ended_at, s.market, s.round
    from workloads w
    cross join stamp s
    where w.account_id = $1 and w.workload_id = (select workload_id from found)
    for update of w
), live as materialized (
    select l.lease_id, l.replica_id, l.state
    from leases l
    where l.workload_id = (select workload_id from held where ended_at is null) and l.state <> 'closed'
    order by l.lease_id
    for update
), stood as materialized (
    select r.replica_id, r.state, r.escrow_uusd
    from replicas r
    where r.workload_id = (select workload_id from held where ended_at is null)
        and r.state <> 'ended' and (select count(*) from live) >= 0
    order by r.replica_id
    for update
), cut as materialized (
    update leases l
    set state = 'closing', close_next = 'end',
        cut_at = case when k.state = 'closing' then l.cut_at else now() end,
        close_reason = case when k.state = 'closing' then l.close_reason else $4 end,
        close_pays = case when k.state = 'closing' then l.close_pays else 'minimum' end
    from live k
    where l.lease_id = k.lease_id and (select count(*) from stood) >= 0
        and (k.state <> 'closing' or l.close_next is distinct from 'end')
    returning l.lease_id, l.node_id
), marked as (
    update workloads w
    set desired = 'stop', version = w.version + 1,
        state = case when exists (select from live) then 'stopping' else w.state end,
        status_reason = $4
    from held h
    where w.workload_id = h.workload_id and h.ended_at is null
        and (h.desired = 'run' or exists (select from cut))
), ended as materialized (
    update replicas r
    set state = 'ended', escrow_uusd = 0, reason = $4, ended_at = now()
    from stood k
    where r.replica_id = k.replica_id and k.state = 'auctioning'
    returning k.escrow_uusd as freed_uusd
), freed as materialized (
    select coalesce(sum(freed_uusd), 0)::int8 as freed_uusd from ended
), arrived as (
    insert into arrivals (market, round, kind, account_id, message_sha256)
    select market, round, 'cancel', account_id, $5 from held where desired = 'run' and ended_at is null
), journal as materialized (
    insert into journals (kind, actor, request_id)
    select 'release', 'api', $6 from freed where freed_uusd > 0
    returning journal_id
), moved as (
    insert into entries (journal_id, line, ledger_account_id, amount_uusd, ref)
    select j.journal_id, row_number() over (), a.ledger_account_id,
        case a.kind when 'tenant_wallet' then f.freed_uusd else -f.freed_uusd end, h.workload_id
    from journal j
    cross join freed f
    cross join held h
    join ledger_accounts a on a.account_id = h.account_id and a.currency = 'USD'
        and a.kind in ('tenant_wallet', 'lease_escrow')
), announced as (
    insert into events (account_id, kind, workload_id, data)
    select h.account_id, 'workload.stopping', h.workload_id,
        jsonb_build_object('name', h.name, 'state', 'stopping', 'status_reason', $4)
    from held h
    where exists (select from live where state <> 'closing')
)
select h.workload_id, h.ended_at is not null as was_ended,
    not exists (select from stood k where k.state in ('starting', 'running')
        and not exists (select from live l where l.replica_id = k.replica_id)) as is_complete,
    c.node_id
from held h
left join (select distinct node_id from cut) c on true;

-- name: workload_find_live
-- doc: The live workload of a name, with what an apply compares.
-- scope: account
-- in: account_id uuid, name text
-- out: workload_id uuid, version int4, manifest text, secrets_sealed bytea?, reserve_uusd_per_hour int8,
--      max_duration_s int4, budget_uusd int8?, labels jsonb
select w.workload_id, w.version, w.manifest, w.secrets_sealed, w.reserve_uusd_per_hour, w.max_duration_s,
    w.budget_uusd, w.labels
from workloads w
where w.account_id = $1 and w.name = $2 and w.desired = 'run' and w.ended_at is null;
