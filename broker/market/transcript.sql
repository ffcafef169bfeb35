-- The log of a market: its size, its stored nodes, its leaves and its heads. Appending a round is part of
-- round_finish.

-- name: log_size_get
-- lane: read
-- in: market text
-- out: size int8
select coalesce(max(size), 0) as size from log_leaves where market = $1;

-- name: log_nodes_read
-- doc: Stored nodes in the order asked for; level 0 are the leaves. One that is not there has no row.
-- lane: read
-- in: market text, levels int4[], node_indexes int8[]
-- out: ord int4, hash bytea
select w.ord::int4, coalesce(l.leaf_sha256, n.hash) as hash
from unnest($2, $3) with ordinality w (level, node_index, ord)
left join log_leaves l on w.level = 0 and l.market = $1 and l.size = w.node_index + 1
left join log_nodes n on w.level > 0 and n.market = $1 and n.level = w.level and n.node_index = w.node_index
where l.size is not null or n.level is not null
order by w.ord;

-- name: chain_announce
-- doc: The anchor of a seed chain as a leaf of the log, once. No row: it was announced already.
-- in: chain_id int8, market text, size int8, body bytea, leaf_sha256 bytea, root_sha256 bytea, nodes bytea
-- out: size int8
with fresh as (
    update seed_chains set log_size = $3
    where chain_id = $1 and log_size is null
    returning chain_id
)
select log_append($2, $3, 'anchor', null, $4, $5, $6, $7) as size from fresh;

-- name: log_head_put
-- doc: The market's signed word about the log at a size; said again each second, never with another root.
-- in: market text, epoch int8, size int8, root_sha256 bytea, signed_at_us int8, signature bytea
-- out: size int8
insert into log_heads as h (market, size, root_sha256, signed_at_us, signature)
select $1, $3, $4, $5, $6 from leadership l where l.market = $1 and l.epoch = $2
on conflict (market, size) do update
set signed_at_us = excluded.signed_at_us, signature = excluded.signature
where h.root_sha256 = excluded.root_sha256
returning h.size;

-- name: log_head_get
-- doc: The newest head, or the newest of at most a size.
-- in: market text, size int8?
-- out: size int8, root_sha256 bytea, signed_at_us int8, signature bytea, signing_public_key bytea
select h.size, h.root_sha256, h.signed_at_us, h.signature, m.signing_public_key
from log_heads h join markets m using (market)
where h.market = $1 and h.size <= coalesce($2, 9223372036854775807)
order by h.size desc
limit 1;

-- name: log_leaf_list
-- doc: Leaves from a place on, or those of rounds from one on; all kinds, or one.
-- in: market text, start_index int8, round int8?, kind text?, limit_count int4
-- out: size int8, kind text, round int8?, body bytea, leaf_sha256 bytea, root_sha256 bytea
select l.size, l.kind, l.round, l.body, l.leaf_sha256, l.root_sha256
from log_leaves l
where l.market = $1
    and l.size > coalesce((select f.size - 1 from log_leaves f where f.market = $1 and f.round >= $3
        order by f.round limit 1), case when $3 is null then $2 else 9223372036854775807 end)
    and ($4 is null or l.kind = $4)
order by l.size
limit $5;
