-- What accounts have, what moved it, and credits from the platform.

-- name: balance_get
-- doc: Ledger balances in USD, and what running leases cost per hour, fees included.
-- scope: account
-- in: account_id uuid
-- out: wallet_uusd int8, escrow_uusd int8, payable_uusd int8, bond_uusd int8, burn_uusd_per_hour int8
select coalesce(sum(b.balance_uusd) filter (where b.kind = 'tenant_wallet'), 0)::int8 as wallet_uusd,
    coalesce(sum(b.balance_uusd) filter (where b.kind = 'lease_escrow'), 0)::int8 as escrow_uusd,
    coalesce(sum(b.balance_uusd) filter (where b.kind = 'operator_payable'), 0)::int8 as payable_uusd,
    coalesce(sum(b.balance_uusd) filter (where b.kind = 'operator_bond'), 0)::int8 as bond_uusd,
    (select coalesce(sum(l.price_uusd_per_hour + meter_fee(l.price_uusd_per_hour, l.fee_bp)), 0)::int8
     from leases l where l.account_id = $1 and l.state = 'running') as burn_uusd_per_hour
from ledger_accounts b
where b.account_id = $1 and b.currency = 'USD';

-- name: ledger_list
-- doc: Entries of the account's own ledger accounts, newest first, lines of a journal in order, those of a
--      batch part by part; the journal and line are the last ones already seen (null: from the top).
-- scope: account
-- in: account_id uuid, before_journal_id int8?, before_line int4?, limit_count int4
-- out: journal_id int8, line int4, kind text, ledger_account text, currency text, amount_uusd int8,
--      ref uuid?, memo text?, created_at timestamptz
select e.journal_id, e.line, j.kind, b.kind as ledger_account, b.currency, e.amount_uusd, e.ref, j.memo,
    j.created_at
from ledger_accounts b
cross join lateral (
    select n.journal_id, n.line + coalesce(p.nth - 1, 0)::int4 as line,
        coalesce(p.amount_uusd, n.amount_uusd) as amount_uusd, coalesce(p.ref, n.ref) as ref
    from (
        select * from entries e
        where e.ledger_account_id = b.ledger_account_id
          and ($2 is null or e.journal_id < $2
            or (e.journal_id = $2 and e.line + coalesce(cardinality(e.parts), 1) - 1 > $3))
        order by e.journal_id desc, e.line
        limit $4) n
    left join lateral unnest(n.parts, n.parts_uusd) with ordinality p (ref, amount_uusd, nth) on true
    where $2 is null or n.journal_id < $2 or n.line + coalesce(p.nth - 1, 0) > $3
    order by n.journal_id desc, n.line + coalesce(p.nth - 1, 0)
    limit $4) e
join journals j using (journal_id)
where b.account_id = $1
order by e.journal_id desc, e.line
limit $4;

-- name: credit_store
-- doc: Money from promo into a wallet, booked once per source_key. No row: the source_key is taken (see
--      credit_find) or there is no such account.
-- in: source_key text, credited_account_id uuid, amount_uusd int8, memo text?, actor text, request_id uuid?
-- out: journal_id int8
with side as (
    select w.ledger_account_id as wallet, p.ledger_account_id as promo
    from ledger_accounts w
    join ledger_accounts p on p.account_id is null and p.kind = 'promo' and p.currency = 'USD'
    where w.account_id = $2 and w.kind = 'tenant_wallet' and w.currency = 'USD'
), journal as (
    insert into journals (kind, actor, request_id, memo, source_key)
    select 'credit', $5, $6, $4, $1 from side
    on conflict (source_key) do nothing
    returning journal_id
), posted as (
    insert into entries (journal_id, line, ledger_account_id, amount_uusd, ref)
    select j.journal_id, x.line, x.ledger_account_id, x.amount_uusd, null
    from journal j, side s,
        lateral (values (1, s.promo, -$3), (2, s.wallet, $3)) x (line, ledger_account_id, amount_uusd)
)
select journal_id from journal;

-- name: credit_find
-- doc: What was booked under a source_key.
-- in: source_key text
-- out: journal_id int8, credited_account_id uuid, amount_uusd int8, memo text?
select j.journal_id, b.account_id as credited_account_id, e.amount_uusd, j.memo
from journals j
join entries e using (journal_id)
join ledger_accounts b using (ledger_account_id)
where j.source_key = $1 and b.kind = 'tenant_wallet';

-- name: invariant_list
-- doc: What should hold and does not, for tools and tests; no row is a healthy ledger.
-- out: rule text, subject text, detail text
select rule, subject, detail from invariant_violations();
