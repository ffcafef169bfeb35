-- Why: every round becomes a leaf of an append-only Merkle log with signed heads, so that anybody can hold
-- the market to what it said; and the rows of a record can be shown one by one, when their time has come.

create domain log_size as int8 check (value > 0);
create domain leaf_word as text check (value in ('round', 'anchor'));
create table log_leaves (
    market text not null,
    size log_size not null,
    kind leaf_word not null,
    round int8,
    body bytea not null,
    leaf_sha256 sha256_bytes not null,
    root_sha256 sha256_bytes not null,
    logged_at timestamptz not null default now(),
    primary key (market, size),
    constraint log_leaves_one_root unique (market, size, root_sha256),
    constraint log_leaves_round_once unique (market, round),
    constraint log_leaves_body_is_hashed check (leaf_sha256 = sha256('\x00'::bytea || body)),
    constraint log_leaves_round_named check ((kind = 'round') = (round is not null))
);
alter table log_leaves alter column body set storage external;
create index log_leaves_anchors on log_leaves (market, size) where kind = 'anchor';
comment on column log_leaves.size is
    'Leaves of the tree that this one completes: its place counts from 0, so it is size - 1.';
comment on column log_leaves.root_sha256 is 'Root of the tree of that size, fixed for ever.';

create domain node_index as int8 check (value >= 0);
create table log_nodes (
    market text not null,
    level at_least_one not null,
    node_index node_index not null,
    hash sha256_bytes not null,
    primary key (market, level, node_index)
);
comment on table log_nodes is
    'Roots of full subtrees of 2^level leaves; level 0 is log_leaves.leaf_sha256. Proofs read these.';

create table log_heads (
    market text not null,
    size int8 not null,
    root_sha256 bytea not null,
    signed_at_us int8 not null,
    signature bytea not null check (length(signature) = 64),
    primary key (market, size),
    constraint log_heads_of_leaf foreign key (market, size, root_sha256)
        references log_leaves (market, size, root_sha256)
);
comment on constraint log_heads_of_leaf on log_heads is
    'A head can only say the root that the log has: two heads of one size never differ.';

-- No gaps, no second thoughts.
create function log_grows_by_one() returns trigger language plpgsql as $$
begin
    if new.size <> 1 + coalesce((select max(size) from log_leaves where market = new.market), 0) then
        raise exception 'leaf % does not follow the last one', new.size using errcode = 'check_violation';
    end if;
    return new;
end $$;
create trigger log_leaves_grow before insert on log_leaves
    for each row execute function log_grows_by_one();

create function log_never_changes() returns trigger language plpgsql as $$
begin
    raise exception 'the log is append-only' using errcode = 'check_violation';
end $$;
create trigger log_leaves_stay before update or delete on log_leaves
    for each row execute function log_never_changes();
create trigger log_nodes_stay before update or delete on log_nodes
    for each row execute function log_never_changes();

-- One leaf with the nodes it completes: their hashes, one behind the other, from level 1 up. An append
-- of leaf i completes one node per trailing one-bit of i.
create function log_append(of_market text, of_size int8, of_kind text, of_round int8, of_body bytea,
    of_leaf bytea, of_root bytea, of_nodes bytea) returns int8 language plpgsql as $$
begin
    insert into log_leaves (market, size, kind, round, body, leaf_sha256, root_sha256)
    values (of_market, of_size, of_kind, of_round, of_body, of_leaf, of_root);
    insert into log_nodes (market, level, node_index, hash)
    select of_market, level, (of_size - 1) >> level, substr(of_nodes, (level - 1) * 32 + 1, 32)
    from generate_series(1, length(of_nodes) / 32) level;
    return of_size;
end $$;

alter table rounds add column opening_secret sha256_bytes,
    add column log_size int8;
comment on column rounds.record_sha256 is 'Of the public half of the record: the body of its leaf.';
comment on column rounds.opening_secret is 'Salts of the rows of the record follow from it; auditors get it.';
comment on column rounds.log_size is 'Of the log with this round as its last leaf.';

alter table seed_chains add column log_size int8;
comment on column seed_chains.log_size is 'The leaf that announced the anchor; before the first link is shown.';

-- When an ask that once stood was replaced or withdrawn; a version is known by the round it arrived in.
create table ask_ends (
    account_id uuid not null,
    class text not null,
    region text not null,
    arrived_round int8 not null,
    ended_at timestamptz not null,
    primary key (account_id, class, region, arrived_round)
);
create function ask_end_note() returns trigger language plpgsql as $$
begin
    insert into ask_ends values (old.account_id, old.class, old.region, old.arrived_round, now())
    on conflict (account_id, class, region, arrived_round) do update set ended_at = excluded.ended_at;
    return null;
end $$;
create trigger asks_note_end after update on asks for each row
    when (old.arrived_round is distinct from new.arrived_round)
    execute function ask_end_note();

-- When everybody may see the ask that an account had in a round: 30 days after it ended.
create function ask_opens_at(of_account uuid, of_class text, of_region text, of_round int8)
returns timestamptz language sql stable as $$
    select case when exists (select from asks a where a.account_id = of_account and a.class = of_class
            and a.region = of_region and a.arrived_round <= of_round) then 'infinity'::timestamptz
        else coalesce((select e.ended_at + interval '30 days' from ask_ends e
            where e.account_id = of_account and e.class = of_class and e.region = of_region
                and e.arrived_round <= of_round
            order by e.arrived_round desc limit 1), 'infinity') end
$$;
