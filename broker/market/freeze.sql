-- name: arrivals_lock
-- doc: Waits for every batch of arrivals that is under way and holds off new ones until the commit.
-- lane: write
-- in: market text
-- out: locked int4
select 1 as locked
from (select pg_advisory_xact_lock(hashtext('undercut/arrivals/' || $1))) l;

-- name: round_open
-- doc: Closes a round to arrivals: the market's counter moves on and one link of the seed chain is spent.
--      Behind arrivals_lock, as a statement of its own. No row: not in office, or the link was spent.
-- in: market text, epoch int8, chain_id int8, chain_index int4
-- out: round int8
with office as (
    update leadership set renewed_at = now() where market = $1 and epoch = $2 returning market
), link as (
    update seed_chains c set next_index = c.next_index + 1
    from office o
    where c.market = o.market and c.chain_id = $3 and c.next_index = $4
    returning c.market
)
update markets m set round = m.round + 1
from link l
where m.market = l.market
returning m.round - 1 as round;

-- name: round_arrivals
-- doc: What stands in the round that round_open closed; as a statement behind it.
-- lane: write
-- in: market text
-- out: place int8, message_sha256 bytea, kind text
select place, message_sha256, kind
from arrivals
where market = $1 and round = (select m.round - 1 from markets m where m.market = $1)
order by place;

-- name: round_freeze
-- in: market text, round int8, kind text, epoch int8, inputs_root bytea, arrivals_count int4,
--     chain_id int8, chain_index int4
insert into rounds (market, round, kind, state, epoch, inputs_root, arrivals_count, chain_id, chain_index)
values ($1, $2, $3, 'frozen', $4, $5, $6, $7, $8);

-- name: round_frozen
-- doc: Rounds that were frozen and never committed.
-- lane: read
-- in: market text
-- out: round int8, inputs_root bytea, chain_id int8, chain_index int4
select round, inputs_root, chain_id, chain_index
from rounds
where market = $1 and state = 'frozen'
order by round;

-- name: round_finish
-- doc: frozen -> committed or void, once, with the record chained to the one before it, and its leaf in the log.
--      What was opened in this very transaction is stored whole. Where the round has ended before, the log refuses
--      a leaf without one.
-- in: market text, round int8, kind text, state text, epoch int8, inputs_root bytea, arrivals_count int4,
--     chain_id int8, chain_index int4, chain_value bytea?, seed bytea?, record bytea?, record_sha256 bytea,
--     awards_count int4, opening_secret bytea?, log_size int8, log_body bytea, leaf_sha256 bytea,
--     root_sha256 bytea, nodes bytea
-- out: log_size int8
with done as (
    insert into rounds as r (market, round, kind, state, epoch, inputs_root, arrivals_count, chain_id,
        chain_index, chain_value, seed, record, record_sha256, awards_count, opening_secret, log_size,
        committed_at, previous_sha256)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, now(),
        (select p.record_sha256 from rounds p
         where p.market = $1 and p.round < $2 and p.record_sha256 is not null
         order by p.round desc limit 1))
    on conflict (market, round) do update
    set state = excluded.state, chain_value = excluded.chain_value, seed = excluded.seed,
        record = excluded.record, record_sha256 = excluded.record_sha256,
        awards_count = excluded.awards_count, committed_at = excluded.committed_at,
        opening_secret = excluded.opening_secret, log_size = excluded.log_size,
        previous_sha256 = excluded.previous_sha256
    where r.state = 'frozen'
    returning r.round
)
select log_append($1, $16, 'round', (select round from done), $17, $18, $19, $20) as log_size;
