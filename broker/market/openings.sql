-- Who may see what of a sealed record: its rows, and the messages that arrived for it.

-- name: opening_round
-- in: market text, round int8
-- out: record bytea, opening_secret bytea, log_size int8, body bytea
select r.record, r.opening_secret, r.log_size, l.body
from rounds r join log_leaves l on l.market = r.market and l.size = r.log_size
where r.market = $1 and r.round = $2;

-- name: opening_arrivals
-- doc: All messages of a round in the order of R_t; the caller's own are marked, for an auditor all.
-- in: market text, round int8, account_id uuid?, is_auditor bool
-- out: place int8, message_sha256 bytea, is_shown bool
select a.place, a.message_sha256, $4 or coalesce(a.account_id = $3, false) as is_shown
from arrivals a
where a.market = $1 and a.round = $2
order by a.place;

-- name: opening_blocks
-- doc: Which blocks of a round are the caller's, and whose ask ended 30 days ago.
-- in: round int8, account_id uuid?, node_ids uuid[], regions text[], classes text[]
-- out: ord int4, is_own bool, is_open bool
select b.ord::int4, coalesce(n.account_id = $2, false) as is_own,
    ask_opens_at(n.account_id, b.class, b.region, $1) <= now() as is_open
from unnest($3, $4, $5) with ordinality b (node_id, region, class, ord)
join nodes n on n.node_id = b.node_id
order by b.ord;

-- name: opening_demands
-- doc: The same of workloads: they open 30 days after they ended.
-- in: account_id uuid?, workload_ids uuid[]
-- out: ord int4, is_own bool, is_open bool
select d.ord::int4, coalesce(w.account_id = $1, false) as is_own,
    coalesce(w.ended_at + interval '30 days' <= now(), false) as is_open
from unnest($2) with ordinality d (workload_id, ord)
join workloads w on w.workload_id = d.workload_id
order by d.ord;
