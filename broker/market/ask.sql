-- Asks: an account's one standing sealed price per class and region. A change is stamped with the round
-- it counts for behind the shared arrivals lock, as 0003_rounds.sql says.

-- name: ask_put
-- doc: Sets an ask and lets it arrive. No row: the class or the region is unknown.
-- scope: account
-- in: account_id uuid, market text, class text, region text, price_uusd_per_device_hour int8,
--     spot_multiplier_bp int4, guaranteed_multiplier_bp int4, tiers text[]
-- out: version int4, updated_at timestamptz, message_sha256 bytea, round int8, place int8, salt text
with l as materialized (
    select pg_advisory_xact_lock_shared(hashtext('undercut/arrivals/' || $2))
), t as materialized (
    select m.round from l, lateral (select round from markets where market = $2 for share) m
), s as materialized (
    select gen_random_uuid() as salt
), stored as (
    insert into asks (account_id, class, region, price_uusd_per_device_hour, spot_multiplier_bp,
        guaranteed_multiplier_bp, tiers, arrived_round, salt, message_sha256)
    select a.account_id, c.class, r.region, $5, $6, $7, $8, t.round, s.salt,
        text_sha256(ask_message(a.account_id, c.class, r.region, $5, $6, $7, $8, s.salt))
    from t, s, accounts a, device_classes c, regions r
    where a.account_id = $1 and c.class = $3 and r.region = $4
    on conflict (account_id, class, region) do update set
        price_uusd_per_device_hour = excluded.price_uusd_per_device_hour,
        spot_multiplier_bp = excluded.spot_multiplier_bp,
        guaranteed_multiplier_bp = excluded.guaranteed_multiplier_bp, tiers = excluded.tiers,
        arrived_round = excluded.arrived_round, salt = excluded.salt, message_sha256 = excluded.message_sha256,
        version = asks.version + 1, updated_at = now(), withdrawn_at = null, priced_by_node_id = null
    returning account_id, version, updated_at, message_sha256, arrived_round, salt
), arrived as (
    insert into arrivals (market, round, kind, account_id, message_sha256)
    select $2, arrived_round, 'ask', account_id, message_sha256 from stored
    returning place
)
select s.version, s.updated_at, s.message_sha256, s.arrived_round as round, a.place, s.salt::text as salt
from stored s, arrived a;

-- name: ask_withdraw
-- doc: Nothing new is sold; running leases go on. No row: there never was such an ask.
-- scope: account
-- in: account_id uuid, market text, class text, region text
-- out: was_standing bool
with l as materialized (
    select pg_advisory_xact_lock_shared(hashtext('undercut/arrivals/' || $2))
), t as materialized (
    select m.round from l, lateral (select round from markets where market = $2 for share) m
), withdrawn as (
    update asks s set withdrawn_at = now(), updated_at = now(), version = s.version + 1,
        arrived_round = t.round, message_sha256 = text_sha256(withdraw_message(s.account_id, s.class, s.region))
    from t
    where s.account_id = $1 and s.class = $3 and s.region = $4 and s.withdrawn_at is null
    returning s.account_id, s.arrived_round, s.message_sha256
), arrived as (
    insert into arrivals (market, round, kind, account_id, message_sha256)
    select $2, arrived_round, 'withdraw', account_id, message_sha256 from withdrawn
)
select exists (select from withdrawn) as was_standing
from asks s
where s.account_id = $1 and s.class = $3 and s.region = $4;

-- name: ask_offer
-- doc: The ask of an account that has none yet, from the floor of one of its nodes. One that stands, or
--      was withdrawn, is the owner's own word and stays.
-- batch: true
-- in: account_id uuid, market text, class text, region text, price_uusd_per_device_hour int8
-- out: ord int4
with member as (
    select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::int8[])
        with ordinality as m (account_id, market, class, region, price, ord)
), l as materialized (
    select market, pg_advisory_xact_lock_shared(hashtext('undercut/arrivals/' || market))
    from (select distinct market from member order by market) m
), t as materialized (
    select l.market, m.round
    from l, lateral (select round from markets where market = l.market for share) m
), salted as materialized (
    select m.*, gen_random_uuid() as salt from member m
), stored as (
    insert into asks (account_id, class, region, price_uusd_per_device_hour, arrived_round, salt, message_sha256)
    select distinct on (m.account_id, m.class, m.region) m.account_id, m.class, m.region, m.price, t.round, m.salt,
        text_sha256(ask_message(m.account_id, m.class, m.region, m.price, 10000, 10000,
            '{flexible,spot}', m.salt))
    from salted m join t using (market)
    order by m.account_id, m.class, m.region, m.ord
    on conflict do nothing
    returning account_id, class, region, arrived_round, message_sha256
), first as (
    select distinct on (m.account_id, m.class, m.region) m.ord, m.market, s.account_id, s.arrived_round,
        s.message_sha256
    from member m join stored s using (account_id, class, region)
    order by m.account_id, m.class, m.region, m.ord
), arrived as (
    insert into arrivals (market, round, kind, account_id, message_sha256)
    select market, arrived_round, 'ask', account_id, message_sha256 from first order by ord
)
select ord::int4 from first order by ord;

-- name: ask_move
-- doc: A node whose agent prices by rules moves its account's standing ask. One node at a time does: the
--      first, until it is no longer live or the owner sets the ask by hand. A withdrawn ask stays withdrawn.
-- batch: true
-- in: node_id uuid, market text, class text, price_uusd_per_device_hour int8
-- out: ord int4
with member as (
    select m.*, n.account_id, n.region
    from unnest($1::uuid[], $2::text[], $3::text[], $4::int8[])
        with ordinality as m (node_id, market, class, price, ord) join nodes n using (node_id)
), l as materialized (
    select market, pg_advisory_xact_lock_shared(hashtext('undercut/arrivals/' || market))
    from (select distinct market from member order by market) m
), t as materialized (
    select l.market, m.round
    from l, lateral (select round from markets where market = l.market for share) m
), first as materialized (
    select distinct on (m.account_id, m.class, m.region) m.*, t.round, gen_random_uuid() as salt
    from member m join t using (market)
    order by m.account_id, m.class, m.region, m.ord
), moved as (
    update asks s set price_uusd_per_device_hour = f.price, arrived_round = f.round, salt = f.salt,
        message_sha256 = text_sha256(ask_message(s.account_id, s.class, s.region, f.price,
            s.spot_multiplier_bp, s.guaranteed_multiplier_bp, s.tiers, f.salt)),
        version = s.version + 1, updated_at = now(), priced_by_node_id = f.node_id
    from first f
    where s.account_id = f.account_id and s.class = f.class and s.region = f.region
      and s.withdrawn_at is null and s.price_uusd_per_device_hour <> f.price
      and (s.priced_by_node_id is null or s.priced_by_node_id = f.node_id or not exists (
          select from nodes n where n.node_id = s.priced_by_node_id and n.state = 'live'))
    returning f.ord, f.market, s.account_id, s.arrived_round, s.message_sha256
), arrived as (
    insert into arrivals (market, round, kind, account_id, message_sha256)
    select market, arrived_round, 'ask', account_id, message_sha256 from moved order by ord
)
select ord::int4 from moved order by ord;

-- name: ask_list
-- doc: The account's standing asks.
-- scope: account
-- in: account_id uuid
-- out: class text, region text, price_uusd_per_device_hour int8, spot_multiplier_bp int4,
--      guaranteed_multiplier_bp int4, tiers text, version int4, arrived_round int8, updated_at timestamptz
select class, region, price_uusd_per_device_hour, spot_multiplier_bp, guaranteed_multiplier_bp,
    array_to_string(tiers, ',') as tiers, version, arrived_round, updated_at
from asks
where account_id = $1 and withdrawn_at is null
order by class, region;

-- name: ask_list_of_node
-- doc: For each class of a node: its own floor, the account's standing ask, and whether the two agree.
--      is_new: nobody ever set an ask here, so the floor becomes it.
-- in: node_id uuid
-- out: class text, region text, node_price int8?, price int8?, status text, is_new bool
select c.class, n.region, floor_of(n.floors, c.class) as node_price,
    p.price, ask_status(n.floors, c.class, p.price) as status,
    s.account_id is null and floor_of(n.floors, c.class) is not null as is_new
from nodes n
join lateral (select distinct d.class from devices d
    where d.node_id = n.node_id and d.is_present and d.class is not null) c on true
left join asks s on s.account_id = n.account_id and s.class = c.class and s.region = n.region
cross join lateral (
    select case when s.withdrawn_at is null then s.price_uusd_per_device_hour end as price) p
where n.node_id = $1
order by c.class;

-- name: ask_node_list
-- doc: The nodes whose agents want to know of a changed ask.
-- scope: account
-- in: account_id uuid, class text, region text
-- out: node_id uuid
select n.node_id
from nodes n
where n.account_id = $1 and n.region = $3 and n.state <> 'retired'
  and exists (select from devices d where d.node_id = n.node_id and d.class = $2 and d.is_present);
