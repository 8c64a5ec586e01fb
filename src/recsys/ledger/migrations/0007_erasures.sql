-- Users who were erased. While a request is pending its row has the id, which is needed to find
-- what is to be deleted; afterwards only a keyed hash, by which later dumps are filtered.

create table recsys.erasure_key (
    only_row boolean primary key default true check (only_row),
    key      bytea not null check (length(key) = 32)
);
comment on table recsys.erasure_key is
    'Key of the hashes in recsys.erased_users. Anybody with the key and the hashes can try all ids.';
-- Two random uuids have 244 random bits.
insert into recsys.erasure_key (key)
values (sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')));

create table recsys.erased_users (
    number       bigint generated always as identity primary key,
    requested_at timestamptz not null default clock_timestamp(),
    actor        text not null check (actor <> ''),
    origin       text check (origin <> ''),
    reason       text not null check (reason <> ''),
    user_hash    bytea not null unique check (length(user_hash) = 32),
    digest       text not null unique check (digest ~ '^[0-9a-f]{64}$'),
    user_id      integer check (user_id > 0),
    completed_at timestamptz,
    constraint id_only_while_pending check ((user_id is null) = (completed_at is not null))
);
create unique index pending_erasure on recsys.erased_users (user_id) where user_id is not null;
comment on column recsys.erased_users.digest is
    'Of the list up to this row: sha256 of the digest before and this hash. The settings of a build '
    'name the newest one.';

-- A row stays: a request is completed, or begins anew, and nothing else of it changes.
create function recsys.keep_erasure() returns trigger language plpgsql as $$
begin
    if (new.number, new.requested_at, new.actor, new.origin, new.reason, new.user_hash, new.digest)
        is distinct from
       (old.number, old.requested_at, old.actor, old.origin, old.reason, old.user_hash, old.digest)
    then
        raise exception 'a request to erase a user may only be completed or begin anew'
            using errcode = 'check_violation', constraint = 'append_only';
    end if;
    return new;
end $$;
create trigger keep_erasure before update on recsys.erased_users
    for each row execute function recsys.keep_erasure();
create trigger append_only before delete or truncate on recsys.erased_users
    for each statement execute function recsys.refuse_change();
create trigger append_only before update or delete or truncate on recsys.erasure_key
    for each statement execute function recsys.refuse_change();

-- The public tables answer without the users of pending requests. Readers may ask about one id, and
-- may not read the list.
create function recsys.is_being_erased(id integer) returns boolean
language plpgsql stable security definer set search_path = pg_catalog as $$
begin
    return exists (select from recsys.erased_users e where e.user_id = id);
end $$;

alter table recsys.releases add column erasures_covered bigint not null default 0;
comment on column recsys.releases.erasures_covered is
    'The release knows none of the users in recsys.erased_users up to this number: it was built '
    'without them, or was searched and has no trace of them.';
