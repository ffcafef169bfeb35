-- Direct bids: an operator's sealed price on one workload that is cleared by itself, committing a block of
-- one node. A change is an arrival, as an ask's is (see ask.sql).

-- name: direct_open_list
-- doc: Workloads that take bids, for one node (of an account, or whoever's): where it stands in their regions,
--      classes and trust, is not their owner's and not excluded. What a fit needs beyond that is here too,
--      for direct_open_judge(). With $3 only that workload.
-- in: node_id uuid, account_id uuid?, workload_id uuid?
-- out: workload_id uuid, class text, region text, tier text, block_size int4, wanted int4, vcpu_milli int4,
--      memory_mib int4, disk_mib int4, max_duration_s int4, arrived_round int8, constraints jsonb,
--      driver text, compute text, isolation text, vcpu_spare_milli int8, memory_spare_mib int8,
--      disk_spare_mib int8, vcpu_min int4, memory_mib_min int4, disk_mib_min int4, free_count int4,
--      bid_uusd_per_hour int8?, bid_expires_at timestamptz?, has_ask bool
select w.workload_id, f.class, f.region, w.tier, w.block_size, w.replicas_auctioning as wanted, w.vcpu_milli,
    w.memory_mib, w.disk_mib, w.max_duration_s, w.arrived_round, w.constraints,
    coalesce(f.driver, '') as driver, coalesce(f.compute, '') as compute, f.isolation,
    f.vcpu_spare_milli::int8, f.memory_spare_mib::int8, f.disk_spare_mib::int8, f.vcpu_min, f.memory_mib_min,
    f.disk_mib_min, c.free_count, b.price_uusd_per_hour as bid_uusd_per_hour, b.expires_at as bid_expires_at,
    exists (select from asks a join nodes n on n.account_id = a.account_id
        where n.node_id = f.node_id and a.class = f.class and a.region = f.region and a.withdrawn_at is null
            and floor_agrees(n.floors, f.class, a.price_uusd_per_device_hour))
        as has_ask
from node_facts f
join workloads w on is_direct(w.constraints) and w.ended_at is null and w.desired = 'run'
    and w.replicas_auctioning > 0 and (w.deadline_at is null or w.deadline_at > now())
    and f.region = any (w.regions) and f.class = any (w.classes) and w.account_id <> f.account_id
    and array_position(array['simulated', 'unverified', 'verified', 'attested'], f.trust)
        >= array_position(array['simulated', 'unverified', 'verified', 'attested'], w.trust_min::text)
    and not f.node_id::text = any (string_to_array(coalesce(w.constraints ->> 'excluded', ''), ','))
left join direct_bids b on b.workload_id = w.workload_id and b.node_id = f.node_id and b.state = 'standing'
cross join lateral (
    select count(*)::int4 as free_count from devices d
    where d.node_id = f.node_id and d.class = f.class and d.is_present and d.lease_id is null
        and d.next_lease_id is null and d.reclaimed_at is null and d.bid_id is null) c
where f.node_id = $1 and ($2 is null or f.account_id = $2) and ($3 is null or w.workload_id = $3)
    and f.state = 'live' and f.is_opted_in
order by w.workload_id, b.bid_id is null, f.class
limit 256;

-- name: bid_put
-- doc: Places a bid, with the first free devices of a class, or changes the price of the one that stands. No
--      row: the block or the workload went away meanwhile, or a twin of this request was first.
-- scope: account
-- in: account_id uuid, market text, workload_id uuid, node_id uuid, class text, block_size int4,
--     price_uusd_per_hour int8, bid_id uuid, stands_s int4
-- out: version int4, updated_at timestamptz, expires_at timestamptz, message_sha256 bytea, round int8, place int8,
--      salt text
with stamp as materialized (
    select arrival_stamp($2) as round
), open as materialized (
    select w.workload_id, n.node_id, n.account_id, s.round
    from stamp s, workloads w, nodes n
    where w.workload_id = $3 and w.market = $2 and w.desired = 'run' and w.ended_at is null
        and w.replicas_auctioning > 0 and is_direct(w.constraints)
        and n.node_id = $4 and n.account_id = $1 and n.state = 'live' and n.is_opted_in
), known as materialized (
    select b.bid_id from direct_bids b, open o
    where b.workload_id = o.workload_id and b.node_id = o.node_id and b.state = 'standing'
    for update of b
), free as materialized (
    select d.device_id from devices d, open o
    where d.node_id = o.node_id and d.class = $5 and d.is_present and d.lease_id is null
        and d.next_lease_id is null and d.reclaimed_at is null and d.bid_id is null
        and not exists (select from known)
    order by d.device_index, d.device_id
    limit $6
    for update of d
), s as materialized (
    select gen_random_uuid() as salt
), placed as (
    insert into direct_bids (bid_id, market, workload_id, node_id, account_id, price_uusd_per_hour, arrived_round,
        salt, message_sha256, expires_at)
    select $8, $2, workload_id, node_id, account_id, $7, round, s.salt,
        text_sha256(bid_message(account_id, workload_id, node_id, $7, s.salt)), now() + make_interval(secs => $9)
    from open, s
    where (select count(*) from free) = $6
    on conflict do nothing
    returning version, updated_at, expires_at, message_sha256, arrived_round, salt
), changed as (
    update direct_bids b set price_uusd_per_hour = $7, arrived_round = o.round, version = b.version + 1,
        salt = s.salt,
        message_sha256 = text_sha256(bid_message(o.account_id, o.workload_id, o.node_id, $7, s.salt)), updated_at = now(),
        expires_at = now() + make_interval(secs => $9)
    from known k, open o, s
    where b.bid_id = k.bid_id
    returning b.version, b.updated_at, b.expires_at, b.message_sha256, b.arrived_round, b.salt
), stored as (
    select * from placed union all select * from changed
), committed as (
    update devices d set bid_id = $8 from free f where d.device_id = f.device_id and exists (select from placed)
), arrived as (
    insert into arrivals (market, round, kind, account_id, message_sha256)
    select $2, arrived_round, 'bid', $1, message_sha256 from stored
    returning place
)
select s.version, s.updated_at, s.expires_at, s.message_sha256, s.arrived_round as round, a.place,
    s.salt::text as salt
from stored s, arrived a;

-- name: bid_withdraw
-- doc: The bid counts no more; its block is back in its lots once the round that it arrived for is frozen. One
--      that has won stays what it is: has_won, and its lease while that lives. No row: this account never bid so.
-- scope: account
-- in: account_id uuid, market text, workload_id uuid, node_id uuid
-- out: has_won bool, lease_id uuid?
with newest as materialized (
    select b.bid_id, b.state = 'won' or exists (
            select from devices d join leases l on l.lease_id in (d.lease_id, d.next_lease_id)
            where d.bid_id = b.bid_id and l.workload_id = b.workload_id) as has_won -- and is not released yet
    from direct_bids b
    where b.account_id = $1 and b.workload_id = $3 and b.node_id = $4
    order by b.placed_at desc, b.bid_id desc
    limit 1
), stamp as materialized (
    select arrival_stamp($2) as round
), withdrawn as (
    update direct_bids b set state = 'withdrawn', updated_at = now(), version = b.version + 1, arrived_round = s.round,
        message_sha256 = text_sha256(bid_withdraw_message(b.account_id, b.workload_id, b.node_id))
    from stamp s, newest n
    where b.bid_id = n.bid_id and b.state = 'standing' and not n.has_won
    returning b.account_id, b.arrived_round, b.message_sha256
), arrived as (
    insert into arrivals (market, round, kind, account_id, message_sha256)
    select $2, arrived_round, 'bid_withdraw', account_id, message_sha256 from withdrawn
)
select n.has_won, l.lease_id
from newest n
left join lateral (
    select l.lease_id from leases l
    where n.has_won and l.workload_id = $3 and l.node_id = $4 and l.state <> 'closed'
    order by l.lease_id desc
    limit 1) l on true;

-- name: bid_list
-- doc: The account's own bids, newest first.
-- scope: account
-- in: account_id uuid, before uuid?, limit_count int4
-- out: bid_id uuid, workload_id uuid, node_id uuid, price_uusd_per_hour int8, state text, version int4,
--      arrived_round int8, placed_at timestamptz, updated_at timestamptz, expires_at timestamptz,
--      ended_at timestamptz?
select bid_id, workload_id, node_id, price_uusd_per_hour, state, version, arrived_round, placed_at, updated_at,
    expires_at, ended_at
from direct_bids
where account_id = $1 and ($2 is null or bid_id < $2)
order by bid_id desc
limit $3;

-- name: bid_release
-- doc: Bids that are over give their devices back: won, withdrawn and frozen, expired, or on a workload that
--      wants nothing more. One row per node, to be told.
-- in: market text
-- out: node_id uuid
with over as materialized (
    select b.bid_id, b.node_id, case when b.state <> 'standing' then b.state
        when exists (select from devices d join leases l on l.lease_id in (d.lease_id, d.next_lease_id)
            where d.bid_id = b.bid_id and l.workload_id = b.workload_id) then 'won'
        when b.expires_at <= now() then 'expired' else 'lost' end as state
    from direct_bids b
    join markets m on m.market = b.market
    left join workloads w on w.workload_id = b.workload_id
    join nodes n on n.node_id = b.node_id
    where b.market = $1 and b.ended_at is null
      and (b.state = 'withdrawn' and b.arrived_round < m.round
        or b.state = 'standing' and (b.expires_at <= now() or w.workload_id is null or w.desired <> 'run'
            or w.ended_at is not null or w.replicas_auctioning = 0 or n.state in ('lost', 'retired')
            or exists (select from devices d where d.bid_id = b.bid_id and d.lease_id is not null)))
    order by b.bid_id
    for update of b
), ended as (
    update direct_bids b set state = o.state, ended_at = now() from over o where b.bid_id = o.bid_id
), freed as (
    update devices d set bid_id = null from over o where d.bid_id = o.bid_id
)
select distinct node_id from over order by node_id;
