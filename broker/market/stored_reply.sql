-- First answers of POSTs that came with an Idempotency-Key. They are inserted by the statement that has the
-- effect (see account.sql), so that answer and effect are there both or not at all.

-- name: stored_reply_find
-- doc: What the first request with this key was answered.
-- scope: account
-- in: account_id uuid, operation text, key text
-- out: body_sha256 bytea, status int4, response_sealed bytea
select body_sha256, status, response_sealed
from idempotency
where account_id = $1 and operation = $2 and key = $3;
