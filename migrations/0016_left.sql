-- Why: a lease was awarded, by its own word, at the beginning of its round's transaction, and so sometimes a little before
-- the end of the lease before it, which that round had read.

alter table leases alter column awarded_at set default statement_timestamp();
