-- Why: one leader per market, fenced by an epoch row; rounds, their arrivals, and a record per round.

create table markets (
    market text primary key,
    round int8 not null default 1,
    signing_public_key bytea
);
comment on column markets.round is
    'The round that arrivals are stamped with. Senders read it behind a shared advisory lock; the
leader raises it behind the exclusive one, so what is stamped <= t is committed when round t freezes.';
insert into markets (market) values ('main');

create table leadership (
    market text primary key,
    epoch int8 not null default 0,
    holder text not null default '',
    address text not null default '',
    renewed_at timestamptz not null default '-infinity',
    started_at timestamptz not null default '-infinity'
);
insert into leadership (market) values ('main'), ('main/settle');
comment on column leadership.market is 'A market for its rounds and sweeps, or <market>/settle for its settlement.';
comment on table leadership is
    'Every mutating transaction of a leader reads its row FOR SHARE with its own epoch: an old leader cannot commit.';

create table seed_chains (
    chain_id int8 generated always as identity primary key,
    market text not null references markets,
    secret_sealed bytea not null,
    anchor bytea not null check (length(anchor) = 32),
    length int4 not null check (length > 0),
    next_index int4 not null default 1,
    created_at timestamptz not null default now()
);
comment on column seed_chains.anchor is 'h_0, public before the first value is used; h_i = SHA-256(h_{i+1}).';

-- The round that an arrival belongs to. Volatile, so that the read behind the lock sees what the leader
-- committed while this waited, however old the statement's own snapshot is; and it locks no row, since
-- what many share would be written by each.
create function arrival_stamp(of_market text) returns int8 language plpgsql volatile as $$
begin
    perform pg_advisory_xact_lock_shared(hashtext('undercut/arrivals/' || of_market));
    return (select round from markets where market = of_market);
end $$;

-- What one statement brought into a round: a row, however many messages.
create domain sha256_bytes as bytea check (length(value) = 32);
create domain round_word as text check (value in ('auction', 'now'));
create domain round_state as text check (value in ('frozen', 'committed', 'void'));
create domain arrival_word as text check (value in ('workload', 'ask', 'cancel', 'withdraw'));
create sequence arrivals_place_seq;
create table arrival_batches (
    market text not null,
    round int8 not null,
    first_place int8 not null,
    kind arrival_word not null,
    places int8[] not null,
    account_ids uuid[] not null,
    messages_sha256 bytea[] not null,
    primary key (market, round, first_place)
);

create view arrivals as
    select b.market, b.round, m.place, b.kind, m.account_id, m.message_sha256
    from arrival_batches b
    cross join lateral unnest(b.places, b.account_ids, b.messages_sha256) m (place, account_id, message_sha256);
comment on view arrivals is 'The messages of rounds, one a row. What comes alone is inserted here and gets its place.';
create function arrival_add() returns trigger language plpgsql as $$
begin
    new.place := coalesce(new.place, nextval('arrivals_place_seq'));
    if length(new.message_sha256) is distinct from 32 then
        raise exception 'an arrival needs the SHA-256 of its message' using errcode = 'check_violation';
    end if;
    insert into arrival_batches (market, round, first_place, kind, places, account_ids, messages_sha256)
    values (new.market, new.round, new.place, new.kind, array[new.place], array[new.account_id],
        array[new.message_sha256]);
    return new;
end $$;
create trigger arrivals_add instead of insert on arrivals for each row execute function arrival_add();

create table rounds (
    market text not null references markets,
    round int8 not null,
    kind round_word not null,
    state round_state not null,
    epoch int8 not null,
    inputs_root sha256_bytes not null,
    arrivals_count int4 not null,
    chain_id int8 not null references seed_chains,
    chain_index int4 not null,
    chain_value bytea,
    seed bytea,
    record bytea,
    record_sha256 bytea,
    previous_sha256 bytea,
    awards_count int4 not null default 0,
    frozen_at timestamptz not null default now(),
    committed_at timestamptz,
    primary key (market, round),
    constraint rounds_committed_has_record check
        (state <> 'committed' or (record is not null and record_sha256 is not null and seed is not null))
);
create index rounds_frozen on rounds (market, round) where state = 'frozen';

-- Records hold hashes and random ids: trying to compress them costs more than it saves.
alter table rounds alter column record set storage external;

create table lot_rounds (
    market text not null,
    round int8 not null,
    region text not null,
    class text not null,
    block_size int4 not null,
    tier text not null,
    trust text not null,
    supply_count int4 not null,
    demand_count int4 not null,
    accounts_count int4 not null,
    sold_count int4 not null,
    index_uusd_per_hour int8,
    cleared_at timestamptz not null default now(),
    primary key (market, round, region, class, block_size, tier, trust)
);
create index lot_rounds_latest on lot_rounds (region, class, block_size, tier, trust, round desc)
    where index_uusd_per_hour is not null;
comment on column lot_rounds.index_uusd_per_hour is 'S* of the lot: the critical score; null when nothing traded.';
