-- Why: the root of a round's arrivals is public. With one arrival in a round and no salt in its message, whoever
-- knows a rival's account could try prices until the root comes out.

alter table asks add column salt uuid not null default gen_random_uuid();
comment on column asks.salt is 'In the message that was promised; known to the account alone.';
alter table direct_bids add column salt uuid not null default gen_random_uuid();
comment on column direct_bids.salt is 'In the message that was promised; known to the account alone.';

drop function ask_message (uuid, text, text, int8, int4, int4, text[]);
create function ask_message(account_id uuid, class text, region text, price int8, spot int4, guaranteed int4,
    tiers text[], salt uuid)
returns text language sql immutable as $$
    select concat_ws('|', 'undercut/ask/v2', account_id, class, region, price, spot, guaranteed,
        array_to_string(tiers, ','), salt)
$$;
drop function bid_message (uuid, uuid, uuid, int8);
create function bid_message(account_id uuid, workload_id uuid, node_id uuid, price int8, salt uuid)
returns text language sql immutable as $$
    select concat_ws('|', 'undercut/bid/v2', account_id, workload_id, node_id, price, salt)
$$;
