-- Why: what is traded (regions, device classes), who offers it (nodes, devices), and at which price (asks).

create table regions (
    region text primary key check (region ~ '^[a-z][a-z0-9-]{1,31}$'),
    title text not null,
    country text not null,
    lat_udeg int4 not null check (lat_udeg between -90000000 and 90000000),
    lon_udeg int4 not null check (lon_udeg between -180000000 and 180000000)
);
comment on column regions.lat_udeg is 'Latitude in millionths of a degree.';
insert into regions (region, title, country, lat_udeg, lon_udeg) values
    ('eu-west', 'Western Europe (Amsterdam)', 'NL', 52370000, 4895000),
    ('eu-central', 'Central Europe (Frankfurt)', 'DE', 50110000, 8682000),
    ('us-east', 'US East (Virginia)', 'US', 39044000, -77487000),
    ('us-west', 'US West (Oregon)', 'US', 45840000, -119700000),
    ('ap-southeast', 'Asia Pacific (Singapore)', 'SG', 1352000, 103820000),
    ('ap-northeast', 'Asia Pacific (Tokyo)', 'JP', 35682000, 139759000);

create table device_classes (
    class text primary key check (class ~ '^[a-z0-9][a-z0-9-]{1,47}$'),
    vendor text not null check (vendor in ('nvidia', 'amd', 'cpu')),
    models text[] not null,
    vram_mib int4 not null check (vram_mib >= 0),
    vcpu_min int4 not null check (vcpu_min > 0),
    memory_mib_min int4 not null check (memory_mib_min > 0),
    disk_mib_min int4 not null check (disk_mib_min >= 0),
    catalogue_uusd_per_hour int8 not null check (catalogue_uusd_per_hour > 0)
);
comment on column device_classes.models is 'Names a driver may report for this class; the first is the title.';
comment on column device_classes.vcpu_min is 'Least vCPU, memory and disk a node must offer PER DEVICE of the class.';
comment on column device_classes.catalogue_uusd_per_hour is 'Stands in for B while a class has too few settled prices.';
insert into device_classes values
    ('rtx-3090', 'nvidia', '{NVIDIA GeForce RTX 3090}', 24576, 4, 8192, 20480, 220000),
    ('rtx-4090', 'nvidia', '{NVIDIA GeForce RTX 4090}', 24564, 4, 8192, 20480, 390000),
    ('rtx-5090', 'nvidia', '{NVIDIA GeForce RTX 5090}', 32607, 4, 8192, 20480, 690000),
    ('rtx-a6000', 'nvidia', '{NVIDIA RTX A6000}', 49140, 4, 8192, 20480, 652000),
    ('rtx-6000-ada', 'nvidia', '{NVIDIA RTX 6000 Ada Generation}', 49140, 4, 8192, 20480, 1172000),
    ('l40s', 'nvidia', '{NVIDIA L40S}', 46068, 4, 16384, 40960, 1542500),
    ('a100-40g', 'nvidia', '{NVIDIA A100-SXM4-40GB,NVIDIA A100-PCIE-40GB}', 40960, 4, 16384, 40960, 1293700),
    ('a100-80g', 'nvidia', '{NVIDIA A100-SXM4-80GB,NVIDIA A100 80GB PCIe}', 81920, 8, 32768, 40960, 1787500),
    ('h100-80g', 'nvidia', '{NVIDIA H100 80GB HBM3,NVIDIA H100 PCIe}', 81559, 8, 32768, 40960, 3627000),
    ('h200-141g', 'nvidia', '{NVIDIA H200}', 143771, 8, 32768, 40960, 4732000),
    ('mi300x', 'amd', '{AMD Instinct MI300X}', 196608, 8, 32768, 40960, 2590000),
    ('cpu-1c2g', 'cpu', '{cpu-1c2g}', 0, 1, 2048, 1024, 20000),
    ('cpu-2c4g', 'cpu', '{cpu-2c4g}', 0, 2, 4096, 1024, 40000),
    ('cpu-4c8g', 'cpu', '{cpu-4c8g}', 0, 4, 8192, 1024, 80000);

create table node_tokens (
    token_id uuid primary key,
    account_id uuid not null references accounts,
    secret_sha256 bytea not null unique check (length(secret_sha256) = 32),
    region text references regions,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    used_at timestamptz,
    node_id uuid
);

create table nodes (
    node_id uuid primary key,
    account_id uuid not null references accounts,
    name text not null check (length(name) between 1 and 63),
    region text not null references regions,
    public_key bytea not null unique check (length(public_key) = 32),
    state text not null default 'live' check (state in ('live', 'unknown', 'lost', 'retired')),
    trust text not null default 'unverified'
        check (trust in ('simulated', 'unverified', 'verified', 'attested')),
    is_opted_in bool not null default true,
    floors jsonb not null default '{}',
    boot uuid,
    past_boots uuid[] not null default '{}',
    seq int8 not null default 0,
    receipt_seq int8 not null default 0,
    inventory jsonb not null default '{}',
    inventory_sha256 text not null default '',
    suspect_until timestamptz,
    failures_count int4 not null default 0,
    healthy_hours_e3 int8 not null default 0,
    last_seen_at timestamptz not null default now(),
    unknown_at timestamptz,
    created_at timestamptz not null default now(),
    retired_at timestamptz
) with (fillfactor = 50);
create index nodes_account on nodes (account_id, node_id);
comment on column nodes.unknown_at is 'When 10 s of silence began to count; meters of its leases pause from here.';
comment on column nodes.past_boots is 'Starts of the agent that a later one superseded, newest last: their calls are refused.';
comment on column nodes.floors is
    'The owner''s floors as the agent carries them: class (or *) to uusd per device-hour. See floor_of().';
comment on column nodes.receipt_seq is 'The highest receipt stored; rises for ever.';

create table devices (
    device_id uuid primary key,
    node_id uuid not null references nodes,
    hardware_id text not null,
    device_index int4 not null,
    class text references device_classes,
    vendor text not null,
    model text not null,
    vram_mib int4 not null,
    driver text not null default '',
    compute text not null default '',
    is_simulated bool not null,
    is_present bool not null default true,
    lease_id uuid,
    constraint devices_one unique (node_id, hardware_id)
) with (fillfactor = 45);
comment on table devices is
    'No index covers a lease, so that an award leaves the row where its indexes point: a lease knows its devices.';
comment on column devices.class is 'Null: the node does not offer what the class asks per device, or the model is unknown.';
comment on column devices.lease_id is 'The one live lease that holds this device; set by the award, cleared by the close.';

-- A node's own price for a class, null: it follows the account's ask.
create function floor_of(floors jsonb, class text) returns int8 language sql immutable as $$
    select coalesce(floors ->> class, floors ->> '*')::int8
$$;
-- Where a node's own price differs from the standing ask, the node is not offered.
create function floor_agrees(floors jsonb, class text, ask int8) returns bool language sql immutable as $$
    select coalesce(floor_of(floors, class), ask) = ask
$$;
-- As operators are told; `ask` null: none stands.
create function ask_status(floors jsonb, class text, ask int8) returns text language sql immutable as $$
    select case when ask is null then 'none' when floor_agrees(floors, class, ask) then 'standing' else 'mismatch' end
$$;

-- The devices of an inventory, each with the class it counts to. A device is of a class when vendor and
-- model match, its memory is within 5 % of the class's, and the node still has the class's vCPU, memory and
-- disk left after all dearer devices took theirs. A simulated device needs no machine behind it.
create function inventory_devices(inventory jsonb)
returns table (hardware_id text, device_index int4, class text, vendor text, model text, vram_mib int4,
    driver text, compute text, is_simulated bool)
language sql stable as $$
    with device as (
        select d.hardware_id, d.index, d.vendor, d.model, d.vram_mib, d.driver, d.compute,
            d.is_simulated or coalesce((inventory ->> 'is_simulated')::bool, false) as is_simulated
        from jsonb_to_recordset(inventory -> 'devices') as d (hardware_id text, index int4, vendor text,
            model text, vram_mib int4, driver text, compute text, is_simulated bool)
    ), matched as (
        select d.*, c.class, c.catalogue_uusd_per_hour as worth,
            case when d.is_simulated then 0 else c.vcpu_min end as vcpu,
            case when d.is_simulated then 0 else c.memory_mib_min end as memory_mib,
            case when d.is_simulated then 0 else c.disk_mib_min end as disk_mib
        from device d left join device_classes c on c.vendor = d.vendor and d.model = any (c.models)
            and d.vram_mib >= c.vram_mib - c.vram_mib / 20
    ), needed as (
        select m.*, sum(vcpu) over nth as vcpu_sum, sum(memory_mib) over nth as memory_mib_sum,
            sum(disk_mib) over nth as disk_mib_sum
        from matched m
        window nth as (order by worth desc nulls last, index, hardware_id rows unbounded preceding)
    )
    select hardware_id, index, case when is_simulated or (
            vcpu_sum <= (inventory ->> 'vcpu')::int8 and
            memory_mib_sum <= (inventory ->> 'memory_mib')::int8 and
            disk_mib_sum <= (inventory ->> 'disk_mib')::int8) then class end,
        vendor, model, vram_mib, coalesce(driver, ''), coalesce(compute, ''), is_simulated
    from needed
$$;

create table asks (
    account_id uuid not null references accounts,
    class text not null references device_classes,
    region text not null references regions,
    price_uusd_per_device_hour int8 not null
        constraint asks_price_in_range check (price_uusd_per_device_hour between 1 and 1000000000000),
    spot_multiplier_bp int4 not null default 10000 check (spot_multiplier_bp between 1 and 10000),
    guaranteed_multiplier_bp int4 not null default 10000 check (guaranteed_multiplier_bp between 10000 and 100000),
    arrived_round int8 not null,
    message_sha256 bytea not null check (length(message_sha256) = 32),
    version int4 not null default 1,
    updated_at timestamptz not null default now(),
    withdrawn_at timestamptz,
    primary key (account_id, class, region)
);
comment on table asks is 'An account''s one standing sealed price per class and region.';

-- What an account says with an ask; its SHA-256 is what the market promises for a round.
create function ask_message(account_id uuid, class text, region text, price int8, spot int4, guaranteed int4)
returns text language sql immutable as $$
    select concat_ws('|', 'undercut/ask/v1', account_id, class, region, price, spot, guaranteed)
$$;
create function withdraw_message(account_id uuid, class text, region text)
returns text language sql immutable as $$
    select concat_ws('|', 'undercut/withdraw/v1', account_id, class, region)
$$;
create function text_sha256(message text) returns bytea language sql immutable as $$
    select sha256(convert_to(message, 'UTF8'))
$$;

create table receipts (
    node_id uuid not null references nodes,
    seq int8 not null,
    body text not null,
    signature bytea not null check (length(signature) = 64),
    received_at timestamptz not null default now(),
    primary key (node_id, seq)
);
