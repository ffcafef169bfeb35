-- Nodes: their tokens, their devices, what their agents report, and what they shall run.

-- name: node_token_create
-- doc: A one-time token to enrol a machine; idem_* as in account.sql.
-- scope: account
-- in: account_id uuid, token_id uuid, secret_sha256 bytea, region text?, expires_at timestamptz,
--     idem_key text?, idem_body_sha256 bytea?, idem_response bytea?
-- out: is_region bool, is_done bool
with region as (
    select $4 is null or exists (select from regions where region = $4) as is_known
), once as (
    insert into idempotency (account_id, operation, key, body_sha256, status, response_sealed)
    select account_id, 'node_token_create', $6, $7, 201, $8
    from accounts, region
    where account_id = $1 and $6 is not null and is_known
    on conflict do nothing
    returning 1
), made as (
    insert into node_tokens (token_id, account_id, secret_sha256, region, expires_at)
    select $2, account_id, $3, $4, $5
    from accounts, region
    where account_id = $1 and is_known and ($6 is null or exists (select from once))
    returning 1
)
select is_known as is_region, exists (select from made) as is_done from region;

-- name: node_enrol
-- doc: Spends a token for a node and its devices. A key that the account enrolled before keeps its node
--      (a retired one comes back). outcome: enrolled, again, retry (a twin of this request is just being
--      stored), or why not: unknown, expired, used, taken, region. No row is unknown.
-- in: secret_sha256 bytea, public_key bytea, node_id uuid, name text, region text?, inventory jsonb
-- out: outcome text, node_id uuid?, account_id uuid, region text?
with token as materialized (
    select token_id, account_id, coalesce(region, $5) as region, expires_at, used_at, node_id,
        region is not null and $5 is not null and region <> $5 as is_elsewhere
    from node_tokens
    where secret_sha256 = $1
    for update
), known as (
    select n.node_id, n.account_id, n.state, n.region from nodes n where n.public_key = $2
), judged as (
    select t.*, k.node_id as known_id, k.region as known_region, case
        when t.used_at is not null and t.node_id = k.node_id then 'again'
        when t.used_at is not null and k.node_id is null
            and not exists (select from nodes n where n.node_id = t.node_id) then 'retry'
        when t.used_at is not null then 'used'
        when t.expires_at <= now() then 'expired'
        when k.account_id <> t.account_id then 'taken'
        when k.state <> 'retired' then 'again'
        when t.is_elsewhere or not exists (select from regions r where r.region = t.region) then 'region'
        else 'enrolled' end as outcome
    from token t left join known k on true
), stored as (
    insert into nodes (node_id, account_id, name, region, public_key, trust, inventory)
    select coalesce(known_id, $3), account_id, $4, region, $2,
        case when exists (select from inventory_devices($6) d where d.is_simulated)
            then 'simulated' else 'unverified' end, $6
    from judged where outcome = 'enrolled'
    on conflict (public_key) do update set state = 'live', name = excluded.name, region = excluded.region,
        trust = excluded.trust, inventory = excluded.inventory, inventory_sha256 = '', last_seen_at = now(),
        unknown_at = null, retired_at = null, reclaimed_at = null, floors = '{}', is_opted_in = true
    returning node_id, account_id, region
), spent as (
    update node_tokens t set used_at = now(), node_id = coalesce(j.known_id, $3)
    from judged j
    where t.token_id = j.token_id and j.used_at is null and j.outcome in ('enrolled', 'again')
), devices_stored as (
    insert into devices (device_id, node_id, hardware_id, device_index, class, vendor, model, vram_mib,
        driver, compute, is_simulated)
    select gen_random_uuid(), s.node_id, d.hardware_id, d.device_index, d.class, d.vendor, d.model,
        d.vram_mib, d.driver, d.compute, d.is_simulated
    from stored s, inventory_devices($6) d
    on conflict on constraint devices_one do update set device_index = excluded.device_index,
        class = excluded.class, vendor = excluded.vendor, model = excluded.model,
        vram_mib = excluded.vram_mib, driver = excluded.driver, compute = excluded.compute,
        is_simulated = excluded.is_simulated, is_present = true
), announced as (
    insert into events (account_id, kind, node_id, data)
    select account_id, 'node.enrolled', node_id, jsonb_build_object('name', $4, 'region', region)
    from stored
)
select j.outcome, coalesce(s.node_id, j.known_id) as node_id, j.account_id,
    coalesce(s.region, j.known_region) as region
from judged j left join stored s on true;

-- name: node_load
-- doc: What a signed call of a node is judged by.
-- in: node_id uuid, boot uuid
-- out: account_id uuid, region text, state text, public_key bytea, boot uuid?, seq int8,
--      is_past_boot bool, receipt_seq int8, inventory_sha256 text, floors jsonb, is_opted_in bool,
--      silent_ms int8, takes_bids bool
select account_id, region, state, public_key, boot, seq, $2 = any (past_boots) as is_past_boot,
    receipt_seq, inventory_sha256, floors, is_opted_in,
    ms_between(last_seen_at, now()) as silent_ms, takes_bids
from nodes
where node_id = $1;

-- name: node_sync_store
-- doc: A node was heard of: it is live again, its meters go on where they paused, and its inventory,
--      floors and wish to trade are as reported (null: as before). A retired node and a superseded boot
--      have no row.
-- batch: true
-- in: node_id uuid, boot uuid, seq int8, is_opted_in bool, floors jsonb, inventory jsonb?,
--     inventory_sha256 text?, takes_bids bool
-- out: ord int4, account_id uuid, was_silent bool
with member as (
    select * from unnest($1::uuid[], $2::uuid[], $3::int8[], $4::bool[], $5::jsonb[], $6::jsonb[],
        $7::text[], $8::bool[]) with ordinality
        as m (node_id, boot, seq, is_opted_in, floors, inventory, inventory_sha256, takes_bids, ord)
), latest as (
    select distinct on (node_id) * from member order by node_id, ord desc
), locked as materialized (
    select l.*, n.account_id, n.state as before, n.unknown_at, n.boot as boot_before
    from nodes n join latest l using (node_id)
    where n.state <> 'retired' and not l.boot = any (n.past_boots)
    order by n.node_id
    for update of n
), paused as materialized (
    select l.lease_id, greatest(0, ms_between(greatest(k.unknown_at, l.running_at),
        least(now(), l.cut_at))) as ms
    from leases l join locked k using (node_id)
    where k.unknown_at is not null and l.running_at is not null and l.state <> 'closed'
    order by l.lease_id
    for update of l
), resumed as (
    update leases l set paused_ms = l.paused_ms + p.ms
    from paused p where l.lease_id = p.lease_id and p.ms > 0
), found as materialized (
    select k.node_id, d.* from locked k, inventory_devices(k.inventory) d where k.inventory is not null
), stored as (
    update nodes n set state = 'live', unknown_at = null, last_seen_at = now(), boot = k.boot,
        seq = case when k.boot = n.boot then greatest(n.seq, k.seq) else k.seq end,
        past_boots = case when n.boot is null or n.boot = k.boot then n.past_boots
            else (n.past_boots || n.boot)[greatest(1, cardinality(n.past_boots) - 14):] end,
        is_opted_in = k.is_opted_in, floors = k.floors, takes_bids = k.takes_bids,
        inventory = coalesce(k.inventory, n.inventory),
        inventory_sha256 = coalesce(k.inventory_sha256, n.inventory_sha256),
        trust = case when k.inventory is null then n.trust
            when exists (select from found f where f.node_id = k.node_id and f.is_simulated) then 'simulated'
            when n.trust = 'simulated' then 'unverified' else n.trust end
    from locked k where n.node_id = k.node_id
), devices_stored as (
    insert into devices (device_id, node_id, hardware_id, device_index, class, vendor, model, vram_mib,
        driver, compute, is_simulated)
    select gen_random_uuid(), node_id, hardware_id, device_index, class, vendor, model, vram_mib, driver,
        compute, is_simulated
    from found
    on conflict on constraint devices_one do update set device_index = excluded.device_index,
        class = excluded.class, vendor = excluded.vendor, model = excluded.model,
        vram_mib = excluded.vram_mib, driver = excluded.driver, compute = excluded.compute,
        is_simulated = excluded.is_simulated, is_present = true
), devices_gone as (
    update devices v set is_present = false
    from locked k
    where v.node_id = k.node_id and k.inventory is not null and v.is_present
      and not exists (select from found f where f.node_id = v.node_id and f.hardware_id = v.hardware_id)
), announced as (
    insert into events (account_id, kind, node_id)
    select account_id, 'node.live', node_id from locked where before <> 'live' order by node_id
)
select m.ord::int4, k.account_id, k.before <> 'live' as was_silent
from member m join locked k using (node_id)
order by m.ord;

-- name: node_lease_list
-- doc: The live leases of a node: what it shall run, and what closing them would follow from.
-- in: node_id uuid
-- out: lease_id uuid, epoch int4, state text, stage text?, close_reason text?, has_run bool,
--      workload_id uuid, workload_name text, replica_index int4, replicas int4, manifest text,
--      secrets_sealed bytea?, vcpu_milli int4, memory_mib int4, disk_mib int4, stop_grace_s int4,
--      interrupt_at timestamptz?, interrupt_reason text?, hardware_ids jsonb, restart text,
--      on_interruption text, attempt int4
select l.lease_id, l.epoch, l.state, l.stage, l.close_reason, l.running_at is not null as has_run,
    w.workload_id, w.name as workload_name, l.replica_index, w.replicas, w.manifest, w.secrets_sealed,
    w.vcpu_milli, w.memory_mib, w.disk_mib, ((lease_grace_ms(l, w.stop_grace_s) + 999) / 1000)::int4 as stop_grace_s,
    l.interrupt_at, l.interrupt_reason,
    (select coalesce(jsonb_agg(d.hardware_id order by d.device_index), '[]')
     from devices d where d.device_id = any (l.device_ids)) as hardware_ids,
    w.restart, w.on_interruption, r.attempt
from leases l
join workloads w using (workload_id)
join replicas r using (replica_id)
where l.node_id = $1 and l.state <> 'closed'
order by l.lease_id;

-- name: node_receipt_store
-- doc: Signed receipts, verified before; receipt_seq rises for ever. One that is not above what is stored
--      has no row.
-- batch: true
-- in: node_id uuid, seq int8, body text, signature bytea
-- out: ord int4
with member as (
    select * from unnest($1::uuid[], $2::int8[], $3::text[], $4::bytea[])
        with ordinality as m (node_id, seq, body, signature, ord)
), locked as materialized (
    select n.node_id, n.receipt_seq from nodes n
    where n.node_id in (select node_id from member)
    order by n.node_id
    for update of n
), fresh as (
    select distinct on (m.node_id, m.seq) m.* from member m join locked k using (node_id)
    where m.seq > k.receipt_seq
    order by m.node_id, m.seq, m.ord
), stored as (
    insert into receipts (node_id, seq, body, signature)
    select node_id, seq, body, signature from fresh
    on conflict do nothing
    returning node_id, seq
), risen as (
    update nodes n set receipt_seq = s.seq
    from (select node_id, max(seq) as seq from stored group by node_id) s
    where n.node_id = s.node_id
)
select f.ord::int4 from fresh f join stored using (node_id, seq) order by f.ord;

-- name: node_log_store
-- doc: Output of leases of one node. A chunk is taken when it starts where the stream ends; what is there
--      already is ignored, what lies over bytes_max is dropped. One row per lease named, is_known false
--      when it is none of this node's with this epoch.
-- in: node_id uuid, lease_ids uuid[], epochs int4[], offsets int8[], streams text[], ats timestamptz[],
--     bytes bytea[], bytes_max int8
-- out: lease_id uuid, is_known bool, workload_id uuid?, next_offset int8, is_full bool, is_longer bool
with chunk as (
    select * from unnest($2::uuid[], $3::int4[], $4::int8[], $5::text[], $6::timestamptz[], $7::bytea[])
        with ordinality as c (lease_id, epoch, log_offset, stream, at, bytes, ord)
), locked as materialized (
    select l.lease_id, l.epoch, l.workload_id, l.log_bytes from leases l
    where l.node_id = $1 and l.lease_id in (select lease_id from chunk)
    order by l.lease_id
    for update
), fresh as (
    select distinct on (c.lease_id, c.log_offset) c.*, k.log_bytes
    from chunk c join locked k using (lease_id, epoch)
    where c.log_offset >= k.log_bytes and length(c.bytes) > 0
    order by c.lease_id, c.log_offset, c.ord
), placed as (
    select f.*, log_bytes + coalesce(sum(length(bytes)) over (partition by lease_id order by log_offset
        rows between unbounded preceding and 1 preceding), 0) as expected
    from fresh f
), taken as (
    select lease_id, log_offset, stream, at,
        substring(bytes from 1 for least(length(bytes), $8 - log_offset)::int4) as bytes
    from (select p.*, bool_and(log_offset = expected) over (partition by lease_id order by log_offset)
            as is_next from placed p) p
    where is_next and log_offset < $8
), stored as (
    insert into log_chunks (lease_id, log_offset, stream, at, bytes)
    select lease_id, log_offset, stream, at, bytes from taken
    on conflict do nothing
), grown as (
    select lease_id, sum(length(bytes))::int8 as more from taken group by lease_id
), counted as (
    update leases l set log_bytes = l.log_bytes + g.more from grown g where l.lease_id = g.lease_id
)
select c.lease_id, k.lease_id is not null as is_known, k.workload_id,
    coalesce(k.log_bytes, 0) + coalesce(g.more, 0) as next_offset,
    coalesce(k.log_bytes + coalesce(g.more, 0) >= $8, true) as is_full, g.more is not null as is_longer
from (select distinct lease_id, epoch from chunk) c
left join locked k using (lease_id, epoch)
left join grown g on g.lease_id = k.lease_id
order by c.lease_id;

-- name: node_list
-- doc: Nodes of an account, newest first, or the one asked for; `before` is the last one already seen.
-- scope: account
-- in: account_id uuid, one uuid?, before uuid?, limit_count int4
-- out: node_id uuid, name text, region text, state text, trust text, is_opted_in bool,
--      last_seen_at timestamptz, created_at timestamptz, retired_at timestamptz?, reclaimed_at timestamptz?
select node_id, name, region, state, trust, is_opted_in, last_seen_at, created_at, retired_at, reclaimed_at
from nodes
where account_id = $1 and ($2 is null or node_id = $2) and ($3 is null or node_id < $3)
order by node_id desc
limit $4;

-- name: node_device_list
-- doc: Devices of some nodes of an account, in the order of the nodes' list.
-- scope: account
-- in: account_id uuid, node_ids uuid[]
-- out: node_id uuid, device_id uuid, hardware_id text, device_index int4, class text?, vendor text,
--      model text, vram_mib int4, is_simulated bool, is_present bool, is_reclaimed bool, ask_status text,
--      lease_id uuid?
select d.node_id, d.device_id, d.hardware_id, d.device_index, d.class, d.vendor, d.model, d.vram_mib,
    d.is_simulated, d.is_present, coalesce(d.reclaimed_at, n.reclaimed_at) is not null as is_reclaimed,
    ask_status(n.floors, d.class, s.price_uusd_per_device_hour) as ask_status, d.lease_id
from nodes n join devices d using (node_id)
left join asks s on s.account_id = n.account_id and s.class = d.class and s.region = n.region
    and s.withdrawn_at is null
where n.account_id = $1 and n.node_id = any ($2)
order by d.node_id desc, d.device_index, d.hardware_id;

-- name: node_reclaim
-- doc: The owner wants the node back, or with lease_id only the devices of that lease: nothing new is sold
--      there, and the leader's sweep gives what runs its notice. is_found: the lease is live and there. No
--      row: no such node. Safe to repeat.
-- scope: account
-- in: account_id uuid, node_id uuid, lease_id uuid?
-- out: is_found bool, leases_count int4
with node as materialized (
    select node_id, account_id, reclaimed_at from nodes
    where account_id = $1 and node_id = $2 and state <> 'retired'
    for update
), live as (
    select l.lease_id, l.device_ids from leases l join node using (node_id)
    where l.state <> 'closed' and ($3 is null or l.lease_id = $3)
), marked as (
    update nodes n set reclaimed_at = now()
    from node where n.node_id = node.node_id and $3 is null and node.reclaimed_at is null
    returning n.node_id, n.account_id
), devices_marked as (
    update devices d set reclaimed_at = now()
    from live where $3 is not null and d.device_id = any (live.device_ids) and d.reclaimed_at is null
    returning d.node_id
), announced as (
    insert into events (account_id, kind, node_id, lease_id)
    select account_id, 'node.reclaimed', node_id, null from marked
    union all
    select n.account_id, 'node.reclaimed', n.node_id, $3
    from node n where exists (select from devices_marked)
)
select $3 is null or exists (select from live) as is_found, (select count(*) from live)::int4 as leases_count
from node;

-- name: node_resume
-- doc: What was reclaimed is for sale again. Leases with a notice leave all the same; those that were to get
--      one stay, unless a sweep is giving it in this moment: then its event says so. No row: no such node.
--      Safe to repeat.
-- scope: account
-- in: account_id uuid, node_id uuid
-- out: leaving_count int4, staying_count int4
with node as materialized (
    select node_id, account_id, reclaimed_at from nodes
    where account_id = $1 and node_id = $2 and state <> 'retired'
    for update
), fate as materialized (
    select count(*) filter (where l.notice_at is not null)::int4 as leaving_count,
        count(*) filter (where l.notice_at is null and (node.reclaimed_at is not null or exists (
            select from devices d where d.device_id = any (l.device_ids) and d.reclaimed_at is not null
        )))::int4 as staying_count
    from node join leases l on l.node_id = node.node_id and l.state in ('awarded', 'starting', 'running')
), marked as (
    update nodes n set reclaimed_at = null
    from node where n.node_id = node.node_id and node.reclaimed_at is not null
    returning n.node_id
), devices_marked as (
    update devices d set reclaimed_at = null
    from node where d.node_id = node.node_id and d.reclaimed_at is not null
    returning d.node_id
), announced as (
    insert into events (account_id, kind, node_id, data)
    select account_id, 'node.resumed', node_id,
        jsonb_build_object('leases_leaving', leaving_count, 'leases_staying', staying_count)
    from node, fate
    where exists (select from marked) or exists (select from devices_marked)
)
select leaving_count, staying_count from node, fate;

-- name: node_retire
-- doc: The node trades no more. Its live leases are for the caller to close. Safe to repeat.
-- scope: account
-- in: account_id uuid, node_id uuid
-- out: node_id uuid
with retired as (
    update nodes n
    set state = 'retired', retired_at = coalesce(n.retired_at, now()), unknown_at = null
    where n.account_id = $1 and n.node_id = $2
    returning n.node_id, n.account_id
), gone as (
    update devices d set is_present = false from retired r where d.node_id = r.node_id and d.is_present
), announced as (
    insert into events (account_id, kind, node_id)
    select n.account_id, 'node.retired', n.node_id
    from nodes n join retired r using (node_id)
    where n.state <> 'retired'
)
select node_id from retired;
