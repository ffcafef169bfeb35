-- name: seed_chain_load
-- doc: The chain in use, or one by its id.
-- lane: read
-- in: market text, chain_id int8?
-- out: chain_id int8, secret_sealed bytea, anchor bytea, length int4, next_index int4
select chain_id, secret_sealed, anchor, length, next_index
from seed_chains
where market = $1 and ($2::int8 is null or chain_id = $2)
order by chain_id desc
limit 1;

-- name: seed_chain_store
-- in: market text, secret_sealed bytea, anchor bytea, length int4
-- out: chain_id int8
insert into seed_chains (market, secret_sealed, anchor, length)
values ($1, $2, $3, $4)
returning chain_id;
