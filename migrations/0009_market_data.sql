-- Why: what the market was, rolled up: whoever looks back reads candles and histograms whose number follows
-- the clock, not rounds and leases whose number follows the trade. A thread of its own fills them, behind the
-- leader and never in its way.

insert into leadership (market) values ('main/history');

alter table lot_rounds add column unmet_count int4 not null default 0;
comment on column lot_rounds.unmet_count is 'Blocks that were wanted and not had when the round was over.';
-- Rounds in which nothing traded are forgotten after a while; this finds them.
create index lot_rounds_idle on lot_rounds (market, cleared_at) where index_uusd_per_hour is null and sold_count = 0;

create table lots (
    lot_id int4 generated always as identity primary key,
    market text not null references markets,
    region text not null,
    class text not null,
    block_size int4 not null,
    tier text not null,
    trust text not null,
    index_uusd_per_hour int8,
    index_round int8,
    index_at timestamptz,
    constraint lots_one unique (market, region, class, block_size, tier, trust)
);
comment on table lots is 'Every lot that was ever cleared, with its last index: a small key for all that is rolled up.';

create table history_marks (
    market text primary key references markets,
    round int8 not null
);
insert into history_marks values ('main', 0);
comment on column history_marks.round is
    'Up to here rounds are in candles. Rounds are committed in order by one leader, so nothing can appear behind it.';

-- How far one transaction folds: to the end of the round in which its share of lot-rounds is full.
create function history_upto(of_market text, lot_rounds_max int8) returns int8 language plpgsql stable as $$
declare
    mark int8 := (select m.round from history_marks m where m.market = of_market);
begin
    return coalesce(
        (select l.round from lot_rounds l where l.market = of_market and l.round > mark
            order by l.market, l.round offset lot_rounds_max limit 1),
        (select max(l.round) from lot_rounds l where l.market = of_market and l.round > mark), mark);
end $$;

create table candles (
    lot_id int4 not null references lots,
    step_s int4 not null check (step_s in (1, 60, 3600, 86400)),
    at timestamptz not null,
    open_uusd int8,
    high_uusd int8,
    low_uusd int8,
    close_uusd int8,
    rounds_count int4 not null default 0,
    awards_count int8 not null default 0,
    unmet_count int4 not null default 0,
    accounts_min int4 not null default 0,
    volume_ms int8 not null default 0,
    value_uusd int8 not null default 0,
    primary key (lot_id, step_s, at)
);
comment on column candles.open_uusd is 'Indexes per block-hour; null while nothing traded in this step.';
comment on column candles.unmet_count is 'Blocks still wanted after the last round of the step.';
comment on column candles.accounts_min is 'The fewest accounts that offered in a round of the step: counts are shown from three on.';
comment on column candles.volume_ms is
    'Settled block time, and what operators earned with it (value): orders that never ran do not move the average.
Not kept by the second.';

create table lot_times (
    lot_id int4 not null references lots,
    at timestamptz not null,
    kind text not null check (kind in ('fill', 'start')),
    bucket int4 not null,
    times_count int8 not null,
    primary key (lot_id, at, kind, bucket)
);
comment on table lot_times is
    'Per hour: how long first awards took after the posting (fill) and until they ran (start). Bucket b holds
times from 2^(b/2) ms up to 2^((b+1)/2) ms.';

create table lot_ends (
    lot_id int4 not null references lots,
    at timestamptz not null,
    reason text not null,
    ends_count int8 not null,
    ran_count int8 not null,
    primary key (lot_id, at, reason)
);
comment on table lot_ends is 'Per hour: how leases ended, and how many of them had run.';

create table lot_depths (
    lot_id int4 not null references lots,
    at timestamptz not null,
    round int8 not null,
    index_uusd_per_hour int8,
    accounts_count int4 not null,
    edges_bp int4[] not null,
    blocks_counts int4[] not null,
    accounts_counts int4[] not null,
    asks_uusd int8[] not null,
    reserves_uusd int8[] not null,
    primary key (lot_id, at)
);
comment on table lot_depths is
    'The ladder of a lot now and then, coarse enough for everybody (auction/depth.h), and shown only when old enough.';

-- What became of leases and what they settled, until it is folded in.
create table lot_facts (
    fact_id int8 generated always as identity primary key,
    kind text not null,
    market text not null,
    region text not null,
    class text not null,
    block_size int4 not null,
    tier text not null,
    trust text not null,
    at timestamptz not null default now(),
    reason text,
    has_run bool,
    fill_ms int8,
    start_ms int8,
    volume_ms int8,
    value_uusd int8
);

create function lot_note_lease() returns trigger language plpgsql as $$
begin
    insert into lot_facts (kind, market, region, class, block_size, tier, trust, volume_ms, value_uusd)
    select 'settled', n.market, n.region, n.class, n.block_size, n.tier, n.trust,
        sum(n.billed_ms - o.billed_ms), sum(n.net_uusd - o.net_uusd)
    from new_leases n join old_leases o using (lease_id)
    where n.billed_ms <> o.billed_ms or n.net_uusd <> o.net_uusd
    group by n.market, n.region, n.class, n.block_size, n.tier, n.trust;
    insert into lot_facts (kind, market, region, class, block_size, tier, trust, reason, has_run, fill_ms, start_ms)
    select case n.state when 'running' then 'started' else 'ended' end,
        n.market, n.region, n.class, n.block_size, n.tier, n.trust,
        case when n.state = 'closed' then n.close_reason end, n.running_at is not null,
        ms_between(w.created_at, n.awarded_at), ms_between(w.created_at, n.running_at)
    from new_leases n join old_leases o using (lease_id) join workloads w on w.workload_id = n.workload_id
    where n.state <> o.state and (n.state = 'closed' or (n.state = 'running' and n.epoch = 1));
    return null;
end $$;
create trigger leases_note_lot after update on leases
    referencing old table as old_leases new table as new_leases
    for each statement execute function lot_note_lease();

create function time_bucket_of(ms int8) returns int4 language sql immutable as $$
    select floor(2 * log(2, greatest(ms, 1)))::int4
$$;
create function time_bucket_end_ms(bucket int4) returns int8 language sql immutable as $$
    select ceil(power(2::numeric, (bucket + 1) / 2.0))::int8
$$;

create table lot_supplies (
    market text not null references markets,
    at timestamptz not null,
    block_size int4 not null,
    region text not null,
    class text not null,
    trust text not null,
    blocks_count int8 not null,
    free_count int8 not null,
    primary key (market, at, block_size, region, class, trust)
);
comment on table lot_supplies is
    'How many blocks of each size were on offer every few seconds, whatever their price: what explain counts in.';
