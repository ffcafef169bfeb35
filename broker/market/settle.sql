-- Locks: workloads, leases, replicas, ledger accounts, each kind by id. A tick and a top-up are
-- transactions of their own, so that each takes its ledger accounts in one go.

-- name: tick_look
-- doc: The interval that now falls into, whether it is settled, and when the next one begins.
-- lane: read
-- in: market text, interval_ms int8
-- out: tick int8, left_ms int8, is_settled bool
select t.tick, (t.tick + 1) * $2 - t.now_ms as left_ms,
    exists (select 1 from ticks k where k.market = $1 and k.tick = t.tick) as is_settled
from (select now_ms, div(now_ms, $2)::int8 as tick
      from (select floor(extract(epoch from now()) * 1000)::int8 as now_ms) n) t;

-- name: tick_open
-- doc: The row that lets an interval be settled once; no row: somebody did it.
-- in: market text, tick int8, epoch int8
-- out: tick int8
insert into ticks (market, tick, epoch) values ($1, $2, $3)
on conflict do nothing
returning tick;

-- name: tick_settle
-- doc: Moves what every lease owes since it was last billed: one balanced row per lease, one journal with
--      the sums per account. A lease that owes more than its escrow holds, which nothing should bring
--      about, is left out and counted.
-- in: market text, tick int8, epoch int8
-- out: leases_count int4, gross_uusd int8, refused_count int4
with due as materialized (
    select l.lease_id, l.workload_id,
        case when n.state in ('unknown', 'lost') then n.unknown_at else now() end as until
    from leases l join nodes n using (node_id)
    where l.market = $1 and l.state in ('running', 'closing')
      and lease_billable_ms(l, case when n.state in ('unknown', 'lost') then n.unknown_at else now() end) > l.billed_ms
), w as materialized (
    select workload_id from workloads
    where workload_id in (select workload_id from due)
    order by workload_id
    for update
), locked as materialized (
    select l as lease, r.replica_id, r.escrow_uusd, d.until
    from leases l join due d using (lease_id) join replicas r using (replica_id)
    where l.state in ('running', 'closing') and (select count(*) from w) >= 0
    order by l.lease_id
    for update of l, r
), billable as (
    select k.*, b.billed_ms, meter_net((lease).price_uusd_per_hour, b.billed_ms) as net
    from locked k, lateral (select lease_billable_ms(k.lease, k.until) as billed_ms) b
), owed as materialized (
    select (lease).lease_id, replica_id, (lease).workload_id, (lease).account_id, (lease).operator_account_id,
        billed_ms, escrow_uusd, net - (lease).net_uusd as net_uusd,
        meter_fee(net, (lease).fee_bp) - (lease).fee_uusd as fee_uusd,
        net + meter_fee(net, (lease).fee_bp) - (lease).net_uusd - (lease).fee_uusd as gross_uusd
    from billable
), billed as materialized (
    select * from owed where gross_uusd <= escrow_uusd
), lines as (
    select a.ledger_account_id, -sum(b.gross_uusd)::int8 as amount_uusd
    from billed b join ledger_accounts a on a.account_id = b.account_id and a.kind = 'lease_escrow'
    group by a.ledger_account_id
    union all
    select a.ledger_account_id, sum(b.net_uusd)::int8
    from billed b join ledger_accounts a on a.account_id = b.operator_account_id and a.kind = 'operator_payable'
    group by a.ledger_account_id
    union all
    select a.ledger_account_id, sum(b.fee_uusd)::int8
    from billed b join ledger_accounts a on a.account_id is null and a.kind = 'platform_fee' and a.currency = 'USD'
    group by a.ledger_account_id
), journal as (
    insert into journals (kind, actor, epoch)
    select 'settlement', 'settle', $3 where exists (select 1 from lines where amount_uusd <> 0)
    returning journal_id
), posted as (
    insert into entries (journal_id, line, ledger_account_id, amount_uusd)
    select j.journal_id, row_number() over (order by l.ledger_account_id), l.ledger_account_id, l.amount_uusd
    from lines l, journal j where l.amount_uusd <> 0
), settled as (
    insert into settlements (lease_id, journal_id, tick, healthy_ms, gross_uusd, net_uusd, fee_uusd)
    select b.lease_id, j.journal_id, $2, b.billed_ms, b.gross_uusd, b.net_uusd, b.fee_uusd
    from billed b, journal j where b.gross_uusd <> 0
), leases_billed as (
    update leases l set billed_ms = b.billed_ms, net_uusd = l.net_uusd + b.net_uusd,
        fee_uusd = l.fee_uusd + b.fee_uusd
    from billed b where l.lease_id = b.lease_id
), escrow_used as (
    update replicas r set escrow_uusd = r.escrow_uusd - b.gross_uusd
    from billed b where r.replica_id = b.replica_id and b.gross_uusd <> 0
), spent as (
    update workloads w set spent_uusd = w.spent_uusd + s.gross_uusd
    from (select workload_id, sum(gross_uusd)::int8 as gross_uusd from billed group by workload_id) s
    where w.workload_id = s.workload_id and s.gross_uusd <> 0
), noted as (
    select count(*)::int4 as leases_count, coalesce(sum(gross_uusd), 0)::int8 as gross_uusd from billed
)
select n.leases_count, n.gross_uusd,
    (select count(*) from owed where gross_uusd > escrow_uusd)::int4 as refused_count
from noted n;

-- name: tick_note
-- in: market text, tick int8, leases_count int4, gross_uusd int8
update ticks set leases_count = $3, gross_uusd = $4 where market = $1 and tick = $2;

-- name: tick_top_up
-- doc: Brings each replica's escrow to what the next $2 ms may cost at its lease's price (while it is
--      auctioned: at the reserve), within what is left of max_duration and the workload's budget, from what the wallet
--      has, in order of replica; what is beyond that goes back, and of a budget that was lowered all that
--      is not owed yet. Then how long each lease may run is known.
-- in: market text, ahead_ms int8, epoch int8
-- out: added_uusd int8, released_uusd int8, short_count int4
with w as materialized (
    select w.workload_id, w.budget_uusd, w.spent_uusd, w.reserve_uusd_per_hour, w.max_duration_s
    from workloads w
    where w.market = $1 and w.ended_at is null and w.desired = 'run'
    order by w.workload_id
    for update
), l as materialized (
    select l as lease from leases l
    where l.workload_id in (select workload_id from w) and l.state in ('awarded', 'starting', 'running')
    order by l.lease_id
    for update
), r as materialized (
    select r.replica_id, r.workload_id, r.account_id, r.state, r.epoch, r.escrow_uusd, r.ran_ms
    from replicas r
    where r.workload_id in (select workload_id from w) and r.state <> 'ended'
      and (select count(*) from l) >= 0
    order by r.replica_id
    for update
), held as (
    select workload_id, sum(escrow_uusd) as held_uusd from r group by workload_id
), purse as materialized (
    select a.ledger_account_id, a.account_id, a.kind, a.balance_uusd
    from ledger_accounts a
    where a.account_id in (select account_id from r) and a.kind in ('lease_escrow', 'tenant_wallet')
    order by a.ledger_account_id
    for update
), aimed as (
    select r.*, l.lease, e.left_ms, w.budget_uusd - w.spent_uusd - h.held_uusd as left_uusd,
        case when (l.lease).lease_id is null
        then meter_net(w.reserve_uusd_per_hour, least($2, e.left_ms))
        else meter_gross((l.lease).price_uusd_per_hour, (l.lease).fee_bp, (l.lease).base_ms
            + least(e.left_ms, $2 + e.elapsed_ms))
            - (l.lease).net_uusd - (l.lease).fee_uusd end as target_uusd,
        coalesce(meter_gross((l.lease).price_uusd_per_hour, (l.lease).fee_bp, (l.lease).base_ms
            + least(e.left_ms, e.elapsed_ms))
            - (l.lease).net_uusd - (l.lease).fee_uusd, 0) as owed_uusd
    from r join w using (workload_id) join held h using (workload_id)
    left join l on (l.lease).replica_id = r.replica_id and (l.lease).epoch = r.epoch
    cross join lateral (select coalesce(ms_between((l.lease).running_at, now()) - (l.lease).paused_ms, 0)
        as elapsed_ms, duration_left_ms(coalesce((l.lease).max_duration_s, w.max_duration_s), r.ran_ms)
        as left_ms) e
    where (r.state = 'auctioning') = ((l.lease).lease_id is null)
), wished as (
    select a.*, greatest(0, target_uusd - escrow_uusd) as need_uusd,
        greatest(0, escrow_uusd - target_uusd) as spare_uusd,
        greatest(0, least(escrow_uusd, target_uusd) - owed_uusd) as loose_uusd,
        left_uusd + sum(greatest(0, escrow_uusd - target_uusd)) over (partition by workload_id) as allowed
    from aimed a
), budgeted as (
    select x.*, case when allowed is null then need_uusd
        else greatest(0, least(need_uusd, allowed - coalesce(sum(need_uusd) over before, 0))) end as wanted_uusd,
        spare_uusd + case when allowed is null then 0 else greatest(0, least(loose_uusd,
            -allowed - coalesce(sum(loose_uusd) over before, 0)))::int8 end as back_uusd
    from wished x
    window before as (partition by workload_id order by replica_id rows between unbounded preceding and 1 preceding)
), given as materialized (
    select b.replica_id, b.workload_id, b.account_id, b.lease, b.left_ms, b.escrow_uusd, b.need_uusd, b.back_uusd,
        greatest(0, least(b.wanted_uusd, p.balance_uusd
            + sum(b.back_uusd) over (partition by b.account_id)
            - coalesce(sum(b.wanted_uusd) over before, 0)))::int8 as add_uusd
    from budgeted b join purse p on p.account_id = b.account_id and p.kind = 'tenant_wallet'
    window before as (partition by b.account_id order by b.replica_id rows between unbounded preceding and 1 preceding)
), sums as (
    select account_id, 'top_up' as kind, sum(add_uusd)::int8 as amount_uusd from given group by account_id
    union all
    select account_id, 'release', -sum(back_uusd)::int8 from given group by account_id
), lines as (
    select s.kind, p.ledger_account_id,
        case p.kind when 'lease_escrow' then s.amount_uusd else -s.amount_uusd end as amount_uusd
    from sums s join purse p using (account_id) where s.amount_uusd <> 0
), journal as (
    insert into journals (kind, actor, epoch)
    select kind, 'settle', $3 from lines group by kind order by kind desc
    returning journal_id, kind
), posted as (
    insert into entries (journal_id, line, ledger_account_id, amount_uusd)
    select j.journal_id, row_number() over (partition by j.journal_id order by l.ledger_account_id),
        l.ledger_account_id, l.amount_uusd
    from lines l join journal j using (kind)
), moved as (
    update replicas r set escrow_uusd = g.escrow_uusd + g.add_uusd - g.back_uusd
    from given g where r.replica_id = g.replica_id and g.add_uusd <> g.back_uusd
), extended as (
    update leases l set billable_ms_max = g.ms_max
    from (select (lease).lease_id, lease_ms_max((lease).price_uusd_per_hour, (lease).fee_bp,
              (lease).net_uusd + (lease).fee_uusd + escrow_uusd + add_uusd - back_uusd,
              (lease).base_ms, left_ms) as ms_max
          from given where (lease).lease_id is not null) g
    where l.lease_id = g.lease_id and l.billable_ms_max <> g.ms_max
)
select coalesce(sum(add_uusd), 0)::int8 as added_uusd, coalesce(sum(back_uusd), 0)::int8 as released_uusd,
    (count(*) filter (where add_uusd < need_uusd))::int4 as short_count
from given;

-- name: settle_make_partitions
-- doc: Day partitions of settlements, created ahead.
-- lane: write
-- in: days_ahead int4
-- out: made int4
select settlements_make_partitions($1) as made;
