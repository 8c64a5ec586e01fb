-- The ledger: releases, the moves of their states, the promotion journal, who did what and why.
-- Runs in one transaction together with the record that it ran.

create table recsys.release_moves (
    from_state text not null,
    to_state   text not null,
    primary key (from_state, to_state)
);
comment on table recsys.release_moves is
    'Every move that a release''s state may make; ''new'' stands for a release not yet known.';

create table recsys.releases (
    release_id   text primary key check (release_id ~ '^[0-9a-f]{8}-[0-9a-f]{8}$'),
    dataset_md5  text not null check (dataset_md5 ~ '^[0-9a-f]{32}$'),
    fingerprint  text not null unique check (fingerprint ~ '^[0-9a-f]{64}$'),
    build        jsonb not null,
    state        text not null,
    run_id       text not null,
    run_nonce    text not null,
    manifest     jsonb,
    manifest_sha256 text,
    tables       jsonb not null default '{}',
    created_at   timestamptz not null default clock_timestamp(),
    changed_at   timestamptz not null default clock_timestamp(),
    completed_at timestamptz,
    promoted_at  timestamptz,
    check (release_id = left(dataset_md5, 8) || '-' || left(fingerprint, 8)),
    constraint complete_before_served check (
        state not in ('candidate', 'champion', 'superseded', 'rolled_back')
        or (manifest is not null and completed_at is not null)
    )
);

create unique index one_champion on recsys.releases ((true)) where state = 'champion';

create table recsys.history (
    id         bigint generated always as identity primary key,
    at         timestamptz not null default clock_timestamp(),
    actor      text not null check (actor <> ''),
    reason     text not null check (reason <> ''),
    action     text not null,
    release_id text,
    from_state text,
    to_state   text,
    detail     jsonb not null default '{}'
);
create index history_of_release on recsys.history (release_id, id);

create table recsys.journal (
    id           bigint generated always as identity primary key,
    kind         text not null check (kind in ('promotion', 'rollback')),
    from_release text references recsys.releases,
    to_release   text not null references recsys.releases,
    actor        text not null check (actor <> ''),
    reason       text not null check (reason <> ''),
    opened_at    timestamptz not null default clock_timestamp(),
    closed_at    timestamptz,
    outcome      text check (outcome in ('committed', 'undone')),
    check ((closed_at is null) = (outcome is null)),
    check (from_release <> to_release)
);
create unique index one_open_journal on recsys.journal ((true)) where closed_at is null;

create table recsys.decisions (
    id         bigint generated always as identity primary key,
    at         timestamptz not null default clock_timestamp(),
    release_id text not null references recsys.releases,
    champion   text references recsys.releases,
    run_id     text not null,
    accepted   boolean not null,
    decision   jsonb not null,
    diff       jsonb
);
comment on column recsys.decisions.diff is 'What the site would notice, held against the champion.';
create index decisions_of_release on recsys.decisions (release_id, id);

create table recsys.internal_hash (
    id          bigint generated always as identity primary key,
    at          timestamptz not null default clock_timestamp(),
    dataset_md5 text not null,
    release_id  text not null references recsys.releases,
    run_id      text not null unique
);
comment on table recsys.internal_hash is
    'The dataset that production was last brought up to, one row a run; the newest row holds.';

-- A state changes only by a listed move, and never without its line in the history: who and why
-- are session settings of the changing transaction, and without them the change is refused.
create function recsys.record_move() returns trigger language plpgsql as $$
declare
    old_state text := 'new';
    actor  text := coalesce(current_setting('recsys.actor', true), '');
    reason text := coalesce(current_setting('recsys.reason', true), '');
begin
    if tg_op = 'UPDATE' then
        old_state := old.state;
        if old_state = new.state then
            return new;
        end if;
        new.changed_at := clock_timestamp();
    end if;
    if not exists (select from recsys.release_moves m
                   where m.from_state = old_state and m.to_state = new.state) then
        raise exception 'release % may not move from % to %', new.release_id, old_state, new.state
            using errcode = 'check_violation', constraint = 'release_moves';
    end if;
    if actor = '' or reason = '' then
        raise exception 'a change of state needs an actor and a reason'
            using errcode = 'check_violation', constraint = 'actor_and_reason';
    end if;
    insert into recsys.history (actor, reason, action, release_id, from_state, to_state)
    values (actor, reason, 'moved', new.release_id, old_state, new.state);
    return new;
end $$;

create trigger record_move before insert or update on recsys.releases
    for each row execute function recsys.record_move();

create function recsys.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% on %.% is refused: its rows are only ever added', tg_op, tg_table_schema,
        tg_table_name using errcode = 'check_violation', constraint = 'append_only';
end $$;

create trigger append_only before update or delete or truncate on recsys.history
    for each statement execute function recsys.refuse_change();
create trigger append_only before update or delete or truncate on recsys.decisions
    for each statement execute function recsys.refuse_change();
create trigger keep before delete or truncate on recsys.releases
    for each statement execute function recsys.refuse_change();
create trigger keep before delete or truncate on recsys.journal
    for each statement execute function recsys.refuse_change();

-- Once there is a champion there is always exactly one: at most one by the index above, at least
-- one by this check at commit.
create function recsys.keep_a_champion() returns trigger language plpgsql as $$
begin
    if not exists (select from recsys.releases where state = 'champion') then
        raise exception 'the champion may only be replaced, never removed'
            using errcode = 'check_violation', constraint = 'keep_a_champion';
    end if;
    return null;
end $$;

create constraint trigger keep_a_champion after update on recsys.releases
    deferrable initially deferred for each row
    when (old.state = 'champion' and new.state <> 'champion')
    execute function recsys.keep_a_champion();

create view recsys.current_release as
select release_id,
       manifest #>> '{build,dataset_md5}'                    as dataset_md5,
       'releases/' || release_id || '/model.keras'           as model_key,
       (select a ->> 'sha256' from jsonb_array_elements(manifest -> 'artifacts') a
        where a ->> 'name' = 'model.keras')                  as model_sha256,
       (manifest #>> '{dims,movie_vectors}')::integer        as movie_vector_dim,
       (manifest #>> '{dims,towers}')::integer               as tower_dim,
       'recsys.movie_vectors_' || replace(release_id, '-', '_') as movie_vectors_table,
       'recsys.user_towers_' || replace(release_id, '-', '_')   as user_towers_table,
       'recsys.movie_towers_' || replace(release_id, '-', '_')  as movie_towers_table,
       promoted_at
from recsys.releases
where state = 'champion';
comment on view recsys.current_release is
    'One row: the release being served. Read it, then the model and tables that it names: they '
    'never change under their names, so the pair is exact.';

-- The public names movie_vectors, user_towers and movie_towers live in recsys_live.
do $$
begin
    execute format('alter database %I set search_path = "$user", recsys_live, public',
                   current_database());
end $$;

-- The site's role: it may read the public names and nothing else. Where the installing user may
-- not create roles, an administrator makes it first.
do $$
begin
    create role recsys_site nologin;
exception
    when duplicate_object or unique_violation then null;
    when insufficient_privilege then
        raise notice 'role recsys_site was not created: create it, then grant again';
end $$;
do $$
begin
    grant usage on schema recsys to recsys_site;
    grant select on recsys.current_release to recsys_site;
exception when undefined_object then null;
end $$;
