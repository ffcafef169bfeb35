-- Accounts and their API keys. An `idem_*` group stores the first answer of a POST in the same statement
-- as its effect; without idem_key nothing is stored. is_done false: another request used the key first.

-- name: account_create
-- doc: A new account with its first key. Its ledger accounts are opened by a trigger.
-- in: account_id uuid, name text, email text?, mode text, created_at timestamptz, key_id uuid,
--     secret_sha256 bytea, scopes text, idem_key text?, idem_body_sha256 bytea?, idem_response bytea?
-- out: is_done bool
with once as (
    insert into idempotency (account_id, operation, key, body_sha256, status, response_sealed)
    select '00000000-0000-0000-0000-000000000000', 'account_create', $9, $10, 201, $11
    where $9 is not null
    on conflict do nothing
    returning 1
), account as (
    insert into accounts (account_id, name, email, mode, created_at)
    select $1, $2, $3, $4, $5
    where $9 is null or exists (select from once)
    returning account_id
), first_key as (
    insert into api_keys (key_id, account_id, name, secret_sha256, scopes, created_at)
    select $6, account_id, 'first', $7, $8, $5 from account
    returning 1
)
select exists (select from first_key) as is_done;

-- name: account_get
-- doc: The caller's account.
-- scope: account
-- in: account_id uuid
-- out: name text, email text?, mode text, created_at timestamptz
select name, email, mode, created_at
from accounts
where account_id = $1;

-- name: api_key_create
-- doc: One more key of an account, by a key that is neither revoked nor expired now, whatever caches and
--      tokens still say of it: else whoever stole it would outlive its revocation.
-- scope: account
-- in: account_id uuid, key_id uuid, name text, secret_sha256 bytea, scopes text,
--     created_at timestamptz, expires_at timestamptz?, idem_key text?, idem_body_sha256 bytea?,
--     idem_response bytea?, caller_key_id uuid
-- out: is_live bool, is_done bool
with caller as materialized (
    select account_id
    from api_keys
    where account_id = $1 and key_id = $11 and revoked_at is null and (expires_at is null or expires_at > now())
    for share
), once as (
    insert into idempotency (account_id, operation, key, body_sha256, status, response_sealed)
    select account_id, 'api_key_create', $8, $9, 201, $10
    from caller
    where $8 is not null
    on conflict do nothing
    returning 1
), made as (
    insert into api_keys (key_id, account_id, name, secret_sha256, scopes, created_at, expires_at)
    select $2, account_id, $3, $4, $5, $6, $7
    from caller
    where $8 is null or exists (select from once)
    returning 1
)
select exists (select from caller) as is_live, exists (select from made) as is_done;

-- name: api_key_list
-- doc: Keys of an account, newest first, without secrets; `before` is the last one already seen.
-- scope: account
-- in: account_id uuid, before uuid?, limit_count int4
-- out: key_id uuid, name text, scopes text, created_at timestamptz, expires_at timestamptz?,
--      revoked_at timestamptz?
select key_id, name, scopes, created_at, expires_at, revoked_at
from api_keys
where account_id = $1 and ($2 is null or key_id < $2)
order by key_id desc
limit $3;

-- name: api_key_revoke
-- doc: The key is worthless from now on; the first time stands. The hash names the caches' entry.
-- scope: account
-- in: account_id uuid, key_id uuid
-- out: secret_sha256 bytea
update api_keys
set revoked_at = coalesce(revoked_at, now())
where account_id = $1 and key_id = $2
returning secret_sha256;

-- name: api_key_find
-- doc: Whose key has this hash, and what it may do; is_live is false once expired or revoked.
-- in: secret_sha256 bytea
-- out: key_id uuid, account_id uuid, scopes text, mode text, expires_at timestamptz?,
--      revoked_at timestamptz?, is_live bool
select k.key_id, k.account_id, k.scopes, a.mode, k.expires_at, k.revoked_at,
    k.revoked_at is null and (k.expires_at is null or k.expires_at > now()) as is_live
from api_keys k
join accounts a using (account_id)
where k.secret_sha256 = $1;

-- name: account_make_admin_key
-- doc: A key for the platform's own account, which is made if it is not there yet.
-- in: account_id uuid, key_id uuid, name text, secret_sha256 bytea, scopes text
-- out: key_id uuid
with platform as (
    insert into accounts (account_id, name, mode)
    values ($1, 'platform', 'live')
    on conflict do nothing
)
insert into api_keys (key_id, account_id, name, secret_sha256, scopes)
values ($2, $1, $3, $4, $5)
returning key_id;
