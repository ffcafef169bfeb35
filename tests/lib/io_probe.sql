-- Statements of the I/O layer's own tests; the table is made by the test that uses them.

-- name: probe_add
-- doc: Many members in one statement; a member whose amount is 13 breaks the table's check.
-- batch: true
-- in: id uuid, amount int8, note text?, is_big bool, made_at timestamptz?
-- out: ord int4, id uuid, amount int8
with member as (
    select *
    from unnest($1::uuid[], $2::int8[], $3::text[], $4::bool[], $5::timestamptz[])
        with ordinality as m (id, amount, note, is_big, made_at, ord)
), added as (
    insert into probe (id, amount, note, is_big, made_at)
    select id, amount, note, is_big, made_at from member
    on conflict (id) do nothing
    returning id, amount
)
select m.ord::int4 as ord, a.id, a.amount
from member m
join added a on a.id = m.id
order by m.ord;

-- name: probe_get
-- doc: One row of every type.
-- in: id uuid
-- out: id uuid, amount int8, note text?, is_big bool, made_at timestamptz?, rest int4,
--      raw bytea, doc jsonb
select id, amount, note, is_big, made_at, (amount % 1000)::int4 as rest,
    decode('00ff10', 'hex') as raw, jsonb_build_object('a', amount) as doc
from probe
where id = $1;

-- name: probe_when
-- doc: Tells executions apart: the calls that shared one have the same instant.
-- batch: true
-- lane: read
-- in: id uuid
-- out: ord int4, at_us int8
select m.ord::int4 as ord, (extract(epoch from statement_timestamp()) * 1000000)::int8 as at_us
from unnest($1::uuid[]) with ordinality as m (id, ord)
order by m.ord;

-- name: probe_count
-- doc: How many rows there are.
-- out: count int8
select count(*) as count from probe;

-- name: probe_of_ids
-- doc: Arrays as plain parameters.
-- in: ids uuid[], notes text[], amounts int8[], flags bool[], small int4[], docs jsonb[]
-- out: id uuid, widths int4
select id, (cardinality($2::text[]) * 10000 + cardinality($3::int8[]) * 1000
    + cardinality($4::bool[]) * 100 + cardinality($5::int4[]) * 10 + cardinality($6::jsonb[])) as widths
from probe
where id = any($1)
order by id;

-- name: probe_divide
-- doc: Fails for zero, so that a neighbour in the pipeline can be watched.
-- in: divisor int8
-- out: quotient int8
select 100 / $1::int8 as quotient;

-- name: probe_set_note
-- doc: A single write; the deferred constraint of the table refuses the note 'late' at commit.
-- in: id uuid, note text, doc jsonb
-- out: amount int8
update probe
set note = $2, doc = $3
where id = $1
returning amount;

-- name: probe_sleep
-- doc: Keeps the connection busy.
-- in: ms int8
select pg_sleep($1 / 1000.0);
