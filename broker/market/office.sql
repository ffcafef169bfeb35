-- name: office_claim
-- doc: Takes office when its holder fell silent for 3 s, or was this one before; no row: somebody else has it.
-- in: market text, holder text, address text
-- out: epoch int8
update leadership
set epoch = epoch + 1, holder = $2, address = $3, renewed_at = now(), started_at = now()
where market = $1 and (renewed_at < now() - interval '3 s' or holder = $2)
returning epoch;

-- name: office_renew
-- doc: Says that the holder lives; no row: its epoch is over.
-- in: market text, epoch int8
-- out: epoch int8
update leadership set renewed_at = now() where market = $1 and epoch = $2 returning epoch;

-- name: office_check
-- doc: The fence of every mutating transaction; no row: another epoch is in office.
-- in: market text, epoch int8
-- out: epoch int8
select epoch from leadership where market = $1 and epoch = $2 for share;

-- name: office_resign
-- doc: Leaves at once, so that a standby need not wait.
-- in: market text, epoch int8
update leadership set renewed_at = '-infinity' where market = $1 and epoch = $2;
