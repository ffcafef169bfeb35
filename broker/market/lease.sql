-- Locks are taken in the order workloads, leases, replicas, devices, ledger accounts, each kind by id;
-- a member that changed nothing has no row.

-- name: lease_ack
-- doc: The agent showed a lease as starting within its time: awarded -> starting.
-- batch: true
-- in: lease_id uuid, node_id uuid, epoch int4
-- out: ord int4, lease_id uuid, workload_id uuid, account_id uuid, operator_account_id uuid, node_id uuid
with member as (
    select * from unnest($1::uuid[], $2::uuid[], $3::int4[])
        with ordinality as m (lease_id, node_id, epoch, ord)
), locked as materialized (
    select l.lease_id
    from leases l join member m using (lease_id, node_id, epoch)
    where l.state = 'awarded'
    order by l.lease_id
    for update of l
), changed as (
    update leases l set state = 'starting', acked_at = now()
    from locked k where l.lease_id = k.lease_id
    returning l.lease_id, l.workload_id, l.account_id, l.operator_account_id, l.node_id
)
select m.ord::int4, c.lease_id, c.workload_id, c.account_id, c.operator_account_id, c.node_id
from member m join changed c using (lease_id)
order by m.ord;

-- name: lease_mark_running
-- doc: The container is ready: the meter starts. What starting took beyond 120 s is charged (meter.h),
--      as far as escrow reaches. A lost acknowledgement is made up for. Not before whoever held its devices
--      is closed: nobody pays twice for one device, and the agent says it again.
-- batch: true
-- in: lease_id uuid, node_id uuid, epoch int4, image_digest text?
-- out: ord int4, lease_id uuid, workload_id uuid, account_id uuid, operator_account_id uuid, node_id uuid
with member as (
    select * from unnest($1::uuid[], $2::uuid[], $3::int4[], $4::text[])
        with ordinality as m (lease_id, node_id, epoch, image_digest, ord)
), w as materialized (
    select w.workload_id from workloads w
    where w.workload_id in (select l.workload_id from leases l join member m using (lease_id))
    order by w.workload_id
    for update
), locked as materialized (
    select l.lease_id, r.replica_id,
        meter_ms_max(l.price_uusd_per_hour, l.fee_bp, r.escrow_uusd) as affordable_ms,
        greatest(0, ms_between(l.starts_at, now()) - 120000) as base_ms
    from leases l
    join member m on m.lease_id = l.lease_id and m.node_id = l.node_id and m.epoch = l.epoch
    join replicas r using (replica_id)
    where l.state in ('awarded', 'starting')
      and not exists (select from devices d where d.next_lease_id = l.lease_id)
      and (select count(*) from w) >= 0
    order by l.lease_id
    for update of l, r
), changed as (
    update leases l set state = 'running', running_at = now(), acked_at = coalesce(l.acked_at, now()),
        stage = null,
        image_digest = coalesce((select m.image_digest from member m where m.lease_id = l.lease_id
            and m.image_digest is not null limit 1), l.image_digest),
        base_ms = least(k.base_ms, k.affordable_ms),
        billable_ms_max = least(duration_left_ms(l.max_duration_s, l.earlier_ms),
            greatest(0, k.affordable_ms - k.base_ms))
    from locked k where l.lease_id = k.lease_id
    returning l.lease_id, l.replica_id, l.workload_id, l.account_id, l.operator_account_id, l.node_id
), replicas_changed as (
    update replicas r set state = 'running' from changed c where r.replica_id = c.replica_id
)
select m.ord::int4, c.lease_id, c.workload_id, c.account_id, c.operator_account_id, c.node_id
from member m join changed c using (lease_id)
order by m.ord;

-- name: lease_stage
-- doc: What a starting lease is busy with: pulling, creating, probing.
-- batch: true
-- in: lease_id uuid, node_id uuid, epoch int4, stage text
-- out: ord int4, lease_id uuid, workload_id uuid, account_id uuid, operator_account_id uuid, node_id uuid
with member as (
    select * from unnest($1::uuid[], $2::uuid[], $3::int4[], $4::text[])
        with ordinality as m (lease_id, node_id, epoch, stage, ord)
), latest as (
    select distinct on (lease_id) lease_id, node_id, epoch, stage from member order by lease_id, ord desc
), locked as materialized (
    select l.lease_id, n.stage
    from leases l join latest n using (lease_id, node_id, epoch)
    where l.state in ('awarded', 'starting') and l.stage is distinct from n.stage
    order by l.lease_id
    for update of l
), changed as (
    update leases l set stage = k.stage
    from locked k where l.lease_id = k.lease_id
    returning l.lease_id, l.workload_id, l.account_id, l.operator_account_id, l.node_id
)
select m.ord::int4, c.lease_id, c.workload_id, c.account_id, c.operator_account_id, c.node_id
from member m join changed c using (lease_id)
order by m.ord;

-- name: lease_receipt
-- doc: Cumulative healthy time from a receipt that was verified and stored. It only rises: a replay, a
--      repeat or an older receipt changes nothing.
-- batch: true
-- in: lease_id uuid, node_id uuid, epoch int4, healthy_ms int8, seq int8, image_digest text?
-- out: ord int4, lease_id uuid, workload_id uuid, account_id uuid, operator_account_id uuid, node_id uuid
with member as (
    select * from unnest($1::uuid[], $2::uuid[], $3::int4[], $4::int8[], $5::int8[], $6::text[])
        with ordinality as m (lease_id, node_id, epoch, healthy_ms, seq, image_digest, ord)
), latest as (
    select lease_id, node_id, epoch, max(healthy_ms) as healthy_ms, max(seq) as seq,
        max(image_digest) as image_digest
    from member group by lease_id, node_id, epoch
), locked as materialized (
    select l.lease_id, n.healthy_ms, n.seq, n.image_digest
    from leases l join latest n using (lease_id, node_id, epoch)
    where l.state in ('starting', 'running', 'closing') and n.seq > l.receipt_seq
    order by l.lease_id
    for update of l
), changed as (
    update leases l set receipt_ms = greatest(l.receipt_ms, k.healthy_ms), receipt_seq = k.seq,
        image_digest = coalesce(k.image_digest, l.image_digest)
    from locked k where l.lease_id = k.lease_id
    returning l.lease_id, l.workload_id, l.account_id, l.operator_account_id, l.node_id
)
select m.ord::int4, c.lease_id, c.workload_id, c.account_id, c.operator_account_id, c.node_id
from member m join changed c using (lease_id)
order by m.ord;

-- name: lease_cut
-- doc: The meter stops at cut_at (null: now; never later than now) and the node is told to stop; the
--      final receipt or the sweep closes. Reason, pays and next are remembered for that close.
-- batch: true
-- in: lease_id uuid, epoch int4, reason text, pays text, next text, cut_at timestamptz?
-- out: ord int4, lease_id uuid, workload_id uuid, account_id uuid, operator_account_id uuid, node_id uuid
with member as (
    select * from unnest($1::uuid[], $2::int4[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
        with ordinality as m (lease_id, epoch, reason, pays, next, cut_at, ord)
), first as (
    select distinct on (lease_id) * from member order by lease_id, ord
), locked as materialized (
    select l.lease_id, f.reason, f.pays, f.next, least(coalesce(f.cut_at, now()), now()) as cut_at
    from leases l join first f using (lease_id, epoch)
    where l.state in ('awarded', 'starting', 'running')
    order by l.lease_id
    for update of l
), changed as (
    update leases l set state = 'closing', cut_at = k.cut_at, cut_seen_at = now(), close_reason = k.reason,
        close_pays = k.pays, close_next = k.next
    from locked k where l.lease_id = k.lease_id
    returning l.lease_id, l.workload_id, l.account_id, l.operator_account_id, l.node_id
)
select f.ord::int4, c.lease_id, c.workload_id, c.account_id, c.operator_account_id, c.node_id
from first f join changed c using (lease_id)
order by f.ord;

-- name: lease_interrupt
-- doc: Gives notice: notice_ms from now it will be interrupted, grace_ms before that it is told to stop. A
--      notice stands: a second one changes nothing. Both parties have it as an event.
-- batch: true
-- in: lease_id uuid, epoch int4, reason text, notice_ms int8, grace_ms int8
-- out: ord int4, lease_id uuid, workload_id uuid, account_id uuid, operator_account_id uuid, node_id uuid
with member as (
    select * from unnest($1::uuid[], $2::int4[], $3::text[], $4::int8[], $5::int8[])
        with ordinality as m (lease_id, epoch, reason, notice_ms, grace_ms, ord)
), first as (
    select distinct on (lease_id) * from member order by lease_id, ord
), locked as materialized (
    select l.lease_id, f.reason, now() + f.notice_ms * interval '1 ms' as interrupt_at,
        now() + (f.notice_ms - f.grace_ms) * interval '1 ms' as stop_at
    from leases l join first f using (lease_id, epoch)
    where l.state in ('awarded', 'starting', 'running') and l.notice_at is null
    order by l.lease_id
    for update of l
), changed as (
    update leases l set notice_at = now(), stop_at = k.stop_at, interrupt_at = k.interrupt_at,
        interrupt_reason = k.reason
    from locked k where l.lease_id = k.lease_id
    returning l.*
), announced as (
    insert into events (account_id, kind, workload_id, lease_id, node_id, data)
    select who.account_id, 'lease.interruption_notice', case when who.is_tenant then c.workload_id end,
        c.lease_id, c.node_id,
        jsonb_build_object('state', c.state, 'replica_index', c.replica_index, 'epoch', c.epoch,
            'region', c.region, 'class', c.class, 'tier', c.tier, 'is_simulated', c.is_simulated,
            'reason', c.interrupt_reason, 'stop_at', c.stop_at, 'interrupt_at', c.interrupt_at)
    from changed c
    cross join lateral (values (c.account_id, true), (c.operator_account_id, false)) who (account_id, is_tenant)
    order by c.lease_id, who.is_tenant desc
)
select f.ord::int4, c.lease_id, c.workload_id, c.account_id, c.operator_account_id, c.node_id
from first f join changed c using (lease_id)
order by f.ord;

-- name: lease_close
-- doc: The one end of a lease: what is still owed is posted, its devices are free (or pass to the lease that
--      has won them and waits), and its replica ends
--      (all escrow back to the wallet) or goes back into the auction (escrow stays), unless its leases
--      used up max_duration together. What lease_cut decided wins over the member's reason, pays and
--      next; a workload whose owner wants it stopped never retries. A second close changes nothing.
-- batch: true
-- in: lease_id uuid, epoch int4, reason text, exit_code int4?, detail text?, pays text, next text,
--     exclude_node bool, is_failure bool, backoff_ms int8
-- out: ord int4, lease_id uuid, workload_id uuid, account_id uuid, operator_account_id uuid, node_id uuid,
--      has_ended bool, gross_uusd int8, refund_uusd int8
with member as (
    select * from unnest($1::uuid[], $2::int4[], $3::text[], $4::int4[], $5::text[], $6::text[],
        $7::text[], $8::bool[], $9::bool[], $10::int8[]) with ordinality
        as m (lease_id, epoch, reason, exit_code, detail, pays, next, exclude_node, is_failure, backoff_ms, ord)
), first as (
    select distinct on (lease_id) * from member order by lease_id, ord
), w as materialized (
    select w.workload_id, w.desired from workloads w
    where w.workload_id in (select l.workload_id from leases l join member m using (lease_id))
    order by w.workload_id
    for update
), locked as materialized (
    select f.ord, f.exit_code, f.detail, f.exclude_node, f.is_failure, f.backoff_ms,
        coalesce(l.close_reason, f.reason) as reason, coalesce(l.close_pays, f.pays) as pays,
        case when w.desired = 'stop' then 'end' else coalesce(l.close_next, f.next) end as next,
        r.escrow_uusd,
        least(now(), l.cut_at, case when n.state in ('unknown', 'lost') then n.unknown_at end) as until,
        l as lease
    from leases l
    join first f using (lease_id, epoch)
    join w using (workload_id)
    join replicas r using (replica_id)
    join nodes n using (node_id)
    where l.state <> 'closed' and (select count(*) from w) >= 0
    order by l.lease_id
    for update of l, r
), based as (
    select k.*, case when k.pays = 'minimum' and (k.lease).running_at is null
        then least(greatest(60000, ms_between((k.lease).starts_at, k.until) - 120000),
            meter_ms_max((k.lease).price_uusd_per_hour, (k.lease).fee_bp, k.escrow_uusd))
        when k.pays = 'start' and (k.lease).running_at is null
        then least(greatest(0, ms_between((k.lease).starts_at, k.until) - 120000),
            meter_ms_max((k.lease).price_uusd_per_hour, (k.lease).fee_bp, k.escrow_uusd))
        else (k.lease).base_ms end as base_ms
    from locked k
), billable as (
    select b.*, case when b.pays = 'nothing' then 0 when (b.lease).running_at is null then b.base_ms
        else lease_billable_ms(b.lease, b.until) end as billed_ms
    from based b
), billed as materialized (
    select ord, (lease).lease_id, (lease).replica_id, (lease).workload_id, (lease).account_id,
        (lease).operator_account_id, (lease).node_id, (lease).device_ids, reason, exit_code, detail, exclude_node, ran_ms,
        next = 'retry' and ran_ms >= duration_left_ms((lease).max_duration_s, (lease).earlier_ms) as is_used_up,
        case when ran_ms >= duration_left_ms((lease).max_duration_s, (lease).earlier_ms) then 'end'
            else next end as next, is_failure, backoff_ms, escrow_uusd, base_ms, billed_ms,
        greatest(0, least((lease).receipt_ms, coalesce(
            ms_between((lease).running_at, until) - (lease).paused_ms, 0))) as observed_ms,
        net - (lease).net_uusd as net_uusd, meter_fee(net, (lease).fee_bp) - (lease).fee_uusd as fee_uusd,
        net + meter_fee(net, (lease).fee_bp) - (lease).net_uusd - (lease).fee_uusd as gross_uusd
    from billable, lateral (select meter_net((lease).price_uusd_per_hour, billed_ms) as net,
        case when (lease).running_at is null then 0 else greatest(0, billed_ms - base_ms) end as ran_ms) m
), lines as (
    select ord, 1 as part, a.ledger_account_id, -b.gross_uusd as amount_uusd, b.lease_id as ref
    from billed b join ledger_accounts a on a.account_id = b.account_id and a.kind = 'lease_escrow'
    union all
    select ord, 2, a.ledger_account_id, b.net_uusd, b.lease_id
    from billed b join ledger_accounts a on a.account_id = b.operator_account_id and a.kind = 'operator_payable'
    union all
    select ord, 3, a.ledger_account_id, b.fee_uusd, b.lease_id
    from billed b join ledger_accounts a on a.account_id is null and a.kind = 'platform_fee' and a.currency = 'USD'
    union all
    select ord, 4, a.ledger_account_id, b.gross_uusd - b.escrow_uusd, b.lease_id
    from billed b join ledger_accounts a on a.account_id = b.account_id and a.kind = 'lease_escrow'
    where b.next = 'end'
    union all
    select ord, 5, a.ledger_account_id, b.escrow_uusd - b.gross_uusd, b.lease_id
    from billed b join ledger_accounts a on a.account_id = b.account_id and a.kind = 'tenant_wallet'
    where b.next = 'end'
), journal as (
    insert into journals (kind, actor)
    select 'lease_close', 'market' where exists (select 1 from lines where amount_uusd <> 0)
    returning journal_id
), posted as (
    insert into entries (journal_id, line, ledger_account_id, amount_uusd, ref)
    select j.journal_id, row_number() over (order by l.ord, l.part), l.ledger_account_id, l.amount_uusd, l.ref
    from lines l, journal j where l.amount_uusd <> 0
), settled as (
    insert into settlements (lease_id, journal_id, healthy_ms, gross_uusd, net_uusd, fee_uusd)
    select b.lease_id, j.journal_id, b.billed_ms, b.gross_uusd, b.net_uusd, b.fee_uusd
    from billed b, journal j where b.net_uusd <> 0 or b.fee_uusd <> 0
), closed as (
    update leases l set state = 'closed', closed_at = now(), close_reason = b.reason,
        exit_code = b.exit_code, detail = b.detail, base_ms = b.base_ms, billed_ms = b.billed_ms,
        net_uusd = l.net_uusd + b.net_uusd, fee_uusd = l.fee_uusd + b.fee_uusd
    from billed b where l.lease_id = b.lease_id
), ended as (
    update replicas r set state = case b.next when 'end' then 'ended' else 'auctioning' end,
        escrow_uusd = case b.next when 'end' then 0 else r.escrow_uusd - b.gross_uusd end,
        attempt = r.attempt + case b.next when 'end' then 0 else 1 end,
        auctioning_since = case b.next when 'end' then r.auctioning_since else now() end,
        not_before = case when b.next = 'retry' and b.backoff_ms > 0
            then now() + b.backoff_ms * interval '1 ms' end,
        excluded_node_ids = case when b.exclude_node and not b.node_id = any (r.excluded_node_ids)
            then r.excluded_node_ids || b.node_id else r.excluded_node_ids end,
        ran_ms = r.ran_ms + b.ran_ms, exit_code = b.exit_code,
        reason = case when b.is_used_up then 'max_duration_reached' else b.reason end,
        ended_at = case b.next when 'end' then now() end
    from billed b where r.replica_id = b.replica_id
), freed as (
    update devices d
    set lease_id = case when d.lease_id <> all (g.ids) then d.lease_id
            when d.next_lease_id <> all (g.ids) then d.next_lease_id end,
        next_lease_id = case when d.lease_id <> all (g.ids) and d.next_lease_id <> all (g.ids)
            then d.next_lease_id end
    from (select array_agg(lease_id) as ids from billed) g
    where d.device_id in (select unnest(b.device_ids) from billed b)
      and (d.lease_id = any (g.ids) or d.next_lease_id = any (g.ids))
), spent as (
    update workloads w set spent_uusd = w.spent_uusd + s.gross_uusd
    from (select workload_id, sum(gross_uusd)::int8 as gross_uusd from billed group by workload_id) s
    where w.workload_id = s.workload_id and s.gross_uusd <> 0
), outcome as (
    insert into node_outcomes (node_id, is_failure, observed_ms)
    select node_id, is_failure, observed_ms from billed where is_failure or observed_ms > 0
)
select b.ord::int4, b.lease_id, b.workload_id, b.account_id, b.operator_account_id, b.node_id,
    b.next = 'end' as has_ended, b.gross_uusd,
    case b.next when 'end' then b.escrow_uusd - b.gross_uusd else 0 end as refund_uusd
from billed b
order by b.ord;

-- name: replica_end
-- doc: Ends replicas that wait in the auction, with all their escrow back in the wallet. One that was
--      awarded in the meantime stays: its lease has to be cut.
-- batch: true
-- in: replica_id uuid, reason text
-- out: ord int4, workload_id uuid, account_id uuid, refund_uusd int8
with member as (
    select * from unnest($1::uuid[], $2::text[]) with ordinality as m (replica_id, reason, ord)
), first as (
    select distinct on (replica_id) * from member order by replica_id, ord
), w as materialized (
    select w.workload_id from workloads w
    where w.workload_id in (select r.workload_id from replicas r join member m using (replica_id))
    order by w.workload_id
    for update
), locked as materialized (
    select r.replica_id, r.workload_id, r.account_id, r.escrow_uusd, f.reason, f.ord
    from replicas r join first f using (replica_id)
    where r.state = 'auctioning' and (select count(*) from w) >= 0
    order by r.replica_id
    for update of r
), lines as (
    select k.ord, a.kind, a.ledger_account_id, k.workload_id,
        case a.kind when 'tenant_wallet' then k.escrow_uusd else -k.escrow_uusd end as amount_uusd
    from locked k join ledger_accounts a using (account_id)
    where a.kind in ('tenant_wallet', 'lease_escrow') and k.escrow_uusd > 0
), journal as (
    insert into journals (kind, actor)
    select 'release', 'market' where exists (select 1 from lines) returning journal_id
), posted as (
    insert into entries (journal_id, line, ledger_account_id, amount_uusd, ref)
    select j.journal_id, row_number() over (order by l.ord, l.kind), l.ledger_account_id, l.amount_uusd,
        l.workload_id
    from lines l, journal j
), changed as (
    update replicas r set state = 'ended', escrow_uusd = 0, reason = k.reason, ended_at = now(), not_before = null
    from locked k where r.replica_id = k.replica_id
)
select k.ord::int4, k.workload_id, k.account_id, k.escrow_uusd as refund_uusd
from locked k
order by k.ord;
