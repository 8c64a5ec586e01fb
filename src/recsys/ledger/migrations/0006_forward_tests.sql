-- Releases tested on ratings that are newer than all that they were made from: what the gate
-- promised, and what came.

create table recsys.forward_tests (
    id           bigint generated always as identity primary key,
    at           timestamptz not null default clock_timestamp(),
    run_id       text not null check (run_id <> ''),
    release_id   text not null references recsys.releases,
    dataset_md5  text not null check (dataset_md5 ~ '^[0-9a-f]{32}$'),
    was_champion boolean not null,
    test         jsonb not null,
    unique (release_id, dataset_md5)
);
comment on table recsys.forward_tests is
    'One row for a release and a newer dataset: realized metrics beside the promised ones.';
create index forward_tests_of_dataset on recsys.forward_tests (dataset_md5, id);

create trigger append_only before update or delete or truncate on recsys.forward_tests
    for each statement execute function recsys.refuse_change();
