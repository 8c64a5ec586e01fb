-- The ledger has an identity, so that a bucket can name the ledger that it belongs to.

create table recsys.identity (
    only_row   boolean primary key default true check (only_row),
    ledger_id  uuid not null default gen_random_uuid(),
    created_at timestamptz not null default clock_timestamp()
);
comment on table recsys.identity is
    'Id of this ledger; owner.json in the bucket holds the same id. A dump keeps it.';
insert into recsys.identity default values;
