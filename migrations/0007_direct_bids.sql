-- Why: workloads that no lot can express are cleared by themselves over the nodes that fit, and operators
-- may bid a sealed price on one of them, committing a block.

alter table workloads add column constraints jsonb;
comment on column workloads.constraints is
    'What its lot cannot say: driver_min, compute_min, isolation, spread, excluded (node ids, comma between), and
latency (region to uusd per hour, from the great circle); is_direct: cleared by itself. Null: nothing.';
create function is_direct(constraints jsonb) returns bool language sql immutable as $$
    select coalesce((constraints ->> 'is_direct')::bool, false)
$$;
create index workloads_direct on workloads (workload_id) where is_direct(constraints) and ended_at is null;

alter table nodes add column takes_bids bool not null default false;
comment on column nodes.takes_bids is 'Its agent bids on workloads that are cleared by themselves.';

-- Nothing about a version but its numbers: {535,104,5} for 535.104.05.
create function version_numbers(version text) returns int8[] language sql immutable as $$
    select coalesce(array_agg(part::int8 order by ord), '{}')
    from regexp_split_to_table(coalesce(substring(version from '^[0-9]{1,9}(?:\.[0-9]{1,9})*'), ''), '\.')
        with ordinality as p (part, ord)
    where part <> ''
$$;

-- What a node's blocks of one class are like beyond the class: the least of its drivers and compute
-- capabilities, and what its machine has left over when every device kept what its class needs and every
-- lease what it was given. A simulated device needs no machine behind it.
create view node_facts as
select n.node_id, n.account_id, n.region, n.trust, n.state, n.is_opted_in, n.suspect_until, d.class,
    array_to_string(min(version_numbers(d.driver)), '.') as driver,
    array_to_string(min(version_numbers(d.compute)), '.') as compute,
    coalesce(n.inventory ->> 'isolation', '') as isolation,
    coalesce((n.inventory ->> 'vcpu')::int8, 0) * 1000 - k.vcpu_milli - u.vcpu_milli as vcpu_spare_milli,
    coalesce((n.inventory ->> 'memory_mib')::int8, 0) - k.memory_mib - u.memory_mib as memory_spare_mib,
    coalesce((n.inventory ->> 'disk_mib')::int8, 0) - k.disk_mib - u.disk_mib as disk_spare_mib,
    c.vcpu_min, c.memory_mib_min, c.disk_mib_min, n.takes_bids
from nodes n
join devices d using (node_id)
join device_classes c on c.class = d.class
cross join lateral (
    select coalesce(sum(c.vcpu_min), 0) * 1000 as vcpu_milli, coalesce(sum(c.memory_mib_min), 0) as memory_mib,
        coalesce(sum(c.disk_mib_min), 0) as disk_mib
    from devices v join device_classes c using (class)
    where v.node_id = n.node_id and v.is_present and not v.is_simulated) k
cross join lateral (
    select coalesce(sum(greatest(0, w.vcpu_milli - c.vcpu_min * l.block_size * 1000)), 0) as vcpu_milli,
        coalesce(sum(greatest(0, w.memory_mib - c.memory_mib_min * l.block_size)), 0) as memory_mib,
        coalesce(sum(greatest(0, w.disk_mib - c.disk_mib_min * l.block_size)), 0) as disk_mib
    from leases l join workloads w using (workload_id) join device_classes c on c.class = l.class
    where l.node_id = n.node_id and l.state <> 'closed') u
where d.is_present
group by n.node_id, n.account_id, n.region, n.trust, n.state, n.is_opted_in, n.suspect_until, n.inventory,
    n.takes_bids, d.class, c.vcpu_min, c.memory_mib_min, c.disk_mib_min, k.vcpu_milli, k.memory_mib, k.disk_mib,
    u.vcpu_milli, u.memory_mib, u.disk_mib;

-- A sealed price on one workload. While it stands, its devices are its own: they leave their lots and
-- compete for that workload alone.
create table direct_bids (
    bid_id uuid primary key,
    market text not null,
    workload_id uuid not null,
    node_id uuid not null references nodes,
    account_id uuid not null,
    price_uusd_per_hour int8 not null
        constraint direct_bids_price_in_range check (price_uusd_per_hour between 1 and 1000000000000),
    state text not null default 'standing' check (state in ('standing', 'withdrawn', 'won', 'lost', 'expired')),
    arrived_round int8 not null,
    message_sha256 bytea not null check (length(message_sha256) = 32),
    version int4 not null default 1,
    placed_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    expires_at timestamptz not null,
    ended_at timestamptz
);
create unique index direct_bids_one on direct_bids (workload_id, node_id) where state = 'standing';
create index direct_bids_account on direct_bids (account_id, bid_id desc);
create index direct_bids_open on direct_bids (bid_id) where ended_at is null;
comment on column direct_bids.price_uusd_per_hour is 'Of the whole block of the workload''s size.';
comment on column direct_bids.ended_at is 'When the sweep gave its devices back; a bid that was withdrawn keeps them until then.';

alter table devices add column bid_id uuid;
create index devices_bid on devices (bid_id) where bid_id is not null;
comment on column devices.bid_id is 'The direct bid that this device is committed to.';

-- What an operator says with a direct bid, and with its end.
create function bid_message(account_id uuid, workload_id uuid, node_id uuid, price int8)
returns text language sql immutable as $$
    select concat_ws('|', 'undercut/bid/v1', account_id, workload_id, node_id, price)
$$;
create function bid_withdraw_message(account_id uuid, workload_id uuid, node_id uuid)
returns text language sql immutable as $$
    select concat_ws('|', 'undercut/bid-withdraw/v1', account_id, workload_id, node_id)
$$;
alter domain arrival_word drop constraint arrival_word_check;
alter domain arrival_word add constraint arrival_word_check
    check (value in ('workload', 'ask', 'cancel', 'withdraw', 'bid', 'bid_withdraw'));

alter function invariant_violations() rename to invariant_violations_0006;
create function invariant_violations() returns table (rule text, subject text, detail text)
language sql stable as $$
    select rule, subject, detail from invariant_violations_0006()
    union all
    select 'G3 a committed device is one of a bid that is not over, of its own node', d.device_id::text, d.bid_id::text
    from devices d left join direct_bids b on b.bid_id = d.bid_id and b.ended_at is null and b.node_id = d.node_id
    where d.bid_id is not null and b.bid_id is null
$$;
