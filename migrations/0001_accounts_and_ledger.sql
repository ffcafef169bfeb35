-- Why: who owns things, and the double-entry ledger that every later table pays through.
-- Money is int8 micro-USD. Journals and entries are insert-only; what a statement adds to a journal sums to
-- zero; a balance is maintained by the insert of entries and by nothing else.

create table accounts (
    account_id uuid primary key,
    name text not null check (length(name) between 1 and 200),
    email text check (length(email) <= 320),
    mode text not null check (mode in ('live', 'test')),
    created_at timestamptz not null default now()
);
comment on table accounts is 'Who owns workloads, nodes and money.';

create table api_keys (
    key_id uuid primary key,
    account_id uuid not null references accounts,
    name text not null check (length(name) between 1 and 200),
    secret_sha256 bytea not null unique check (length(secret_sha256) = 32),
    scopes text not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
create index api_keys_account on api_keys (account_id, key_id);
comment on column api_keys.scopes is 'Comma-separated, sorted, e.g. workloads:read,workloads:write.';

create table idempotency (
    account_id uuid not null,
    operation text not null,
    key text not null,
    body_sha256 bytea not null check (length(body_sha256) = 32),
    status int4 not null,
    response_sealed bytea not null,
    created_at timestamptz not null default now(),
    primary key (account_id, operation, key)
);
comment on table idempotency is
    'First answers of POSTs, inserted by the statement that has the effect. account_id is nil for public ones.';

-- Words and bounds are domains wherever a table is written often: a session reads their checks once, and those
-- of a table at every statement.
create domain ledger_account_word as text check (value in ('tenant_wallet', 'lease_escrow', 'operator_payable',
    'operator_bond', 'platform_fee', 'platform_loss', 'stripe_clearing', 'chain_clearing', 'promo'));
create domain currency_word as text check (value in ('USD', 'USDC'));
create domain journal_word as text check (value in ('credit', 'hold', 'top_up', 'release', 'settlement',
    'lease_close', 'correction'));
create domain uusd_moved as int8 constraint entries_amount_not_zero check (value <> 0);

create table ledger_accounts (
    ledger_account_id int8 generated always as identity primary key,
    account_id uuid references accounts,
    kind ledger_account_word not null,
    currency currency_word not null default 'USD',
    balance_uusd int8 not null default 0,
    version int8 not null default 0,
    constraint ledger_accounts_one unique nulls not distinct (account_id, kind, currency),
    constraint ledger_accounts_no_overdraft check (balance_uusd >= 0 or kind in
        ('platform_fee', 'platform_loss', 'stripe_clearing', 'chain_clearing', 'promo'))
) with (fillfactor = 60);
comment on column ledger_accounts.balance_uusd is
    'What we owe the owner, in micro-USD. Clearing and promo accounts run negative: the sum over a currency is 0.';

-- Every account gets its four ledger accounts at birth, so that no money statement has to create one.
create function account_open_ledger() returns trigger language plpgsql as $$
begin
    insert into ledger_accounts (account_id, kind)
    select n.account_id, k.kind
    from new_accounts n
    cross join (values ('tenant_wallet'), ('lease_escrow'), ('operator_payable'), ('operator_bond')) k (kind)
    order by n.account_id, k.kind;
    return null;
end $$;
create trigger accounts_open_ledger after insert on accounts
    referencing new table as new_accounts
    for each statement execute function account_open_ledger();

insert into ledger_accounts (account_id, kind) values
    (null, 'platform_fee'), (null, 'platform_loss'), (null, 'stripe_clearing'), (null, 'promo');
insert into ledger_accounts (account_id, kind, currency) values
    (null, 'chain_clearing', 'USDC'), (null, 'platform_fee', 'USDC');

create table journals (
    journal_id int8 generated always as identity primary key,
    kind journal_word not null,
    actor text not null,
    request_id uuid,
    epoch int8,
    memo text,
    source_key text unique,
    xact xid8 not null default pg_current_xact_id(),
    created_at timestamptz not null default now()
);
comment on column journals.source_key is 'Unique name of an outside cause, so that it is booked at most once.';
create index journals_created on journals using brin (created_at);
create index journals_sealing on journals (xact, journal_id);

create table entries (
    journal_id int8 not null,
    line int4 not null,
    ledger_account_id int8 not null,
    amount_uusd uusd_moved not null,
    ref uuid,
    parts uuid[],
    parts_uusd int8[],
    primary key (journal_id, line),
    constraint entries_parts_match check ((parts is null or ref is null)
        and coalesce(cardinality(parts), 0) = coalesce(cardinality(parts_uusd), 0))
);
comment on table entries is
    'No foreign keys: entries_apply checks both for all rows of a statement at once, which costs a third less.';
comment on column entries.ref is 'The workload or lease the line is about.';
comment on column entries.parts is
    'Instead of ref: the workloads that a batch moved money for, with what for each. They are told as lines
of their own, numbered from `line` on, so the next entry of the journal is numbered behind them.';
create index entries_by_account on entries (ledger_account_id, journal_id desc, line);

-- The one door to a balance. Ledger accounts are locked in id order everywhere. Entries join journals of
-- their own transaction only, and those that one statement adds to a journal balance. Scans are off here
-- because a session keeps the plans that it made when the tables were small.
create function entries_apply() returns trigger language plpgsql
set enable_seqscan = off as $$
declare
    lost int8;
    bad text;
begin
    with locked as materialized (
        select a.ledger_account_id, a.currency, c.amount_uusd
        from ledger_accounts a
        join (select ledger_account_id, sum(amount_uusd)::int8 as amount_uusd
            from new_entries group by ledger_account_id) c using (ledger_account_id)
        order by a.ledger_account_id
        for update of a
    ), applied as (
        update ledger_accounts a
        set balance_uusd = a.balance_uusd + l.amount_uusd, version = a.version + 1
        from locked l
        where a.ledger_account_id = l.ledger_account_id
    ), posted as (
        select e.journal_id, count(*) as lines, sum(e.amount_uusd) as total,
            min(l.currency) = max(l.currency) as is_one_currency, count(*) - count(l.currency) as strays
        from new_entries e left join locked l using (ledger_account_id)
        group by e.journal_id
    )
    select sum(strays + (not exists (select from journals j
            where j.journal_id = posted.journal_id and j.xact = pg_current_xact_id()))::int4),
        min(case when lines < 2 or total <> 0 or not is_one_currency
            then format('journal %s has %s lines, total %s', journal_id, lines, total) end)
    into lost, bad from posted;
    if lost > 0 then
        raise exception 'an entry names a ledger account or a journal that is not of this transaction'
            using errcode = 'foreign_key_violation', constraint = 'entries_point_somewhere';
    elsif bad is not null then
        raise exception '%', bad using errcode = 'check_violation', constraint = 'journals_balance';
    end if;
    return null;
end $$;
create trigger entries_apply after insert on entries
    referencing new table as new_entries
    for each statement execute function entries_apply();

create function ledger_is_insert_only() returns trigger language plpgsql as $$
begin
    raise exception '% is insert-only', tg_table_name using errcode = 'insufficient_privilege';
end $$;
create trigger journals_insert_only before update or delete or truncate on journals
    for each statement execute function ledger_is_insert_only();
create trigger entries_insert_only before update or delete or truncate on entries
    for each statement execute function ledger_is_insert_only();

-- Hash chain over sealed journals: every minute the settle role seals what no running transaction can
-- still precede. Altering any sealed row breaks every later seal.
create table ledger_seals (
    seal_id int8 primary key,
    journals_count int8 not null,
    last_xact xid8 not null,
    last_journal_id int8 not null,
    seal_sha256 bytea not null check (length(seal_sha256) = 32),
    sealed_at timestamptz not null default now()
);
