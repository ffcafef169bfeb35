-- name: ledger_seal_last
-- lane: read
-- out: seal_id int8, last_xact text, last_journal_id int8, seal_sha256 bytea
select seal_id, last_xact::text as last_xact, last_journal_id, seal_sha256
from ledger_seals
order by seal_id desc
limit 1;

-- name: ledger_seal_lines
-- doc: Journals after a place, oldest first, one row per entry, none of a transaction that could still have
--      older company; or, up to a second place, those of one seal.
-- lane: read
-- in: after_xact text, after_journal_id int8, upto_xact text?, upto_journal_id int8, journals_max int4
-- out: journal_id int8, xact text, kind text, actor text, request_id text, epoch int8?, memo text,
--      source_key text, created_at timestamptz, line int4?, ledger_account_id int8?, amount_uusd int8?,
--      ref text, parts text
select j.journal_id, j.xact::text as xact, j.kind, j.actor, coalesce(j.request_id::text, '') as request_id,
    j.epoch, coalesce(j.memo, '') as memo, coalesce(j.source_key, '') as source_key, j.created_at,
    e.line, e.ledger_account_id, e.amount_uusd, coalesce(e.ref::text, '') as ref,
    coalesce((select string_agg(format(E'P|%s|%s\n', p.ref, p.amount_uusd), '' order by p.nth)
        from unnest(e.parts, e.parts_uusd) with ordinality p (ref, amount_uusd, nth)), '') as parts
from (
    select * from journals
    where (xact, journal_id) > ($1::text::xid8, $2::int8)
      and ($3::text is null or (xact, journal_id) <= ($3::text::xid8, $4::int8))
      and xact < pg_snapshot_xmin(pg_current_snapshot())
    order by xact, journal_id
    limit $5
) j
left join entries e using (journal_id)
order by j.xact, j.journal_id, e.line;

-- name: ledger_seal_store
-- in: seal_id int8, journals_count int8, last_xact text, last_journal_id int8, seal_sha256 bytea
insert into ledger_seals (seal_id, journals_count, last_xact, last_journal_id, seal_sha256)
values ($1, $2, $3::text::xid8, $4, $5);

-- name: ledger_seal_list
-- lane: read
-- in: after int8
-- out: seal_id int8, journals_count int8, last_xact text, last_journal_id int8, seal_sha256 bytea
select seal_id, journals_count, last_xact::text as last_xact, last_journal_id, seal_sha256
from ledger_seals
where seal_id > $1
order by seal_id
limit 1000;
