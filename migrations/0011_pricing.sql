-- Why: a node whose agent prices by rules moves its account's ask, and of several such nodes one at a time.

alter table asks add column priced_by_node_id uuid;
comment on column asks.priced_by_node_id is
    'The node whose agent moves this price; another one may take over once it is not live. Null: set by hand.';
