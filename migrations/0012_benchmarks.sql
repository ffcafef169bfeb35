-- Why: what offers begin at follows prices that losing asks of others set, in other lots of the class, lately.

alter table leases add column price_set_by_ask bool not null default false;
comment on column leases.price_set_by_ask is
    'The price is the score of a losing ask of another account, less the adder: nobody who was paid it could set it.';
create index leases_priced on leases (awarded_at) where price_set_by_ask;

create table benchmarks (
    market text not null references markets,
    class text not null references device_classes,
    is_simulated bool not null,
    lot text not null,
    median_uusd_per_device_hour int8 not null check (median_uusd_per_device_hour >= 0),
    prices_count int4 not null check (prices_count >= 0),
    reckoned_at timestamptz not null default now(),
    primary key (market, class, is_simulated, lot)
);
comment on table benchmarks is
    'Per lot: the median of the class''s prices in all OTHER lots over 24 h, weighted by time that was paid for.';
comment on column benchmarks.lot is
    'region/class/devices/tier/trust; empty: for lots that set no price of their own in these hours.';
